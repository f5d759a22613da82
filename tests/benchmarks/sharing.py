"""Sixteen boards, four searches that always want more: are the boards busy, and is the time shared as it should be?

    python -m tests.benchmarks.sharing --hours 4

The farm is the real one, on an event loop whose clock jumps to the next event; devices are sessions that answer after
a time: sessions of 1 to 4 s, full measurements of three sessions that keep to their board, an overhead of 20 to 60 ms
for each job (what an agent and a link take), links that are lost now and then. Each search keeps 32 candidates under
way. Asked for: 95 % of device time is measuring while work waits; shares within 5 % of their weights.
"""

import argparse
import asyncio
import random
import selectors
import tempfile
import time
from collections import Counter
from pathlib import Path

from hilnas.farm import Ask, Farm, Fidelity, MeasurementOptions
from hilnas.farm.devices import DeviceFacts, Session
from hilnas.farm.shares import Asker, Shares
from hilnas.store import ModelFiles
from hilnas_protos.v1 import measurement_pb2

BOARDS, CLASSES, IN_FLIGHT = 16, 2, 32
OVERHEAD_S, SESSION_S = (0.02, 0.06), (1.0, 4.0)
FULL_SHARE, LOSS_SHARE = 0.2, 0.002


class _Jump(selectors.DefaultSelector):
    """Waits for nothing: tells the loop how far to jump."""

    def __init__(self, loop: "VirtualLoop") -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list:
        self._loop.now += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next event."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        """The virtual moment, in s."""
        return self.now


class Board:
    """A device that takes a time and answers."""

    def __init__(self, farm: Farm, number: int, rng: random.Random) -> None:
        self.farm, self.rng, self.measured_s = farm, rng, 0.0
        self.facts = DeviceFacts(
            name=f"board-{number}", device_class=f"class-{number % CLASSES}", cpu_model="", machine="", board_model="",
            cores=4, memory_kib=1 << 20, os="", kernel="", python="", agent_version="", runtimes=("toy 1",), meters=(),
        )  # fmt: skip

    async def run(self) -> None:
        """Serve for ever."""
        epoch = 0
        while True:
            epoch += 1
            session = Session(epoch, f"boot {self.facts.name}")
            session.last_seen = time.monotonic() + 1e9
            self.farm.attach(self.facts, session, [])
            while True:
                response = await session.outgoing.get()
                if response is None or not response.HasField("measure_job"):
                    continue
                await asyncio.sleep(self.rng.uniform(*OVERHEAD_S))
                took = self.rng.uniform(*SESSION_S)
                await asyncio.sleep(took)
                if self.rng.random() < LOSS_SHARE:
                    self.farm.detach(self.facts.name, session)
                    await asyncio.sleep(self.rng.uniform(1, 5))
                    break
                self.measured_s += took
                self.farm.accept(self.facts.name, _answer(response.measure_job, took * 1000))


def _answer(job: measurement_pb2.MeasureJob, total_ms: float) -> measurement_pb2.MeasureResult:
    return measurement_pb2.MeasureResult(
        job_id=job.job_id, attempt=job.attempt, fence=job.fence, model_sha256=job.model.sha256,
        protocol_hash=job.protocol_hash, verdict=measurement_pb2.VERDICT_TRUSTED, total_ms=total_ms,
        latency=measurement_pb2.Latency(median_ms=1, low_ms=0.9, high_ms=1.1, samples_ns=[1]),
        memory=measurement_pb2.Memory(load_peak_kib=10, run_peak_kib=20),
    )  # fmt: skip


async def search(farm: Farm, asker: Asker, digest: str, rng: random.Random, had: Counter[Asker]) -> None:
    """Keep candidates under way for ever."""
    count = 0

    async def candidate(lane: int) -> None:
        nonlocal count
        while True:
            count += 1
            name, full = f"class-{lane % CLASSES}", rng.random() < FULL_SHARE
            fidelity, prefer = (Fidelity.FULL if full else Fidelity.SCREEN), ""
            for session in range(3 if full else 1):
                ask = Ask(
                    digest, name, MeasurementOptions(), fidelity, session=100 * count + session, prefer=prefer
                )
                job = await farm.ask(ask, asker)
                prefer = job.done.result().device
                had[asker] += job.result.total_ms / 1000 if job.result is not None else 0.0
            await asyncio.sleep(rng.expovariate(1))

    await asyncio.gather(*(candidate(lane) for lane in range(IN_FLIGHT)))


async def contest(hours: float, folder: Path) -> None:
    """Run it and print the tables."""
    models, rng = ModelFiles(folder), random.Random(0)
    weights = {"ann": 1.0, "bob": 2.0}
    askers = {
        Asker("a1", "ann", weight=1): 1 / 3 / 3,
        Asker("a2", "ann", weight=2): 1 / 3 * 2 / 3,
        Asker("b1", "bob", weight=1): 2 / 3 / 2,
        Asker("b2", "bob", weight=1): 2 / 3 / 2,
    }
    farm = Farm(models, None, shares=Shares(weights))
    boards = [Board(farm, number, rng) for number in range(BOARDS)]
    had: Counter[Asker] = Counter()
    tasks = [asyncio.ensure_future(board.run()) for board in boards]
    tasks += [
        asyncio.ensure_future(search(farm, asker, models.put(asker.search.encode()), rng, had))
        for asker in askers
    ]
    waited, looks = 0, 0
    for _ in range(round(hours * 3600)):
        await asyncio.sleep(1)
        looks += 1
        waited += any(not job.device for job in farm.jobs.values())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    busy = sum(board.measured_s for board in boards) / (BOARDS * hours * 3600)
    print(f"work waited in {waited / looks:.1%} of the time; boards measured in {busy:.1%} of it")
    print("| search | user | due | had | off |")
    print("|---|---|---|---|---|")
    total = sum(had.values())
    for asker, due in askers.items():
        share = had[asker] / total
        print(f"| {asker.search} | {asker.user} | {due:.1%} | {share:.1%} | {share / due - 1:+.1%} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=4, help="virtual ones")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(contest(options.hours, Path(place)))
