"""The flatbuffer: tensors, operators and buffers of one TFLite model, written straight from NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

# The lowest version of each operator that takes int8, and the table that holds its options.
_OPERATORS: dict[str, tuple[int, str | None]] = {
    "ADD": (2, "AddOptions"),
    "CONCATENATION": (2, "ConcatenationOptions"),
    "CONV_2D": (3, "Conv2DOptions"),
    "DEPTHWISE_CONV_2D": (3, "DepthwiseConv2DOptions"),
    "FULLY_CONNECTED": (4, "FullyConnectedOptions"),
    "LOGISTIC": (2, None),
    "MAX_POOL_2D": (2, "Pool2DOptions"),
    "MEAN": (2, "ReducerOptions"),
    "MUL": (2, "MulOptions"),
    "PAD": (2, "PadOptions"),
    "PADV2": (2, "PadV2Options"),
    "QUANTIZE": (2, "QuantizeOptions"),
    "RESHAPE": (1, "ReshapeOptions"),
    "STRIDED_SLICE": (2, "StridedSliceOptions"),
    "TRANSPOSE": (2, "TransposeOptions"),
}
_TYPES = {np.dtype(np.int8): schema.TensorType.INT8, np.dtype(np.int32): schema.TensorType.INT32}
_ALIGNMENT = 16  # the schema's force_align of a buffer: kernels load bias vectors straight from the file


@dataclass(frozen=True)
class Quantization:
    """real = scale · (stored − zero point), one pair a tensor or one a slice along `axis`."""

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    axis: int = 0


@dataclass(frozen=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    type: int
    buffer: int
    quantization: Quantization | None


@dataclass(frozen=True)
class _Operator:
    code: int
    inputs: Sequence[int]
    outputs: Sequence[int]
    options_type: int
    options: Any


class ModelWriter:
    """Collects tensors and operators in the order of execution, then packs them into one .tflite file."""

    def __init__(self, description: str = "") -> None:
        self._description = description
        self._buffers: list[bytes] = [b""]  # buffer 0 is empty by convention: activations point at it
        self._tensors: list[_Tensor] = []
        self._operators: list[_Operator] = []
        self._codes: dict[str, int] = {}

    def activation(self, name: str, shape: Sequence[int], quantization: Quantization) -> int:
        """Add an int8 tensor that is computed at run time; returns its index."""
        return self._add(_Tensor(name, tuple(shape), schema.TensorType.INT8, 0, quantization))

    def constant(self, name: str, data: npt.NDArray[Any], quantization: Quantization | None = None) -> int:
        """Add an int8 or int32 tensor with its content; returns its index."""
        self._buffers.append(data.tobytes())
        return self._add(_Tensor(name, data.shape, _TYPES[data.dtype], len(self._buffers) - 1, quantization))

    def operator(self, name: str, inputs: Sequence[int], outputs: Sequence[int], **options: Any) -> None:
        """Add the operator `name` ("CONV_2D"), its options by their names in the schema ("strideH")."""
        kind = _OPERATORS[name][1]
        table = None
        if kind is not None:
            table = getattr(schema, f"{kind}T")()
            for option, setting in options.items():
                setattr(table, option, setting)
        code = self._codes.setdefault(name, len(self._codes))
        options_type = getattr(schema.BuiltinOptions, kind) if kind else schema.BuiltinOptions.NONE
        self._operators.append(_Operator(code, inputs, outputs, options_type, table))

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The packed file. The same calls give the same bytes."""
        size = sum(len(b) + _ALIGNMENT for b in self._buffers) + 512 * (len(self._tensors) + 8)
        fb = flatbuffers.Builder(size)
        buffers = _table_vector(fb, [_buffer(fb, data) for data in self._buffers])
        operators = _table_vector(fb, [_operator(fb, operator) for operator in self._operators])
        tensors = _table_vector(fb, [_tensor(fb, tensor) for tensor in self._tensors])
        name = fb.CreateString("main")
        input_vector, output_vector = _ints(fb, inputs), _ints(fb, outputs)
        schema.SubGraphStart(fb)
        schema.SubGraphAddTensors(fb, tensors)
        schema.SubGraphAddInputs(fb, input_vector)
        schema.SubGraphAddOutputs(fb, output_vector)
        schema.SubGraphAddOperators(fb, operators)
        schema.SubGraphAddName(fb, name)
        subgraphs = _table_vector(fb, [schema.SubGraphEnd(fb)])
        codes = _table_vector(fb, [_operator_code(fb, name) for name in self._codes])
        description = fb.CreateString(self._description)
        schema.ModelStart(fb)
        schema.ModelAddVersion(fb, 3)
        schema.ModelAddOperatorCodes(fb, codes)
        schema.ModelAddSubgraphs(fb, subgraphs)
        schema.ModelAddDescription(fb, description)
        schema.ModelAddBuffers(fb, buffers)
        fb.Finish(schema.ModelEnd(fb), file_identifier=b"TFL3")
        return bytes(fb.Output())

    def _add(self, tensor: _Tensor) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def _ints(fb: Any, values: Sequence[int]) -> int:
    return int(fb.CreateNumpyVector(np.asarray(values, np.int32)))


