"""A thousand agents on one host process: are all of them kept, and how quickly does a job reach its device?

    python -m tests.benchmarks.many_agents --agents 1000 --rate 200 --seconds 60

The host is a real farm with its real gRPC server and a lab's database; the agents are real connections, each with its
own, in one other process: they say Hello, send heartbeats, and answer each job after half a second or so. Jobs come at
random moments (Poisson). A job is dispatched when its message is at the agent; both processes read one monotonic
clock. Asked for: the 99th percentile under 50 ms at 200 jobs a second.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import grpc
import numpy as np

from hilnas.farm import Ask, Farm, MeasurementOptions
from hilnas.farm.lab_book import LabBook
from hilnas.farm.service import AgentServer
from hilnas.farm.shares import Asker
from hilnas.store import ModelFiles, Record
from hilnas_protos.v1 import PROTOCOL_VERSION, agent_pb2, agent_pb2_grpc, device_pb2, measurement_pb2

CLASSES = 4
SEARCHES = 8
JOB_S = (0.3, 0.7)


async def agents(address: str, count: int) -> None:
    """Be so many agents until standard input ends; the moments at which jobs came go to standard output."""
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (min(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2
    )
    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(_agent(address, number)))
        await asyncio.sleep(0.002)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    sys.stdout.flush()
    os._exit(0)


async def _agent(address: str, number: int) -> None:
    rng = random.Random(number)
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call = agent_pb2_grpc.AgentServiceStub(channel).Connect()
        hello = agent_pb2.Hello(
            agent_version="0", protocol_min=1, protocol_max=PROTOCOL_VERSION, device_name=f"agent-{number}",
            device_class=f"class-{number % CLASSES}", session_epoch=1, boot_id=f"boot-{number}",
            device=device_pb2.DeviceInfo(runtimes=[device_pb2.RuntimeInfo(name="toy", version="1")]),
        )  # fmt: skip
        await call.write(agent_pb2.ConnectRequest(hello=hello))
        lock = asyncio.Lock()  # a call takes one message at a time
        beats = asyncio.create_task(_beat(call, lock, rng))
        try:
            while (response := await call.read()) is not grpc.aio.EOF:
                if response.HasField("measure_job"):
                    job = response.measure_job
                    print(f"{job.job_id} {time.monotonic():.6f}", flush=False)
                    asyncio.get_running_loop().call_later(
                        rng.uniform(*JOB_S), lambda job=job: asyncio.ensure_future(_answer(call, lock, job))
                    )
        finally:
            beats.cancel()


async def _beat(call, lock: asyncio.Lock, rng: random.Random) -> None:
    await asyncio.sleep(rng.uniform(0, 5))
    while True:
        async with lock:
            await call.write(agent_pb2.ConnectRequest(heartbeat=agent_pb2.Heartbeat(resident_kib=35_000)))
        await asyncio.sleep(5)


async def _answer(call, lock: asyncio.Lock, job) -> None:
    result = measurement_pb2.MeasureResult(
        job_id=job.job_id, attempt=job.attempt, fence=job.fence, model_sha256=job.model.sha256,
        protocol_hash=job.protocol_hash, verdict=measurement_pb2.VERDICT_TRUSTED, total_ms=500,
        latency=measurement_pb2.Latency(median_ms=1, low_ms=0.9, high_ms=1.1, samples_ns=[1_000_000] * 100),
        memory=measurement_pb2.Memory(load_peak_kib=10, run_peak_kib=20),
    )  # fmt: skip
    async with lock:
        await call.write(agent_pb2.ConnectRequest(measure_result=result))


def _resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


async def contest(count: int, rate: float, seconds: float, folder: Path) -> dict[str, object]:
    """Run the farm and its agents; the figures."""
    models = ModelFiles(folder / "models")
    digests = [models.put(b"model %d" % number) for number in range(50)]
    with closing(Record(f"sqlite:///{folder}/record.sqlite")) as record, closing(LabBook(record)) as book:
        farm = Farm(models, None, book=book)
        server = AgentServer(farm)
        address = await server.start("127.0.0.1:0")
        farm.start()
        before_kib, began = _resident_kib(), time.monotonic()
        crowd = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.benchmarks.many_agents", "--address", address, "--agents", str(count),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 24,
        )  # fmt: skip
        arrived: dict[str, float] = {}
        reader = asyncio.create_task(_read(crowd, arrived))
        while len(farm.connected()) < count:
            await asyncio.sleep(0.05)
        connected_s, with_agents_kib = time.monotonic() - began, _resident_kib()
        await asyncio.sleep(3)
        asked, waiting, rng, cpu = {}, set(), random.Random(0), time.process_time()
        ends, due, number = time.monotonic() + seconds, time.monotonic(), 0
        while time.monotonic() < ends:
            due += rng.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            ask = Ask(digests[number % 50], f"class-{number % CLASSES}", MeasurementOptions(), session=number)
            asker = Asker(f"search-{number % SEARCHES}", f"user-{number % 3}")
            asked[ask.job_id], number = time.monotonic(), number + 1
            task = asyncio.ensure_future(farm.measure(ask, asker))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        cpu = time.process_time() - cpu
        await asyncio.wait_for(asyncio.gather(*waiting), 60)
        kept = len(farm.connected())
        crowd.stdin.close()
        await crowd.wait()
        await reader
        await farm.close()
        await server.stop()
    waits_ms = np.array([arrived[job] - at for job, at in asked.items() if job in arrived]) * 1000
    return {
        "agents": count,
        "connected_s": round(connected_s, 1),
        "still_connected": kept,
        "host_kib_per_agent": round((with_agents_kib - before_kib) / count, 1),
        "host_resident_mib": round(with_agents_kib / 1024, 1),
        "jobs": len(asked),
        "jobs_answered": len(waits_ms),
        "jobs_per_s": round(len(asked) / seconds, 1),
        "dispatch_ms": {str(q): round(float(np.percentile(waits_ms, q)), 2) for q in (50, 90, 99, 100)},
        "host_processor_share": round(cpu / seconds, 2),
    }


async def _read(crowd, arrived: dict[str, float]) -> None:
    async for line in crowd.stdout:
        job_id, _, at = line.decode().partition(" ")
        arrived[job_id] = float(at)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=200, help="jobs a second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.address:
        asyncio.run(agents(options.address, options.agents))
    else:
        with tempfile.TemporaryDirectory() as place:
            found = asyncio.run(contest(options.agents, options.rate, options.seconds, Path(place)))
        print(json.dumps(found, indent=2))
