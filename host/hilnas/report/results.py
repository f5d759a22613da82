"""Results of a search, from its record alone: result.json, the winning model and its card, report.html."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hilnas.energy import carbon_g, carbon_of
from hilnas.export import check_int8
from hilnas.measuring.combine import spoiling
from hilnas.objectives import Objective, best_trials, broken_limit, front_hypervolume, pareto_front, score
from hilnas.recipe import check_recipe
from hilnas.report.card import model_card
from hilnas.report.page import page
from hilnas.search.errors import SearchError
from hilnas.search.history import History, Winner, rebuild
from hilnas.search.setup import make_space, resolve_objectives
from hilnas.store import RECORD_FILE, ModelFiles, Record, SearchRow, StoreError
from hilnas.store.codec import dump
from hilnas.store.files import write_atomically
from hilnas.store.lock import in_use
from hilnas.trial import Estimate, Measurement, Trial, TrialStatus, Verdict

FORMAT = 1
"""Version of result.json."""

UNSTABLE_SHARE = 0.25
"""A device of which more than this share of figures is UNSTABLE is warned of."""


def report_folder(folder: Path) -> dict[str, Any]:
    """Write the results of a folder again, and return them. SearchError when it holds no search."""
    if not (folder / RECORD_FILE).is_file():
        raise SearchError(f"{folder} holds no record.sqlite: name the folder that `hilnas run` printed")
    record = Record.in_folder(folder)
    try:
        searches = record.searches()
        if not searches:
            raise SearchError(f"the record in {folder} holds no search: nothing was begun there")
        return write_results(record, searches[-1], folder, ModelFiles(folder / "models"), in_use(folder))
    finally:
        record.close()


def write_results(
    record: Record, search: SearchRow, folder: Path, models: ModelFiles, running: bool = False
) -> dict[str, Any]:
    """Write result.json, report.html and, once there is one, model.tflite with model_card.md."""
    history = rebuild(record.events(search.id))
    results = results_of(search, history)
    if running and not history.finished:
        results["search"]["status"] = "running"
    best = results["best"]
    content, missing = None, None
    if best is not None:
        try:
            content = models.get(best["model_sha256"])
            # The figures of the file that ships: a candidate's own are those of its first export.
            facts = check_int8(content)
            best |= {"model_bytes": facts.bytes, "macs": facts.macs, "parameters": facts.parameters}
        except (OSError, ValueError) as error:
            missing = error
    write_atomically(folder / "result.json", json.dumps(results, indent=1, allow_nan=False).encode())
    write_atomically(folder / "report.html", page(results).encode())
    if missing is not None:
        raise StoreError(
            f"the best model is missing or torn ({missing}): put it back from a copy of {folder}; "
            "result.json and report.html are written without it"
        ) from missing
    if best is not None and content is not None:
        write_atomically(folder / "model.tflite", content)
        write_atomically(folder / "model_card.md", model_card(results, content).encode())
        architecture = {"space": best["space"], "decisions": best["decisions"]}
        write_atomically(folder / "architecture.json", json.dumps(architecture, indent=1).encode())
    return results


def results_of(search: SearchRow, history: History) -> dict[str, Any]:
    """Return result.json's content."""
    last = history.sessions[-1] if history.sessions else None
    recipe = check_recipe(last.recipe if last else search.recipe)
    devices = last.devices if last else ()
    objectives = resolve_objectives(recipe, devices) if history.sessions else tuple(recipe.objective)
    classes = list(dict.fromkeys(o.device_class for o in objectives if o.device_class))
    front = pareto_front(objectives, history.trials)
    grid = recipe.measurement.energy.grid_g_per_kwh
    classes_of_task = len(last.task["labels"]) if last else 0
    wall_s = sum(span.ended_unix - span.started_unix for span in history.sessions)
    return {
        "format": FORMAT,
        "search": {
            "id": search.id,
            "name": search.name,
            "created_unix": search.created_unix,
            "status": "finished" if history.finished else "stopped",
            "sessions": len(history.sessions),
        },
        "recipe": recipe.model_dump(mode="json"),
        "seed": search.seed,
        "versions": dict(last.versions if last else search.versions),
        "task": dict(last.task) if last else None,
        "objectives": [_objective_row(objective) for objective in objectives],
        "devices": [device.to_json() for device in devices],
        "trials": [trial_row(trial, classes, grid) for trial in history.trials],
        "winners": [_winner_row(winner, classes, grid) for winner in history.winners],
        "best": _best(recipe_space(history, recipe), history, objectives, classes, grid),
        "front": [trial.number for trial in front],
        "hypervolume": front_hypervolume(objectives, history.trials),
        "strategy": dict(history.diagnostics),
        "canaries": [dump(reading) for reading in history.canaries],
        "earlier_trials": len(history.earlier or ()),
        "warnings": warnings(history, classes_of_task, objectives),
        "wall_s": wall_s,
        "host_energy": _host_energy(history, grid),
        "device_busy_fraction": _busy_fraction(history, wall_s, len(devices)),
    }