def _table_vector(fb: Any, offsets: list[int]) -> int:
    fb.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        fb.PrependUOffsetTRelative(offset)
    return int(fb.EndVector())


def _buffer(fb: Any, data: bytes) -> int:
    vector = 0
    if data:
        # CreateByteVector aligns to one byte only, so the vector is placed by hand.
        fb.StartVector(1, len(data), _ALIGNMENT)
        fb.head = fb.head - len(data)
        fb.Bytes[fb.head : fb.head + len(data)] = data
        vector = fb.EndVector()
    schema.BufferStart(fb)
    if data:
        schema.BufferAddData(fb, vector)
    return int(schema.BufferEnd(fb))


def _tensor(fb: Any, tensor: _Tensor) -> int:
    quantization = 0
    if tensor.quantization is not None:
        scale = fb.CreateNumpyVector(tensor.quantization.scale)
        zero_point = fb.CreateNumpyVector(tensor.quantization.zero_point)
        schema.QuantizationParametersStart(fb)
        schema.QuantizationParametersAddScale(fb, scale)
        schema.QuantizationParametersAddZeroPoint(fb, zero_point)
        schema.QuantizationParametersAddQuantizedDimension(fb, tensor.quantization.axis)
        quantization = schema.QuantizationParametersEnd(fb)
    name = fb.CreateString(tensor.name)
    shape = _ints(fb, tensor.shape)
    schema.TensorStart(fb)
    schema.TensorAddShape(fb, shape)
    schema.TensorAddType(fb, tensor.type)
    schema.TensorAddBuffer(fb, tensor.buffer)
    schema.TensorAddName(fb, name)
    if quantization:
        schema.TensorAddQuantization(fb, quantization)
    schema.TensorAddHasRank(fb, True)
    return int(schema.TensorEnd(fb))


def _operator(fb: Any, operator: _Operator) -> int:
    inputs, outputs = _ints(fb, operator.inputs), _ints(fb, operator.outputs)
    options = operator.options.Pack(fb) if operator.options is not None else 0
    schema.OperatorStart(fb)
    schema.OperatorAddOpcodeIndex(fb, operator.code)
    schema.OperatorAddInputs(fb, inputs)
    schema.OperatorAddOutputs(fb, outputs)
    if options:
        schema.OperatorAddBuiltinOptionsType(fb, operator.options_type)
        schema.OperatorAddBuiltinOptions(fb, options)
    return int(schema.OperatorEnd(fb))


def _operator_code(fb: Any, name: str) -> int:
    code = getattr(schema.BuiltinOperator, name)
    schema.OperatorCodeStart(fb)
    schema.OperatorCodeAddDeprecatedBuiltinCode(fb, min(code, 127))
    schema.OperatorCodeAddBuiltinCode(fb, code)
    schema.OperatorCodeAddVersion(fb, _OPERATORS[name][0])
    return int(schema.OperatorCodeEnd(fb))
