"""A record of a million measurements: does looking things up stay as quick as in a small one?

    python -m tests.benchmarks.large_record --measurements 1000000 [--url postgresql+psycopg://…]

Rows are as a search writes them, but for the raw samples (ten here). Each question is asked often, of a record of a
hundredth of the rows and of the whole one; the medians, and their ratio.
"""

import argparse
import random
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median

from sqlalchemy import insert

from hilnas.farm import Fidelity
from hilnas.store import EventKind, Record
from hilnas.store.codec import dump
from hilnas.store.record import without_samples
from hilnas.store.tables import events, measurements
from hilnas.trial import Latency, Measurement, Verdict

TRIALS = 1000
CLASSES = 5
BATCH = 5000


def measurement(number: int) -> Measurement:
    """One of many."""
    latency = Latency(1.0, 0.9, 1.1, 0.9, 1.1, 1.2, 0.01, 3.0, 2.0, 1, tuple(range(10)), ())
    return Measurement(
        device=f"board-{number % 16}", device_class=f"class-{number % CLASSES}", model_sha256=f"{number // CLASSES:064x}",
        protocol_hash="0123456789abcdef", runtime="toy", verdict=Verdict.TRUSTED, fidelity=Fidelity.SCREEN,
        latency=latency,
    )  # fmt: skip


def fill(record: Record, first: int, last: int, ids: list[str]) -> None:
    """Write rows as searches would, a search for each thousand."""
    template = measurement(0)
    payload, event = dump(template), dump(without_samples(template))
    for start in range(first, last, BATCH):
        rows, happened = [], []
        for number in range(start, min(last, start + BATCH)):
            if number % TRIALS == 0:
                ids.append(record.start_search(f"search-{number}", 0, {}, {}).id)
            key = {"model_sha256": f"{number // CLASSES:064x}", "device_class": f"class-{number % CLASSES}"}
            rows.append({**key, "protocol_hash": "0123456789abcdef", "runtime_asked": "x", "verdict": "TRUSTED",
                         "payload": {**payload, **key}})  # fmt: skip
            happened.append({"search_id": ids[-1], "trial": number % TRIALS, "kind": "measured", "key": "class",
                             "at_unix": 0.0, "payload": {**event, **key}})  # fmt: skip
        with record.begin() as connection:
            connection.execute(insert(measurements), rows)
            connection.execute(insert(events), happened)


def ask(record: Record, count: int, ids: list[str], rng: random.Random) -> dict[str, float]:
    """Median times of questions, in ms."""

    def timed(question) -> float:
        took = []
        for _ in range(200):
            start = time.perf_counter()
            question()
            took.append((time.perf_counter() - start) * 1000)
        return median(took)

    def find() -> None:
        number = rng.randrange(count)
        found = record.find_measurement(
            f"{number // CLASSES:064x}", f"class-{number % CLASSES}", "0123456789abcdef", "x"
        )
        assert found is not None

    fresh = iter(range(10**9))

    def append() -> None:
        number = 10**9 + next(fresh) + count
        new = replace(measurement(number), model_sha256=f"{number:064x}")
        record.append_measurement(ids[-1], 10**6 + number, new, "x")

    return {
        "find a measurement": timed(find),
        "append one, durably": timed(append),
        "next events of a search": timed(lambda: record.events_after(rng.choice(ids[:-1]), 0, 200)),
        "append an event": timed(lambda: record.append(ids[-1], EventKind.CANARY, key=str(next(fresh)))),
    }


def main(count: int, url: str) -> None:
    """Fill, ask, print."""
    rng, ids = random.Random(0), []
    with closing(Record(url)) as record:
        fill(record, 0, count // 100, ids)
        small = ask(record, count // 100, ids, rng)
        start = time.perf_counter()
        fill(record, count // 100, count, ids)
        print(f"{count} measurements; filling took {time.perf_counter() - start:.0f} s")
        large = ask(record, count, ids, rng)
    print(f"| | {count // 100} rows, ms | {count} rows, ms | ratio |\n|---|---|---|---|")
    for name, took in large.items():
        print(f"| {name} | {small[name]:.2f} | {took:.2f} | {took / small[name]:.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measurements", type=int, default=1_000_000)
    parser.add_argument("--url", default="", help="database; else a file of SQLite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        main(options.measurements, options.url or f"sqlite:///{Path(place)}/record.sqlite")
