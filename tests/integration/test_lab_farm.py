"""A lab's farm: what it remembers of devices, whom it blames, and what a new host makes of an old one's jobs."""

import asyncio
import contextlib

import pytest

from hilnas.farm import Ask, Farm, MeasurementOptions
from hilnas.farm import farm as farm_module
from hilnas.farm.book import Hold, MemoryBook
from hilnas.farm.devices import DeviceState
from hilnas.farm.lab_book import LabBook
from hilnas.farm.registry import CANARY_USER, DeviceError
from hilnas.farm.service import AgentServer
from hilnas.farm.shares import Asker, Priority
from hilnas.store import ModelFiles, Record, StoreError
from hilnas.trial import Verdict
from hilnas_protos.v1 import agent_pb2, measurement_pb2
from tests.integration.scripted import CLASS, ScriptedAgent

CANARY = Asker(user=CANARY_USER, priority=Priority.HIGH)


@contextlib.asynccontextmanager
async def lab(models, book, fit=True):
    """A strict farm that listens; `fit`: new devices need no canary."""
    farm = Farm(models, None, book=book, strict=True)
    if fit:
        farm.registry.strict = False
    server = AgentServer(farm)
    address = await server.start("127.0.0.1:0")
    farm.start()
    try:
        yield farm, address
    finally:
        await farm.close(1000)
        await server.stop()


@pytest.fixture(params=["memory", "database"])
def book(request, tmp_path):
    if request.param == "memory":
        yield MemoryBook()
        return
    record = Record(f"sqlite:///{tmp_path}/record.sqlite")
    book = LabBook(record)
    yield book
    book.close()
    record.close()


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setattr(farm_module, "RETURN_WITHIN_S", 0.6)
    monkeypatch.setattr(farm_module, "LATE_RESULT_S", 0.1)
    return ModelFiles(tmp_path / "models")


def ask(models, number=0, **more):
    return Ask(models.put(b"model %d" % number), CLASS, MeasurementOptions(), **more)


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario, 60))


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def running(job):
    return [agent_pb2.RunningJob(job_id=job.job_id, attempt=job.attempt, fence=job.fence)]


@pytest.mark.parametrize("first", ["the agent", "the search"])
def test_a_host_that_was_started_anew_takes_up_running_jobs(models, book, first):
    async def scenario():
        async with lab(models, book) as (farm, address):
            agent = await ScriptedAgent(address).connect()
            lost = asyncio.ensure_future(farm.measure(ask(models)))
            job = await agent.job()
            await agent.hang_up()
        lost.cancel()
        async with lab(models, book) as (farm, address):
            asking = asyncio.ensure_future(farm.measure(ask(models))) if first == "the search" else None
            await asyncio.sleep(0.05)
            again = ScriptedAgent(address, epoch=2, running=[job.job_id], running_jobs=running(job))
            await again.connect()
            await until(lambda: farm.devices["one"].job_id == job.job_id)
            assert farm.devices["one"].state is DeviceState.LEASED
            asking = asking or asyncio.ensure_future(farm.measure(ask(models)))
            await asyncio.sleep(0.05)
            await again.answer(job)
            measurement = await asking
            assert (measurement.verdict, measurement.device) == (Verdict.TRUSTED, "one")
            assert farm.counts["jobs", "adopted"] == 1
            assert farm.devices["one"].state is DeviceState.READY
            after = asyncio.ensure_future(farm.measure(ask(models, 1)))
            assert (await again.job()).fence > job.fence
            after.cancel()

    run(scenario())


def test_jobs_wait_while_no_token_can_be_kept(models):
    class FullDisk(MemoryBook):
        full = False

        def fences(self, count):
            if self.full:
                raise StoreError("database or disk is full")
            return super().fences(count)

    async def scenario():
        book = FullDisk()
        async with lab(models, book) as (farm, address):
            agent = await ScriptedAgent(address).connect()
            farm.leases._fences._next = farm.leases._fences._end  # all of the block are given
            book.full = True
            asking = asyncio.ensure_future(farm.measure(ask(models)))
            await asyncio.sleep(0.2)
            assert farm.devices["one"].state is DeviceState.READY
            book.full = False
            farm._schedule()
            job = await agent.job()
            assert job.attempt == 1
            await agent.answer(job)
            assert (await asking).verdict is Verdict.TRUSTED

    run(scenario())


