"""The farm's side of the wire: a real gRPC server, and agents that behave as the test says."""

import asyncio
import time
from dataclasses import replace

import grpc
import pytest

from hilnas.farm import Ask, Farm, FarmError, MeasurementOptions, leases
from hilnas.farm import farm as farm_module
from hilnas.farm.service import CHUNK_BYTES, AgentServer
from hilnas.store import ModelFiles
from hilnas.trial import Verdict
from hilnas_protos.v1 import agent_pb2, device_pb2, measurement_pb2
from tests.integration.scripted import CLASS, ScriptedAgent


def ask(digest, device_class=CLASS, **more):
    return Ask(digest, device_class, MeasurementOptions(), **more)


@pytest.fixture
def on_farm(tmp_path, monkeypatch):
    """Run a coroutine function of (farm, address, digest) against a farm that listens."""
    monkeypatch.setattr(farm_module, "RETURN_WITHIN_S", 0.6)
    monkeypatch.setattr(farm_module, "LATE_RESULT_S", 0.3)

    def run(scenario, token=""):
        async def main():
            models = ModelFiles(tmp_path)
            digest = models.put(b"m" * (CHUNK_BYTES + 7))
            farm = Farm(models)
            server = AgentServer(farm, token)
            address = await server.start("127.0.0.1:0")
            farm.start()
            try:
                await asyncio.wait_for(scenario(farm, address, digest), 30)
            finally:
                await farm.close()
                await server.stop()

        asyncio.run(main())

    return run


def test_a_job_and_its_answer(on_farm):
    async def scenario(farm, address, digest):
        agent = await ScriptedAgent(address).connect()
        asking = asyncio.ensure_future(farm.measure(ask(digest, CLASS)))
        twin = asyncio.ensure_future(farm.measure(ask(digest, CLASS)))
        job = await agent.job()
        assert (job.model.sha256, job.model.size_bytes) == (digest, CHUNK_BYTES + 7)
        chunks = [r async for r in agent.stub.FetchArtifact(agent_pb2.FetchArtifactRequest(sha256=digest))]
        assert chunks[0].size_bytes == CHUNK_BYTES + 7
        assert b"".join(r.chunk for r in chunks) == b"m" * (CHUNK_BYTES + 7)
        assert max(len(r.chunk) for r in chunks) <= CHUNK_BYTES
        await agent.answer(job)
        measurement = await asking
        assert measurement is await twin
        assert measurement.verdict is Verdict.TRUSTED
        assert measurement.latency.samples_ns == (1, 2, 3)
        assert measurement.peak_memory_kib == 20
        assert farm.devices["one"].busy_ms == 5

    on_farm(scenario)


def test_resuming_a_fetch_from_an_offset(on_farm):
    async def scenario(farm, address, digest):
        agent = await ScriptedAgent(address).connect()
        request = agent_pb2.FetchArtifactRequest(sha256=digest, offset=CHUNK_BYTES)
        found = [(r.size_bytes, len(r.chunk)) async for r in agent.stub.FetchArtifact(request)]
        assert found == [(CHUNK_BYTES + 7, 7)]

    on_farm(scenario)


@pytest.mark.parametrize("offset", [CHUNK_BYTES + 7, CHUNK_BYTES + 8, 2**64 - 1])
def test_from_its_end_on_or_beyond_a_fetch_tells_the_size_alone(on_farm, offset):
    async def scenario(farm, address, digest):
        agent = await ScriptedAgent(address).connect()
        request = agent_pb2.FetchArtifactRequest(sha256=digest, offset=offset)
        found = [(r.size_bytes, len(r.chunk)) async for r in agent.stub.FetchArtifact(request)]
        assert found == [(CHUNK_BYTES + 7, 0)]

    on_farm(scenario)


@pytest.mark.parametrize(
    ("sha256", "code"),
    [("0" * 64, grpc.StatusCode.NOT_FOUND), ("../../etc/passwd", grpc.StatusCode.INVALID_ARGUMENT)],
)
def test_artifacts_that_are_not_there(on_farm, sha256, code):
    async def scenario(farm, address, digest):
        agent = await ScriptedAgent(address).connect()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            _ = [r async for r in agent.stub.FetchArtifact(agent_pb2.FetchArtifactRequest(sha256=sha256))]
        assert error.value.code() == code

    on_farm(scenario)


