"""Phones by Debian's real adb and the board lab's phone: listed, measured, lost, and found again."""

import asyncio
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import grpc
import numpy as np
import pytest

from hilnas.farm import Ask, Farm, MeasurementOptions
from hilnas.farm.service import AgentServer
from hilnas.store import ModelFiles
from hilnas.trial import Verdict
from hilnas_agent.jobs import FaultError
from hilnas_agent.phones.adb import LinkError, Server
from hilnas_agent.phones.bench import Equipment, drive
from hilnas_agent.phones.binary import LEAST_SAMPLES, BinaryWorker
from hilnas_agent.phones.files import PhoneFiles
from hilnas_agent.phones.mirror import Mirror
from hilnas_agent.phones.python import Package
from hilnas_agent.settings import Settings
from hilnas_protos.v1 import energy_pb2
from hilnas_protos.v1 import measurement_pb2 as wire
from tests.integration import benchmark_program, lab_phone
from tests.unit.agent import tiny_models
from tests.unit.agent.fake_host import MEASURED, PATIENCE_S, FakeHost, command_line, running, wait_until

pytestmark = [
    pytest.mark.board,
    pytest.mark.skipif(bool(lab_phone.missing()), reason=lab_phone.missing() or "usable"),
]
pytest.importorskip("adbutils", reason="adbutils is not installed: pip install 'hilnas[hub]'")

ENERGY = {
    "idle_ms": 50,
    "busy_ms": 50,
    "coarse_busy_ms": 50,
    "min_readings": 1,
    "min_runs": 1,
    "repeats": 2,
    "max_idle_change": 1,
    "max_spread": 1,
    "min_snr": 1,
    "confidence": 0.95,
}
COOL = wire.Preflight(max_above_idle_c=5, max_cooldown_ms=300, max_pressure=1)


@pytest.fixture(scope="module")
def adb(tmp_path_factory):
    server = lab_phone.Adb(tmp_path_factory.mktemp("adb"))
    server("start-server")
    yield server
    server.stop()


@pytest.fixture
def phone(adb, tmp_path):
    phone = lab_phone.Phone(tmp_path).plug_in()
    adb.connect(phone)
    yield phone
    phone.unplug()
    adb("disconnect", phone.serial)


@pytest.fixture(scope="module")
def standing(adb, tmp_path_factory):
    """A phone that stays plugged in for all tests that only use it."""
    phone = lab_phone.Phone(tmp_path_factory.mktemp("standing")).plug_in()
    adb.connect(phone)
    yield phone
    phone.unplug()
    adb("disconnect", phone.serial)


@pytest.fixture
def link(adb, standing):
    return Server(adb.address).link(standing.serial)


@pytest.fixture
def files(link, tmp_path):
    """A folder on the standing phone, of the test's own."""
    return PhoneFiles(link, f"/data/local/tmp/{tmp_path.name}")


@pytest.fixture
def there(standing, files):
    """The same folder as this machine sees it."""
    return standing.root / files.folder[1:]


