"""Some damaged models through real agents: a small run of what tests/benchmarks/fuzz_models.py does at length."""

import pytest

from hilnas_agent import runtimes
from tests.benchmarks import fuzz_models
from tests.unit.agent.fake_host import command_line

MUTANTS = 100
SMALL = {"exported": False}


@pytest.mark.slow
def test_damaged_models_end_their_workers_and_nothing_else(tmp_path):
    log = tmp_path / "fuzz.jsonl"
    summary = fuzz_models.run(MUTANTS, 2, "suite", tmp_path / "agents", log=log, **SMALL)
    assert summary["mutants"] == MUTANTS
    assert (summary["agent_deaths"], summary["agent_silences"]) == (0, 0)
    assert summary["leftover_processes"] == 0
    assert summary["host_escapes"] == []
    # The run means something: some were refused, some crashed, some ran.
    assert {"INVALID_MODEL", "CRASHED", "TRUSTED"} <= summary["verdicts"].keys()
    assert 0 < summary["host_refused"] < MUTANTS
    for before, after in zip(summary["agents_before"], summary["agents_after"], strict=True):
        assert after["descriptors"] <= before["descriptors"] + 2
        assert after["resident_kib"] < before["resident_kib"] + 8192

    again = fuzz_models.run(MUTANTS, 2, "suite", tmp_path / "again", log=log, **SMALL)
    assert again["verdicts"] == summary["verdicts"], "what the log has is not run again"


def test_an_agent_that_dies_is_counted(tmp_path):
    lane = fuzz_models.Lane(tmp_path / "lane", runtimes.discover()[0][0])
    try:
        assert "hilnas_agent" in command_line(lane.agent.pid)
        lane.agent.process.kill()
        assert lane.run(0, fuzz_models.corpus(exported=False)["loop"])[0] == "AGENT_DIED"
        assert lane.deaths == 1
        assert lane.run(1, fuzz_models.corpus(exported=False)["loop"])[0] == "TRUSTED"
    finally:
        lane.stop()
