"""Feeds damaged models to real agents, and counts what dies: agents must not.

Each mutant goes the whole way: offered by a host, fetched by an agent, kept in its cache, run in a fresh
worker, its result delivered; and the host's own check looks at it before. Mutant i depends on the seed and
i alone (`--only i` runs one again, and says all of it). With `--log` a run that was cut goes on.

    python -m tests.benchmarks.fuzz_models --models 20000 --agents 2 --seed 0 --log fuzz.jsonl
"""

import argparse
import contextlib
import json
import os
import queue
import re
import tempfile
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

from hilnas.export import ModelFileError, inspect_model
from hilnas_agent import runtimes
from hilnas_protos.v1 import measurement_pb2 as wire
from tests.unit.agent import control_models, mutants, tiny_models
from tests.unit.agent.fake_host import AgentProcess, FakeHost

DEADLINE_MS = 2000
ADDRESS_SPACE_MIB = 2048
_RESULT_S = 60.0
_MARK = "HILNAS_FUZZ_RUN"
_PROTOCOL = wire.MeasurementProtocol(
    warmup_runs=1,
    warmup_ms=0,
    min_samples=3,
    min_sample_ms=0,
    min_sampling_ms=0,
    max_sampling_ms=50,
    confidence=0.9,
    bootstrap_resamples=10,
    max_half_width=9,
)


def corpus(exported=True):
    """{name: sound model}: convolutions, pooling, loops, branches, custom operators, and the exporter's own."""
    found = {
        "convolutions": tiny_models.good(side=8, channels=4),
        "custom": tiny_models.unsupported_custom_op(),
        "loop": control_models.loop(),
        "endless loop": control_models.loop(limit=None),
        "branch": control_models.branch(),
        "huge": tiny_models.huge(),
    }
    if exported:
        found |= _exported()
    return found


def _exported():
    import torch
    from torch import nn

    from hilnas.export import export_int8

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
            self.deep = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x):
            return torch.cat([x * self.gate(x), x + self.deep(x)], 1)

    def net(*layers, shape):
        return export_int8(nn.Sequential(*layers), torch.randn(4, *shape))

    torch.manual_seed(0)
    squeezed = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    depthwise = nn.Conv2d(8, 8, 3, 2, 1, groups=8)
    return {
        "depthwise": net(
            nn.Conv2d(3, 8, 3), nn.ReLU6(), depthwise, nn.Hardswish(), *squeezed, shape=(3, 9, 9)
        ),
        "pooled": net(
            nn.MaxPool2d(2), nn.Conv2d(3, 8, 1), nn.SiLU(), nn.AvgPool2d(2), *squeezed, shape=(3, 8, 8)
        ),
        "gated": net(Gated(), shape=(8, 3, 2)),
    }


class Lane:
    """One agent with one runtime, and the host that it dials."""

    def __init__(self, folder, offer, deadline_ms=DEADLINE_MS):
        self._folder, self._offer, self._deadline_ms = folder, offer, deadline_ms
        folder.mkdir(parents=True)
        self.host = FakeHost(heartbeat_ms=1000).start()
        self.deaths, self.silences = 0, 0
        self._start()

    def _start(self):
        arguments = ("--cache-mib", "1", "--log-level", "warning")
        self.agent = AgentProcess(self.host.address, self._folder, *arguments)
        self.host.wait_stream()

    def run(self, index, content):
        """Result of a mutant, or what happened to the agent."""
        artifact = self.host.add(content)
        job = self.host.job(artifact, f"mutant-{index}")
        job.protocol.CopyFrom(_PROTOCOL)
        job.limits.CopyFrom(
            wire.WorkerLimits(deadline_ms=self._deadline_ms, address_space_mib=ADDRESS_SPACE_MIB)
        )
        job.runtime.name = self._offer.name
        self.host.submit(job)
        try:
            return self._wait(job.job_id)
        finally:
            self.host.artifacts.pop(artifact.sha256, None)
            self.host.fetches.clear()
            self.host.fetch_metadata.clear()
            for told in (self.host.started, self.host.beats):
                with contextlib.suppress(queue.Empty):
                    while True:
                        told.get_nowait()

    def _wait(self, job_id):
        ends_at = time.monotonic() + _RESULT_S
        while time.monotonic() < ends_at:
            if self.agent.process.poll() is not None:
                self.deaths += 1
                code = self.agent.process.returncode
                self._start()
                return "AGENT_DIED", f"exit {code}"
            with contextlib.suppress(queue.Empty):
                result = self.host.results.get(timeout=1)
                if result.job_id == job_id:
                    return wire.Verdict.Name(result.verdict).removeprefix("VERDICT_"), result.message
        self.silences += 1
        return "AGENT_SILENT", f"no result within {_RESULT_S} s"

    def facts(self):
        """Resident KiB and open descriptors of the agent."""
        folder = Path(f"/proc/{self.agent.pid}")
        resident = re.search(r"VmRSS:\s+(\d+)", (folder / "status").read_text())
        return {"resident_kib": int(resident[1]), "descriptors": len(list((folder / "fd").iterdir()))}

    def stop(self):
        self.agent.stop()
        self.host.stop()


