"""A real Ray cluster, a head and two nodes, in a network namespace of its own: the executor `ray`, and a search on it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from hilnas.estimators.train import Train, TrainOptions
from hilnas.executors import Checkpoint
from hilnas.executors.local import LocalOptions, LocalProcesses
from hilnas.executors.ray_cluster import RayCluster, RayOptions
from hilnas.executors.ray_connection import RayError
from hilnas.options import OptionsError
from hilnas.search.work import estimate_architecture
from hilnas.spaces.mbconv import MBConv
from hilnas.tasks import TaskError
from hilnas.tasks.digits import Digits, DigitsOptions
from hilnas.testing import ExecutorContract
from hilnas.testing.executors import add
from tests.integration.local_work import count_up, lack_data, read, rise
from tests.integration.ray_lab import RayLab, missing
from tests.integration.searches import ROOT, outcome, recipe, to_toml

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why := missing()), reason=f"no Ray cluster here: {why}"),
]


@pytest.fixture(scope="module")
def lab():
    """The cluster; this thread is in its network meanwhile."""
    lab = RayLab()
    try:
        lab.start(nodes=2)
        with lab.entered():
            yield lab
    finally:
        lab.close()


class TestRayCluster(ExecutorContract):
    @pytest.fixture
    def make(self, lab):
        return lambda folder: RayCluster(RayOptions(address=lab.address, retries=1), folder)


def on_ray(folder, address, use, **options):
    """Return what `use(executor)` comes to."""

    async def main():
        executor = RayCluster(RayOptions(address=address, **options), folder)
        try:
            return await asyncio.wait_for(use(executor), 240)
        finally:
            await executor.close()

    return asyncio.run(main())


def run_inside(program, folder, address):
    """Run a program in a process of its own, which is in the network where this thread is."""
    return subprocess.run(
        [sys.executable, "-c", program, str(folder), address],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


async def until(condition, seconds=120):
    """Wait for something."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


def test_a_lost_node_loses_nothing(lab, tmp_path):
    names = [str(number) for number in range(4)]
    logs = [tmp_path / f"log{name}" for name in names]
    kept = [Checkpoint(tmp_path / f"kept{name}") for name in names]

    async def use(executor):
        assert executor.slots == 2
        works = [
            asyncio.ensure_future(executor.run(rise, str(log), 12, 0.5, checkpoint=checkpoint))
            for log, checkpoint in zip(logs, kept, strict=True)
        ]
        await until(lambda: sum((each.load() or b"0") >= b"3" for each in kept) == 2)
        lab.kill(2)
        done = await asyncio.gather(*works)
        await until(lambda: executor.slots == 1)
        lab.add(2)
        await until(lambda: executor.slots == 2)
        return done

    # Without a single try to spare: a lost node is no fault of the work.
    assert on_ray(tmp_path, lab.address, use, retries=0) == [12] * 4
    starts = [[int(line.split()[0]) for line in log.read_text().splitlines()] for log in logs]
    again = [each for each in starts if len(each) > 1]
    assert len(again) == 1, "what ran on the other node was not disturbed"
    assert again[0][0] == 0
    assert again[0][1] >= 3, "it went on from its checkpoint"


def test_trainings_come_to_what_they_come_to_here_though_a_node_is_lost(lab, tmp_path):
    task = Digits(DigitsOptions(size=16), seed=1)
    space = MBConv(task.shape, task.classes)
    generator = np.random.default_rng(0)
    architectures = [space.sample(generator) for _ in range(4)]
    train = Train(TrainOptions(epochs=2, subset=512))

    async def use(executor):
        works = [
            asyncio.ensure_future(executor.run(estimate_architecture, train, each, space, task, 1))
            for each in architectures
        ]
        if isinstance(executor, RayCluster):
            await until(lambda: len(executor.places_of_work()) == 2)
            lab.kill(1)
        return [value for value, _ in await asyncio.gather(*works)]

    async def here():
        executor = LocalProcesses(LocalOptions(workers=1), tmp_path)
        try:
            return await use(executor)
        finally:
            await executor.close()

    there = on_ray(tmp_path, lab.address, use, retries=0)
    lab.add(1)
    assert there == asyncio.run(here())


def test_work_on_this_machine_stands_still_while_paused(lab, tmp_path):
    counted, begun = tmp_path / "count", tmp_path / "begun"

    async def use(executor):
        work = asyncio.ensure_future(executor.run(count_up, str(counted)))
        await until(counted.exists)
        executor.pause()
        await asyncio.sleep(0.2)
        before = counted.read_text()
        other = asyncio.ensure_future(executor.run(rise, str(begun), 1, 0.0))
        await asyncio.sleep(2.0)
        held = counted.read_text(), begun.exists()
        executor.resume()
        assert await other == 1
        await until(lambda: len(counted.read_text()) > len(before))
        executor.pause()  # what is held can be ended, too
        await asyncio.sleep(0.2)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        executor.resume()
        ended = counted.read_text()
        await asyncio.sleep(0.5)
        assert counted.read_text() == ended
        return before, held

    before, held = on_ray(tmp_path, lab.address, use)
    assert held == (before, False)


def test_what_is_large_is_put_into_the_store_once(lab, tmp_path):
    large = os.urandom(1 << 20)

    async def use(executor):
        sizes = await asyncio.gather(*(executor.run(len, bytes(large)) for _ in range(5)))
        return sizes, executor.puts

    assert on_ray(tmp_path, lab.address, use) == ([1 << 20] * 5, 1)


