import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from torch import nn

from hilnas.cli.progress import Progress
from hilnas.cli.run import print_results
from hilnas.daemon.run import Run
from hilnas.export import export_int8
from hilnas.recipe import check_recipe
from hilnas.report.card import model_card
from hilnas.report.charts import Point, scatter
from hilnas.report.page import page
from hilnas.report.results import report_folder, results_of, warnings
from hilnas.search.errors import SearchError
from hilnas.search.history import Winner, rebuild
from hilnas.store import EventKind, Record, StoreError
from hilnas.store.codec import dump
from hilnas.store.lock import exclusive
from hilnas.trial import Architecture, Estimate, Latency, Measurement, ModelFacts, Proposal, Score, Verdict

DEVICE = {
    "name": "<b>board</b>", "device_class": "pi", "cpu_model": "A72", "machine": "aarch64", "board_model": "", "cores": 4,
    "memory_kib": 1000, "os": "Debian", "kernel": "6", "python": "3.11", "agent_version": "0.1.0",
    "runtimes": ["ai-edge-litert 2.3.0"], "meters": [],
}  # fmt: skip
TASK = {
    "name": "digits", "shape": [1, 32, 32], "labels": [str(n) for n in range(10)], "mean": [0.0], "std": [1.0],
    "examples": {"train": 1, "validation": 1, "test": 1}, "resize": "bilinear",
}  # fmt: skip
VERSIONS = {"hilnas": "0.1.0", "git_commit": None}
RECIPE = {
    "task": {"name": "digits"},
    "objective": [{"quantity": "accuracy"}, {"quantity": "latency", "target": 4.0}],
}


@pytest.fixture
def search(tmp_path):
    """A folder whose record holds a search of four trials, each with another fate."""
    import numpy as np

    from hilnas.spaces.mbconv import MBConv

    space = MBConv((1, 32, 32), 10)
    record = Record.in_folder(tmp_path)
    row = record.start_search("s", 0, RECIPE, VERSIONS)
    add = record.append
    add(
        row.id,
        EventKind.SESSION_STARTED,
        key="0",
        payload={"devices": [DEVICE], "task": TASK, "recipe": RECIPE, "versions": VERSIONS},
    )
    for number in range(4):
        architecture = space.sample(np.random.default_rng(number))
        add(row.id, EventKind.PROPOSED, number, payload=dump(Proposal(architecture)))
        facts = ModelFacts(f"{number}" * 64, 1000, 10, 5)
        add(row.id, EventKind.EXPORTED, number, payload={"model": dump(facts), "seconds": 0.5})
    latency = Latency(2, 1.9, 2.1, 1, 3, 4, 0.1, 5, 6, 7, (1, 2))
    good = Measurement("d", "pi", "0" * 64, "p", "litert", Verdict.TRUSTED, latency=latency, device_ms=100)
    for number in (0, 1):
        record.append_measurement(row.id, number, replace(good, model_sha256=f"{number}" * 64), "x")
        estimate = dump(Estimate("train", 0.9 - number / 10, 0.01))
        add(row.id, EventKind.ESTIMATED, number, payload={"estimate": estimate, "seconds": 1.0})
        accuracy = 0.9 - number / 10
        add(
            row.id, EventKind.SCORED, number,
            payload=dump(Score(accuracy, 0.01, {"accuracy": accuracy, "latency@pi": 2.0})),
        )  # fmt: skip
    add(row.id, EventKind.INVALID, 2, payload={"reason": "TIMEOUT on <i>board</i>"})
    add(row.id, EventKind.FAILED, 3, payload={"reason": "the link was lost"})
    yield tmp_path, record, row
    record.close()


def test_every_trial_is_told_with_its_fate(search):
    _, record, row = search
    results = results_of(row, rebuild(record.events(row.id)))
    assert [t["status"] for t in results["trials"]] == ["SCORED", "SCORED", "INVALID", "FAILED"]
    first = results["trials"][0]
    assert (first["latency_ms"], first["latency_low_ms"], first["latency_high_ms"]) == (2, 1.9, 2.1)
    assert (first["energy_mj"], first["energy_reason"]) == (None, "energy was not asked for")
    assert first["timings_s"] == {"export": 0.5, "measure@pi": 0.1, "estimate": 1.0}
    assert results["trials"][2]["reason"].startswith("TIMEOUT")
    assert results["best"]["number"] == 0
    assert results["front"] == [0]
    assert results["best"]["blocks"][-1]["name"] == "classifier"
    json.dumps(results, allow_nan=False)


