"""Bias correction: what rounding adds to a channel on average is taken off its bias.

Nagel et al. 2019, "Data-Free Quantization" (arXiv:1906.04721), section 4.2: rounded weights shift the
expectation of an output by E[ỹ] - E[y], and a bias can take that back. Here as in their appendix D, from
calibration data: operator after operator, each fed by what the corrected ones before it give, so that the
error of activations upstream is made up for as well.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from hilnas.export.ops_matmul import Conv, Linear, rounded
from hilnas.export.quantize import QuantizedGraph

_IMAGES = 64  # all of them are in memory at once, of every value that is still read


def correct_biases(quantized: QuantizedGraph, calibration: Tensor) -> None:
    """Correct the biases of all convolutions and linear layers, in place, on at most 64 images [N, …]."""
    graph, params = quantized.graph, quantized.params
    readers = Counter(value for op in graph.ops for value in op.inputs)
    images = calibration[:_IMAGES]
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    # Of each value that is still read: in float, and as the file computes it.
    values = {graph.input: (images, quantized.stored(graph.input, images))}
    with torch.no_grad():
        for op in graph.ops:
            exact, simulated = map(list, zip(*(values[value] for value in op.inputs), strict=True))
            scales = params[op.inputs[0]].scale, params[op.output].scale
            result = op.evaluate(*exact)
            if isinstance(op, Conv | Linear) and op.learned:
                parameters = op.parameters()
                wanted = op.compute(exact[0], *parameters)
                given = op.compute(simulated[0], *rounded(*parameters, *scales))
                error = (given - wanted).double().mean([axis for axis in range(given.ndim) if axis != 1])
                op.bias = op.bias - error.numpy()
            computed = op.simulate(simulated, *scales)
            if not op.shares_quantization:
                computed = quantized.stored(op.output, computed)
            values[op.output] = result, computed
            for value in op.inputs:
                readers[value] -= 1
                if readers[value] == 0:
                    del values[value]
