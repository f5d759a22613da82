"""A latency table: what each part of a space's nets takes on a class of device, alone.

Gradient-based searches and predictors add such figures up (Cai et al. 2019, ProxylessNAS; Wu et al. 2019,
FBNet; Cai et al. 2020, Once-for-All). The sum of parts is not the whole: each part measured alone pays for
being called. So whole nets are measured as well; they give a line, and tell how well sums rank.

The file is one of JSON lines: a head, then a part or a net a line, each written through to the disk, so
that filling a table can be broken off at any point.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilnas.errors import HilnasError
from hilnas.trial import Measurement

FORMAT = 1
"""Version of the file."""


class TableError(HilnasError, RuntimeError):
    """A latency table cannot be used, or does not have what is asked."""

    exit_code = 2


@dataclass(frozen=True)
class TableHead:
    """What the figures of a table are about; those of another kind never go into the same file.

    Recipes that shape a space differently may share a table: a part's key says all about it.
    """

    space: str
    device_class: str
    runtime: str
    """What was asked for, as part of a measurement's key."""
    protocol_hash: str


@dataclass(frozen=True)
class Entry:
    """A figure of a part, or of a whole net (then `key` is its parts' keys, joined)."""

    key: str
    verdict: str
    latency_ms: float | None = None
    """None where it could not be measured; `verdict` says how."""
    low_ms: float | None = None
    high_ms: float | None = None
    device: str = ""


REFUSED = 10.0
"""How much slower than the slowest part one is taken to be that the device cannot run."""


@dataclass(frozen=True)
class TableQuality:
    """How the sums of parts agree with whole nets."""

    nets: int
    kendall: float
    """Rank correlation of sums with measured latencies (Kendall's tau-b)."""
    spearman: float
    slope: float
    """A whole net takes `slope` times the sum and `intercept_ms` more (least squares)."""
    intercept_ms: float
    median_error: float
    """Median of |fitted - measured| / measured, each net left out of its own fit."""
    median_error_of_sum: float
    """The same for the plain sum."""


