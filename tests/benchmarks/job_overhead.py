"""What a measurement job costs beyond its own execution, beside TVM's RPC and a bare gRPC call.

    python -m tests.benchmarks.job_overhead --rounds 20 --tvm-python PEER/bin/python

Ours: a farm in this process, a real agent process on this machine, over loopback in clear; the model lies in the
agent's cache, the protocol is the shipped SCREEN. In each round, after a pause, three jobs: the first finds a worker
waiting; the second comes with the first's result and finds its worker still starting; the third, and all that follow in
a stream, find one that started beside the warm-up before. A worker is a fresh process with an interpreter of its own.

    dispatch and result   from `farm.ask` to its answer, less what the agent says it had the job (total_ms): asked to
                          given, both ways over the wire, result to answer. The lease, the fence and the samples included
    agent and worker      what the agent had it, less load, first run, warm-up and sampling (measuring_ms): checks,
                          preflight, hand-over, limits, the figure's statistics; and the wait for a worker that starts
    all                   both: everything but execution

TVM: its tracker and rpc_server as processes, on loopback; `request` of a session (the server forks a process that has
everything loaded, and waits for the one before to end), upload of a file as large as the model, load_module,
two tensors, one time_evaluator call of a trivial function, less the time that it reports, and the closing. "again": one
more evaluator in the open session after a pause, no process, no upload: the least that TVM's RPC can do. It ships no
samples and no conditions. The bare call: a unary call of grpc.aio to a gRPC server in another process, which answers with
as many bytes as our result has to a message as long as our job; once after a pause, as between our messages, when
processes sleep and caches are cold, then many at once.

TVM runs in an interpreter of its own: python3.11 -m venv PEER && PEER/bin/pip install apache-tvm tornado psutil cloudpickle
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import grpc

from hilnas.farm import Ask, Farm, MeasurementOptions
from hilnas.farm.local_agent import LocalAgent
from hilnas.farm.service import AgentServer
from hilnas.farm.wire import measure_job
from hilnas.store import ModelFiles
from hilnas.trial import Verdict
from tests.unit.agent import tiny_models

PAUSE_S = 1.5
ECHOES = 20
MEASURED = (Verdict.TRUSTED, Verdict.UNSTABLE)
INSTALL = (
    "python3.11 -m venv PEER && PEER/bin/pip install apache-tvm tornado psutil cloudpickle, then --tvm-python"
)
ECHO = "/hilnas.bench/Echo"
BARE, BARE_HOT = "bare gRPC call, after a pause", "bare gRPC call, one after the other"


@dataclass
class Times:
    """Where the time of one job went, in ms."""

    asked_to_given: float
    wire: float
    agent: float
    result_to_answer: float
    all: float

    @property
    def dispatch(self) -> float:
        """Dispatch and result."""
        return self.asked_to_given + self.wire + self.result_to_answer


@dataclass
class Kept:
    """Times of many rounds, by what was timed."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, value: float) -> None:
        """Keep one."""
        self.values[name].append(value)

    def row(self, name: str, base: str) -> str:
        """A line of the table."""
        values = sorted(self.values[name])
        ratio = f"{median(values) / median(self.values[base]):.2f}"
        return f"| {name} | {median(values):.2f} | {values[int(0.9 * len(values))]:.2f} | {ratio} |"


class Watched(Farm):
    """A farm that notes when a device's result is there."""

    def __init__(self, models: ModelFiles) -> None:
        super().__init__(models, 60)
        self.on_given = self._given
        self.given = self.result_at = 0.0

    def _given(self, waited_s: float) -> None:
        self.given = time.perf_counter()

    def accept(self, name, result) -> None:
        """Note the moment, then take the result."""
        self.result_at = time.perf_counter()
        super().accept(name, result)


async def job(farm: Watched, ask: Ask) -> Times:
    """Have one job done; its times."""
    began = time.perf_counter()
    done = await farm.ask(ask)
    ended = time.perf_counter()
    result = done.result
    assert result is not None
    value = done.done.result()
    if value.verdict not in MEASURED or done.attempt != 1 or result.fetch_ms:
        raise SystemExit(f"a job came to {value.verdict} in attempt {done.attempt}: {value.message}")
    return Times(
        (farm.given - began) * 1000,
        (farm.result_at - farm.given) * 1000 - result.total_ms,
        result.total_ms - result.measuring_ms,
        (ended - farm.result_at) * 1000,
        (ended - began) * 1000 - result.measuring_ms,
    )