class HubProcess:
    """A real hub; what it logs is kept."""

    def __init__(self, adb, host, folder, *arguments):
        self.log = folder / "hub.log"
        command = [
            sys.executable,
            "-m",
            "hilnas_agent",
            "hub",
            "--host",
            host,
            "--adb-server",
            adb.address,
        ]
        command += ["--cache-dir", str(folder / "hub"), *map(str, arguments)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)

    def logged(self):
        return self.log.read_text()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=PATIENCE_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def hub(adb, *arguments):
    command = [sys.executable, "-m", "hilnas_agent", "hub", "--adb-server", adb.address, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def processes(word):
    """Process ids of the commands that have a word."""
    return [
        int(p.name) for p in Path("/proc").glob("[0-9]*") if word in command_line(p.name) and running(p.name)
    ]


def test_the_list_says_what_to_do_about_each_phone(adb, phone, tmp_path):
    shy = lab_phone.Phone(tmp_path / "shy", "--unauthorized").plug_in()
    try:
        adb.connect(shy)
        listed = json.loads(hub(adb, "--list", "--json").stdout)
        found = {seen["serial"]: seen for seen in listed}
        assert found[phone.serial] == {
            "serial": phone.serial,
            "state": "device",
            "model": "Pixel 6",
            "remedy": "",
        }
        assert found[shy.serial]["state"] == "unauthorized"
        assert "accept the dialog" in found[shy.serial]["remedy"]
        text = hub(adb, "--list").stdout
        assert text.count("accept the dialog") == 1
        assert phone.serial in text
    finally:
        shy.unplug()
        adb("disconnect", shy.serial)


def test_a_phone_measured_by_the_benchmark_binary_unplugged_and_plugged_in_again(adb, phone, tmp_path):
    program, digest = benchmark_program.write(tmp_path)
    arguments = ("--benchmark-binary", program, "--benchmark-sha256", digest, "--name-prefix", "lab-")
    with FakeHost() as host, HubProcess(adb, host.address, tmp_path, *arguments) as process:
        stream = host.wait_stream()
        assert stream.hello.device_name == f"lab-{phone.serial}"
        assert stream.hello.device_class == "pixel-6-tensor-adb"
        assert stream.hello.device.os == "Android 14"
        assert [each.name for each in stream.hello.device.runtimes] == ["adb-benchmark"]

        rules = wire.SessionRules(
            max_temperature_rise_c=8,
            min_frequency_share=0.97,
            max_drift=9,
            max_mad_share=9,
            max_outlier_share=1,
        )
        result = host.measure(
            tiny_models.good(), job_id="first", protocol=wire.MeasurementProtocol(rules=rules, preflight=COOL)
        )
        assert result.verdict in MEASURED, result.message
        assert (result.runtime.name, result.runtime.version, result.runtime.delegate) == (
            "adb-benchmark", digest[:12], "xnnpack",
        )  # fmt: skip
        latency = result.latency
        assert len(latency.samples_ns) >= LEAST_SAMPLES
        assert 0 < latency.low_ms <= latency.median_ms <= latency.high_ms
        assert latency.load_ms > 0
        assert result.memory.run_peak_kib > 10_000
        assert result.conditions.cpus == str(phone.cpus[-1])
        assert result.conditions.lowest_frequency_khz == 2_800_000
        assert result.conditions.temperature_before_c == 31
        told = {each.rule: each.passed for each in result.evidence}
        assert {"charging", "battery", "battery-temperature", "throttled", "frequency", "interval"} <= set(
            told
        )
        assert host.started.get(timeout=30).job_id == "first"

        energy = host.measure(tiny_models.good(), job_id="energy", energy=ENERGY)
        assert energy.verdict == wire.VERDICT_TRUSTED, energy.message
        assert energy.energy.verdict == energy_pb2.ENERGY_VERDICT_UNAVAILABLE
        assert "--phone-python" in energy.energy.message
        host.started.get(timeout=30)

        phone.heat(60)
        hot = host.measure(
            tiny_models.good(), job_id="hot", protocol=wire.MeasurementProtocol(preflight=COOL)
        )
        assert hot.verdict == wire.VERDICT_DEFERRED_HOT
        phone.heat(31)

        host.submit(
            host.job(host.add(tiny_models.slow()), "slow", limits=wire.WorkerLimits(deadline_ms=3_600_000))
        )
        assert host.started.get(timeout=30).job_id == "slow"
        wait_until(lambda: processes(str(phone.folder.relative_to(phone.root)) + "/" + digest[:16]))
        phone.unplug()
        lost = host.result()
        assert (lost.job_id, lost.verdict) == ("slow", wire.VERDICT_DEVICE_FAULT)
        assert phone.serial in lost.message
        assert stream.ended.wait(PATIENCE_S)
        for pid in processes(f"hilnas/{digest[:16]}"):
            os.kill(pid, signal.SIGKILL)

        adb("disconnect", phone.serial)
        phone.plug_in()
        adb.connect(phone)
        again = host.wait_stream()
        assert again.hello.device_name == stream.hello.device_name
        assert again.hello.session_epoch > stream.hello.session_epoch
        assert process.stop() == 0
        assert again.ended.wait(PATIENCE_S)


def test_an_unauthorized_phone_is_told_once_and_served_as_soon_as_it_is_authorized(adb, tmp_path):
    shy = lab_phone.Phone(tmp_path, "--unauthorized").plug_in()
    try:
        adb.connect(shy)
        with (
            FakeHost() as host,
            HubProcess(
                adb, host.address, tmp_path, "--phone-python", sys.executable, "--serial", shy.serial
            ) as process,
        ):
            assert wait_until(lambda: "accept the dialog" in process.logged())
            threading.Event().wait(1.3)  # the hub looks once a second
            assert process.logged().count("accept the dialog") == 1
            assert host.streams.empty()
            shy.unplug()
            adb("disconnect", shy.serial)
            shy.accept()
            adb.connect(shy)
            assert host.wait_stream().hello.device.runtimes[0].name == "ai-edge-litert"
    finally:
        shy.unplug()
        adb("disconnect", shy.serial)


def test_the_agents_own_worker_runs_on_a_phone_that_has_python(adb, phone, tmp_path):
    program, digest = benchmark_program.write(tmp_path)
    phone.write("system/build.prop", "")
    rails = "t=358356\nCH0(T=358356)[S1M_VDD_CPUCL2], 761330\n"
    phone.write("sys/bus/iio/devices/iio:device0/energy_value", rails)
    arguments = (
        "--phone-python",
        sys.executable,
        "--benchmark-binary",
        program,
        "--benchmark-sha256",
        digest,
    )
    with FakeHost() as host, HubProcess(adb, host.address, tmp_path, *arguments):
        hello = host.wait_stream().hello
        # The worker is preferred to the binary.
        assert [each.name for each in hello.device.runtimes][0::2] == ["ai-edge-litert", "adb-benchmark"]
        assert [each.name for each in hello.device.meters] == ["android-odpm"]
        assert hello.device.python == "{}.{}.{}".format(*sys.version_info)
        result = host.measure(
            tiny_models.good(), job_id="first", protocol=wire.MeasurementProtocol(preflight=COOL)
        )
        assert result.verdict in MEASURED, result.message
        assert (result.runtime.name, result.runtime.delegate, result.runtime.nodes) == (
            "ai-edge-litert",
            "xnnpack",
            2,
        )
        assert len(result.latency.samples_ns) >= 100
        assert result.memory.baseline_kib > 0
        assert result.conditions.cpus == str(phone.cpus[-1])

        buffer = io.BytesIO()
        np.save(buffer, np.ones((3, 16, 16, 3), np.int8))
        examples = host.add(buffer.getvalue())
        answered = host.measure(tiny_models.good(), job_id="examples", evaluation={"examples": examples})
        assert answered.verdict == wire.VERDICT_TRUSTED, answered.message
        assert (answered.outputs.count, list(answered.outputs.shape)) == (3, [16, 16, 8])

        energy = host.measure(tiny_models.good(), job_id="energy", energy={**ENERGY, "meter": "wall-plug"})
        assert energy.verdict == wire.VERDICT_TRUSTED, energy.message
        assert energy.energy.verdict == energy_pb2.ENERGY_VERDICT_UNAVAILABLE
        assert "android-odpm" in energy.energy.message

        cases = [
            (tiny_models.unsupported_custom_op(), {}, wire.VERDICT_UNSUPPORTED_OP),
            (tiny_models.slow(), {"limits": wire.WorkerLimits(deadline_ms=1000)}, wire.VERDICT_TIMEOUT),
        ]
        for number, (content, changes, verdict) in enumerate(cases):
            found = host.measure(content, job_id=str(number), **changes)
            assert (found.job_id, found.verdict) == (str(number), verdict), found.message
        assert wait_until(lambda: not processes("hilnas_agent.worker 3 "))

        host.submit(host.job(host.add(tiny_models.slow()), "unwanted"))
        assert wait_until(lambda: processes("hilnas_agent.worker 3 "))
        host.stream.send(cancel_job={"job_id": "unwanted"})
        assert wait_until(lambda: not processes("hilnas_agent.worker 3 "))
        assert host.results.empty()


def test_a_farm_measures_on_two_phones_of_one_hub(adb, phone, standing, tmp_path):
    serials = (phone.serial, standing.serial)

    async def scenario():
        models = ModelFiles(tmp_path / "models")
        digest = models.put(tiny_models.good())
        farm = Farm(models)
        server = AgentServer(farm, "")
        address = await server.start("127.0.0.1:0")
        farm.start()
        options = MeasurementOptions(preflight={"max_pressure": 1})
        asks = [Ask(digest, "pixel-6-tensor-adb", options, device=serial) for serial in serials]
        process = HubProcess(adb, address, tmp_path, "--phone-python", sys.executable)
        try:
            found = await asyncio.wait_for(asyncio.gather(*map(farm.measure, asks)), 2 * PATIENCE_S)
            return found, dict(farm.devices)
        finally:
            await asyncio.to_thread(process.stop)
            await farm.close()
            await server.stop()

    measurements, devices = asyncio.run(scenario())
    assert {devices[serial].facts.device_class for serial in serials} == {"pixel-6-tensor-adb"}
    for serial, measurement in zip(serials, measurements, strict=True):
        assert measurement.verdict in (Verdict.TRUSTED, Verdict.UNSTABLE), measurement.message
        assert measurement.device == serial
        assert measurement.runtime.startswith("ai-edge-litert ")
        assert measurement.latency.median_ms > 0
        assert measurement.peak_memory_kib > 0
        assert "throttled" in {each.rule for each in measurement.evidence}


def test_a_hub_serves_one_host_after_the_other(adb, standing, tmp_path):
    program, digest = benchmark_program.write(tmp_path)
    arguments = ("--benchmark-binary", program, "--benchmark-sha256", digest, "--serial", standing.serial)
    with FakeHost() as first, HubProcess(adb, first.address, tmp_path, *arguments) as process:
        streams = [first.wait_stream()]
        # What the phone was still doing for the host that leaves is of no use to the next one.
        limits = wire.WorkerLimits(deadline_ms=3_600_000)
        first.submit(first.job(first.add(tiny_models.slow()), "left", limits=limits))
        assert first.started.get(timeout=PATIENCE_S).job_id == "left"
        streams[-1].send(goodbye={"reason": "the host has finished"})
        assert streams[-1].ended.wait(PATIENCE_S)
        first.stop()

        with FakeHost(port=first.port) as second:
            streams.append(second.wait_stream())
            assert not streams[-1].hello.running_job_ids
            result = second.measure(tiny_models.good(), job_id="next")
            assert (result.job_id, result.verdict in MEASURED) == ("next", True), result.message
            # A host that stays may send it away as well, and has it again.
            streams[-1].send(goodbye={"reason": "the host has finished"})
            streams.append(second.wait_stream())
            streams[-1].send(goodbye={"reason": "the host has finished"})
            assert streams[-1].ended.wait(PATIENCE_S)

        assert {stream.hello.device_name for stream in streams} == {standing.serial}
        epochs = [stream.hello.session_epoch for stream in streams]
        assert epochs == sorted(set(epochs))
        assert process.process.poll() is None
        third = FakeHost(port=first.port)
        third.refusal = (grpc.StatusCode.UNAUTHENTICATED, "a token is needed")
        with third:
            assert process.process.wait(timeout=PATIENCE_S) == 4
        assert "HILNAS_TOKEN" in process.logged()


def test_a_binary_of_another_hash_is_refused_before_anything_runs(adb, tmp_path):
    program, _ = benchmark_program.write(tmp_path)
    found = hub(
        adb, "--host", "127.0.0.1:1", "--benchmark-binary", program, "--benchmark-sha256", "0" * 64,
        "--cache-dir", tmp_path / "hub",
    )  # fmt: skip
    assert found.returncode == 5
    assert hashlib.sha256(program.read_bytes()).hexdigest() in found.stderr


def test_a_file_that_arrives_otherwise_is_never_used(files, there, tmp_path):
    source = tmp_path / "model"
    source.write_bytes(tiny_models.good())
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    source.write_bytes(tiny_models.good(seed=9))
    with pytest.raises(LinkError, match=digest):
        files.data(source, digest)
    assert list(there.iterdir()) == []


def test_models_on_the_phone_are_replaced_when_damaged_and_the_oldest_dropped(files, there, tmp_path):
    sources = [tmp_path / f"model{number}" for number in range(34)]
    for number, source in enumerate(sources):
        source.write_bytes(b"model %d" % number)
    digests = [hashlib.sha256(source.read_bytes()).hexdigest() for source in sources]
    there.mkdir()
    for number, digest in enumerate(digests[:33]):
        (there / f"{digest}.tflite").write_bytes(b"damaged")
        os.utime(there / f"{digest}.tflite", (number + 1, number + 1))
    for number in (5, 33):
        assert files.data(sources[number], digests[number]) == f"{files.folder}/{digests[number]}.tflite"
        assert (there / f"{digests[number]}.tflite").read_bytes() == b"model %d" % number
    kept = {path.stem for path in there.iterdir()}
    assert len(kept) == 32
    assert kept == {digests[5], *digests[2:5], *digests[6:]}


@pytest.mark.parametrize(
    ("script", "verdict", "words"),
    [
        ("echo INFO: STARTING!; kill -SEGV $$", "CRASHED", "SIGSEGV"),
        ("echo Inference timings in us: Init: 1", "DEVICE_FAULT", "Init: 1"),
        ("sleep 61.7; sleep 61.7", "TIMEOUT", "700 ms"),
        ("head -c 9000000 /dev/zero", None, "MiB"),
    ],
)
def test_a_binary_that_goes_wrong(files, link, tmp_path, script, verdict, words):
    program, model = tmp_path / "program", tmp_path / hashlib.sha256(tiny_models.good()).hexdigest()
    program.write_text(f"#!/bin/sh\n{script}\n")
    model.write_bytes(tiny_models.good())
    worker = BinaryWorker(
        Mirror(link, tmp_path / "mirror"),
        files,
        program,
        hashlib.sha256(program.read_bytes()).hexdigest(),
    )
    spec = {
        "model_path": str(model),
        "threads": 1,
        "protocol": asdict(Settings()),
        "input_seed": 1,
        "cpus": [0],
    }
    job = json.dumps(spec).encode()
    if verdict is None:
        with pytest.raises(FaultError, match=words):
            worker.run(job, 20, lambda: None, lambda: None)
        return
    answer = json.loads(worker.run(job, 0.7, lambda: None, lambda: None).payload)
    assert (answer["verdict"], words in answer["message"]) == (verdict, True), answer
    assert "latency" not in answer
    assert wait_until(lambda: not processes("sleep 61.7"))


@pytest.mark.parametrize("python", ["/nowhere/python", "echo"])
def test_a_python_that_cannot_run_the_agent_is_named(files, link, tmp_path, python):
    equipment = Equipment(tmp_path, files.folder, Package(tmp_path / "hub"), python=python)
    with pytest.raises(LinkError, match=f"{python}.*takes Python 3.11"):
        drive(link, equipment, None, tmp_path / "one")


def test_a_phone_with_nothing_to_measure_with_says_so(files, link, tmp_path):
    equipment = Equipment(tmp_path, files.folder, Package(tmp_path / "hub"))
    with pytest.raises(LinkError, match="--benchmark-binary"):
        drive(link, equipment, None, tmp_path / "one")


def test_a_hub_comes_over_tls_for_all_its_phones(adb, standing, tmp_path):
    from tests.integration import tls_lab

    async def scenario(lab):
        arguments = ("--identity", lab.identity("hub"), "--phone-python", sys.executable, "--serial")
        process = HubProcess(adb, lab.address, tmp_path, *arguments, standing.serial)
        try:
            (facts,) = await lab.farm.wait_for(1, 2 * PATIENCE_S)
            assert facts.name == f"hub/{standing.serial}"
            lab.authority.revoke("hub")
            assert await asyncio.to_thread(process.process.wait, PATIENCE_S) == 4
            assert "was revoked" in process.logged()
        finally:
            await asyncio.to_thread(process.stop)

    tls_lab.run(scenario, tmp_path)