def test_errors_about_data_name_the_node(lab, tmp_path):
    async def use(executor):
        with pytest.raises(FileNotFoundError, match=rf"on Ray node {socket.gethostname()}.*10\.77.*/no/such"):
            await executor.run(read, "/no/such")
        with pytest.raises(TaskError, match=r"x.npz is no archive \(on Ray node"):
            await executor.run(lack_data, "x.npz")

    on_ray(tmp_path, lab.address, use)
    assert "in lack_data" in (tmp_path / "workers.log").read_text()


_CLIENT = """
import asyncio, sys
from pathlib import Path
from hilnas.executors import Checkpoint
from hilnas.executors.ray_cluster import RayCluster, RayOptions
from hilnas.testing.executors import add
from tests.integration.local_work import rise

async def main(folder, address):
    kept, told = Checkpoint(folder / "kept"), []
    executor = RayCluster(RayOptions(address=address), folder)
    try:
        risen = await executor.run(rise, str(folder / "log"), 3, 0.0, told=told.append, checkpoint=kept)
        print(risen, await executor.run(add, 1, 2), kept.load(), told[-1])
    finally:
        await executor.close()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def test_the_client_address_does_as_well(lab, tmp_path):
    # In a process of its own: Python's gRPC connects in threads that may have begun outside the lab's network.
    done = run_inside(_CLIENT, tmp_path, "ray://10.77.0.1:10001")
    assert (done.returncode, done.stdout) == (0, "3 3 b'3' 1.0\n"), done.stderr


def test_a_node_with_other_software_is_refused_by_name(lab, tmp_path):
    there = tmp_path / "packages"
    (there / "hilnas-9.9.dist-info").mkdir(parents=True)
    (there / "hilnas-9.9.dist-info" / "METADATA").write_text("Name: hilnas\nVersion: 9.9\n")
    lab.add(3, path=there)
    try:
        with pytest.raises(RayError, match=r"10\.77\.0\.4.*hilnas 9\.9.*this host has.*install the same"):
            on_ray(tmp_path, lab.address, lambda executor: executor.run(add, 1, 1))
    finally:
        lab.kill(3)


_STOPPED = """
import asyncio, os, signal, sys
from pathlib import Path
from hilnas.executors.ray_cluster import RayCluster, RayOptions
from hilnas.testing.executors import sleep

async def main(folder, address):
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    executor = RayCluster(RayOptions(address=address), folder)
    asyncio.get_running_loop().call_later(2, os.kill, os.getpid(), signal.SIGTERM)
    try:
        await executor.run(sleep, 3600.0)
    except asyncio.CancelledError:
        print("stopped in order")
    finally:
        await executor.close()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def test_a_stop_signal_stays_the_searchs(lab, tmp_path):
    done = run_inside(_STOPPED, tmp_path, lab.address)
    assert (done.returncode, done.stdout) == (0, "stopped in order\n"), done.stderr
    assert "SIGTERM" not in done.stderr


def test_what_no_node_has_is_refused(lab, tmp_path):
    with pytest.raises(RayError, match="64 CPUs, 0 GPUs: ask for less"):
        on_ray(tmp_path, lab.address, lambda executor: executor.run(add, 1, 1), cpus=64)
    with pytest.raises(RayError, match="1 CPUs, 2 GPUs"):
        on_ray(tmp_path, lab.address, lambda executor: executor.run(add, 1, 1), gpus=2)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "no-such-host.invalid:6379"])
def test_an_address_where_nothing_answers_is_told_at_once(address, tmp_path):
    with pytest.raises(RayError, match=rf"no Ray cluster answers at {address}.*ray status"):
        on_ray(tmp_path, address, lambda executor: executor.run(add, 1, 1))


def test_an_address_that_is_none_is_told(tmp_path):
    with pytest.raises(OptionsError, match=r'executor\.address is "somewhere".*host:port'):
        on_ray(tmp_path, "somewhere", lambda executor: executor.run(add, 1, 1))


def test_a_search_stops_at_ctrl_c_and_comes_to_what_it_comes_to_here(lab, tmp_path):
    data = {
        **recipe(tmp_path / "calls", trials=4),
        "estimator": {"name": "train", "epochs": 1, "subset": 64, "batch": 32},
    }
    assert run_search(data, tmp_path / "here")[0] == 0
    there = {**data, "executor": {"name": "ray", "address": lab.address}}
    code, out, err = run_search(there, tmp_path / "there", interrupt=True)
    assert code == 130, err
    assert "--resume" in err
    assert "Traceback" not in err
    assert "raylet" not in out + err
    code, _, err = run_search(there, tmp_path / "there", "--resume")
    assert code == 0, err
    assert outcome(tmp_path / "there") == outcome(tmp_path / "here")


def run_search(data, folder, *more, interrupt=False):
    """Run a search with the command, to its end or to a Ctrl-C after a trial's."""
    path = folder.with_suffix(".toml")
    path.write_text(to_toml(data))
    process = subprocess.Popen(
        [sys.executable, "-m", "hilnas", "run", str(path), "--out", str(folder), *more],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    told = []
    if interrupt:
        for line in process.stdout:
            told.append(line)
            if " trial " in line:
                process.send_signal(signal.SIGINT)
                break
    out, err = process.communicate(timeout=300)
    return process.returncode, "".join(told) + out, err
