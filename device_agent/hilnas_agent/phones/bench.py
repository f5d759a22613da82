"""What a phone brings to a job: runtimes, processors, its heat and battery."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hilnas_agent import conditions, cores, preflight
from hilnas_agent.evidence import Evidence
from hilnas_agent.fetch import Fetcher
from hilnas_agent.jobs import Bench, FaultError, Measuring
from hilnas_agent.meter_offers import MeterOffer
from hilnas_agent.phones import facts, fitness
from hilnas_agent.phones.adb import Link, LinkError
from hilnas_agent.phones.binary import NAME, BinaryWorker
from hilnas_agent.phones.files import PhoneFiles
from hilnas_agent.phones.mirror import Mirror, State
from hilnas_agent.phones.python import TERMUX, Package, PhonePython, PythonWorker
from hilnas_agent.preflight import IdleTemperature
from hilnas_agent.runtimes import Offer
from hilnas_agent.settings import Preflight

_APART_S = 2.0
_NO_METER = (
    "the phone's meters are read by the worker: give the phone a Python runtime, see hub --phone-python"
)


@dataclass(frozen=True)
class Equipment:
    """What the hub has for every phone: benchmark_model and its hash, the Python to look for."""

    folder: Path
    phone_folder: str
    package: Package
    binary: Path | None = None
    binary_sha256: str = ""
    python: str = ""


class PhoneIdle(IdleTemperature):
    """The idle temperature of a phone, asked no more often than every two seconds."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror, self._looked_at = mirror, float("-inf")
        self.state = State()
        super().__init__(mirror.root)

    def look(self) -> float | None:
        """Takes a reading and returns it; None without a sensor. FaultError when the phone is gone."""
        if time.monotonic() - self._looked_at >= _APART_S:
            with _faults():
                self.state = self._mirror.refresh()
            self._looked_at = time.monotonic()
        return super().look()


@dataclass(frozen=True)
class PhoneBench(Bench):
    """A phone as jobs see it. `mirror` holds what it says of itself."""

    mirror: Mirror | None = field(default=None, kw_only=True)

    def look(self, limits: Preflight, threads: int) -> tuple[conditions.Reading, list[Evidence]]:
        """The state of the phone, and how it suits a session of so many threads."""
        assert self.mirror is not None and isinstance(self.idle, PhoneIdle)
        root, cpus = self.mirror.root, self.measuring(threads)
        reading = conditions.read(root, cpus)
        on_any_board = preflight.checks(limits, reading, cpus, threads, root)
        # Android's own word on throttling stands in for a Raspberry Pi's.
        others = [each for each in on_any_board if each.rule != "throttled"]
        return reading, [*others, *fitness.checks(self.idle.state)]


@dataclass(frozen=True)
class Driven:
    """A phone that is ready for jobs: who it is, what it brings, and what measures on it."""

    device_class: str
    boot_id: str
    device: dict[str, Any]
    bench: PhoneBench
    _link: Link
    _files: PhoneFiles
    _mirror: Mirror
    _python: PhonePython | None
    _equipment: Equipment

    def make_worker(self, runtime_path: str) -> Measuring:
        """What measures by that runtime."""
        if runtime_path != NAME and self._python is not None:
            return PythonWorker(self._link, self._files, self._python, runtime_path)
        assert self._equipment.binary is not None
        return BinaryWorker(self._mirror, self._files, self._equipment.binary, self._equipment.binary_sha256)


def drive(link: Link, equipment: Equipment, fetcher: Fetcher, folder: Path) -> Driven:
    """Looks a phone over and makes it ready; LinkError when it cannot be used, with the remedy."""
    mirror = Mirror(link, folder / "mirror")
    mirror.read_static()
    files = PhoneFiles(link, equipment.phone_folder)
    device = facts.describe(mirror)
    offers: list[Offer] = []
    meters: list[MeterOffer] = []
    no_meter = _NO_METER
    python = _python(link, files, equipment)
    if python is not None:
        found = python.facts(link)
        offers += [Offer(*offer) for offer in found["offers"]]
        meters, no_meter = (
            [MeterOffer(*meter) for meter in found["meters"]],
            "; ".join(found["meter_reasons"]),
        )
        device |= {key: found["device"][key] for key in ("python", "meters")}
        if not offers and equipment.binary is None:
            raise LinkError(f"phone {link.serial} has Python, but no runtime: {'; '.join(found['reasons'])}")
    if equipment.binary is not None:
        offers.append(Offer(NAME, equipment.binary_sha256[:12], True, NAME))
    if not offers:
        raise LinkError(
            f"phone {link.serial} has nothing to measure with: give the hub --benchmark-binary, or --phone-python "
            "where the phone has Python"
        )
    measuring, _ = cores.share_out(mirror.cpus(), mirror.root)
    bench = PhoneBench(
        offers,
        fetcher,
        measuring,
        address_space_mib=device["memory_kib"] // 1024 + 1024 if device["memory_kib"] else 0,
        idle=PhoneIdle(mirror),
        meters=meters,
        no_meter=no_meter,
        mirror=mirror,
    )
    cpu, machine = device["cpu_model"], device["machine"]
    return Driven(
        facts.device_class(mirror.properties, cpu, machine), facts.boot_id(mirror),
        device, bench, link, files, mirror, python, equipment,
    )  # fmt: skip


def _python(link: Link, files: PhoneFiles, equipment: Equipment) -> PhonePython | None:
    """The Python asked for, or Termux's where it can be reached, or none."""
    if equipment.python:
        return PhonePython(files, equipment.python, equipment.package)
    if link.run(f"[ -x {TERMUX} ]").code == 0:
        return PhonePython(files, TERMUX, equipment.package)
    return None


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except LinkError as error:
        raise FaultError(str(error)) from error
