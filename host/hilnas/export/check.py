"""Is a .tflite file full int8, and how much does it compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hilnas.export.errors import ExportError
from hilnas.export.reader import ModelRecord, OperatorRecord, TensorRecord, read_model

# Multiply-accumulates of the operators that have any, from (operands, result).
_MACS: dict[str, Callable[[list[TensorRecord], TensorRecord], int]] = {
    "CONV_2D": lambda operands, result: result.size * operands[1].size // operands[1].shape[0],
    "DEPTHWISE_CONV_2D": lambda operands, result: result.size * operands[1].size // operands[1].shape[3],
    "FULLY_CONNECTED": lambda operands, result: result.size * operands[1].shape[1],
    # [.., M, K] by [.., K, N]: K is what of the left operand is not the result's rows.
    "BATCH_MATMUL": lambda operands, result: operands[0].size * result.shape[-1],
}
_WITHOUT_MACS = frozenset(
    {
        *("ADD", "SUB", "MUL", "MEAN", "SUM", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "RSQRT"),
        *("QUANTIZE", "LOGISTIC", "TANH", "SOFTMAX", "RELU", "RELU6", "LEAKY_RELU", "PRELU"),
        *("HARD_SWISH", "GELU", "AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION", "PAD", "PADV2"),
        *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "SPLIT", "GATHER", "PACK"),
        *("UNPACK", "TRANSPOSE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
    }
)
_ALLOWED_TYPES = frozenset({"int8", "int32", "int64"})


@dataclass(frozen=True)
class Int8Facts:
    """What a model file is made of.

    `macs`: multiply-accumulates of one inference in convolutions, fully connected layers and matrix
    products (average pooling counts where it was written as a convolution). `parameters`: numbers in
    quantized constants: weights, biases and operands. `ops`: operator names in order of execution. The
    input is quantized as round(value / input_scale) + input_zero_point.
    """

    bytes: int
    macs: int
    parameters: int
    ops: tuple[str, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input_scale: float
    input_zero_point: int


def check_int8(model: bytes) -> Int8Facts:
    """The facts of a full-int8 model.

    Raises ExportError if the file is torn, if its input or output is not int8, or if it has a float
    tensor or an unknown operator.
    """
    record = read_model(model)
    if len(record.inputs) != 1 or len(record.outputs) != 1:
        raise ExportError(
            f"{len(record.inputs)} inputs and {len(record.outputs)} outputs; one of each is needed"
        )
    source, result = record.tensors[record.inputs[0]], record.tensors[record.outputs[0]]
    for end, tensor in (("input", source), ("output", result)):
        if tensor.type != "int8" or len(tensor.scales) != 1 or len(tensor.zero_points) != 1:
            raise ExportError(f"the {end} '{tensor.name}' is {tensor.type}, not quantized int8")
    for tensor in record.tensors:
        if tensor.type not in _ALLOWED_TYPES:
            raise ExportError(f"tensor '{tensor.name}' is {tensor.type}: the model is not full int8")
    return Int8Facts(
        bytes=len(model),
        macs=sum(_macs(operator, record) for operator in record.operators),
        parameters=sum(tensor.size for tensor in record.tensors if tensor.constant and tensor.scales),
        ops=tuple(operator.name for operator in record.operators),
        input_shape=source.shape,
        output_shape=result.shape,
        input_scale=source.scales[0],
        input_zero_point=source.zero_points[0],
    )


def _macs(operator: OperatorRecord, record: ModelRecord) -> int:
    if operator.name in _WITHOUT_MACS:
        return 0
    if operator.name not in _MACS:
        raise ExportError(f"unknown operator {operator.name}")
    operands = [record.tensors[index] for index in operator.inputs if index >= 0]
    try:
        return _MACS[operator.name](operands, record.tensors[operator.outputs[0]])
    except (IndexError, ZeroDivisionError) as error:
        raise ExportError(f"{operator.name} has operands of impossible shapes") from error
