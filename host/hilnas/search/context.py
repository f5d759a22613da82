"""What every step of a search works with, and the two things that every step does: record and measure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hilnas.executors import Executor
from hilnas.farm import Fidelity
from hilnas.measuring import Measurer
from hilnas.search.history import History
from hilnas.search.on_device import DeviceAccuracy
from hilnas.search.preparation import Preparation
from hilnas.search.setup import Setup
from hilnas.store import EventKind, ModelFiles, Record
from hilnas.trial import FIGURE_VERDICTS, MODEL_FAULTS, EnergyVerdict, Measurement


@dataclass(frozen=True)
class SearchContext:
    """One search's parts, record and means."""

    setup: Setup
    search_id: str
    record: Record
    history: History
    """Fed every event of the record as it is appended."""
    models: ModelFiles
    weights: ModelFiles
    measurer: Measurer
    executor: Executor
    accuracy: DeviceAccuracy
    preparation: Preparation

    def append(
        self, kind: EventKind, trial: int = -1, key: str = "", payload: Mapping[str, Any] | None = None
    ) -> None:
        """Append an event of this search to the record."""
        self.record.append(self.search_id, kind, trial, key, payload)

    async def measure_once(
        self,
        trial: int,
        model_sha256: str,
        device_class: str,
        kind: EventKind,
        key: str | None = None,
        anew: bool = False,
    ) -> Measurement:
        """Return what a device class says of a stored model, as an event of `kind`.

        It is asked once: the record knows the rest, unless it is to be asked `anew`. What is in doubt, and
        what ships, is measured in full.

        A fault of the device is returned and not recorded, nor is one of its meter: it says nothing of the
        model. Nor is a failure
        of a winner, whose architecture has been measured before: that must be mended, and then tried again.
        """
        options, final = self.measurer.options, kind is EventKind.WINNER_MEASURED
        fidelity = Fidelity.FULL if anew or final else options.fidelity
        energy = self.setup.wants_energy(device_class, final)
        known = None
        if not anew:
            known = self.record.find_measurement(
                model_sha256, device_class, options.protocol(fidelity, energy).hash, options.runtime_asked
            )
        measurement = known or await self.measurer.measure(
            model_sha256, device_class, fidelity, energy=energy
        )
        if measurement.verdict in FIGURE_VERDICTS and self.meter_problem(measurement):
            return measurement
        if measurement.verdict in FIGURE_VERDICTS or (measurement.verdict in MODEL_FAULTS and not final):
            self.record.append_measurement(
                self.search_id, trial, measurement, options.runtime_asked, kind, key
            )
        return measurement

    def meter_problem(self, measurement: Measurement) -> str:
        """Say why the energy of a measurement is no figure for this search's objective; empty when it is one."""
        energy, name = measurement.energy, measurement.device_class
        if not self.setup.has_energy_objective(name):
            return ""
        if energy.verdict is EnergyVerdict.UNAVAILABLE:
            return energy.message
        if energy.boundary != self.setup.boundaries.get(name):
            return (
                f"its meter {energy.meter} sees {energy.boundary or 'an unknown boundary'}, those of the other "
                f"devices {self.setup.boundaries.get(name)}, and such figures don't compare: see measurement.energy.meter"
            )
        return ""
