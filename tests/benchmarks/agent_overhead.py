"""What an agent costs its device: memory, time to be ready, time a job takes beyond measuring.

    python -m tests.benchmarks.agent_overhead [--jobs 20]

Three ways to come by a worker, side by side in each round, by the protocol that ships: waiting (after a
pause, so that the agent has one ready), back to back (a second and a third job arrive with the last
result: the second finds its worker still starting, the third one that started beside the second's
warm-up), and cold (no agent at all: a worker is started for the job and imports everything).
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from google.protobuf.json_format import MessageToDict  # noqa: E402

from hilnas.farm import Ask, MeasurementOptions  # noqa: E402
from hilnas.farm.wire import measure_job  # noqa: E402
from hilnas_agent.process import Worker  # noqa: E402
from hilnas_protos.v1 import measurement_pb2 as wire  # noqa: E402
from tests.unit.agent import tiny_models  # noqa: E402
from tests.unit.agent.fake_host import AgentProcess, FakeHost, wait_until  # noqa: E402

SHIPPED = measure_job(Ask("0" * 64, "", MeasurementOptions()), "", 1, 1, 1).protocol
RESIDENT_GOAL_KIB = 35 * 1024
OVERHEAD_GOAL_MS = 50
PAUSE_S = 1.0
LARGE, LARGE_BYTES = 5, 5 << 20
RUNTIME = "hilnas_agent.runtimes.litert:LiteRt"
MEASURED = (wire.VERDICT_TRUSTED, wire.VERDICT_UNSTABLE)


def resident_kib(pid):
    """Resident memory of a process, in KiB, by the kernel."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


def processor_seconds(pid):
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def measured(host, artifact, job_id):
    """(overhead by the agent's own account, overhead as the host sees it), in ms, of one job."""
    start = time.perf_counter()
    host.submit(host.job(artifact, job_id, protocol=SHIPPED))
    result = host.result()
    seen_ms = (time.perf_counter() - start) * 1000
    if result.verdict not in MEASURED:
        raise SystemExit(f"job {job_id} failed: {result.message}")
    return result.total_ms - result.measuring_ms - result.fetch_ms, seen_ms - result.measuring_ms


def cold(model):
    """Overhead of a worker that is started for one job, in ms."""
    protocol = MessageToDict(
        SHIPPED, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    job = {"model_path": str(model), "threads": 1, "protocol": protocol, "input_seed": 0}
    job |= {"cpus": [], "address_space_mib": 0, "cpu_seconds": 60}
    start = time.perf_counter()
    worker = Worker(RUNTIME)
    ended = worker.run(json.dumps(job).encode(), 60, lambda: None)
    took_ms = (time.perf_counter() - start) * 1000
    worker.close()
    return took_ms - json.loads(ended.payload.partition(b"\n")[0])["measuring_ms"]


def row(name, values, base, goal=""):
    median, slow = statistics.median(values), sorted(values)[int(0.9 * len(values))]
    print(f"{name:<34} {median:9.1f} {slow:9.1f} {base / median:11.1f}x  {goal}")


def main():
    """Runs the comparison and prints it."""
    parser = argparse.ArgumentParser(description="Measures what an agent costs its device.")
    parser.add_argument("--jobs", type=int, default=20, help="jobs of each kind (default: %(default)s)")
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory, FakeHost() as host:
        # An installed agent has its bytecode beside it; a source tree may not, or may not be writable.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(directory) / "bytecode")
        with AgentProcess(host.address, Path(directory)):
            host.wait_stream()
            wait_until(lambda: host.beats.qsize() > 5)
        start = time.perf_counter()
        with AgentProcess(host.address, Path(directory)) as agent:
            host.wait_stream()
            ready_s = time.perf_counter() - start
            artifact = host.add(tiny_models.good())
            before_kib = resident_kib(agent.pid)
            host.submit(host.job(artifact, "to fill the cache"))
            host.result()
            model = agent.cache / artifact.sha256
            own, seen, second, third, alone = [], [], [], [], []
            for number in range(jobs):
                time.sleep(PAUSE_S)
                wait_until(agent.workers)
                a, b = measured(host, artifact, f"waiting {number}")
                own.append(a)
                seen.append(b)
                second.append(measured(host, artifact, f"second {number}")[1])
                third.append(measured(host, artifact, f"third {number}")[1])
                time.sleep(PAUSE_S)
                alone.append(cold(model))
            after_kib = resident_kib(agent.pid)
            for number in range(LARGE):
                host.measure(bytes([number]) * LARGE_BYTES, job_id=f"large {number}")
            large_kib = resident_kib(agent.pid)
            used = processor_seconds(agent.pid)
            time.sleep(10)
            idle = (processor_seconds(agent.pid) - used) / 10
        print(f"from start to Hello                {ready_s:9.2f} s")
        for name, kib in (
            ("before jobs", before_kib),
            (f"after {3 * jobs + 1} jobs", after_kib),
            (f"after {LARGE} of {LARGE_BYTES >> 20} MiB", large_kib),
        ):
            verdict = "met" if kib <= RESIDENT_GOAL_KIB else "MISSED"
            print(
                f"resident, {name:<24} {kib / 1024:9.1f} MiB  (goal {RESIDENT_GOAL_KIB // 1024}: {verdict})"
            )
        print(f"processor time when idle           {idle:9.1%} of one core\n")
        print(f"{'overhead of a job, ms':<34} {'median':>9} {'p90':>9} {'cold / this':>12}")
        base = statistics.median(alone)
        met = "met" if statistics.median(seen) <= OVERHEAD_GOAL_MS else "MISSED"
        row("worker waiting, by the agent", own, base)
        row("worker waiting, seen by the host", seen, base, f"(goal {OVERHEAD_GOAL_MS}: {met})")
        row("back to back, the second", second, base)
        row("back to back, the third", third, base)
        row("cold worker, without an agent", alone, base)


if __name__ == "__main__":
    main()