def warnings(history: History, classes: int, objectives: Sequence[Objective]) -> list[str]:
    """Return what a person should know before trusting the results; `classes` is the task's number."""
    found = []
    scored = [t.estimate for t in history.trials if t.status is TrialStatus.SCORED and t.estimate]
    if any(estimate.is_rank for estimate in scored):
        found.append(
            "the candidates' accuracies are ranks by zero-cost proxies: shares of other architectures, not of examples"
        )
    elif scored and all(e.accuracy <= 1 / classes + 3 * e.accuracy_se for e in scored):
        found.append(
            f"every candidate is right by chance only (at most {max(e.accuracy for e in scored):.1%} of "
            f"{classes} classes): train for more steps, with more estimator.epochs or a smaller estimator.batch"
        )
    for winner in history.winners:
        broken = broken_limit(objectives, _retrained(winner, history))
        if broken is not None:
            found.append(
                f"the winner, trial {winner.trial}, was within the limits in the search; measured in full, its {broken}: "
                "raise final.top and use --resume, or search anew with a lower limit"
            )
        estimate = history.trials[winner.trial].estimate
        accuracy = winner.accuracies["validation_accuracy"]
        if estimate is None or estimate.is_rank:
            continue
        if accuracy < estimate.accuracy - 3 * estimate.accuracy_se:
            found.append(
                f"the winner, trial {winner.trial}, is worse retrained ({accuracy:.1%} of validation examples) "
                f"than in the search ({estimate.accuracy:.1%}): raise final.epochs, and use --resume"
            )
    found += measuring_warnings(history)
    if not scored and history.trials and history.finished:
        reasons = Counter(t.reason for t in history.trials if t.reason)
        often = "".join(f", most often: {reason}" for reason, _ in reasons.most_common(1))
        found.append(f"no trial was scored{often}")
    return found


def measuring_warnings(history: History) -> list[str]:
    """Return what is to be known of the devices and the figures they gave."""
    found = []
    for reading in history.canaries:
        if reading.state in ("drifting", "quarantine"):
            models = set(reading.doubtful)
            trials = [
                str(t.number) for t in history.trials if t.model is not None and t.model.sha256 in models
            ]
            found.append(reading.message + (f"; in doubt are trials {', '.join(trials)}" if trials else ""))
    measured = [m for trial in history.trials for m in trial.measurements]
    for winner in history.winners:
        found += [
            f"the winner, trial {winner.trial}, answers otherwise on {a.device} than on the host for "
            f"{1 - a.same_class:.1%} of {a.examples} validation examples ({a.runtime}): "
            'measurement.accuracy.where = "device" makes a search use the device\'s own arithmetic'
            for a in winner.agreements
            if a.same_class < 1
        ]
    for device in dict.fromkeys(m.device for m in measured):
        own = [m for m in measured if m.device == device]
        graphs = [m.graph for m in own if m.graph is not None]
        if graphs and all(graph.delegated_nodes == 0 for graph in graphs):
            found.append(
                f"{device} ran every model on its runtime's own kernels ({own[0].runtime}), without XNNPACK: "
                "with a runtime that has it for int8, figures and their order may be quite different"
            )
        unstable = sum(m.verdict is Verdict.UNSTABLE for m in own)
        if unstable > UNSTABLE_SHARE * len(own):
            rules = Counter(e.rule for m in own if m.verdict is Verdict.UNSTABLE for e in spoiling(m))
            often = ", ".join(rule for rule, _ in rules.most_common(3))
            found.append(
                f"{unstable} of {len(own)} figures of {device} are UNSTABLE, most often by {often}: "
                "`hilnas-agent check` on the device names the remedies"
            )
    return found


