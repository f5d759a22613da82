"""`supernet`: one weight-sharing net is trained for all candidates; a candidate takes its piece of it.

A candidate's accuracy is that of the int8 file of its own net: weights taken out, batch-norm statistics
recalibrated (Cai et al. 2020; Yu et al. 2020), exported, evaluated on the validation split. Seconds, not minutes.
"""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from hilnas.estimators.base import EstimateResult
from hilnas.estimators.train import CALIBRATION_EXAMPLES, binomial_se, int8_accuracy, to_int8
from hilnas.executors.resumable import go_on
from hilnas.options import Options as AnyOptions
from hilnas.spaces import Space
from hilnas.supernet.file import SupernetError, SupernetFile
from hilnas.supernet.options import SupernetTraining
from hilnas.tasks import Task
from hilnas.tasks.training import Batch, prepare, recalibrate
from hilnas.trial import Architecture, Estimate

if TYPE_CHECKING:
    from torch import nn

    from hilnas.supernet.shared import SharedWeights


class SupernetOptions(SupernetTraining):
    """Settings of `supernet`: how it is trained, and how candidates are taken out of it."""

    file: Path | None = None
    """A trained supernet of this space, to ask instead of training one."""
    recalibration: int = Field(512, ge=0)
    """Training examples that set a candidate's batch-norm statistics; 0 leaves those of the supernet."""
    examples: int | None = Field(2048, ge=32)
    """Validation examples that candidates are judged by, the same for all; all that there are when None (in a recipe: a
    number as large as the split)."""


class Supernet:
    """Asks a supernet, which `prepare` trains."""

    Options: ClassVar[type[AnyOptions]] = SupernetOptions

    def __init__(self, options: SupernetOptions, content: bytes = b"") -> None:
        self.options = options
        self.content = content

    def check(self, space: Space, origin: Mapping[str, Any]) -> None:
        """See that the file, where one is named, can be asked. SupernetError otherwise."""
        if self.options.file is not None:
            _read(self.options.file, space, origin)

    def prepare(self, space: Space, task: Task, seed: int, threads: int, origin: Mapping[str, Any]) -> bytes:
        """Train the supernet, from where a checkpoint left off, or read it; return its file.

        SupernetError for a file that is none, or of another space.
        """
        if self.options.file is not None:
            return _read(self.options.file, space, origin)
        import torch

        from hilnas.supernet.training import Training

        torch.set_num_threads(threads)
        training = Training(space, task, self.options, seed)
        go_on(training)
        return SupernetFile.of(training.weights, origin, training.facts()).to_bytes()

    def prepared(self, content: bytes) -> "Supernet":
        """Return the estimator that asks the supernet in a file."""
        return Supernet(self.options, content)

    def estimate(self, architecture: Architecture, space: Space, task: Task, seed: int) -> EstimateResult:
        """Take the candidate out, recalibrate, export, evaluate the int8 file; the float net would cost as much again."""
        size = space.input_shape(architecture)[1:]
        module = self.net(architecture, space, task, seed)
        calibration = prepare(task, task.split("train").subset(CALIBRATION_EXAMPLES, seed), size)
        held = task.split("validation")
        judged = held if self.options.examples is None else held.subset(self.options.examples, seed)
        validation = prepare(task, judged, size)
        model = to_int8(module, calibration, task)
        accuracy = int8_accuracy(model, validation)
        count = len(validation.labels)
        return EstimateResult(
            Estimate(
                estimator="supernet",
                accuracy=accuracy,
                accuracy_se=binomial_se(accuracy, count),
                model_sha256=None,
                details={"recalibration": float(self.options.recalibration), "examples": float(count)},
            ),
            model,
        )

    def net(self, architecture: Architecture, space: Space, task: Task, seed: int) -> "nn.Module":
        """Return a candidate's module with the supernet's weights and statistics of its own."""
        module = weights_of(self.content, space).extract(architecture)
        count = self.options.recalibration
        if count:
            split = task.split("train").subset(count, seed)
            data: Batch = prepare(task, split, space.input_shape(architecture)[1:])
            recalibrate(module, data, seed, count)
        return module


FINE_TUNING_RATE = 0.25
"""Peak learning rate of fine-tuning, as a share of the supernet's own."""


def fine_tuned(
    content: bytes, architecture: Architecture, space: Space, task: Task, seed: int, epochs: int
) -> bytes:
    """Return the int8 file of a supernet's net that was trained on by itself for some epochs."""
    from hilnas.tasks.training import TrainingOptions, train

    facts = SupernetFile.from_bytes(content, "the supernet").training
    here = {"device", "precision"}  # where it was trained says nothing of this machine
    known = {name: facts[name] for name in TrainingOptions.model_fields.keys() - here if name in facts}
    rate = float(known.get("learning_rate", 4e-3)) * FINE_TUNING_RATE
    options = TrainingOptions(**{**known, "epochs": epochs, "learning_rate": rate})
    module = Supernet(SupernetOptions(), content).net(architecture, space, task, seed)
    size = space.input_shape(architecture)[1:]
    examples = task.split("train")
    data = prepare(task, examples, size)
    train(module, task, data, options, seed)
    recalibrate(module, data, seed)
    return to_int8(module, prepare(task, examples.subset(CALIBRATION_EXAMPLES, seed), size), task)


def weights_of(content: bytes, space: Space) -> "SharedWeights":
    """Return the shared weights in a supernet's file, read once a process. SupernetError as `SupernetFile`."""
    return _weights(_Named(content, sha256(content).hexdigest(), space))


class _Named:
    """A file and its space, told apart by the file's digest: it has been checked to be of the space."""

    def __init__(self, content: bytes, digest: str, space: Space) -> None:
        self.content, self.digest, self.space = content, digest, space

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Named) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@lru_cache(maxsize=2)
def _weights(named: _Named) -> "SharedWeights":
    from hilnas.supernet.shared import SharedWeights

    file = SupernetFile.from_bytes(named.content, "the supernet")
    file.check(named.space, "the supernet")
    return SharedWeights(named.space, file.weights)


def _read(path: Path, space: Space, origin: Mapping[str, Any]) -> bytes:
    try:
        content = path.expanduser().read_bytes()
    except OSError as error:
        raise SupernetError(
            f"the supernet {path} cannot be read ({error.strerror}): set estimator.file, or leave it out"
        ) from error
    file = SupernetFile.from_bytes(content, str(path))
    file.check(space, str(path))
    file.check_origin(origin, str(path))
    return content
