"""What every executor must do."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hilnas.executors import Checkpoint, Executor, WorkerDiedError, report, save, saved

MakeExecutor = Callable[[Path], Executor]


def add(first: int, second: int) -> int:
    """Work that succeeds."""
    return first + second


def fail(message: str) -> None:
    """Work that fails."""
    raise KeyError(message)


def die() -> None:
    """Work whose process is lost."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(marker: str) -> str:
    """Work whose process is lost the first time."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        die()
    return "alive"


def count_to(number: int) -> int:
    """Work that tells how far it has come."""
    for done in range(number):
        report((done + 1) / number)
    return number


def climb(log: str, top: int, deadly: int = 0, rest: int = 0) -> int:
    """Work that saves each step and notes the one it starts from; once at one it dies, or at another it rests."""
    start = step = int(saved() or b"0")
    with Path(log).open("a") as file:
        file.write(f"{start}\n")
    while step < top:
        step += 1
        save(str(step).encode())
        if step == deadly and start < deadly:
            die()
        if step == rest and start < rest:
            time.sleep(3600)
    return step


def sleep(seconds: float) -> None:
    """Work that takes a while."""
    time.sleep(seconds)


class ExecutorContract:
    """Derive, and give the fixture `make`: log folder to a new executor, which tries at least twice."""

    @pytest.fixture
    def make(self) -> MakeExecutor:
        """Return the factory under test."""
        pytest.fail("give the fixture `make`")

    def test_values_come_back(self, make: MakeExecutor, tmp_path: Path) -> None:
        async def main() -> list[int]:
            executor = make(tmp_path)
            try:
                return await asyncio.gather(*(executor.run(add, n, 1) for n in range(10)))
            finally:
                await executor.close()

        assert asyncio.run(main()) == list(range(1, 11))

    def test_exceptions_come_back(self, make: MakeExecutor, tmp_path: Path) -> None:
        async def main() -> None:
            executor = make(tmp_path)
            try:
                with pytest.raises(KeyError, match="sorry"):
                    await executor.run(fail, "sorry")
                assert await executor.run(add, 1, 1) == 2
            finally:
                await executor.close()

        asyncio.run(main())

    def test_reports_come_before_the_value(self, make: MakeExecutor, tmp_path: Path) -> None:
        told: list[float] = []

        async def main() -> int:
            executor = make(tmp_path)
            try:
                await executor.run(count_to, 3)
                return await executor.run(count_to, 4, told=told.append)
            finally:
                await executor.close()

        assert asyncio.run(main()) == 4
        assert told == [0.25, 0.5, 0.75, 1.0]

    def test_a_lost_process_costs_a_try(self, make: MakeExecutor, tmp_path: Path) -> None:
        async def main() -> str:
            executor = make(tmp_path)
            try:
                return await executor.run(die_once, str(tmp_path / "died"))
            finally:
                await executor.close()

        assert asyncio.run(main()) == "alive"

    def test_work_that_always_loses_its_process_fails(self, make: MakeExecutor, tmp_path: Path) -> None:
        async def main() -> None:
            executor = make(tmp_path)
            try:
                other = asyncio.ensure_future(executor.run(add, 2, 3))
                with pytest.raises(WorkerDiedError):
                    await executor.run(die)
                assert await other == 5
                assert await executor.run(add, 1, 1) == 2
            finally:
                await executor.close()

        asyncio.run(main())

    def test_work_goes_on_from_its_checkpoint(self, make: MakeExecutor, tmp_path: Path) -> None:
        log, kept = tmp_path / "starts", Checkpoint(tmp_path / "kept" / "work")

        async def main() -> int:
            executor = make(tmp_path)
            try:
                return await executor.run(climb, str(log), 5, 3, checkpoint=kept)
            finally:
                await executor.close()

        assert asyncio.run(main()) == 5
        assert log.read_text().split() == ["0", "3"]
        assert kept.load() == b"5"
        kept.remove()
        assert kept.load() is None

    def test_a_new_executor_goes_on_from_a_checkpoint(self, make: MakeExecutor, tmp_path: Path) -> None:
        log, path = tmp_path / "starts", tmp_path / "kept"

        async def main(finish: bool) -> int:
            executor = make(tmp_path)
            try:
                work = asyncio.ensure_future(
                    executor.run(climb, str(log), 5, 0, 3, checkpoint=Checkpoint(path))
                )
                while not finish and Checkpoint(path).load() != b"3":
                    await asyncio.sleep(0.05)
                if not finish:
                    work.cancel()
                    await asyncio.gather(work, return_exceptions=True)
                    return 3
                return await work
            finally:
                await executor.close()

        assert [asyncio.run(main(finish)) for finish in (False, True)] == [3, 5]
        assert log.read_text().split() == ["0", "3"]

    def test_without_a_checkpoint_nothing_is_kept(self, make: MakeExecutor, tmp_path: Path) -> None:
        log = tmp_path / "starts"

        async def main() -> int:
            executor = make(tmp_path)
            try:
                await executor.run(climb, str(log), 2, checkpoint=Checkpoint(tmp_path / "of another"))
                return await executor.run(climb, str(log), 2)
            finally:
                await executor.close()

        assert asyncio.run(main()) == 2
        assert log.read_text().split() == ["0", "0"]

    def test_paused_work_goes_on(self, make: MakeExecutor, tmp_path: Path) -> None:
        async def main() -> list[int]:
            executor = make(tmp_path)
            try:
                before = asyncio.ensure_future(executor.run(add, 1, 1))
                await asyncio.sleep(0.05)
                executor.pause()
                after = asyncio.ensure_future(executor.run(add, 2, 2))
                await asyncio.sleep(0.3)
                executor.resume()
                return [await before, await after]
            finally:
                await executor.close()

        assert asyncio.run(main()) == [2, 4]

    def test_cancelled_work_frees_its_place(self, make: MakeExecutor, tmp_path: Path) -> None:
        async def main() -> int:
            executor = make(tmp_path)
            try:
                long = [asyncio.ensure_future(executor.run(sleep, 3600.0)) for _ in range(executor.slots + 2)]
                await asyncio.sleep(0.5)
                for task in long:
                    task.cancel()
                await asyncio.gather(*long, return_exceptions=True)
                return await executor.run(add, 20, 22)
            finally:
                await executor.close()

        assert asyncio.run(main()) == 42

    def test_close_ends_what_runs_and_what_waits(self, make: MakeExecutor, tmp_path: Path) -> None:
        async def main() -> int:
            executor = make(tmp_path)
            works = [asyncio.ensure_future(executor.run(sleep, 3600.0)) for _ in range(executor.slots + 1)]
            await asyncio.sleep(1.0)
            await executor.close()
            done, _ = await asyncio.wait(works, timeout=60)
            assert all(work.cancelled() or work.exception() for work in done)
            return len(works) - len(done)

        assert asyncio.run(main()) == 0
