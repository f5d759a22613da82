"""An energy job from its arrival to its result: a real worker, a real recorder, simulated instruments."""

import pytest

from hilnas_agent import jobs, meters, runtimes
from hilnas_agent.process import Worker
from hilnas_protos.v1 import energy_pb2
from hilnas_protos.v1 import measurement_pb2 as wire
from tests.unit.agent import tiny_models
from tests.unit.agent.fake_host import (
    QUICK,
    AgentProcess,
    FakeHost,
    children,
    command_line,
    running,
    wait_until,
)

PATH = runtimes.discover()[0][0].path
SIMULATED = "tests.unit.agent.simulated_meter:Simulated"
ASKED = energy_pb2.EnergyProtocol(
    idle_ms=200,
    busy_ms=250,
    coarse_busy_ms=300,
    min_readings=3,
    min_runs=5,
    repeats=3,
    max_idle_change=0.5,
    max_spread=1.0,
    min_snr=3.0,
    confidence=0.95,
)


@pytest.fixture(autouse=True)
def reachable(monkeypatch, request):
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))


class Cached:
    """The model is here already."""

    def __init__(self, path):
        self.path = path

    def cached(self, artifact):
        return self

    def close(self):
        pass


def asked(meter="", **changes):
    protocol = energy_pb2.EnergyProtocol(meter=meter)
    protocol.MergeFrom(ASKED)
    protocol.MergeFrom(energy_pb2.EnergyProtocol(**changes))
    return protocol


def run(tmp_path, energy, extra=(SIMULATED,), content=None, runtime=PATH, deadline_ms=30_000, protocol=QUICK):
    path = tmp_path / "model"
    path.write_bytes(content or tiny_models.good())
    job = wire.MeasureJob(
        job_id="j",
        attempt=1,
        model=wire.Artifact(sha256="0" * 64, size_bytes=1),
        protocol=protocol,
        limits=wire.WorkerLimits(deadline_ms=deadline_ms),
        energy=energy,
    )
    offers, reasons = meters.discover(extra)
    bench = jobs.Bench(runtimes.discover()[0], Cached(path), [0], meters=offers, no_meter="; ".join(reasons))
    hands = jobs.Hands(lambda _: Worker(runtime), lambda: None, lambda: None)
    result, worker = jobs.run(jobs.Ticket(job), bench, hands)
    if worker is not None:
        worker.close()
    return result


def verdicts(result):
    return (
        wire.Verdict.Name(result.verdict)[8:],
        energy_pb2.EnergyVerdict.Name(result.energy.verdict)[15:],
    )


def test_the_energy_of_a_model_is_what_the_meter_counts(tmp_path):
    # How steady it is, is up to whoever else is on this machine, so the rules are wide.
    result = run(tmp_path, asked("simulated:worker", confidence=0.5, min_snr=0.1))
    energy = result.energy
    assert verdicts(result) in {("TRUSTED", "TRUSTED"), ("TRUSTED", "UNSTABLE")}, energy.message
    assert (energy.meter, energy.boundary) == ("simulated:worker", "soc")
    assert 950 < energy.idle_mw < 1200, "a worker that sleeps uses no processor"
    assert energy.idle_mw < energy.busy_mw < 3300
    assert energy.low_mj <= energy.net_mj <= energy.high_mj
    assert energy.net_mj < energy.gross_mj
    assert 0 < energy.rate_hz <= 44
    assert energy.runs >= 15
    assert 2 <= len(energy.repeats_mj) <= 3
    assert not result.HasField("latency")
    assert result.runtime.nodes > 0
    rules = [each.rule for each in result.evidence]
    assert rules == ["energy-gaps", "energy-idle", "energy-resolution", "energy-spread"]
    assert result.measuring_ms > 3 * (200 + 250 + 200)


def test_the_devices_own_rules_hold_for_energy_too(tmp_path):
    rules = wire.SessionRules(
        max_temperature_rise_c=99, max_switches_per_sample=-1, max_major_faults=99, max_neighbour_load=99
    )
    protocol = wire.MeasurementProtocol(rules=rules)
    protocol.MergeFrom(QUICK)
    result = run(tmp_path, asked("simulated:worker", confidence=0.5, min_snr=0.1), protocol=protocol)
    assert verdicts(result) == ("TRUSTED", "UNSTABLE")
    told = {each.rule: each for each in result.evidence}
    assert {"throttling", "temperature", "frequency", "swap", "quiet", "energy-gaps"} <= set(told)
    assert not told["switches"].passed
    assert told["switches"].text in result.energy.message
    assert result.energy.HasField("net_mj"), "a figure that broke a rule is still told"
    assert result.conditions.cpus == "0"