class Tvm:
    """TVM's sessions, in an interpreter that has it."""

    def __init__(self, python: str, size_bytes: int, log: Path) -> None:
        script = Path(__file__).with_name("tvm_session.py")
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [python, script, str(size_bytes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )  # fmt: skip
        self._log = log
        self.version = str(self._answer()["version"])

    def session(self) -> dict[str, float]:
        """Times of one session, in ms."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End it, its tracker and its server."""
        self._process.communicate()

    def _answer(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(self._log.read_text(errors="replace").strip().rpartition("\n")[2])
        return json.loads(line)


def echo_serve() -> None:
    """Answer each call with as many bytes as its first eight say, until standard input ends."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(
                lambda request, _: bytes(int.from_bytes(request[:8], "big"))
            )

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Handler()])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(0)


@contextmanager
def echo_server() -> Iterator[str]:
    """The address of a server in another process."""
    command = [sys.executable, "-m", "tests.benchmarks.job_overhead", "--echo-serve"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.communicate()


async def rounds(count: int, tvm: Tvm | None, model: bytes, folder: Path) -> Kept:
    """Run them all, in turns."""
    models, kept = ModelFiles(folder / "models"), Kept()
    digest, farm = models.put(model), Watched(models)
    server = AgentServer(farm, "token")
    agent = LocalAgent(await server.start("127.0.0.1:0"), "token", folder, [max(os.sched_getaffinity(0))])
    farm.start()
    await agent.start()
    try:
        (facts,) = await farm.registry.wait_for(1, 60)
        asks = (Ask(digest, facts.device_class, MeasurementOptions(), session=n) for n in range(10**6))
        first = await farm.ask(next(asks))  # brings the model into the cache, and writes the bytecode
        assert first.result is not None
        await farm.ask(next(asks))
        message = measure_job(first.ask, first.id, 1, 1, len(model), 0)
        answered = first.result.ByteSize()
        payload = answered.to_bytes(8, "big") + bytes(max(0, message.ByteSize() - 8))
        print(f"model {len(model)} bytes, job {message.ByteSize()} bytes, result {answered} bytes\n")
        with echo_server() as address:
            async with grpc.aio.insecure_channel(address) as channel:
                call = channel.unary_unary(ECHO)
                await call(payload, wait_for_ready=True)
                if tvm is not None:
                    await asyncio.to_thread(tvm.session)
                for _ in range(count):
                    await asyncio.sleep(PAUSE_S)
                    for which in ("worker waiting", "worker starting", "in a stream"):
                        times = await job(farm, next(asks))
                        kept.add(f"ours, {which}: all", times.all)
                        kept.add(f"ours, {which}: dispatch and result", times.dispatch)
                        kept.add(f"ours, {which}: agent and worker", times.agent)
                        for part in ("asked_to_given", "wire", "result_to_answer"):
                            kept.add(f"ours, {which}: {part.replace('_', ' ')}", getattr(times, part))
                    await asyncio.sleep(PAUSE_S)
                    for number in range(1 + ECHOES):
                        start = time.perf_counter()
                        await call(payload)
                        kept.add(BARE_HOT if number else BARE, (time.perf_counter() - start) * 1000)
                    if tvm is not None:
                        _keep(kept, await asyncio.to_thread(tvm.session))
    finally:
        await farm.close()
        await server.stop()
        await agent.stop()
    return kept


def _keep(kept: Kept, times: dict[str, float]) -> None:
    again = times.pop("again")
    kept.add("TVM, again in an open session", again)
    kept.add("TVM, session", sum(times.values()))
    kept.add("TVM, session without its upload", sum(times.values()) - times["upload"])
    for name, took in times.items():
        kept.add(f"TVM, {name}", took)


def show(kept: Kept) -> None:
    """Print all rows, then the ratios that compare like with like."""
    print("| | median, ms | p90, ms | over the bare call |\n|---|---|---|---|")
    for name in kept.values:
        print(kept.row(name, BARE))
    if "TVM, session" not in kept.values:
        return
    print("\n| ours | TVM | TVM / ours |\n|---|---|---|")
    for ours, theirs in (
        ("ours, worker starting: all", "TVM, session"),
        ("ours, worker waiting: all", "TVM, session without its upload"),
        ("ours, in a stream: all", "TVM, session without its upload"),
        ("ours, worker waiting: dispatch and result", "TVM, again in an open session"),
    ):
        print(f"| {ours} | {theirs} | {median(kept.values[theirs]) / median(kept.values[ours]):.2f} |")


def main(count: int, python: str) -> None:
    """Run and print."""
    model = tiny_models.good(side=8, channels=128, layers=3)
    with tempfile.TemporaryDirectory() as folder:
        # An installed agent has its bytecode beside it; a source tree may not, or may not be writable.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "bytecode")
        tvm = None
        try:
            tvm = Tvm(python, len(model), Path(folder) / "tvm.log")
            print(f"TVM {tvm.version}")
        except (OSError, RuntimeError) as error:
            print(f"no TVM here ({error}), so its rows are left out: {INSTALL}")
        with contextlib.closing(tvm) if tvm else contextlib.nullcontext():
            kept = asyncio.run(rounds(count, tvm, model, Path(folder)))
    show(kept)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tvm-python", default=sys.executable, help="a Python that has apache-tvm")
    parser.add_argument("--echo-serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.echo_serve:
        echo_serve()
    else:
        main(options.rounds, options.tvm_python)
