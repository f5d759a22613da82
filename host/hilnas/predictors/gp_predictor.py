"""The Gaussian process behind the interface of all predictors."""

import numpy as np

from hilnas.predictors.base import Floats, checked
from hilnas.predictors.encodings import Encoder, Rows
from hilnas.predictors.gp import GaussianProcess
from hilnas.predictors.posterior import Posterior


class GpPredictor:
    """Inputs are rows of choice indices [N, L] of an encoder, and beside them static features [N, F], if any."""

    def __init__(self, encoder: Encoder, features: int = 0, iterations: int = 20) -> None:
        self.process = GaussianProcess(encoder.sizes, encoder.groups, encoder.positions, features)
        self.iterations = iterations
        self.posterior: Posterior | None = None
        """What is believed since the last fit."""

    def fit(self, inputs: Floats, values: Floats, variances: Floats | None = None) -> None:
        """Find the kernel for values [N] of inputs [N, L + F] and condition on them; goes on from the last kernel."""
        points, figures, noise = checked(inputs, values, variances)
        rows, features = self._parted(points)
        self.process.fit(rows, figures, noise, features, self.iterations)
        self.posterior = self.process.condition(rows, figures, noise, features)
        self._single = len(points) == 1

    def predict(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Return means and standard deviations [M]."""
        if self.posterior is None:
            raise RuntimeError("the predictor has learned nothing: call fit first")
        mean, sd = self.posterior.predict(*self._parted(np.asarray(inputs, np.float64)))
        return mean, np.full(len(mean), np.inf) if self._single else sd

    def _parted(self, points: Floats) -> tuple[Rows, Floats | None]:
        decisions = len(self.process.layout.sizes)
        if points.shape[1] != decisions + self.process.features:
            raise ValueError(
                f"inputs have {points.shape[1]} columns: {decisions} decisions and "
                f"{self.process.features} features are needed"
            )
        rows = points[:, :decisions].astype(np.int64)
        return rows, points[:, decisions:] if self.process.features else None
