"""What every executor must do."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hilnas.executors import Executor, WorkerDiedError, report

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