def test_a_device_fault_is_tried_on_another_board(on_farm):
    async def scenario(farm, address, digest):
        agents = {name: await ScriptedAgent(address, name).connect() for name in ("one", "two")}
        asking = asyncio.ensure_future(farm.measure(ask(digest, CLASS)))
        job = await agents["one"].job()
        await agents["one"].answer(
            job, measurement_pb2.VERDICT_DEVICE_FAULT, message="disk full", latency=None
        )
        again = await agents["two"].job()
        assert (again.job_id, again.attempt) == (job.job_id, 2)
        assert again.fence > job.fence
        await agents["one"].answer(job, latency=measurement_pb2.Latency(median_ms=99))  # an old lease
        await agents["two"].answer(again)
        measurement = await asking
        assert (measurement.device, measurement.attempt, measurement.latency.median_ms) == ("two", 2, 1)

    on_farm(scenario)


def test_three_faults_are_enough(on_farm):
    async def scenario(farm, address, digest):
        agent = await ScriptedAgent(address).connect()
        asking = asyncio.ensure_future(farm.measure(ask(digest, CLASS)))
        for _ in range(3):
            await agent.answer(
                await agent.job(), measurement_pb2.VERDICT_DEVICE_FAULT, message="disk full", latency=None
            )
        measurement = await asking
        assert measurement.verdict is Verdict.DEVICE_FAULT
        assert "disk full" in measurement.message

    on_farm(scenario)


def figures(**changes):
    return {"latency": measurement_pb2.Latency(**{"median_ms": 1, "low_ms": 0.9, "high_ms": 1.1, **changes})}


@pytest.mark.parametrize(
    "changes",
    [
        {"model_sha256": "f" * 64}, {"protocol_hash": "other"}, {"latency": None}, figures(median_ms=float("inf")),
        figures(low_ms=float("nan")), figures(low_ms=2), figures(first_ms=-1), {"total_ms": float("nan")},
    ],
)  # fmt: skip
def test_answers_that_do_not_fit_are_faults(on_farm, changes):
    async def scenario(farm, address, digest):
        agent = await ScriptedAgent(address).connect()
        asking = asyncio.ensure_future(farm.measure(ask(digest, CLASS)))
        await agent.answer(await agent.job(), **changes)
        job = await agent.job()
        assert job.attempt == 2
        await agent.answer(job)
        assert (await asking).verdict is Verdict.TRUSTED

    on_farm(scenario)


def test_a_job_outlives_a_cut_link(on_farm):
    async def scenario(farm, address, digest):
        agent = await ScriptedAgent(address).connect()
        asking = asyncio.ensure_future(farm.measure(ask(digest, CLASS)))
        job = await agent.job()
        await agent.hang_up()
        back = await ScriptedAgent(address, epoch=2, running=[job.job_id]).connect()
        await asyncio.sleep(1.0)
        assert farm.activity() == {"one": f"measuring {digest[:8]}"}
        await back.answer(job)
        assert (await asking).attempt == 1

    on_farm(scenario)


def test_a_job_that_the_agent_lost_is_given_again(on_farm):
    async def scenario(farm, address, digest):
        agent = await ScriptedAgent(address).connect()
        asking = asyncio.ensure_future(farm.measure(ask(digest, CLASS)))
        await agent.job()
        await agent.hang_up()
        back = await ScriptedAgent(address, epoch=2).connect()
        assert (await back.read()).cancel_job.job_id
        job = await back.job()
        assert job.attempt == 2
        await back.answer(job)
        assert (await asking).attempt == 2

    on_farm(scenario)


