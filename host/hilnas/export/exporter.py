"""torch to full-int8 .tflite: trace, fold, calibrate, quantize, write."""

from __future__ import annotations

import math

import torch
from torch import nn

from hilnas.export.bias import correct_biases
from hilnas.export.calibrate import ranges
from hilnas.export.emitter import emit
from hilnas.export.errors import ExportError
from hilnas.export.lower import lower
from hilnas.export.options import QuantizationOptions
from hilnas.export.quantize import QuantizedGraph, quantization, share


def export_int8(
    module: nn.Module,
    calibration: torch.Tensor,
    *,
    input_range: tuple[float, float] | None = None,
    description: str = "",
    options: QuantizationOptions | None = None,
) -> bytes:
    """The full-int8 .tflite file of a convolutional network in evaluation mode, batch 1.

    `calibration`: float32 [N, C, H, W] or [N, F], in the module's own input units. `input_range`: the
    real range (low, high) of the input tensor in place of the calibrated one; zero is always inside it.
    `options`: how ranges are set after training; left out, those of QuantizationOptions().
    Weights int8 symmetric per channel, activations int8 asymmetric per tensor, biases int32 (Jacob et
    al. 2018, arXiv:1712.05877); input and output int8, the image NHWC. The module is not changed, and
    the same module and calibration give the same bytes. Not to be called on a module that another
    thread trains at the same time.

    Raises UnsupportedModuleError for a module, function or control flow without an int8 form here and
    ExportError for everything else, NaN in weights or activations included.
    """
    quantized = quantized_graph(module, calibration, input_range, options)
    return emit(quantized.graph, quantized.params, description)


def quantized_graph(
    module: nn.Module,
    calibration: torch.Tensor,
    input_range: tuple[float, float] | None = None,
    options: QuantizationOptions | None = None,
) -> QuantizedGraph:
    """What `export_int8` writes, before it is written. Arguments and errors are those of `export_int8`."""
    _check_calibration(calibration)
    options = options or QuantizationOptions()
    calibration = calibration.detach().to("cpu")
    graph = lower(module, (1, *calibration.shape[1:]))
    graph.input.fixed = _input_range(input_range)
    graph, groups = share(graph)
    quantized = QuantizedGraph(
        graph, groups, quantization(graph, groups, ranges(graph, calibration, options))
    )
    if options.bias_correction:
        correct_biases(quantized, calibration)
    return quantized


def _check_calibration(calibration: torch.Tensor) -> None:
    shape = tuple(calibration.shape)
    if len(shape) not in (2, 4) or 0 in shape:
        raise ExportError(f"calibration must be [N, C, H, W] or [N, F] and not empty, got {list(shape)}")
    if calibration.dtype is not torch.float32:
        raise ExportError(f"calibration must be float32, got {calibration.dtype}")


def _input_range(given: tuple[float, float] | None) -> tuple[float, float] | None:
    if given is None:
        return None
    low, high = (float(bound) for bound in given)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ExportError(f"input_range must be finite and rising, got ({low}, {high})")
    return (min(low, 0.0), max(high, 0.0))
