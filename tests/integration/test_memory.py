"""Memory of local workers: nothing that they do takes the machine, or the container, with it."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hilnas.executors.base import OutOfMemoryError
from hilnas.executors.local import LocalOptions, LocalProcesses
from hilnas.executors.memory import GIB, Memory, memory, memory_of
from hilnas.testing.executors import add
from tests.integration.local_work import take
from tests.integration.searches import ROOT

PRELOAD = ["tests.integration.local_work"]


def test_a_worker_that_takes_too_much_is_tried_alone_and_then_given_up(tmp_path):
    marker, other = tmp_path / "hungry", tmp_path / "modest"

    async def main():
        executor = LocalProcesses(LocalOptions(workers=2, worker_gib=0.25, preload=PRELOAD), tmp_path)
        try:
            modest = asyncio.ensure_future(executor.run(take, 0.125, str(other), 1.0))
            with pytest.raises(OutOfMemoryError, match=r"worker_gib \(0\.25\).*no other work.*smaller batch"):
                await executor.run(take, 4.0, str(marker))
            assert await executor.run(add, 1, 2) == 3
            return await modest
        finally:
            await executor.close()

    assert asyncio.run(main()) == 0.125
    assert marker.read_text().split() == ["begun"] * 2
    assert other.read_text().split() == ["begun"]


_IN_GROUP = """
import asyncio, os, sys
from pathlib import Path
Path(sys.argv[1]).write_text(str(os.getpid()))

from hilnas.executors.local import LocalOptions, LocalProcesses
from tests.integration.local_work import take

async def main(folder):
    executor = LocalProcesses(
        LocalOptions(workers=2, memory=0.4, preload=["tests.integration.local_work"]), folder
    )
    try:
        return await asyncio.gather(*(executor.run(take, 0.5, str(folder / str(n)), 0.5) for n in range(2)))
    finally:
        await executor.close()

print(*asyncio.run(main(Path(sys.argv[2]))))
"""


@pytest.fixture
def group():
    """A memory control group of 2 GiB: the file that takes its processes."""
    root = Path("/sys/fs/cgroup")
    first = (root / "memory").is_dir()
    folder = (root / "memory" if first else root) / f"hilnas-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(2 * GIB))
    except OSError as error:
        pytest.skip(f"no control group for memory can be made here: {error}")
    yield folder / "cgroup.procs"
    folder.rmdir()


def test_before_a_container_is_full_the_largest_is_ended_and_done_later_alone(group, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _IN_GROUP, str(group), str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["0.5", "0.5"], done.stderr
    assert "of 2.0 GiB were in use, and was ended" in done.stderr
    begun = [len((tmp_path / str(number)).read_text().split()) for number in range(2)]
    assert sorted(begun) == [1, 2], "one was ended and tried again, once"


def test_while_memory_is_short_work_waits_unless_it_is_the_only_one(tmp_path):
    async def main():
        options = LocalOptions(workers=2, memory=1e-6, preload=PRELOAD)  # less than is in use anyway
        executor = LocalProcesses(options, tmp_path)
        try:
            first = asyncio.ensure_future(executor.run(take, 0.0, str(tmp_path / "first"), 1.0))
            second = asyncio.ensure_future(executor.run(take, 0.0, str(tmp_path / "second")))
            while not (tmp_path / "first").exists():
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            waited = not first.done() and not (tmp_path / "second").exists()
            await asyncio.gather(first, second)
            return waited
        finally:
            await executor.close()

    assert asyncio.run(main())


def test_memory_of_machine_and_process():
    now = memory()
    assert 0 < now.used < now.total
    before = memory_of(os.getpid())
    held = os.urandom(1 << 14) * (1 << 12)
    assert memory_of(os.getpid()) - before > 0.9 * len(held)
    assert memory_of(2**22 + 1) == 0


@pytest.mark.parametrize(
    ("line", "base", "most", "now", "total"),
    [
        ("0::/a/b", "a", "memory.max", "memory.current", ""),
        (
            "7:cpu,memory:/a/b",
            "memory/a",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_",
        ),
    ],
)
def test_the_narrowest_group_counts_less_what_can_be_taken_back(tmp_path, line, base, most, now, total):
    folder = tmp_path / base
    folder.mkdir(parents=True)
    (folder / most).write_text(f"{1 << 20}\n")
    (folder / now).write_text(f"{(1 << 20) - 1}\n")
    (folder / "memory.stat").write_text(f"cache 5\n{total}inactive_file 4000\n{total}active_file 95\n")
    (tmp_path / "own").write_text(f"3:pids:/x\n{line}\n")
    assert memory(tmp_path, tmp_path / "own") == Memory((1 << 20) - 4096, 1 << 20)
    (folder / most).write_text("max\n")
    assert memory(tmp_path, tmp_path / "own").total > 1 << 20