def test_the_page_stands_alone_and_escapes_what_devices_say(search):
    _, record, row = search
    html = page(results_of(row, rebuild(record.events(row.id))))
    assert "<b>board</b>" not in html
    assert "<i>board</i>" not in html
    assert not re.search(r"(src|href)\s*=|url\(|@import|<script", html)
    for svg in re.findall(r"<svg.*?</svg>", html, re.S):
        assert ET.fromstring(svg).findall(".//circle")
    assert "stage1.block1" in html


def test_the_page_of_a_search_without_results_is_still_a_page(tmp_path):
    record = Record.in_folder(tmp_path)
    row = record.start_search("s", 0, RECIPE, {"hilnas": "0.1.0"})
    results = results_of(row, rebuild(record.events(row.id)))
    assert results["best"] is None
    assert "Nothing to draw yet" in page(results)
    record.close()


def test_a_search_that_a_process_holds_is_running(search):
    def status():
        with pytest.raises(StoreError, match="missing"):
            report_folder(folder)
        return json.loads((folder / "result.json").read_text())["search"]["status"]

    folder, _, _ = search
    with exclusive(folder):
        assert status() == "running"
    assert status() == "stopped"


def test_the_display_tells_how_far_the_winner_is(search):
    folder, record, row = search
    recipe = check_recipe(RECIPE)
    run = Run(recipe, folder, phase="training the winner", history=rebuild(record.events(row.id)))
    run.winners = SimpleNamespace(shares={0: 0.5})
    display = Progress(Console(width=100))
    display.show(run)
    with display.console.capture() as captured:
        display.console.print(display._render())
    assert "training the winner, 50% of 12 epochs" in captured.get()


def test_a_folder_without_a_record_is_named(tmp_path):
    with pytest.raises(SearchError, match=r"record\.sqlite"):
        report_folder(tmp_path)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [0.001, 1000.0], [5.0, 5.1]])
def test_charts_keep_every_dot_inside(values, log):
    points = [Point(value, value, f"<{value}>", low=value * 0.9, high=value * 1.1) for value in values]
    svg = ET.fromstring(scatter(points, [(p.x, p.y) for p in points], "x", "y", log_x=log))
    circles = svg.findall(".//circle")
    assert len(circles) == len(values)
    for circle in circles:
        assert 64 <= float(circle.get("cx")) <= 624
        assert 16 <= float(circle.get("cy")) <= 312
        assert circle.find("title").text.startswith("<")


def test_the_latest_session_says_recipe_and_versions(search):
    _, record, row = search
    later = {**RECIPE, "search": {"trials": 99}}
    facts = {"devices": [DEVICE], "task": TASK, "recipe": later, "versions": {**VERSIONS, "hilnas": "0.2.0"}}
    record.append(row.id, EventKind.SESSION_STARTED, key="1", payload=facts)
    results = results_of(row, rebuild(record.events(row.id)))
    assert results["recipe"]["search"]["trials"] == 99
    assert results["versions"]["hilnas"] == "0.2.0"