def test_an_answer_that_came_before_anybody_asked_is_kept(models, book):
    async def scenario():
        async with lab(models, book) as (farm, address):
            agent = await ScriptedAgent(address).connect()
            lost = asyncio.ensure_future(farm.measure(ask(models)))
            job = await agent.job()
            await agent.hang_up()
        lost.cancel()
        async with lab(models, book) as (farm, address):
            again = ScriptedAgent(address, epoch=2, running=[job.job_id], running_jobs=running(job))
            await (await again.connect()).answer(job)
            await until(lambda: farm.devices and farm.devices["one"].state is DeviceState.READY)
            assert (await farm.measure(ask(models))).verdict is Verdict.TRUSTED

    run(scenario())


def test_a_job_of_an_ended_lease_is_not_taken_up(models):
    async def scenario():
        async with lab(models, MemoryBook()) as (farm, address):
            agent = await ScriptedAgent(address).connect()
            asking = asyncio.ensure_future(farm.measure(ask(models)))
            job = await agent.job()
            other = await ScriptedAgent(address, "two").connect()
            await agent.hang_up()
            again = await other.job()
            back = ScriptedAgent(address, epoch=2, running=[job.job_id], running_jobs=running(job))
            await back.connect()
            assert (await back.read()).cancel_job.job_id == job.job_id
            await back.answer(job)
            await other.answer(again)
            assert (await asking).device == "two"

    run(scenario())


def test_who_asked_may_be_gone_when_the_answer_comes(models):
    async def scenario():
        async with lab(models, MemoryBook()) as (farm, address):
            agent = await ScriptedAgent(address).connect()
            gone = asyncio.ensure_future(farm.measure(ask(models)))
            job = await agent.job()
            gone.cancel()
            await asyncio.sleep(0)
            await agent.answer(job)
            await until(lambda: not farm.jobs)
            assert (await farm.measure(ask(models))).verdict is Verdict.TRUSTED, "it is not measured again"

    run(scenario())


def test_a_job_that_waits_goes_with_who_asked(models):
    async def scenario():
        async with lab(models, MemoryBook()) as (farm, _):
            gone = asyncio.ensure_future(farm.measure(ask(models)))
            await until(lambda: farm.jobs)
            gone.cancel()
            await until(lambda: not farm.jobs)

    run(scenario())


def test_three_faults_in_a_row_quarantine_a_board_with_evidence(models, book):
    async def scenario():
        async with lab(models, book) as (farm, address):
            agent = await ScriptedAgent(address).connect()
            farm.registry.strict = True
            asking = asyncio.ensure_future(farm.measure(ask(models)))
            for number in range(3):  # it goes back to the only board there is
                job = await agent.job()
                message = f"disk {number} is full"
                await agent.answer(job, measurement_pb2.VERDICT_DEVICE_FAULT, message=message, latency=None)
            assert (await asking).verdict is Verdict.DEVICE_FAULT
            assert farm.devices["one"].state is DeviceState.QUARANTINED
            for number in range(3):
                assert f"disk {number} is full" in farm.devices["one"].kept.reason
            await asyncio.sleep(0.3)  # the database is written a little later
            kinds = [event.kind for event in farm.registry.history("one", 10)]
            assert kinds[:2] == ["quarantined", "fault"]

    run(scenario())


def test_what_is_held_stays_so_over_a_restart_and_comes_back_by_clean_canaries(models, book):
    async def scenario():
        async with lab(models, book) as (farm, address):
            await ScriptedAgent(address).connect()
            farm.registry.hold("one", Hold.QUARANTINED, "it smokes")
            farm.registry.label("one", {"site": "cellar"})
        await asyncio.sleep(0.3)
        async with lab(models, book) as (farm, address):
            agent = await ScriptedAgent(address, epoch=2).connect()
            await until(lambda: "one" in farm.devices)
            assert farm.devices["one"].state is DeviceState.QUARANTINED
            assert farm.registry.kept["one"].labels == {"site": "cellar"}
            asking = asyncio.ensure_future(farm.measure(ask(models)))
            for number in range(3):
                canary = asyncio.ensure_future(farm.measure(ask(models, 7, session=number), CANARY))
                job = await agent.job()
                assert job.model.sha256 == ask(models, 7).model_sha256, "only the canary is let in"
                await agent.answer(job)
                await canary
                farm.registry.canary("one", 1.0, True, 0.03, "")
            job = await agent.job()
            await agent.answer(job)
            assert (await asking).verdict is Verdict.TRUSTED

    run(scenario())


