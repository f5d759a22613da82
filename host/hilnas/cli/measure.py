"""`hilnas measure`: any .tflite on a device, from the command line."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from hilnas.cli.model_files import check_fit, read_examples, read_model_file
from hilnas.daemon.measure import Bench, bench
from hilnas.energy import carbon_of
from hilnas.farm import FarmError, FarmOptions, Fidelity, MeasurementOptions
from hilnas.measuring import Comparison
from hilnas.options import OptionsError
from hilnas.store.codec import dump
from hilnas.trial import FIGURE_VERDICTS, Agreement, Energy, Measurement


@dataclass(frozen=True)
class Wanted:
    """What `hilnas measure` was asked to do."""

    device: str = ""
    """Name of the device; this machine when empty."""
    comparing: bool = False
    energy: bool | None = None
    """None: in full, where the device has a meter."""
    examples: Path | None = None
    """An archive of inputs `x` and, where they are known, labels `y`, to hold the device against the host."""


def measure_command(
    files: Sequence[Path],
    farm: FarmOptions,
    measurement: MeasurementOptions,
    wanted: Wanted,
    as_json: bool,
) -> int:
    """Measure models and print what was found; return the exit code."""
    if wanted.comparing and wanted.energy:
        raise OptionsError("--compare is of latencies: leave --energy out, or measure the two without it")
    if wanted.comparing and len(files) != 2:
        raise OptionsError(f"--compare takes two models, not {len(files)}")
    contents = [read_model_file(file) for file in files]
    examples = read_examples(wanted.examples) if wanted.examples else None
    if examples is not None:
        for file, content in zip(files, contents, strict=True):
            check_fit(file, content, examples)
    console = Console(stderr=as_json, highlight=False, markup=False, soft_wrap=True)

    async def work() -> tuple[list[Measurement | None], Comparison | None, list[Agreement]]:
        fidelity = measurement.fidelity
        with _Sessions(console, len(contents), measurement, fidelity) as shown:
            async with bench(farm, measurement, wanted.device, shown.waiting) as place:
                energy = _with_energy(wanted, measurement, place)
                shown.measuring(place, energy)
                agreed = [await place.agree(content, examples) for content in contents] if examples else []
                if not wanted.comparing:
                    return list(await place.measure(contents, fidelity, shown.taken, energy)), None, agreed
                compared = await place.compare(contents[0], contents[1], fidelity, shown.taken)
                return [compared.first, compared.second], compared, agreed

    found, compared, agreed = asyncio.run(work())
    measured = [one for one in found if one is not None]
    if as_json:
        for place, one in enumerate(found):
            if one is not None:
                told = {"agreement": dump(agreed[place])} if agreed else {}
                print(json.dumps(as_data(one, measurement) | told))
        if compared is not None and compared.ratio is not None:
            print(json.dumps(_ratio_data(compared)))
    else:
        _print(console, files, found, measurement.energy.grid_g_per_kwh)
        for file, agreement in zip(files, agreed, strict=False):
            console.print(f"{file.name}: {agreement_words(agreement)}")
        if compared is not None:
            _print_ratio(console, files, compared)
    whole = all(m.verdict in FIGURE_VERDICTS for m in measured)
    missed = bool(wanted.energy) and any(m.energy.net_mj is None for m in measured)
    return 0 if len(measured) == len(files) and whole and not missed else 1


def _with_energy(wanted: Wanted, measurement: MeasurementOptions, place: Bench) -> bool:
    """Is energy to be measured? FarmError where it was asked for and the device has no such meter."""
    device, name = place.device, measurement.energy.meter
    if wanted.energy is False or wanted.comparing:
        return False
    if device.meter(name) is None and (wanted.energy or name):
        offered = ", ".join(meter.name for meter in device.meters) or "none that can be read"
        raise FarmError(
            f"{device.name} has no energy meter{f' {name}' if name else ''}, but {offered}: "
            "`hilnas-agent check` there says what it could use"
        )
    if wanted.energy is None:
        return measurement.fidelity is Fidelity.FULL and bool(device.meters)
    return True


def agreement_words(found: Agreement) -> str:
    """Say how a device agrees with the host."""
    accuracy = ""
    if found.device_accuracy is not None and found.host_accuracy is not None:
        accuracy = f"; accuracy {found.device_accuracy:.2%} there, {found.host_accuracy:.2%} on the host"
    return (
        f"{found.examples} examples on {found.device}: {found.identical:.2%} equal the host's to the last bit, "
        f"{found.same_class:.2%} have the same class, outputs differ by at most {found.largest_step:.0f} steps"
        f"{accuracy}"
    )


def as_data(measurement: Measurement, options: MeasurementOptions) -> dict[str, Any]:
    """Return a measurement as `--json` prints it."""
    latency, graph = measurement.latency, measurement.graph
    return {
        "model_sha256": measurement.model_sha256,
        "device": measurement.device,
        "device_class": measurement.device_class,
        "runtime": measurement.runtime,
        "threads": options.threads,
        "fidelity": measurement.fidelity,
        "protocol_hash": measurement.protocol_hash,
        "latency_ms": {
            "median": latency.median_ms,
            "low": latency.low_ms,
            "high": latency.high_ms,
            "p5": latency.p5_ms,
            "p95": latency.p95_ms,
            "samples": [ns / 1e6 for ns in latency.samples_ns],
            "set_aside": list(latency.set_aside),
            "load": latency.load_ms,
            "first": latency.first_ms,
            "sessions": [session.median_ms for session in measurement.sessions],
        }
        if latency
        else None,
        "peak_memory_kib": measurement.peak_memory_kib,
        "memory_kib": {
            "baseline": measurement.baseline_memory_kib,
            "load_peak": measurement.load_memory_kib,
            "run_peak": measurement.run_memory_kib,
            "arena": measurement.arena_kib,
        },
        "graph": {"nodes": graph.nodes, "delegated": graph.delegated_nodes, "partitions": graph.partitions}
        if graph
        else None,
        "energy_mj": measurement.energy.net_mj,
        "energy": dump(measurement.energy),
        "carbon_g_per_million": carbon_of(measurement.energy, options.energy.grid_g_per_kwh),
        "verdict": measurement.verdict.value,
        "message": measurement.message,
        "evidence": [
            {"rule": e.rule, "passed": e.passed, "value": e.value, "limit": e.limit, "text": e.text}
            for e in measurement.evidence
        ],
        "conditions": dict(measurement.conditions),
    }


def _ratio_data(compared: Comparison) -> Mapping[str, Any]:
    return {
        "ratio": {"median": compared.ratio, "low": compared.low, "high": compared.high},
        "pairs": compared.pairs,
        "differ": compared.differ,
    }


def _print(
    console: Console, files: Sequence[Path], found: Sequence[Measurement | None], grid: float | None
) -> None:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("model", overflow="fold", min_width=8)
    for column in ("latency\nms", "95 %\ninterval", "p95\nms", "peak\nKiB", "energy\nmJ"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for file, one in zip(files, found, strict=True):
        table.add_row(file.name, *(_cells(one) if one else [*["–"] * 5, "not measured"]))
    console.print(table, soft_wrap=False)
    first = next((one for one in found if one is not None), None)
    if first is not None:
        console.print(
            f"{first.device} ({first.device_class}), {first.runtime}, protocol {first.protocol_hash}"
        )
    for file, one in zip(files, found, strict=True):
        if one is not None:
            _explain(console, file, one, grid)


def _cells(one: Measurement) -> list[str]:
    latency = one.latency
    figures = ["–"] * 3
    if latency is not None:
        figures = [
            f"{latency.median_ms:.4g}",
            f"{latency.low_ms:.4g}–{latency.high_ms:.4g}",
            f"{latency.p95_ms:.4g}",
        ]
    memory = str(one.peak_memory_kib) if one.peak_memory_kib is not None else "–"
    energy = f"{one.energy.net_mj:.3g}" if one.energy.net_mj is not None else "–"
    return [*figures, memory, energy, one.verdict.value]


def _explain(console: Console, file: Path, one: Measurement, grid: float | None) -> None:
    """Say why a verdict is what it is, what could not be vouched for, and what the device was like."""
    if one.verdict not in FIGURE_VERDICTS:
        console.print(f"{file.name}: {one.verdict}: {one.message}")
        return
    for each in one.evidence:
        if not each.passed:
            console.print(f"{file.name}: {each.rule}: {each.text}")
    latency = one.latency
    facts = [delegation(one)]
    if latency is not None:
        facts.append(f"load {latency.load_ms:.3g} ms, first inference {latency.first_ms:.3g} ms")
    if one.arena_kib is not None:
        facts.append(f"arena {one.arena_kib} KiB")
    facts.append(energy_words(one.energy))
    carbon = carbon_of(one.energy, grid)
    if carbon is not None:
        facts.append(f"{carbon:.3g} g CO2e a million inferences")
    facts += [f"{name.replace('_', ' ')} {_value(value)}" for name, value in one.conditions.items()]
    console.print(f"{file.name}: {', '.join(filter(None, facts))}", style="dim")


def energy_words(energy: Energy) -> str:
    """Say what a meter told, or why there is no figure."""
    if energy.net_mj is None:
        return f"no energy: {energy.message}"
    return (
        f"energy {energy.net_mj:.3g} mJ [{energy.low_mj:.3g}, {energy.high_mj:.3g}] beyond idle, "
        f"{energy.gross_mj:.3g} mJ with it, {energy.verdict}, {energy.boundary} by {energy.meter}"
    )


def delegation(one: Measurement) -> str:
    """Say what a delegate took of a model; empty where the runtime did not tell."""
    graph = one.graph
    if graph is None:
        return ""
    if graph.delegated_nodes == 0:
        return f"none of {graph.nodes} operators went to XNNPACK: they ran on the runtime's own kernels"
    pieces = "1 piece" if graph.partitions == 1 else f"{graph.partitions} pieces"
    return f"{graph.delegated_nodes} of {graph.nodes} operators went to XNNPACK in {pieces}"


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _print_ratio(console: Console, files: Sequence[Path], compared: Comparison) -> None:
    if compared.ratio is None:
        console.print("No ratio: one of the two gave no figure")
        return
    low, high = compared.low or 0.0, compared.high or 0.0
    sure = "" if compared.differ else ": no difference is shown"
    console.print(
        f"{files[1].name} takes {compared.ratio:.4g} times as long as {files[0].name} "
        f"[{low:.4g}, {high:.4g}], {compared.pairs} pairs of sessions in turns{sure}"
    )


class _Sessions:
    """Shows how many sessions have been taken of those that are planned."""

    def __init__(
        self, console: Console, models: int, measurement: MeasurementOptions, fidelity: Fidelity
    ) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f} sessions"))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self._planned = models * measurement.protocol(fidelity).sampling.sessions
        self._row: TaskID | None = None

    def __enter__(self) -> "_Sessions":
        self._progress.start()
        self._row = self._progress.add_task("starting", total=self._planned)
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def waiting(self, address: str) -> None:
        """Tell where a device is waited for."""
        self._describe(f"waiting for a device at {address}")

    def measuring(self, place: Bench, energy: bool) -> None:
        """Tell the device."""
        then = ", then energy for a minute or two each" if energy else ""
        self._describe(f"measuring on {place.device.name}{then}")

    def taken(self, session: Measurement) -> None:
        """Count a session."""
        assert self._row is not None
        self._progress.advance(self._row)

    def _describe(self, text: str) -> None:
        assert self._row is not None
        self._progress.update(self._row, description=text)
