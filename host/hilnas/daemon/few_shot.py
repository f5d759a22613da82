"""Latencies of nets on a device that is new: a few measured there, the others told from other devices' tables."""

from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hilnas.farm import FarmError
from hilnas.predictors.encodings import Encoder, one_hot
from hilnas.predictors.transfer import FewShotTransfer
from hilnas.search.specialise import LatencySource
from hilnas.spaces import Space
from hilnas.store.latency_table import LatencyTable
from hilnas.trial import FIGURE_VERDICTS, Architecture, Latency, Measurement, Verdict

FEW_SHOT_RUNTIME = "few-shot"
"""Stands for the runtime where figures are told from other devices' ones."""
SHOTS = 10
"""Nets that are measured on the new device."""
POOL = 300
"""Nets drawn from the space, of which the most telling ones are measured."""
_LEAST_SHOTS = 3
_INTERVAL_SDS = 1.96

Export = Callable[[Architecture], Awaitable[bytes]]


class FewShotSource:
    """Latencies by a device that measures a few telling nets, and those that are asked for in full.

    What the other nets take is told by the tables of known devices (`FewShotTransfer`).
    """

    def __init__(
        self,
        device: LatencySource,
        tables: Sequence[LatencyTable],
        space: Space,
        export: Export,
        shots: int = SHOTS,
        seed: int = 0,
    ) -> None:
        self._device, self._tables, self._space, self._export = device, tables, space, export
        self._encoder = Encoder(space)
        self._shots, self._seed = shots, seed
        self._transfer: FewShotTransfer | None = None
        self.measured = 0
        """Nets that gave a figure on the device."""
        self.median_error = float("nan")
        """Median of |told - measured| / measured over those, each left out of what it is told from."""

    @property
    def device_class(self) -> str:
        """Class of the device."""
        return self._device.device_class

    async def measure(
        self, nets: Sequence[tuple[Architecture, bytes]], final: bool = False
    ) -> list[Measurement]:
        """Tell what nets take; `final` ones are measured. FarmError where the device measured too few to tell from."""
        if final or not nets:
            return await self._device.measure(nets, final)
        transfer = self._transfer or await self._learn()
        median, sd = transfer.predict(self._inputs([architecture for architecture, _ in nets]))
        return [self._told(*figures) for figures in zip(median.tolist(), sd.tolist(), strict=True)]

    async def _learn(self) -> FewShotTransfer:
        """Measure the most telling nets of a sample, and learn from them."""
        generator = np.random.default_rng(self._seed)
        drawn = list(dict.fromkeys(self._space.sample(generator) for _ in range(POOL)))
        inputs = self._inputs(drawn)
        transfer = FewShotTransfer(inputs, len(self._tables), self._seed)
        chosen = transfer.choose(min(self._shots, len(drawn)))
        files = [(drawn[place], await self._export(drawn[place])) for place in chosen]
        found = await self._device.measure(files)
        told = [
            (place, m.latency)
            for place, m in zip(chosen, found, strict=True)
            if m.verdict in FIGURE_VERDICTS and m.latency is not None
        ]
        if len(told) < min(_LEAST_SHOTS, len(chosen)):
            last = next(
                (f"{m.verdict}: {m.message}" for m in reversed(found) if m.latency is None), "no latency"
            )
            raise FarmError(
                f"{len(told)} of {len(chosen)} nets gave a latency to tell others from, the last: {last}"
            )
        rows = inputs[[place for place, _ in told]]
        medians = np.array([latency.median_ms for _, latency in told])
        variances = np.array(
            [((latency.high_ms - latency.low_ms) / 2 / _INTERVAL_SDS) ** 2 for _, latency in told]
        )
        self.measured = len(told)
        self.median_error = _left_out(transfer, rows, medians, variances)
        transfer.fit(rows, medians, variances)
        self._transfer = transfer
        return transfer

    def _inputs(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        """Return sums of parts by the tables, ms, and encodings, as one row each [N, D + K]."""
        parts = [[part.key for part in self._space.parts(each)] for each in architectures]
        known = [[table.sum_ms(keys) for table in self._tables] for keys in parts]
        rows = self._encoder.encode(architectures)
        return np.hstack([np.array(known), one_hot(rows, self._encoder.sizes)])

    def _told(self, median: float, sd: float) -> Measurement:
        low, high = max(0.0, median - _INTERVAL_SDS * sd), median + _INTERVAL_SDS * sd
        return Measurement(
            FEW_SHOT_RUNTIME,
            self.device_class,
            "",
            "",
            FEW_SHOT_RUNTIME,
            Verdict.TRUSTED,
            latency=Latency(median, low, high, low, high, high, sd, 0.0, median, 0),
        )


def _left_out(
    transfer: FewShotTransfer,
    rows: NDArray[np.float64],
    medians: NDArray[np.float64],
    variances: NDArray[np.float64],
) -> float:
    """Return the median relative error of telling each row from the others."""
    errors = []
    for place in range(len(rows)):
        others = np.arange(len(rows)) != place
        if others.sum() < _LEAST_SHOTS - 1:
            return float("nan")
        transfer.fit(rows[others], medians[others], variances[others])
        errors.append(abs(transfer.predict(rows[[place]])[0][0] - medians[place]) / medians[place])
    return float(np.median(errors))
