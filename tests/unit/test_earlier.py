"""Warm start: what is read from the results folders of earlier searches."""

from contextlib import closing

import pytest

from hilnas.options import OptionsError
from hilnas.recipe import check_recipe
from hilnas.search.earlier import read_earlier
from hilnas.search.setup import make_setup
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.store import EventKind, Record
from hilnas.store.codec import dump
from hilnas.strategies import Problem
from hilnas.strategies.random import Random, RandomOptions
from hilnas.testing.strategies import OBJECTIVES, conduct
from hilnas.trial import TrialStatus

SPACE = MBConv((1, 32, 32), 10)
OTHER = MBConv((1, 32, 32), 10, MBConvOptions(stem_widths=[80]))


@pytest.fixture
def earlier(tmp_path):
    """The trials of a search, and the folder that holds them."""
    trials = conduct(Random(Problem(SPACE, OBJECTIVES), RandomOptions(), 0), 30)
    record = Record.in_folder(tmp_path)
    search = record.start_search("s", 0, {}, {})
    for trial in trials:
        record.append(search.id, EventKind.PROPOSED, trial.number, payload=dump(trial.proposal))
        if trial.status is TrialStatus.SCORED:
            for measurement in trial.measurements:
                record.append_measurement(search.id, trial.number, measurement, "default x1")
            estimated = {"estimate": dump(trial.estimate), "seconds": 1.0}
            record.append(search.id, EventKind.ESTIMATED, trial.number, payload=estimated)
            record.append(search.id, EventKind.SCORED, trial.number, payload=dump(trial.score))
        else:
            reason = {"reason": trial.reason}
            record.append(search.id, EventKind(trial.status.lower()), trial.number, payload=reason)
    record.append(search.id, EventKind.PROPOSED, len(trials), payload=dump(trials[0].proposal))
    record.close()
    return trials, tmp_path


def test_final_trials_come_back_with_their_figures(earlier):
    trials, folder = earlier
    read = read_earlier([str(folder)], SPACE)
    told = [trial for trial in trials if trial.status is not TrialStatus.FAILED]
    assert {trial.status for trial in trials} == {
        TrialStatus.SCORED, TrialStatus.INVALID, TrialStatus.FAILED
    }  # fmt: skip
    assert [trial.architecture for trial in read] == [trial.architecture for trial in told]
    assert [trial.score for trial in read] == [trial.score for trial in told]
    assert [trial.number for trial in read] == list(range(len(told)))
    assert len(read_earlier([str(folder), str(folder)], SPACE)) == 2 * len(told)


def test_a_search_of_the_same_lab_is_named_by_its_name_or_its_id(earlier):
    _, folder = earlier
    with closing(Record.in_folder(folder)) as record:
        (search,) = record.searches()
        by_name = read_earlier(["lab:s"], SPACE, record)
        assert by_name == read_earlier([f"lab:{search.id[:6]}"], SPACE, record)
        assert by_name == read_earlier([str(folder)], SPACE)
        with pytest.raises(OptionsError, match='"other" of a lab: there is none of that name'):
            read_earlier(["lab:other"], SPACE, record)
    with pytest.raises(OptionsError, match="this search is in none; submit it"):
        read_earlier(["lab:s"], SPACE)


def test_architectures_of_another_space_are_left_out(earlier):
    _, folder = earlier
    with pytest.raises(
        OptionsError, match=r"teaches nothing here: none of its 2\d trials.*stem\.width.*cannot be"
    ):
        read_earlier([str(folder)], OTHER)


def test_a_folder_without_a_search_is_named(tmp_path, earlier):
    with pytest.raises(OptionsError, match=r"nothing-here, which holds no record\.sqlite"):
        read_earlier([str(tmp_path / "nothing-here")], SPACE)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "record.sqlite").write_bytes(b"SQLite format 3\0 torn")
    with pytest.raises(OptionsError, match=r"warm_start: the record .*torn.*cannot be used"):
        read_earlier([str(tmp_path / "torn")], SPACE)
    (tmp_path / "empty").mkdir()
    Record.in_folder(tmp_path / "empty").close()
    with pytest.raises(OptionsError, match="no trial that ended with figures"):
        read_earlier([str(tmp_path / "empty")], SPACE)


def test_a_strategy_that_would_not_listen_is_refused():
    data = {
        "search": {"warm_start": ["runs/old"]},
        "task": {"name": "digits"},
        "strategy": {"name": "evolution"},
        "objective": [{"quantity": "accuracy"}],
    }
    recipe = check_recipe(data)
    with pytest.raises(OptionsError, match='strategy "evolution" learns nothing from earlier searches'):
        make_setup(recipe, None, [])