def test_several_device_classes_are_never_mixed_up(tmp_path, capsys):
    import numpy as np

    from hilnas.spaces.mbconv import MBConv

    space = MBConv((1, 32, 32), 10)
    record = Record.in_folder(tmp_path)
    objectives = [
        {"quantity": "accuracy"},
        *({"quantity": "latency", "device_class": c} for c in ("pi", "phone")),
        {"quantity": "peak_memory", "device_class": "pi"},
    ]
    recipe = {**RECIPE, "objective": objectives}
    row = record.start_search("s", 0, recipe, VERSIONS)
    devices = [DEVICE, {**DEVICE, "name": "other", "device_class": "phone"}]
    facts = {"devices": devices, "task": TASK, "recipe": recipe, "versions": VERSIONS}
    record.append(row.id, EventKind.SESSION_STARTED, key="0", payload=facts)
    for number, arrival in enumerate((["pi", "phone"], ["phone", "pi"])):
        proposal = Proposal(space.sample(np.random.default_rng(number)))
        record.append(row.id, EventKind.PROPOSED, number, payload=dump(proposal))
        for device_class in arrival:
            median = 1.0 if device_class == "pi" else 9.0
            latency = Latency(median, median, median, 1, 1, 1, 0, 1, 1, 1)
            verdict = Verdict.TRUSTED if device_class == "pi" else Verdict.UNSTABLE
            measurement = Measurement(
                "d", device_class, f"{number}" * 64, "p", "r", verdict, latency=latency, peak_memory_kib=777
            )
            record.append_measurement(row.id, number, measurement, "x")
        facts = dump(ModelFacts(f"{number}" * 64, 1000, 10, 5))
        record.append(row.id, EventKind.EXPORTED, number, payload={"model": facts, "seconds": 0.5})
        estimate = dump(Estimate("train", 0.9 - number / 10, 0.01))
        record.append(row.id, EventKind.ESTIMATED, number, payload={"estimate": estimate, "seconds": 1.0})
        values = {
            "accuracy": 0.9 - number / 10,
            "latency@pi": 1.0,
            "latency@phone": 9.0,
            "peak_memory@pi": 777,
        }
        record.append(row.id, EventKind.SCORED, number, payload=dump(Score(0.5, 0.01, values)))
    results = results_of(row, rebuild(record.events(row.id)))
    assert [trial["latency_ms"] for trial in results["trials"]] == [1.0, 1.0]
    assert [m["device_class"] for m in results["trials"][1]["measurements"]] == ["pi", "phone"]
    print_results(results, tmp_path, as_json=False)
    out = capsys.readouterr().out
    shown = [line.split() for line in out.splitlines() if "pi" in line.split() or "phone" in line.split()]
    assert [line[:2] for line in shown] == [["0", "pi"], ["phone", "~9"]]
    assert "UNSTABLE" in out
    html = page(results)
    assert len(re.findall("<svg", html)) == 3
    assert "latency on pi (ms)" in html
    assert "latency on phone (ms)" in html
    record.close()


def finish(search, *events):
    _, record, row = search
    for kind, number, payload in events:
        record.append(row.id, kind, number, payload=payload)
    return results_of(row, rebuild(record.events(row.id)))


def winner(accuracy, trial=0):
    accuracies = {
        "validation_accuracy": accuracy, "validation_float_accuracy": accuracy,
        "test_accuracy": accuracy, "test_float_accuracy": accuracy,
    }  # fmt: skip
    return dump(Winner(trial, ModelFacts("f" * 64, 1000, 10, 5), accuracies, (), "e" * 64, 1.0))


def measured(latency_ms, verdict=Verdict.TRUSTED):
    latency = Latency(latency_ms, latency_ms, latency_ms, 1, 3, 4, 0.1, 5, 6, 7, (1, 2))
    return dump(Measurement("d", "pi", "f" * 64, "p", "litert", verdict, latency=latency, device_ms=100))


@pytest.mark.parametrize(
    ("first", "second", "best"),
    [
        ((0.90, 2.0), (0.95, 2.0), 1),  # though it was second in the search
        ((0.95, 2.0), (0.95, 1.0), 1),
        ((0.95, 2.0), (0.90, 2.0), 0),
        ((0.90, 2.0), (0.95, None), 0),  # the second is still to be measured
    ],
)
def test_the_best_is_the_winner_that_retraining_found_best(search, first, second, best):
    trained = [(EventKind.WINNER_TRAINED, n, winner(each[0], n)) for n, each in enumerate((first, second))]
    tried = [
        (EventKind.WINNER_MEASURED, n, measured(each[1])) for n, each in enumerate((first, second)) if each[1]
    ]
    results = finish(search, *trained, *tried)
    assert results["best"]["number"] == best
    assert results["best"]["test_accuracy"] == (first, second)[best][0]
    assert results["best"]["latency_ms"] == (first, second)[best][1]