def test_a_board_that_never_answers_loses_its_job_but_has_time_for_its_files(on_farm, monkeypatch):
    options = MeasurementOptions()
    other_s = Ask("0" * 64, CLASS, options).deadline_s + options.preflight.max_cooldown_ms / 1000
    monkeypatch.setattr(leases, "DEADLINE_SLACK_S", -other_s)
    monkeypatch.setattr(leases, "SLOWEST_BYTES_PER_S", CHUNK_BYTES)

    async def scenario(farm, address, digest):
        one = await ScriptedAgent(address, "one").connect()
        asking = asyncio.ensure_future(farm.measure(ask(digest, CLASS)))
        given = await one.job()
        begin = time.monotonic()
        assert (await one.read()).cancel_job.job_id == given.job_id
        assert time.monotonic() - begin > 0.8, "a second for 64 KiB"
        monkeypatch.setattr(leases, "DEADLINE_SLACK_S", 60.0)
        job = await one.job()
        assert (job.job_id, job.attempt) == (given.job_id, 2)
        await one.answer(job)
        assert (await asking).attempt == 2
        faults = [event.text for event in farm.registry.history("one", 10) if event.kind == "fault"]
        assert len(faults) == 1 and "gave no answer within 1 s" in faults[0]

    on_farm(scenario)


def test_a_board_that_stays_away_loses_its_job(on_farm):
    async def scenario(farm, address, digest):
        one = await ScriptedAgent(address, "one").connect()
        asking = asyncio.ensure_future(farm.measure(ask(digest, CLASS)))
        await one.job()
        two = await ScriptedAgent(address, "two").connect()
        await one.hang_up()
        job = await two.job()
        await two.answer(job)
        assert (await asking).device == "two"

    on_farm(scenario)


def test_a_candidate_is_blamed_by_its_second_crash(on_farm):
    async def scenario(farm, address, digest):
        agents = {name: await ScriptedAgent(address, name).connect() for name in ("one", "two")}
        asking = asyncio.ensure_future(farm.measure(ask(digest, CLASS)))
        for name in ("one", "two"):
            job = await agents[name].job()
            await agents[name].answer(job, measurement_pb2.VERDICT_CRASHED, message="SIGSEGV", latency=None)
        measurement = await asking
        assert (measurement.verdict, measurement.device, measurement.attempt) == (Verdict.CRASHED, "two", 2)

    on_farm(scenario)


def test_a_job_without_any_device_is_given_up(on_farm, monkeypatch):
    monkeypatch.setattr(farm_module, "OFFLINE_AFTER_S", 0.6)

    async def scenario(farm, address, digest):
        farm.wait_s = 0.3
        measurement = await farm.measure(ask(digest, "nowhere"))
        assert measurement.verdict is Verdict.DEVICE_FAULT
        assert "no device of class nowhere" in measurement.message

    on_farm(scenario)


def test_a_job_for_a_board_that_was_put_away_is_given_up_with_the_reason(on_farm, monkeypatch):
    monkeypatch.setattr(farm_module, "OFFLINE_AFTER_S", 0.6)

    async def scenario(farm, address, digest):
        farm.wait_s = 0.3
        agents = [await ScriptedAgent(address, name).connect() for name in ("one", "two")]
        farm.quarantine("one", "its canary is far off")
        beat = agent_pb2.ConnectRequest(heartbeat=agent_pb2.Heartbeat())
        asking = asyncio.ensure_future(farm.measure(replace(ask(digest, CLASS), device="one")))
        while not asking.done():
            for agent in agents:
                await agent.call.write(beat)
            await asyncio.sleep(0.1)
        found = await asking
        assert found.verdict is Verdict.DEVICE_FAULT
        assert "one is put away: its canary is far off" in found.message

    on_farm(scenario)


def test_an_old_agent_that_does_not_leave_xnnpack_out_gives_no_figure(on_farm):
    async def scenario(farm, address, digest):
        agent = await ScriptedAgent(address).connect()
        plain = MeasurementOptions(xnnpack=False)
        asking = asyncio.ensure_future(farm.measure(replace(ask(digest, CLASS), options=plain)))
        for _ in range(3):
            job = await agent.job()
            assert job.runtime.delegate == "none"
            await agent.answer(job, runtime=measurement_pb2.RuntimeSpec(name="toy", delegate="xnnpack"))
        found = await asking
        assert (found.verdict, found.latency) == (Verdict.DEVICE_FAULT, None)
        assert "too old to leave XNNPACK out" in found.message

    on_farm(scenario)


