"""What says how long nets take: a device, its latency table in its place, or a few nets on it and others' tables."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hilnas.daemon.few_shot import SHOTS, Export, FewShotSource
from hilnas.daemon.measure import Bench, bench
from hilnas.daemon.phases import Phases
from hilnas.farm import FarmOptions, Fidelity, MeasurementOptions
from hilnas.options import OptionsError
from hilnas.search.specialise import LatencySource
from hilnas.spaces import Space
from hilnas.store.latency_table import LatencyTable
from hilnas.trial import Architecture, Latency, Measurement, Verdict

TABLE_RUNTIME = "latency table"
"""Stands for the runtime where figures are sums out of a table."""
LOCAL_DEVICE = "local"
"""What this machine is called as a device."""


@dataclass(frozen=True)
class Alike:
    """Latency tables of other devices, from which a device's latencies are told after a few measurements."""

    tables: tuple[Path, ...] = ()
    """Without any, each net is measured."""
    shots: int = SHOTS
    """Nets to measure on the device."""


class Sources:
    """Gives the source that is asked for. OptionsError at once for a table of another space."""

    def __init__(
        self,
        farm: FarmOptions,
        measurement: MeasurementOptions,
        space: Space,
        tables: Sequence[Path],
        show: Phases,
        alike: Alike,
        export: Export,
    ) -> None:
        self._farm, self._measurement, self._space, self._show = farm, measurement, space, show
        self._tables = {path: _table(path, space) for path in tables}
        self._alike, self._export = [_table(path, space) for path in alike.tables], export
        self._shots = alike.shots

    @asynccontextmanager
    async def of(self, device: str, table: Path | None) -> AsyncIterator[LatencySource]:
        """Give a table's source, or that of the device of a name; this machine's for none. FarmError as `bench`."""
        if table is not None:
            yield TableSource(self._tables[table], self._space)
            return
        self._show.phase = f"waiting for {device or 'this machine'}"
        here = self._farm.model_copy(update={"local_agent": not device})
        async with bench(here, self._measurement, device or LOCAL_DEVICE) as place:
            source = BenchSource(place)
            if self._alike:
                yield FewShotSource(source, self._alike, self._space, self._export, self._shots)
            else:
                yield source


@dataclass(frozen=True)
class BenchSource:
    """Latencies by a device."""

    place: Bench

    @property
    def device_class(self) -> str:
        """Class of the device."""
        return self.place.device.device_class

    async def measure(
        self, nets: Sequence[tuple[Architecture, bytes]], final: bool = False
    ) -> list[Measurement]:
        """Measure the int8 files, in turns."""
        if not nets:
            return []
        fidelity = Fidelity.FULL if final else Fidelity.SCREEN
        return await self.place.measure([model for _, model in nets], fidelity)


@dataclass(frozen=True)
class TableSource:
    """Latencies by a table of parts."""

    table: LatencyTable
    space: Space

    @property
    def device_class(self) -> str:
        """Class that the table is of."""
        return self.table.head.device_class

    async def measure(
        self, nets: Sequence[tuple[Architecture, bytes]], final: bool = False
    ) -> list[Measurement]:
        """Add parts up; the error is the table's, on the nets that it was held against."""
        quality = self.table.quality()
        error = quality.median_error if quality is not None else 0.1
        return [self._measurement(architecture, error) for architecture, _ in nets]

    def _measurement(self, architecture: Architecture, error: float) -> Measurement:
        keys = [part.key for part in self.space.parts(architecture)]
        head = self.table.head
        refused = self.table.fault(keys)
        if refused is not None:
            return Measurement(
                self.table.path.name, self.device_class, "", head.protocol_hash, TABLE_RUNTIME,
                Verdict(refused.verdict), message=f"the device cannot run {refused.key}",
            )  # fmt: skip
        ms = self.table.latency_ms(keys)
        low, high = ms * (1 - error), ms * (1 + error)
        latency = Latency(ms, low, high, low, high, high, ms * error, 0.0, ms, 0)
        return Measurement(
            self.table.path.name,
            self.device_class,
            "",
            head.protocol_hash,
            TABLE_RUNTIME,
            Verdict.TRUSTED,
            latency=latency,
        )


def _table(path: Path, space: Space) -> LatencyTable:
    table = LatencyTable.read(path)
    if table.head.space != space.name:
        raise OptionsError(f"{path} is of the space {table.head.space}, the supernet of {space.name}")
    return table
