"""What a space tells of an architecture without building it, as inputs of a predictor."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilnas.spaces import Space
from hilnas.trial import Architecture


class StaticFeatures:
    """Logarithms of `Space.features`, of zero mean and unit deviation over a reference sample of architectures."""

    def __init__(self, space: Space, reference: Sequence[Architecture]) -> None:
        if not reference:
            raise ValueError("the reference is empty: give architectures to take mean and deviation from")
        self.space = space
        self.names = tuple(space.features(reference[0]))
        """Of the columns; none where the space tells nothing."""
        logarithms = self._logarithms(reference)
        self._mean, scale = logarithms.mean(0), logarithms.std(0)
        self._scale = np.where(scale > 0, scale, 1.0)

    def encode(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        """Return [N, F]."""
        standard: NDArray[np.float64] = (self._logarithms(architectures) - self._mean) / self._scale
        return standard

    def _logarithms(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        values = np.empty((len(architectures), len(self.names)))
        for line, architecture in zip(values, architectures, strict=True):
            features = self.space.features(architecture)
            line[:] = [features[name] for name in self.names]
        if not (values > 0).all():
            low = self.names[int(np.flatnonzero(~(values > 0).all(0))[0])]
            raise ValueError(f'{self.space.name} has an architecture whose feature "{low}" is not above 0')
        logarithms: NDArray[np.float64] = np.log(values)
        return logarithms