def recipe_space(history: History, recipe: Any) -> Any:
    """Return the space of a search that has begun, without its data; None before that."""
    if not history.sessions:
        return None
    task = history.sessions[-1].task
    channels, height, width = task["shape"]
    return make_space(recipe, (channels, height, width), len(task["labels"]))


def trial_row(trial: Trial, classes: Sequence[str], grid: float | None = None) -> dict[str, Any]:
    """Return a trial as result.json has it; its own latency and memory are those of the first class."""
    measurements = _ordered(trial.measurements, classes)
    first = measurements[0] if measurements and measurements[0].device_class in classes[:1] else None
    return {
        "number": trial.number,
        "digest": trial.architecture.digest,
        "decisions": dict(trial.architecture.decisions),
        "status": trial.status.value,
        "reason": trial.reason,
        "reward": trial.score.reward if trial.score else None,
        "reward_se": trial.score.reward_se if trial.score else None,
        "values": dict(trial.score.values) if trial.score else {},
        "accuracy": trial.estimate.accuracy if trial.estimate else None,
        "accuracy_se": trial.estimate.accuracy_se if trial.estimate else None,
        "float_accuracy": trial.estimate.float_accuracy if trial.estimate else None,
        "trained_model_sha256": trial.estimate.model_sha256 if trial.estimate else None,
        **_device_figures(first),
        "proxy_rank": trial.proxy_rank.rank if trial.proxy_rank else None,
        "model_sha256": trial.model.sha256 if trial.model else None,
        "model_bytes": trial.model.bytes if trial.model else None,
        "macs": trial.model.macs if trial.model else None,
        "parameters": trial.model.parameters if trial.model else None,
        "measurements": [_measurement_row(measurement, grid) for measurement in measurements],
        "timings_s": dict(trial.timings),
        "policy_version": trial.proposal.policy_version,
    }


def _device_figures(measurement: Measurement | None) -> dict[str, Any]:
    latency = measurement.latency if measurement else None
    energy = measurement.energy if measurement else None
    return {
        "latency_ms": latency.median_ms if latency else None,
        "latency_low_ms": latency.low_ms if latency else None,
        "latency_high_ms": latency.high_ms if latency else None,
        "peak_memory_kib": measurement.peak_memory_kib if measurement else None,
        "energy_mj": energy.net_mj if energy else None,
        "energy_reason": energy.message if energy else "not measured",
    }


def _measurement_row(measurement: Measurement, grid: float | None) -> dict[str, Any]:
    latency = measurement.latency
    return {
        "device": measurement.device,
        "device_class": measurement.device_class,
        "runtime": measurement.runtime,
        "protocol_hash": measurement.protocol_hash,
        "verdict": measurement.verdict.value,
        "message": measurement.message,
        "fidelity": measurement.fidelity,
        "evidence": [dump(each) for each in measurement.evidence],
        "sessions_ms": [session.median_ms for session in measurement.sessions],
        "canary_factor": measurement.canary_factor,
        "graph": dump(measurement.graph) if measurement.graph else None,
        **_device_figures(measurement),
        "energy": dump(measurement.energy),
        "carbon_g_per_million": carbon_of(measurement.energy, grid),
        "latency_p95_ms": latency.p95_ms if latency else None,
        "load_ms": latency.load_ms if latency else None,
        "first_ms": latency.first_ms if latency else None,
        "baseline_memory_kib": measurement.baseline_memory_kib,
        "load_memory_kib": measurement.load_memory_kib,
        "run_memory_kib": measurement.run_memory_kib,
        "arena_kib": measurement.arena_kib,
        "conditions": dict(measurement.conditions),
        "attempt": measurement.attempt,
    }