class LatencyTable:
    """Parts and nets of one table, and the file that they are in."""

    def __init__(self, path: Path, head: TableHead) -> None:
        """Open the table in a file, or begin one. TableError for a file of another kind."""
        self.path, self.head = path, head
        self.parts: dict[str, Entry] = {}
        self.nets: dict[str, Entry] = {}
        if path.exists():
            self._read()
        else:
            self._write({"format": FORMAT, "head": asdict(head)})

    @classmethod
    def read(cls, path: Path) -> "LatencyTable":
        """Open a table that is there, of whatever it is. TableError for a file that is none."""
        try:
            with path.open("rb") as file:
                head = TableHead(**json.loads(file.readline())["head"])
        except OSError as error:
            raise TableError(
                f"{path} cannot be read ({error.strerror}): `hilnas profile --space` makes one"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise TableError(f"{path} is no latency table ({error}): name another file") from error
        return cls(path, head)

    def add_part(self, key: str, measurement: Measurement) -> Entry:
        """Take a part's measurement, through to the disk."""
        entry = self.parts[key] = _entry(key, measurement)
        self._write({"part": asdict(entry)})
        return entry

    def add_net(self, keys: Sequence[str], measurement: Measurement) -> Entry:
        """Take a whole net's measurement, through to the disk."""
        entry = _entry(" | ".join(keys), measurement)
        self.nets[entry.key] = entry
        self._write({"net": asdict(entry)})
        return entry

    def sum_ms(self, keys: Iterable[str]) -> float:
        """Return the sum of the latencies of parts, as `part_ms` tells them."""
        return sum(self.part_ms(key) for key in keys)

    def part_ms(self, key: str) -> float:
        """Return the latency of a part. TableError for one that was never measured.

        One that the device cannot run counts `REFUSED` times the slowest: a search leaves it, and is not ended by it.
        """
        entry = self.parts.get(key)
        if entry is None:
            raise TableError(
                f'{self.path}: the part "{key}" was never measured: go on with `hilnas profile --space`'
            )
        if entry.latency_ms is not None:
            return entry.latency_ms
        return REFUSED * max((each.latency_ms or 0.0 for each in self.parts.values()), default=1.0)

    def fault(self, keys: Iterable[str]) -> Entry | None:
        """Return the first of some parts that the device was found unable to run, if there is one."""
        for key in keys:
            entry = self.parts.get(key)
            if entry is not None and entry.latency_ms is None:
                return entry
        return None

    def latency_ms(self, keys: Iterable[str]) -> float:
        """Return the latency that a net of these parts should have, by the line through the nets measured."""
        quality = self.quality()
        total = self.sum_ms(keys)
        return total if quality is None else max(0.0, quality.slope * total + quality.intercept_ms)

    def quality(self) -> TableQuality | None:
        """Return how sums agree with whole nets; None with fewer than three of them."""
        pairs = [
            (self.sum_ms(keys), entry.latency_ms)
            for entry in self.nets.values()
            if entry.latency_ms is not None and self._complete(keys := entry.key.split(" | "))
        ]
        if len(pairs) < 3:
            return None
        from scipy.stats import kendalltau, spearmanr

        sums, measured = np.array(pairs, np.float64).T
        slope, intercept = _line(sums, measured)
        left_out = [_without(sums, measured, place) for place in range(len(pairs))]
        return TableQuality(
            nets=len(pairs),
            kendall=float(kendalltau(sums, measured).statistic),
            spearman=float(spearmanr(sums, measured).statistic),
            slope=slope,
            intercept_ms=intercept,
            median_error=float(np.median(np.abs(np.array(left_out) - measured) / measured)),
            median_error_of_sum=float(np.median(np.abs(sums - measured) / measured)),
        )

    def _complete(self, keys: Iterable[str]) -> bool:
        return all(key in self.parts and self.parts[key].latency_ms is not None for key in keys)

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole, torn = content[: content.rfind(b"\n") + 1], content[content.rfind(b"\n") + 1 :]
        beginning = json.dumps({"format": FORMAT}).encode()[:-1]
        if not whole and torn.startswith(beginning[: len(torn)]):
            # It was broken off before its first line was through: there is nothing to lose.
            self.path.write_bytes(b"")
            self._write({"format": FORMAT, "head": asdict(self.head)})
            return
        try:
            head, *rows = [json.loads(line) for line in whole.splitlines()]
            known = TableHead(**head["head"])
            if head["format"] != FORMAT:
                raise ValueError(f"format {head['format']}")  # noqa: TRY301
            for row in rows:
                self._take(row)
        except (ValueError, KeyError, TypeError) as error:
            raise TableError(f"{self.path} is no latency table ({error}): name another file") from error
        for name, ours in asdict(self.head).items():
            if ours != (theirs := getattr(known, name)):
                raise TableError(
                    f"{self.path} is about {name.replace('_', ' ')} {theirs}, not {ours}: name another file with --out"
                )
        if torn:
            # A line without its end was being written when the power went: it is measured again.
            with self.path.open("r+b") as file:
                file.truncate(len(whole))

    def _take(self, row: Mapping[str, Any]) -> None:
        if "part" in row:
            self.parts[row["part"]["key"]] = Entry(**row["part"])
        else:
            self.nets[row["net"]["key"]] = Entry(**row["net"])

    def _write(self, row: Mapping[str, Any]) -> None:
        try:
            with self.path.open("ab") as file:
                file.write(json.dumps(row).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TableError(f"{self.path} cannot be written: {error.strerror}") from error


def _entry(key: str, measurement: Measurement) -> Entry:
    latency = measurement.latency
    return Entry(
        key,
        measurement.verdict.value,
        latency.median_ms if latency else None,
        latency.low_ms if latency else None,
        latency.high_ms if latency else None,
        measurement.device,
    )


def _line(x: Any, y: Any) -> tuple[float, float]:
    if np.ptp(x) == 0:
        return 1.0, float(np.mean(y - x))
    slope, intercept = np.polyfit(x, y, 1)
    return float(slope), float(intercept)


def _without(sums: Any, measured: Any, place: int) -> float:
    """Return what the line through all other nets says of one."""
    slope, intercept = _line(np.delete(sums, place), np.delete(measured, place))
    return slope * float(sums[place]) + intercept
