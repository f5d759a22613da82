"""What energy figures mean on the host: one boundary an axis, carbon, and what the search itself takes."""

import contextlib
import math
import threading
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hilnas.errors import HilnasError
from hilnas.trial import Energy

_J_PER_KWH = 3.6e6
_MILLION = 1e6
_UJ = 1e-6
_EVERY_S = 10.0
"""A counter of 262 kJ wraps after nine minutes at 500 W, so it is looked at well before."""


class BoundaryError(HilnasError):
    """Energies of different boundaries were to be compared."""

    exit_code = 2


class CarbonError(HilnasError):
    """A figure of which no carbon can be told."""

    exit_code = 2


def one_boundary(boundaries: Mapping[str, str]) -> str:
    """The boundary that all devices share, by device name; empty for no device. BoundaryError when they differ.

    A plug sees the power supply, a chip's counter does not: their joules belong on no common axis.
    """
    found: dict[str, list[str]] = {}
    for device, boundary in boundaries.items():
        found.setdefault(boundary, []).append(device)
    if len(found) > 1:
        told = "; ".join(
            f"{', '.join(sorted(devices))} by {boundary or 'no meter'}"
            for boundary, devices in sorted(found.items())
        )
        raise BoundaryError(
            f"energies of different boundaries do not compare: {told}. Name a meter that all of them have "
            "(measurement.energy.meter), or give the devices classes of their own (hilnas-agent --device-class)"
        )
    return next(iter(found), "")


def carbon_g(joules: float, grid_g_per_kwh: float) -> float:
    """Carbon dioxide of so much energy, in g, at a grid's intensity in g/kWh; CarbonError for what is neither."""
    for name, value in (("energy", joules), ("grid intensity", grid_g_per_kwh)):
        if not (math.isfinite(value) and value >= 0):
            raise CarbonError(f"the {name} is {value}: give a number from 0, in {_unit(name)}")
    return joules / _J_PER_KWH * grid_g_per_kwh


def carbon_g_per_million(net_mj: float, grid_g_per_kwh: float) -> float:
    """Carbon dioxide of a million inferences of `net_mj` mJ each, in g."""
    return carbon_g(net_mj * 1e-3 * _MILLION, grid_g_per_kwh)


def carbon_of(energy: Energy, grid_g_per_kwh: float | None) -> float | None:
    """Carbon dioxide of a million inferences, in g, beyond an idle device's; None without a figure or a grid."""
    if energy.net_mj is None or grid_g_per_kwh is None:
        return None
    return carbon_g_per_million(energy.net_mj, grid_g_per_kwh)


class SearchEnergy:
    """What this machine takes while the context is open: `joules`, and `source`; or None, and `reason`.

    By RAPL, processors and memory as far as they count, everything that runs there included; without RAPL by
    codecarbon (extra `carbon`), which then goes by the processor's name and load, so that is an estimate.
    """

    def __init__(self, root: Path = Path("/"), every_s: float = _EVERY_S) -> None:
        self._every_s = every_s
        self._counters, self.reason = _counters(root)
        self._tracker: Any = None
        self._estimate_j: float | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.source = "rapl" if self._counters else ""

    @property
    def joules(self) -> float | None:
        """Energy so far, in J; codecarbon tells it when the context is closed."""
        if not self._counters:
            return self._estimate_j
        with self._lock:
            return sum(counter.joules for counter in self._counters)

    def __enter__(self) -> Self:
        if self._counters:
            self._look()
            self._thread = threading.Thread(target=self._watch, name="search-energy", daemon=True)
            self._thread.start()
        else:
            self._start_estimate()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the recording; may be called twice."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
            self._look()
        if self._tracker is not None:
            self._end_estimate()
            self._tracker = None

    def told(self) -> dict[str, Any]:
        """Return what was found, as plain data: joules, source, reason."""
        return {"joules": self.joules, "source": self.source, "reason": self.reason}

    def _watch(self) -> None:
        while not self._stop.wait(self._every_s):
            self._look()

    def _look(self) -> None:
        with self._lock:
            for counter in self._counters:
                counter.look()

    def _start_estimate(self) -> None:
        if util.find_spec("codecarbon") is None:
            self.reason += "; and codecarbon is not installed: pip install 'hilnas[carbon]'"
            return
        from codecarbon import OfflineEmissionsTracker

        try:
            # The country is asked for and of no account: energy alone is taken from it.
            self._tracker = OfflineEmissionsTracker(
                country_iso_code="USA", save_to_file=False, log_level="critical", allow_multiple_runs=True
            )
            self._tracker.start()
        except Exception as error:  # noqa: BLE001 - a search does not fail for want of this figure
            self._tracker, self.reason = None, f"{self.reason}; and codecarbon failed: {error}"

    def _end_estimate(self) -> None:
        try:
            self._tracker.stop()
            self._estimate_j = float(self._tracker.final_emissions_data.energy_consumed) * _J_PER_KWH
        except Exception as error:  # noqa: BLE001
            self.reason = f"{self.reason}; and codecarbon failed: {error}"
        else:
            self.source, self.reason = "codecarbon", ""


class _Counter:
    """One RAPL zone: the energy that it has counted since the first look."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        highest_uj = _whole(folder / "max_energy_range_uj")
        # Zero follows the highest value of a register of 32 bits, one step further.
        self._range_uj = highest_uj + max(1, round(highest_uj / 0xFFFFFFFF))
        self._last_uj: int | None = None
        self.joules = 0.0

    def look(self) -> None:
        """Adds what has come since the last look; nothing while it cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            now_uj = _whole(self._file)
            if self._last_uj is not None:
                self.joules += (now_uj - self._last_uj) % self._range_uj * _UJ
            self._last_uj = now_uj


def _counters(root: Path) -> tuple[list[_Counter], str]:
    """The zones that add up to processors and memory, and why there are none."""
    folders = sorted(root.glob("sys/class/powercap/intel-rapl:*"))
    named = [(_name(folder), folder) for folder in folders]
    wanted = [folder for name, folder in named if name.startswith("package") or name == "dram"]
    if not wanted:
        return [], "this machine has no RAPL counters (powercap)"
    found = []
    for folder in wanted:
        try:
            _whole(folder / "energy_uj")
            found.append(_Counter(folder))
        except (OSError, ValueError) as error:
            # A part of the sum would be no sum.
            return [], f"{folder / 'energy_uj'} cannot be read ({error}): see deploy/README.md, Energy"
    return found, ""


def _name(folder: Path) -> str:
    try:
        return (folder / "name").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _whole(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


def _unit(name: str) -> str:
    return "J" if name == "energy" else "g/kWh"