def _ordered(measurements: Sequence[Measurement], classes: Sequence[str]) -> list[Measurement]:
    """Measurements in the order in which the recipe names their classes, not that of their arrival."""
    place = {name: number for number, name in enumerate(classes)}
    return sorted(measurements, key=lambda m: place.get(m.device_class, len(place)))


def _winner_row(winner: Winner, classes: Sequence[str], grid: float | None) -> dict[str, Any]:
    return {
        "trial": winner.trial,
        "model_sha256": winner.model.sha256,
        "model_bytes": winner.model.bytes,
        "macs": winner.model.macs,
        "parameters": winner.model.parameters,
        "weights_sha256": winner.weights_sha256,
        **winner.accuracies,
        "quantization": winner.quantization or None,
        "quantization_accuracies": dict(winner.quantization_accuracies),
        "measurements": [
            _measurement_row(measurement, grid) for measurement in _ordered(winner.measurements, classes)
        ],
        "training_s": winner.seconds,
        "agreements": [dump(each) for each in winner.agreements],
    }


def _best(
    space: Any, history: History, objectives: Sequence[Objective], classes: Sequence[str], grid: float | None
) -> dict[str, Any] | None:
    """The best of the retrained trials by what their retraining gave; before there is one, the best trial."""
    winner = max(history.winners, key=lambda each: _worth(each, history, objectives), default=None)
    trial = history.trials[winner.trial] if winner else next(iter(best_trials(history.trials, 1)), None)
    if trial is None or space is None:
        return None
    row = {**trial_row(trial, classes, grid), "space": trial.architecture.space}
    row["measured_macs"] = row["macs"]
    row["model_sha256"] = row["trained_model_sha256"] or row["model_sha256"]
    if winner is not None:
        final = _winner_row(winner, classes, grid)
        figures = _device_figures(_ordered(winner.measurements, classes)[0]) if winner.measurements else {}
        row = {**row, **final, **figures, "measured_macs": final["macs"], "final": True}
    row["blocks"] = [
        {"name": b.name, "kind": b.kind, "output": list(b.output), "details": dict(b.details)}
        for b in space.describe(trial.architecture)
    ]
    return row


def _worth(winner: Winner, history: History, objectives: Sequence[Objective]) -> tuple[bool, bool, float]:
    """What orders winners: has every figure, keeps to the limits, the reward. Test accuracy is no part of it."""
    trial = _retrained(winner, history)
    keeps = broken_limit(objectives, trial) is None
    try:
        return True, keeps, score(objectives, trial).reward
    except ValueError:  # a figure is missing: it is still to be measured
        return False, keeps, winner.accuracies["validation_accuracy"]


def _retrained(winner: Winner, history: History) -> Trial:
    """Return a winner's trial with the figures of its retraining in place of the search's."""
    return replace(
        history.trials[winner.trial],
        model=winner.model,
        measurements=winner.measurements,
        estimate=Estimate("final", winner.accuracies["validation_accuracy"], 0.0),
    )


def _objective_row(objective: Objective) -> dict[str, Any]:
    return {**objective.model_dump(mode="json"), "label": objective.label, "unit": objective.unit}


def _host_energy(history: History, grid: float | None) -> dict[str, Any]:
    """What the host took for the search, as far as its sessions tell; a session that was killed tells nothing."""
    told = [span.host_energy for span in history.sessions if span.host_energy]
    joules = [each["joules"] for each in told if each["joules"] is not None]
    total = sum(joules) if joules else None
    return {
        "joules": total,
        "carbon_g": carbon_g(total, grid) if total is not None and grid is not None else None,
        "source": told[-1]["source"] if told else "",
        "reason": told[-1]["reason"] if told else "the search was killed before it could tell",
        "sessions_told": len(joules),
    }


def _busy_fraction(history: History, wall_s: float, devices: int) -> float | None:
    """Share of the time that devices spent on jobs."""
    if wall_s <= 0 or devices == 0:
        return None
    measured = [
        *(m for trial in history.trials for m in trial.measurements),
        *(m for winner in history.winners for m in winner.measurements),
    ]
    # Trials of one model share its measurement, which took the device's time once.
    once = {(m.device, m.started_unix_ms, m.model_sha256): m.device_ms for m in measured}
    return min(1.0, sum(once.values()) / 1000 / wall_s / devices)
