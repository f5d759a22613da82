"""Accuracy by a device's own arithmetic, for candidates and for winners."""

import asyncio
from dataclasses import replace

from hilnas.estimators.train import binomial_se
from hilnas.measuring.accuracy import agreement, outputs_on_device
from hilnas.measuring.measurer import Measurer
from hilnas.search.setup import Setup
from hilnas.store import ModelFiles
from hilnas.trial import Agreement, Estimate


class DeviceAccuracy:
    """Ships validation examples to devices, once for each input size, and compares what comes back."""

    def __init__(self, setup: Setup, measurer: Measurer, models: ModelFiles, examples: ModelFiles) -> None:
        self._setup, self._measurer = setup, measurer
        self._models, self._examples = models, examples
        self._options = setup.recipe.measurement.accuracy

    async def check(self, model_sha256: str, device_class: str) -> Agreement:
        """Return how a class of device agrees with the host on a stored int8 model.

        ValueError when the device gave no outputs.
        """
        from hilnas.export import Int8Model
        from hilnas.tasks.training import prepare

        task = self._setup.task
        model = Int8Model(self._models.get(model_sha256))
        split = task.split("validation").subset(self._options.examples, self._setup.seed)
        batch = prepare(task, split, (model.input_shape[1], model.input_shape[2]))
        levels = model.quantize(batch.inputs.numpy())
        farm, options = self._measurer.farm, self._measurer.options
        asked = outputs_on_device(
            farm, options, model_sha256, levels, model.classes, self._examples, device_class
        )
        outputs, ours = await asyncio.gather(asked, asyncio.to_thread(model.run, levels))
        return agreement(outputs, ours, batch.labels.numpy())

    async def correct(self, estimate: Estimate) -> Estimate:
        """Return an estimate with the accuracy that its model has on the first class of device.

        As it is when there is no model, no device or another wish in the recipe.
        """
        classes = self._setup.device_classes
        if self._options.where != "device" or estimate.model_sha256 is None or not classes:
            return estimate
        found = await self.check(estimate.model_sha256, classes[0])
        assert found.device_accuracy is not None and found.host_accuracy is not None
        details = {
            "host_accuracy": estimate.accuracy,
            "agreement": found.same_class,
            "identical": found.identical,
            "device_examples": float(found.examples),
        }
        return replace(
            estimate,
            accuracy=found.device_accuracy,
            accuracy_se=binomial_se(found.device_accuracy, found.examples),
            details={**estimate.details, **details},
        )