def test_what_a_meter_cannot_tell_has_no_figure(tmp_path):
    result = run(tmp_path, asked("simulated:steady"))
    assert verdicts(result) == ("TRUSTED", "BELOW_RESOLUTION")
    assert not result.energy.HasField("net_mj")
    assert not result.energy.HasField("gross_mj")
    assert "below resolution" in result.energy.message
    assert result.energy.idle_mw == pytest.approx(1000)


@pytest.mark.parametrize(
    ("meter", "words"),
    [
        ("simulated:charging", "unplug it"),
        ("simulated:gone", "plug it in"),
        ("simulated:dies", "has ended"),
        ("simulated:plug", "too coarse"),
        ("simulated:unknown", "readable: simulated:worker"),
    ],
)
def test_no_meter_no_figure_and_the_remedy(meter, words, tmp_path):
    result = run(tmp_path, asked(meter))
    assert verdicts(result) == ("TRUSTED", "UNAVAILABLE")
    assert words in result.energy.message
    assert not result.energy.HasField("net_mj")


def test_a_device_without_meters_says_so(tmp_path):
    result = run(tmp_path, asked("simulated:worker"), extra=())
    assert verdicts(result) == ("TRUSTED", "UNAVAILABLE")
    assert "hilnas-agent check" in result.energy.message


def test_what_a_library_prints_does_not_spoil_the_readings(tmp_path):
    assert verdicts(run(tmp_path, asked("simulated:prints"))) == ("TRUSTED", "BELOW_RESOLUTION")


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"content": tiny_models.torn()}, "INVALID_MODEL"),
        ({"runtime": "tests.unit.agent.misbehaving:Segfault"}, "CRASHED"),
        ({"runtime": "tests.unit.agent.misbehaving:Hang", "deadline_ms": 2000}, "TIMEOUT"),
    ],
)
def test_a_model_that_fails_is_found_out_as_ever(changes, verdict, tmp_path):
    result = run(tmp_path, asked("simulated:worker"), **changes)
    assert wire.Verdict.Name(result.verdict) == f"VERDICT_{verdict}"
    assert not result.HasField("energy")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"idle_ms": 60_000}, "deadline_s"),
        ({"confidence": 1.5}, "confidence"),
        ({"repeats": 1000}, "repeats"),
        ({"min_snr": float("nan")}, "min_snr"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(changes, words, tmp_path):
    result = run(tmp_path, asked("simulated:worker", **changes))
    assert wire.Verdict.Name(result.verdict) == "VERDICT_DEVICE_FAULT"
    assert words in result.message


def test_an_agent_tells_its_meters_and_uses_them(tmp_path):
    with FakeHost() as host, AgentProcess(host.address, tmp_path, "--meter", SIMULATED) as agent:
        told = host.wait_stream().hello.device.meters
        assert told[0].name == "simulated:worker"
        assert "simulated:plug" not in {meter.name for meter in told}, "a canary is no source of figures"
        assert (told[0].boundary, told[0].rate_hz, told[0].coarse) == ("soc", 40.0, False)
        result = host.measure(tiny_models.good(), energy=asked())
        assert (result.verdict, result.energy.meter) == (wire.VERDICT_TRUSTED, "simulated:worker")
        plain = host.measure(tiny_models.good(), job_id="latency")
        assert plain.HasField("latency")
        assert not plain.HasField("energy")
        assert wait_until(lambda: not any("recorder" in command_line(pid) for pid in children(agent.pid)))


def recorders(pid):
    return [child for child in children(pid) if "meters.recorder" in command_line(child)]


@pytest.mark.parametrize("meter", ["simulated:worker", "simulated:hangs"])
def test_a_recorder_ends_with_its_worker(meter, tmp_path):
    with FakeHost() as host, AgentProcess(host.address, tmp_path, "--meter", SIMULATED) as agent:
        host.wait_stream()
        job = host.job(host.add(tiny_models.good()), energy=asked(meter, idle_ms=5000, repeats=1))
        host.submit(job)
        found = wait_until(lambda: [r for w in agent.workers() for r in recorders(w)])
        host.stream.send(cancel_job={"job_id": "job"})
        assert wait_until(lambda: not any(running(pid) for pid in found))