def test_a_silent_agent_is_dropped(on_farm, monkeypatch):
    monkeypatch.setattr(farm_module, "OFFLINE_AFTER_S", 0.6)

    async def scenario(farm, address, digest):
        agent = await ScriptedAgent(address).connect()
        goodbye = (await agent.read()).goodbye
        assert goodbye.reason == "no sign of life"
        assert goodbye.retry_after_ms > 0
        assert farm.connected() == []

    on_farm(scenario)


def test_a_newer_stream_takes_over_and_the_older_is_sent_away(on_farm):
    async def scenario(farm, address, digest):
        old = await ScriptedAgent(address, epoch=1).connect()
        new = await ScriptedAgent(address, epoch=2).connect()
        assert "took over" in (await old.read()).goodbye.reason
        asking = asyncio.ensure_future(farm.measure(ask(digest, CLASS)))
        await new.answer(await new.job())
        assert (await asking).device == "one"

    on_farm(scenario)


@pytest.mark.parametrize(
    ("hello", "code", "remedy"),
    [
        ({"protocol_min": 7, "protocol_max": 9}, grpc.StatusCode.FAILED_PRECONDITION, "install hilnas"),
        ({"device_class": ""}, grpc.StatusCode.FAILED_PRECONDITION, "--device-class"),
        ({"name": "x" * 300}, grpc.StatusCode.FAILED_PRECONDITION, "--name"),
        ({"device": device_pb2.DeviceInfo()}, grpc.StatusCode.FAILED_PRECONDITION, "ai-edge-litert"),
        ({"name": "taken", "boot_id": "other"}, grpc.StatusCode.ALREADY_EXISTS, "--name"),
        ({"name": "taken", "epoch": 1}, grpc.StatusCode.ALREADY_EXISTS, "second agent"),
        ({"token": "wrong"}, grpc.StatusCode.UNAUTHENTICATED, "HILNAS_TOKEN"),
    ],
)
def test_refusals_name_the_remedy(on_farm, hello, code, remedy):
    async def scenario(farm, address, digest):
        await ScriptedAgent(address, "taken", epoch=5, token="secret").connect()
        stranger = ScriptedAgent(address, **{"token": "secret", "epoch": 9, **hello})
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stranger.connect()
        assert error.value.code() == code
        assert remedy in error.value.details()

    on_farm(scenario, token="secret")


def test_a_stream_must_begin_with_hello(on_farm):
    async def scenario(farm, address, digest):
        agent = ScriptedAgent(address)
        await agent.call.write(agent_pb2.ConnectRequest(heartbeat=agent_pb2.Heartbeat()))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await agent.read()
        assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION

    on_farm(scenario)


def test_waiting_for_devices_ends_with_what_to_do(on_farm):
    async def scenario(farm, address, digest):
        await ScriptedAgent(address).connect()
        assert [facts.name for facts in await farm.registry.wait_for(1, 1)] == ["one"]
        with pytest.raises(FarmError, match="connected: one; start `hilnas-agent"):
            await farm.registry.wait_for(2, 0.1)

    on_farm(scenario)


def test_a_taken_port_is_a_clear_error(on_farm):
    async def scenario(farm, address, digest):
        with pytest.raises(OSError, match=r"set farm\.listen"):
            await AgentServer(farm).start(address)

    on_farm(scenario)


def test_measuring_on_this_machine_is_told(on_farm):
    from pathlib import Path

    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    async def scenario(farm, address, digest):
        told = []
        farm.here.on_change = told.append
        for name, boot in (("here", boot_id), ("elsewhere", "other")):
            agent = await ScriptedAgent(address, name, boot_id=boot, device_class=name).connect()
            asking = asyncio.ensure_future(farm.measure(ask(digest, name)))
            job = await agent.job()
            # A device here cools and settles before its worker starts: that must be quiet as well.
            assert told == ([True] if name == "here" else [True, False])
            started = agent_pb2.JobStarted(job_id=job.job_id, attempt=1)
            await agent.call.write(agent_pb2.ConnectRequest(job_started=started))
            await agent.answer(job)
            await asking
        assert told == [True, False]

    on_farm(scenario)
