"""Local workers: what they are, how they stand still, end, and are replaced."""

import asyncio
import os
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest

from hilnas.estimators.train import Train, TrainOptions
from hilnas.executors import WorkerDiedError
from hilnas.executors.gpus import own_gpu, visible_gpus
from hilnas.executors.local import LocalOptions, LocalProcesses
from hilnas.executors.template import WORKER_NAME
from hilnas.search.work import estimate_architecture, export_provisional
from hilnas.spaces.mbconv import MBConv
from hilnas.tasks.digits import Digits, DigitsOptions
from hilnas.testing.executors import add, die, sleep
from tests.integration.local_work import about, count_up, draws, refuse, talk
from tests.integration.searches import ROOT


@pytest.fixture(params=["forked", "fresh"])
def preload(request):
    """Modules of a template, and no template."""
    return ["tests.integration.local_work"] if request.param == "forked" else []


def with_executor(folder, use, **options):
    """Return what `use(executor)` comes to."""

    async def main():
        executor = LocalProcesses(LocalOptions(**options), folder)
        try:
            return await asyncio.wait_for(use(executor), 120)
        finally:
            await executor.close()

    return asyncio.run(main())


def test_what_a_worker_is(preload, tmp_path, monkeypatch):
    monkeypatch.setenv("HILNAS_TOKEN", "secret")

    async def use(executor):
        await executor.run(talk, "from a library")
        return await executor.run(about)

    told = with_executor(tmp_path, use, workers=1, threads=2, preload=preload)
    assert told["nice"] == min(19, os.nice(0) + 5)
    assert told["session"] == told["pid"]
    assert told["threads"] == "2"
    assert told["token"] is None
    assert "from a library" in (tmp_path / "workers.log").read_text()
    if preload:
        assert told["name"] == WORKER_NAME
        assert told["parent"] != os.getpid()
    assert not psutil.pid_exists(told["pid"])


def test_workers_draw_numbers_of_their_own(preload, tmp_path):
    async def use(executor):
        return await asyncio.gather(executor.run(draws, 0.5), executor.run(draws, 0.5))

    (first, other), (second, another) = with_executor(tmp_path, use, workers=2, preload=preload)
    assert first != second
    assert other != another


def test_results_are_those_of_fresh_interpreters(tmp_path):
    task = Digits(DigitsOptions(size=16), seed=1)
    space = MBConv(task.shape, task.classes)
    architecture = space.sample(np.random.default_rng(0))

    async def use(executor):
        (exported, _), _ = await executor.run(export_provisional, architecture, space, task)
        train = Train(TrainOptions(epochs=1, subset=64))
        estimated, _ = await executor.run(estimate_architecture, train, architecture, space, task, 1)
        return exported, estimated

    forked = with_executor(tmp_path, use, workers=1)
    fresh = with_executor(tmp_path, use, workers=1, preload=[])
    assert forked == fresh


def test_work_stands_still_while_paused(preload, tmp_path):
    counted = tmp_path / "count"

    async def use(executor):
        work = asyncio.ensure_future(executor.run(count_up, str(counted)))
        while not counted.exists():
            await asyncio.sleep(0.05)
        executor.pause()
        await asyncio.sleep(0.1)
        before = counted.read_text()
        await asyncio.sleep(0.5)
        held = counted.read_text()
        executor.resume()
        await asyncio.sleep(0.5)
        after = counted.read_text()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await executor.run(sleep, 0.0)
        return before, held, after

    before, held, after = with_executor(tmp_path, use, workers=1, preload=preload)
    assert before
    assert before == held
    assert len(after) > len(held)


def test_no_work_begins_while_paused(preload, tmp_path):
    async def use(executor):
        executor.pause()
        work = asyncio.ensure_future(executor.run(talk, "at last"))
        await asyncio.sleep(1.5)
        before = (tmp_path / "workers.log").read_text() if (tmp_path / "workers.log").exists() else ""
        executor.resume()
        await work
        return before

    assert "at last" not in with_executor(tmp_path, use, workers=1, preload=preload)


def test_a_worker_that_became_free_while_paused_goes_on(preload, tmp_path):
    async def use(executor):
        assert await executor.run(add, 1, 1) == 2
        executor.pause()  # the only worker is free, and is stopped too
        executor.resume()
        work = asyncio.ensure_future(executor.run(add, 1, 2))
        for _ in range(20):
            await asyncio.sleep(0)
            executor.pause()
        executor.resume()
        return await work

    assert with_executor(tmp_path, use, workers=1, preload=preload) == 3


