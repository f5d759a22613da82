"""What a job makes of a worker that lies."""

import json

import pytest

from hilnas_agent import jobs, runtimes
from hilnas_agent.fetch import Fetcher
from hilnas_agent.process import Worker
from hilnas_agent.speed import KnownSpeed
from hilnas_agent.verdicts import Ended
from hilnas_protos.v1 import measurement_pb2 as wire
from tests.unit.agent import tiny_models
from tests.unit.agent.fake_host import QUICK, running

PATH = runtimes.discover()[0][0].path


class Lying(Worker):
    """A real worker whose answer is another's."""

    def __init__(self, answer):
        super().__init__(PATH)
        self.answer = answer

    def run(self, *_):
        if isinstance(self.answer, Exception):
            raise self.answer
        return Ended(self.answer, took_job=True)


class Cached:
    """The model is here already."""

    def __init__(self, path):
        self.path = path

    def cached(self, artifact):
        return self

    def close(self):
        pass


def run(worker, path, **facts):
    model = wire.Artifact(sha256="0" * 64, size_bytes=1)
    ticket = jobs.Ticket(wire.MeasureJob(job_id="j", attempt=1, model=model, protocol=QUICK))
    bench = jobs.Bench(runtimes.discover()[0], Cached(path), **facts)
    hands = jobs.Hands(lambda _: worker, lambda: None, lambda: None)
    return jobs.run(ticket, bench, hands)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff\xfe",
        b"[" * 200_000,
        b"[]",
        b'{"verdict": "BEST", "message": ""}',
        b'{"verdict": "TRUSTED", "message": "", "latency": 1, "memory": 2}\n',
        b'{"verdict": "TRUSTED", "message": "", "measuring_ms": 1' + b"0" * 400 + b"}\n",
        b'{"verdict": "TRUSTED", "message": "", "latency": {"median_ms": "fast"}}\n12345678',
        b'{"verdict": "TRUSTED", "message": "", "latency": {}, "memory": {}, "conditions": {}, "delegate": ""}\n123',
    ],
)
def test_an_answer_that_makes_no_sense_is_a_crash(answer, tmp_path):
    worker = Lying(answer)
    result, returned = run(worker, tmp_path / "model")
    returned.close()
    assert wire.Verdict.Name(result.verdict) == "VERDICT_CRASHED"
    assert "makes no sense" in result.message


def test_what_a_session_finds_of_the_processors_speed_is_known_to_the_next(tmp_path):
    known = KnownSpeed()
    told = b'{"verdict": "TRUSTED", "message": "", "latency": {}, "memory": {}, "runtime": {}, '
    _, worker = run(Lying(told + b'"conditions": {"fixed_work_ns": 812}}\n'), tmp_path / "model", speed=known)
    worker.close()
    job = wire.MeasureJob(model=wire.Artifact(sha256="0" * 64))
    spec = jobs._spec(job, jobs.Bench((), None, speed=known), [Cached(tmp_path / "model")])
    assert json.loads(spec)["fixed_work_ns"] == 812


def test_a_worker_ends_when_watching_it_goes_wrong(tmp_path):
    (tmp_path / "model").write_bytes(tiny_models.good())
    worker = Lying(RuntimeError("no descriptor left"))
    with pytest.raises(RuntimeError, match="no descriptor left"):
        run(worker, tmp_path / "model")
    assert not running(worker.pid)


assert Fetcher.cached, "what Cached stands for"