def test_the_only_trial_retrained_is_the_best_whatever_the_search_thought_of_another(search):
    results = finish(search, (EventKind.WINNER_TRAINED, 1, winner(0.5, 1)))
    assert results["best"]["number"] == 1
    assert results["best"]["test_accuracy"] == 0.5


def test_a_winner_beyond_a_limit_once_measured_in_full_gives_way_and_is_warned_of(search):
    _, record, row = search
    limited = {**RECIPE, "objective": [{"quantity": "accuracy"}, {"quantity": "latency", "limit": 3.0}]}
    begun = {"devices": [DEVICE], "task": TASK, "recipe": limited, "versions": VERSIONS}
    record.append(row.id, EventKind.SESSION_STARTED, key="1", payload=begun)
    results = finish(
        search,
        (EventKind.WINNER_TRAINED, 0, winner(0.95, 0)),
        (EventKind.WINNER_MEASURED, 0, measured(3.5)),
        (EventKind.WINNER_TRAINED, 1, winner(0.85, 1)),
        (EventKind.WINNER_MEASURED, 1, measured(2.5)),
    )
    assert results["best"]["number"] == 1
    (warning,) = [each for each in results["warnings"] if "limit" in each]
    assert "trial 0" in warning
    assert "latency@pi 3.5 ms is beyond the limit of 3 ms" in warning


@pytest.mark.parametrize("tried", [["minmax"], ["minmax", "mse", "quantization-aware training"]])
def test_card_and_page_tell_how_a_winner_became_int8(search, tried):
    shares = {name: 0.8 + number / 50 for number, name in enumerate(tried)}
    told = {"quantization": tried[-1], "quantization_accuracies": shares}
    results = finish(search, (EventKind.WINNER_TRAINED, 0, winner(0.9) | told))
    for row in (results["winners"][0], results["best"]):
        assert {key: row[key] for key in told} == told
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten())
    card = model_card(results, export_int8(net, torch.randn(4, 1, 8, 8)))
    html = page(results)
    assert f"| Made int8 by | {tried[-1]} |" in card
    several = len(tried) > 1
    assert ("slightly optimistic" in card) == ("slightly optimistic" in html) == several
    if several:
        assert "| mse | 0.8200 |" in card
        assert "| quantization-aware training (ships) | 0.8400 |" in card
        assert "quantization-aware training, ships" in html


def test_a_winner_from_before_there_was_a_choice_still_has_card_and_page(search):
    old = winner(0.9)
    del old["quantization"], old["quantization_accuracies"]
    results = finish(search, (EventKind.WINNER_TRAINED, 0, old))
    assert results["best"]["quantization"] is None
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten())
    assert "Made int8 by" not in model_card(results, export_int8(net, torch.randn(4, 1, 8, 8)))
    assert "became int8" not in page(results)


@pytest.mark.parametrize(("accuracy", "warned"), [(0.95, False), (0.89, False), (0.5, True)])
def test_a_winner_that_lost_by_its_retraining_is_warned_of(search, accuracy, warned):
    results = finish(search, (EventKind.WINNER_TRAINED, 0, winner(accuracy)))
    assert ["raise final.epochs" in warning for warning in results["warnings"]] == [True] * warned


def test_candidates_that_are_right_by_chance_only_are_warned_of(search):
    _, record, row = search
    history = rebuild(record.events(row.id))
    assert warnings(history, 10, ()) == []
    chance = [replace(t.estimate, accuracy=0.11) if t.estimate else None for t in history.trials]
    history.trials = [replace(t, estimate=e) for t, e in zip(history.trials, chance, strict=True)]
    assert "by chance only (at most 11.0% of 10 classes)" in warnings(history, 10, ())[0]


def test_a_search_without_a_scored_trial_says_why(search):
    _, record, row = search
    history = rebuild(record.events(row.id))
    history.trials, history.finished = [history.trials[2], history.trials[3], history.trials[3]], True
    assert warnings(history, 10, ()) == ["no trial was scored, most often: the link was lost"]


def test_architecture_prints_short():
    architecture = Architecture("mbconv", (("a", 1),))
    assert str(architecture) == f"mbconv:{architecture.digest[:10]}"