def test_cancelled_work_is_ended(preload, tmp_path):
    counted = tmp_path / "count"

    async def use(executor):
        work = asyncio.ensure_future(executor.run(count_up, str(counted)))
        while not counted.exists():
            await asyncio.sleep(0.05)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        ended = counted.read_text()
        await asyncio.sleep(0.3)
        return ended

    assert with_executor(tmp_path, use, workers=1, preload=preload) == counted.read_text()


def test_how_a_worker_ended_is_told(preload, tmp_path):
    async def use(executor):
        with pytest.raises(WorkerDiedError, match=r"SIGKILL \(out of memory\?\).*workers.log; 2 tries"):
            await executor.run(die)
        with pytest.raises(WorkerDiedError, match="code 7"):
            await executor.run(os._exit, 7)

    with_executor(tmp_path, use, workers=1, retries=1, preload=preload)


def test_a_template_that_is_lost_is_replaced_and_in_the_end_done_without(tmp_path):
    async def use(executor):
        known = [await executor.run(about)]
        for _ in range(3):
            worker = psutil.Process(known[-1]["pid"])
            psutil.Process(known[-1]["parent"]).kill()
            psutil.wait_procs([worker], timeout=10)
            known.append(await executor.run(about))
        return known

    preload = ["tests.integration.local_work"]
    known = with_executor(tmp_path, use, workers=1, preload=preload)
    assert len({each["parent"] for each in known}) == 4
    assert [each["parent"] == os.getpid() for each in known] == [False, False, False, True]


def test_a_template_with_threads_is_done_without(tmp_path, monkeypatch, caplog):
    (tmp_path / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    told = with_executor(tmp_path, lambda executor: executor.run(about), workers=1, preload=["threaded"])
    assert told["parent"] == os.getpid()
    assert "has started threads" in caplog.text


def test_a_module_that_is_missing_is_in_the_log_alone(tmp_path):
    told = with_executor(tmp_path, lambda executor: executor.run(about), workers=1, preload=["no_such"])
    assert told["name"] == WORKER_NAME
    assert "no_such" in (tmp_path / "workers.log").read_text()


_HOST = """
import asyncio, os, signal, sys
from pathlib import Path
from hilnas.executors.local import LocalOptions, LocalProcesses
from tests.integration.local_work import about, count_up

async def main(folder):
    executor = LocalProcesses(LocalOptions(workers=2, preload=sys.argv[2:]), folder)
    told = await asyncio.gather(*(executor.run(about) for _ in range(2)))
    work = [asyncio.ensure_future(executor.run(count_up, str(folder / str(n)))) for n in range(2)]
    while not all((folder / str(n)).exists() for n in range(2)):
        await asyncio.sleep(0.05)
    print(*{each[key] for each in told for key in ("pid", "parent")} - {os.getpid()}, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(Path(sys.argv[1])))
"""


def test_workers_and_template_die_with_a_host_that_is_killed(preload, tmp_path):
    host = subprocess.run(
        [sys.executable, "-c", _HOST, str(tmp_path), *preload],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert host.returncode == -signal.SIGKILL, host.stderr
    pids = [int(pid) for pid in host.stdout.split()]
    assert len(pids) >= 2
    _, alive = psutil.wait_procs([psutil.Process(p) for p in pids if psutil.pid_exists(p)], timeout=10)
    assert alive == []


def test_export_errors_travel_from_workers(tmp_path):
    from hilnas.export import UnsupportedModuleError

    async def use(executor):
        with pytest.raises(UnsupportedModuleError, match=r"GELU.*layers\.3.*use nn.Hardswish"):
            await executor.run(refuse)

    with_executor(tmp_path, use, workers=1, preload=[])


def test_several_gpus_are_shared_out(tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert visible_gpus({}, tmp_path) == ["0", "1"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "2, GPU-ab"}, tmp_path) == ["2", "GPU-ab"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == []
    assert [own_gpu(["2", "GPU-ab"], n)["CUDA_VISIBLE_DEVICES"] for n in range(3)] == ["2", "GPU-ab", "2"]
    assert own_gpu(["0"], 0) == {}


def test_workers_see_the_gpus_that_are_theirs(preload, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")

    async def use(executor):
        busy = [asyncio.ensure_future(executor.run(draws, 0.5)) for _ in range(2)]
        told = asyncio.gather(*(executor.run(about) for _ in range(2)))
        await asyncio.gather(*busy)
        return await told

    told = with_executor(tmp_path, use, workers=2, preload=preload)
    assert {each["gpu"] for each in told} <= {"4", "6"}
