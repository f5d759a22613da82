"""An int8 model on the host: inference in the module's own units, and agreement with the float module."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hilnas.export.errors import ExportError
from hilnas.export.reader import read_model

if TYPE_CHECKING:
    import torch
    from torch import nn

_RUNTIMES = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}


class Int8Model:
    """A full-int8 .tflite model, loaded from bytes or a path.

    `runtime`: "ai-edge-litert" or "tflite-runtime". Raises ExportError for a torn file, a model whose
    input or output is not int8, and a runtime that is unknown or missing.
    """

    def __init__(self, model: bytes | Path, *, runtime: str = "ai-edge-litert", threads: int = 1) -> None:
        # The runtimes end the process on a torn file given as bytes, so it is read by us first.
        self._model = model.read_bytes() if isinstance(model, Path) else bytes(model)
        read_model(self._model)
        try:
            self._interpreter = _interpreter_class(runtime)(model_content=self._model, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"{runtime} cannot load the model: {error}") from error
        sources, results = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(sources) != 1 or len(results) != 1:
            raise ExportError(
                f"the model has {len(sources)} inputs and {len(results)} outputs, not one of each"
            )
        (source,), (result,) = sources, results
        for end in (source, result):
            if end["dtype"] is not np.int8:
                raise ExportError(
                    f"'{end['name']}' is {end['dtype'].__name__}, not int8; export with int8 ends"
                )
        self._input, self._output = source["index"], result["index"]
        self._input_scale, self._input_zero = source["quantization"]
        self._output_scale, self._output_zero = result["quantization"]
        self.input_shape: tuple[int, ...] = tuple(int(size) for size in source["shape"])
        self.classes = int(np.prod(result["shape"]))
        names = [op["op_name"] for op in self._interpreter._get_ops_details()]
        self.delegate_partitions = names.count("DELEGATE")

    @property
    def delegated(self) -> bool:
        """Whether XNNPACK runs at least a part of the model."""
        return self.delegate_partitions > 0

    def predict(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Logits [N, classes] in float32 of `images` [N, C, H, W] (or [N, F]) in the module's own units."""
        logits: npt.NDArray[np.float32] = self.run(self.quantize(images)).astype(np.float32)
        logits -= np.float32(self._output_zero)
        logits *= np.float32(self._output_scale)
        return logits

    def quantize(self, images: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
        """`images` [N, C, H, W] (or [N, F]) in the module's own units as the model takes them: int8, NHWC."""
        images = np.asarray(images, np.float32)
        stored = images.transpose(0, 2, 3, 1) if images.ndim == 4 else images
        if stored.shape[1:] != self.input_shape[1:]:
            raise ExportError(f"images are {images.shape[1:]}, the model takes (NHWC) {self.input_shape[1:]}")
        levels = np.rint(stored / np.float32(self._input_scale)) + self._input_zero
        return np.ascontiguousarray(np.clip(levels, -128, 127).astype(np.int8))

    def run(self, levels: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """int8 outputs [N, classes] of int8 inputs [N, …], one inference each."""
        results = np.empty((len(levels), self.classes), np.int8)
        for index in range(len(levels)):
            self._interpreter.set_tensor(self._input, levels[index : index + 1])
            self._interpreter.invoke()
            results[index] = self._interpreter.get_tensor(self._output).ravel()
        return results


@dataclass(frozen=True)
class Agreement:
    """int8 against float32: share of images with the same arg-max; RMSE of logits / RMS of float logits."""

    top1: float
    relative_rmse: float


def agreement(
    module: nn.Module, model: bytes, images: torch.Tensor, runtime: str = "ai-edge-litert"
) -> Agreement:
    """How closely an int8 `model` follows its `module` (in evaluation mode) on `images` [N, C, H, W]."""
    import torch

    from hilnas.export.trace import evaluation_mode

    with evaluation_mode(module):
        exact = torch.cat([module(chunk) for chunk in torch.split(images, 64)]).flatten(1).numpy()
    logits = Int8Model(model, runtime=runtime).predict(images.numpy())
    rms = float(np.sqrt(np.mean(np.square(exact))))
    rmse = float(np.sqrt(np.mean(np.square(logits - exact))))
    same = float(np.mean(logits.argmax(axis=1) == exact.argmax(axis=1)))
    return Agreement(top1=same, relative_rmse=rmse / rms if rms > 0 else rmse)


def _interpreter_class(runtime: str) -> Any:
    if runtime not in _RUNTIMES:
        raise ExportError(f"unknown runtime '{runtime}'; use one of {', '.join(_RUNTIMES)}")
    try:
        return import_module(_RUNTIMES[runtime]).Interpreter
    except ImportError as error:
        raise ExportError(
            f"runtime '{runtime}' is not installed here ({error}): pip install {runtime}"
        ) from error
