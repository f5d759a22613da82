"""Zero-cost proxies in searches: as filter and as warm start, killed and gone on with; and in a study."""

import json
import shutil
import signal

import pytest

from hilnas.search.history import rebuild
from hilnas.store import EventKind, ModelFiles
from tests.integration.searches import QUICK, events, finish, outcome, start
from tests.integration.test_estimators import SPACE, hilnas, toml


def recipe(folder, trials=12, **sections):
    return {
        "search": {
            "name": "small",
            "trials": trials,
            "in_flight": 4,
            "group": 2,
            "warm_start_proxy": {"proxy": "parameters", "architectures": 20, "batch": 4},
        },
        "task": {"name": "digits", "size": 16},
        "space": {**SPACE, "name": "tests.integration.plugins:Noting", "built": str(folder / "built")},
        "strategy": {"name": "rl", "width": 8},
        "estimator": {"name": "tests.integration.plugins:Oracle", "calls": str(folder / "calls")},
        "filter": {"proxy": "naswot+synflow", "keep": 0.15, "reference": 8, "batch": 8},
        "objective": [{"quantity": "accuracy"}, {"quantity": "latency"}],
        "measurement": {"screen": QUICK, "full": {**QUICK, "sessions": 2}, "canary": {"every": 0}},
        "final": {"epochs": 1, "top": 0},
        **sections,
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A search with a filter and hints, left alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, _, err = finish(start(folder / "run", recipe(folder)))
    assert code == 0, err
    return folder / "run"


def test_what_ranks_low_is_neither_measured_nor_estimated(undisturbed):
    trials = rebuild(events(undisturbed)).trials
    low = [trial for trial in trials if trial.proxy_rank.rank <= 0.85]
    assert 0 < len(low) < len(trials) == 12
    for trial in trials:
        assert 0 < trial.proxy_rank.rank < 1
        assert set(trial.proxy_rank.scores) == {"naswot", "synflow"}
        assert trial.timings["filter"] >= 0
        if trial in low:
            assert trial.status == "INVALID"
            assert "by naswot + synflow it beats" in trial.reason
            assert "of 8 architectures, and the filter asks for more than 85.0%" in trial.reason
            assert not trial.measurements
            assert trial.estimate is None
        else:
            assert trial.status == "SCORED"
    rows = json.loads((undisturbed / "result.json").read_text())["trials"]
    assert [row["proxy_rank"] for row in rows] == [trial.proxy_rank.rank for trial in trials]


def test_hints_are_there_before_the_first_proposal(undisturbed):
    kinds = [event.kind for event in events(undisturbed)]
    assert kinds.index("earlier") < kinds.index("proposed")
    (told,) = (event.payload["trials"] for event in events(undisturbed) if event.kind == "earlier")
    assert len({json.dumps(trial["proposal"]["architecture"]) for trial in told}) == 20
    sizes = [trial["estimate"]["details"]["parameters"] for trial in told]
    ranks = [trial["estimate"]["accuracy"] for trial in told]
    assert sorted(range(20), key=lambda n: sizes[n]) == sorted(range(20), key=lambda n: (ranks[n], sizes[n]))
    assert not list((undisturbed / "checkpoints").glob("*"))


def test_killed_with_ranks_at_hand_nothing_is_scored_twice(undisturbed, tmp_path):
    folder, data = tmp_path / "run", recipe(tmp_path)
    for kind, phase in [
        (EventKind.EARLIER, "before"),
        (EventKind.EARLIER, "after"),
        (EventKind.PREPARED, "before"),
        (EventKind.RANKED, "before"),
        (EventKind.RANKED, "after"),
        (EventKind.INVALID, "before"),
    ]:
        folder.mkdir(exist_ok=True)
        history, mark = rebuild(events(folder)), len(_lines(tmp_path / "built"))
        code, _, err = finish(start(folder, data, kind.value, phase))
        assert code == -signal.SIGKILL, f"never came to {phase} {kind}: {err}"
        built = _lines(tmp_path / "built")[mark:]
        ranked = {t.architecture.digest for t in history.trials if t.proxy_rank and t.model}
        assert not ranked & set(built), "what was ranked was built again"
        if history.earlier is not None:
            assert len(set(built)) < 20, "hints were scored again"
    code, _, err = finish(start(folder, data))
    assert code == 0, err
    assert outcome(folder) == outcome(undisturbed)
    before, after = rebuild(events(undisturbed)), rebuild(events(folder))
    assert [t.proxy_rank for t in after.trials] == [t.proxy_rank for t in before.trials]
    assert after.earlier == before.earlier
    assert after.prepared == before.prepared
    kinds = [event.kind for event in events(folder)]
    assert kinds.count("ranked") == 12
    assert kinds.count("prepared") == kinds.count("earlier") + 1 == 2, "the filter's, and the oracle's"


def _lines(path):
    return path.read_text().split() if path.exists() else []


def test_what_is_proposed_again_is_not_ranked_again(tmp_path):
    data = recipe(tmp_path, trials=8, strategy={"name": "tests.integration.plugins:Doubting"})
    del data["search"]["warm_start_proxy"]
    code, _, err = finish(start(tmp_path / "run", data))
    assert code == 0, err
    trials = rebuild(events(tmp_path / "run")).trials
    for first, again in zip(trials[::2], trials[1::2], strict=True):
        assert first.architecture == again.architecture
        assert first.proxy_rank == again.proxy_rank
        assert sorted([first.timings["filter"] > 0, again.timings["filter"] > 0]) == [False, True]


def test_a_filter_that_changes_is_another_search(undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "run")
    (tmp_path / "built").touch()
    for sections, what in (
        ({"filter": {"proxy": "naswot+synflow", "keep": 0.5, "reference": 8, "batch": 8}}, r"[filter]"),
        (
            {"search": {**recipe(tmp_path)["search"], "warm_start_proxy": {"proxy": "macs"}}},
            "warm_start_proxy",
        ),
    ):
        data = {**recipe(undisturbed.parent), **sections}
        code, _, err = finish(start(tmp_path / "run", data))
        assert code != 0
        assert what in err


def test_ranks_and_earlier_searches_together(undisturbed, tmp_path):
    data = recipe(tmp_path, trials=4)
    del data["filter"]
    data["search"]["warm_start"] = [str(undisturbed)]
    code, _, err = finish(start(tmp_path / "run", data))
    assert code == 0, err
    told = rebuild(events(tmp_path / "run")).earlier
    assert [trial.number for trial in told] == list(range(32))
    assert all(not trial.measurements and not trial.estimate.is_rank for trial in told[:20])
    theirs = [trial.estimate.accuracy for trial in told[20:] if trial.estimate]
    assert len(theirs) >= 4
    assert all(min(theirs) <= trial.estimate.accuracy <= max(theirs) for trial in told[:20])


def test_a_search_by_ranks_alone_says_so(tmp_path):
    data = recipe(
        tmp_path,
        trials=4,
        strategy={"name": "random"},
        estimator={"name": "zero-cost", "proxy": "synflow", "reference": 8, "batch": 4},
    )
    del data["filter"], data["search"]["warm_start_proxy"]
    data["final"]["top"] = 1
    code, _, err = finish(start(tmp_path / "run", data))
    assert code == 0, err
    history = rebuild(events(tmp_path / "run"))
    ranks = [trial.estimate.accuracy for trial in history.trials]
    assert all(
        0 < rank < 1 and trial.estimate.is_rank for rank, trial in zip(ranks, history.trials, strict=True)
    )
    reference = json.loads(ModelFiles(tmp_path / "run" / "weights", ".pt").get(history.prepared["estimator"]))
    assert len(reference["scores"]) == 8
    warnings = json.loads((tmp_path / "run" / "result.json").read_text())["warnings"]
    assert any("ranks by zero-cost proxies" in text for text in warnings)
    assert not any("worse retrained" in text or "by chance" in text for text in warnings)


def test_a_study_takes_proxies_among_its_estimators(tmp_path):
    data = recipe(tmp_path, space=SPACE, estimator={"name": "train", "epochs": 1})
    del data["filter"], data["search"]["warm_start_proxy"]
    source = toml(data, tmp_path / "recipe.toml")
    labels = ["zero-cost:proxy=synflow,reference=8", "zero-cost:proxy=naswot+parameters,reference=8,batch=8"]
    done = hilnas(
        "estimate", source, "-e", labels[0], "-e", labels[1], "--architectures", "4", "--out", tmp_path / "study",
        "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["estimators"]
    assert [row["estimator"] for row in rows] == labels
    assert all(row["count"] == 4 and row["preparation_seconds"] > 0 for row in rows)