def test_a_canary_that_is_off_counts_from_the_beginning(models):
    async def scenario():
        async with lab(models, MemoryBook()) as (farm, address):
            await ScriptedAgent(address).connect()
            farm.registry.hold("one", Hold.QUARANTINED, "it smokes")
            for reading, state in ((1.0, 1), (1.01, 2), (1.2, 0), (1.0, 1), (None, 0), (1.0, 1), (1.0, 2)):
                farm.registry.canary("one", reading, True, 0.03, "")
                assert farm.registry.kept["one"].clean_canaries == state
            farm.registry.canary("one", 1.0, False, 0.03, "UNSTABLE says nothing")
            assert farm.registry.kept["one"].clean_canaries == 2
            farm.registry.canary("one", 1.0, True, 0.03, "")
            assert farm.devices["one"].state is DeviceState.READY

    run(scenario())


def test_a_model_that_fells_two_boards_is_blamed_and_they_are_not(models):
    async def scenario():
        async with lab(models, MemoryBook()) as (farm, address):
            agents = {name: await ScriptedAgent(address, name).connect() for name in ("one", "two")}
            asking = asyncio.ensure_future(farm.measure(ask(models)))
            for name in ("one", "two"):
                job = await agents[name].job()
                await agents[name].start(job)
                await until(lambda job=job: farm.jobs[job.job_id].measuring)
                await agents[name].hang_up()
                agents[name] = await ScriptedAgent(address, name, epoch=2, boot_id="another").connect()
            measurement = await asking
            assert measurement.verdict is Verdict.CRASHED
            assert "two devices went down" in measurement.message
            assert [device.faults for device in farm.devices.values()] == [[], []]

    run(scenario())


def test_a_reserved_board_is_its_owners(models):
    async def scenario():
        async with lab(models, MemoryBook()) as (farm, address):
            agent = await ScriptedAgent(address).connect()
            farm.registry.reserve("one", "ann", 3600)
            with pytest.raises(DeviceError, match="reserved for ann"):
                farm.registry.reserve("one", "bob", 60)
            theirs = asyncio.ensure_future(farm.measure(ask(models, 1), Asker("s", "bob")))
            await asyncio.sleep(0.05)
            own = asyncio.ensure_future(farm.measure(ask(models, 2), Asker("t", "ann")))
            job = await agent.job()
            assert job.model.sha256 == ask(models, 2).model_sha256
            await agent.answer(job)
            await own
            assert not theirs.done()
            farm.registry.hold("one", Hold.NONE, "she is done")
            await agent.answer(await agent.job())
            await theirs

    run(scenario())


def test_a_search_that_is_over_leaves_no_jobs(models):
    async def scenario():
        async with lab(models, MemoryBook()) as (farm, address):
            agent = await ScriptedAgent(address).connect()
            asker = Asker("over", "ann")
            asks = [asyncio.ensure_future(farm.measure(ask(models, n), asker)) for n in range(3)]
            job = await agent.job()
            farm.withdraw("over")
            assert (await agent.read()).cancel_job.job_id == job.job_id
            assert not farm.jobs
            for each in asks:
                each.cancel()
            other = asyncio.ensure_future(farm.measure(ask(models, 9), Asker("next", "bob")))
            await agent.answer(await agent.job())
            await other

    run(scenario())


def test_devices_that_nobody_knows_cannot_be_changed(models):
    async def scenario():
        async with lab(models, MemoryBook()) as (farm, _):
            for change in (
                lambda: farm.registry.hold("x", Hold.NONE, ""),
                lambda: farm.registry.label("x", {"a": "b"}),
                lambda: farm.registry.reserve("x", "ann", 5),
                lambda: farm.registry.history("x", 5),
            ):
                with pytest.raises(DeviceError, match='no device "x"'):
                    change()
            farm.registry.add("x", "k", {})
            with pytest.raises(DeviceError, match="already"):
                farm.registry.add("x", "k", {})

    run(scenario())


def test_a_lab_gives_a_device_its_class(models):
    async def scenario():
        async with lab(models, MemoryBook()) as (farm, address):
            farm.registry.add("one", "other", {})
            await ScriptedAgent(address).connect()
            await until(lambda: "one" in farm.devices)
            assert farm.devices["one"].facts.device_class == "other"

    run(scenario())


def test_fencing_tokens_grow_over_restarts(tmp_path):
    last = 0
    for _ in range(3):
        record = Record(f"sqlite:///{tmp_path}/record.sqlite")
        book = LabBook(record)
        first = book.fences(10)
        assert first > last
        last = first + 9
        assert book.fences(1) == last + 1
        last += 1
        book.close()
        record.close()