def host_check(content):
    """(what the host's check says, seconds it took); an escape is any exception that is not its own."""
    start = time.perf_counter()
    try:
        inspect_model(content)
        said = "passed"
    except ModelFileError:
        said = "refused"
    except Exception as error:  # noqa: BLE001
        said = f"ESCAPE {type(error).__name__}: {error}"
    return said, time.perf_counter() - start


def leftovers(mark):
    """Processes that carry this run's mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (
                f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes()
                and int(folder.name) != os.getpid()
            ):
                found.append(int(folder.name))
    return found


def run(
    models, agents, seed, folder, *, first=0, log=None, only=None, exported=True, deadline_ms=DEADLINE_MS
):
    """Runs mutants first … models − 1 and returns a summary; those that `log` has are not run again."""
    mark = uuid.uuid4().hex
    os.environ[_MARK] = mark
    sound, records = corpus(exported), _Log(log)
    offers = runtimes.discover()[0]
    lanes = [Lane(folder / str(place), offers[place % len(offers)], deadline_ms) for place in range(agents)]
    os.environ.pop(_MARK)
    wanted = [only] if only is not None else [i for i in range(first, models) if i not in records.done]

    def work(place, lane):
        # Which agent, so which runtime, depends on the mutant's number too.
        for index in (i for i in wanted if i % agents == place):
            name, content = mutants.mutant(sound, seed, index)
            said, took_s = host_check(content)
            verdict, message = lane.run(index, content)
            record = {"i": index, "of": name, "verdict": verdict, "message": message[:200], "host": said}
            records.add(record | {"check_s": round(took_s, 4)})

    start, deaths = time.monotonic(), 0
    before, after = [], []
    try:
        # The first models start what every agent starts once: caches, threads of gRPC.
        for lane in lanes:
            for turn in range(3):
                lane.run(-1 - turn, sound["convolutions"])
        before = [lane.facts() for lane in lanes]
        threads = [threading.Thread(target=work, args=pair) for pair in enumerate(lanes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = [lane.facts() for lane in lanes]
        deaths = sum(lane.deaths for lane in lanes)
    finally:
        for lane in lanes:
            lane.stop()
    own = {"agents_before": before, "agents_after": after, "agent_deaths_now": deaths}
    return (
        records.summary()
        | own
        | {
            "leftover_processes": len(leftovers(mark)),
            "seconds": round(time.monotonic() - start, 1),
        }
    )


class _Log:
    """What became of each mutant, in memory and, if asked, in a file of JSON lines."""

    def __init__(self, path):
        self.records, self._lock = [], threading.Lock()
        if path and path.exists():
            self.records = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        self._file = path.open("a") if path else None
        self.done = {record["i"] for record in self.records}

    def add(self, record):
        with self._lock:
            self.records.append(record)
            if self._file:
                self._file.write(json.dumps(record) + "\n")
                self._file.flush()

    def summary(self):
        records = self.records
        crashed = [record for record in records if record["verdict"] == "CRASHED"]
        signals = Counter(
            (re.search(r"SIG[A-Z]+", record["message"]) or ["exception"])[0] for record in crashed
        )
        passed = Counter(record["verdict"] for record in records if record["host"] == "passed")
        verdicts = Counter(record["verdict"] for record in records)
        return {
            "mutants": len(records),
            "agent_deaths": verdicts["AGENT_DIED"],
            "agent_silences": verdicts["AGENT_SILENT"],
            "verdicts": dict(verdicts.most_common()),
            "crashes": dict(signals.most_common()),
            "host_refused": sum(record["host"] == "refused" for record in records),
            "host_passed": dict(passed.most_common()),
            "host_escapes": [record["i"] for record in records if record["host"].startswith("ESCAPE")],
            "slowest_check_s": max((record["check_s"] for record in records), default=0),
        }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="begin with this mutant")
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this mutant alone")
    parser.add_argument("--log", type=Path, help="JSON lines; a run that was cut goes on from them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        summary = run(
            options.models,
            options.agents,
            options.seed,
            Path(folder),
            first=options.first,
            log=options.log,
            only=options.only,
        )
    if options.only is not None:
        print(mutants.mutant(corpus(), options.seed, options.only)[1].hex())
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
