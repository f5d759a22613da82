"""Reads a .tflite file with every offset checked, since the runtimes crash on a torn one."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from hilnas.export.errors import ModelFileError
from hilnas.export.flatfile import File, Table

# TensorType of the schema → (name, bits an element); 0 bits: the size is known at run time alone.
TYPES = {
    **{0: ("float32", 32), 1: ("float16", 16), 2: ("int32", 32), 3: ("uint8", 8), 4: ("int64", 64)},
    **{5: ("string", 0), 6: ("bool", 8), 7: ("int16", 16), 8: ("complex64", 64), 9: ("int8", 8)},
    **{10: ("float64", 64), 11: ("complex128", 128), 12: ("uint64", 64), 13: ("resource", 0)},
    **{14: ("variant", 0), 15: ("uint32", 32), 16: ("uint16", 16), 17: ("int4", 4), 18: ("bfloat16", 16)},
    **{19: ("int2", 2), 20: ("uint4", 4), 21: ("float8_e4m3fn", 8), 22: ("float8_e5m2", 8)},
}
_MOST_DIMENSIONS = 32
_CUSTOM = 32
_OFFSET_IN_USE = 1
"""Buffers written for a later offset hold 1 there; a real one is larger."""

# Operators that run other graphs → (field of the operator that holds its options, fields of the options).
_CALLERS = {
    "CALL": (4, (0,)),
    "CALL_ONCE": (4, (0,)),
    "IF": (4, (0, 1)),
    "WHILE": (4, (0, 1)),
    "STABLEHLO_WHILE": (12, (0, 1)),
    "STABLEHLO_REDUCE": (12, (1,)),
    "STABLEHLO_SORT": (12, (2,)),
    "STABLEHLO_SCATTER": (12, (6,)),
    "STABLEHLO_REDUCE_WINDOW": (12, (5,)),
    "STABLEHLO_COMPOSITE": (12, (1,)),
}


@dataclass(frozen=True)
class TensorRecord:
    """One tensor; `constant`: its content is in the file. An extent of −1 is known at run time alone."""

    name: str
    shape: tuple[int, ...]
    type: str
    constant: bool
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    variable: bool = False
    dynamic: bool = False

    @property
    def size(self) -> int:
        """How many numbers it holds; an unknown extent counts as 1."""
        size = 1
        for extent in self.shape:
            size *= abs(extent)
        return size

    @property
    def bytes(self) -> int:
        """Bytes of its content; 0 for types that have no fixed size."""
        return (self.size * _BITS[self.type] + 7) // 8


@dataclass(frozen=True)
class OperatorRecord:
    """One operator by its name in the schema; tensors by index, −1 for one left out.

    `custom`: the code of a custom operator. `calls`: indices of the graphs that it runs.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    custom: str = ""
    calls: tuple[int, ...] = ()


@dataclass(frozen=True)
class ModelRecord:
    """One graph of a file."""

    tensors: tuple[TensorRecord, ...]
    operators: tuple[OperatorRecord, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_model(model: bytes) -> ModelRecord:
    """The graph of a .tflite file that has one, all shapes known. ModelFileError where it is torn."""
    graphs = read_graphs(model)
    if len(graphs) != 1:
        raise ModelFileError(f"the file has {len(graphs)} graphs; one is expected: export it again")
    for tensor in graphs[0].tensors:
        if min(tensor.shape, default=1) < 0:
            raise ModelFileError(
                f"tensor '{tensor.name}' has the shape {tensor.shape}; fix it and export again"
            )
    return graphs[0]


def read_graphs(model: bytes) -> tuple[ModelRecord, ...]:
    """All graphs of a .tflite file, the main one first. ModelFileError where it is torn or contradicts itself."""
    try:
        return _read(File(model))
    except (struct.error, IndexError, OverflowError) as error:
        raise ModelFileError(
            f"not a sound .tflite file ({len(model)} bytes): {error}; write it again"
        ) from error


def _read(file: File) -> tuple[ModelRecord, ...]:
    model = file.root()
    codes = [_operator_name(table) for table in model.tables(1)]
    buffers = [_buffer_bytes(table, len(file.data)) for table in model.tables(4)]
    for metadata in model.tables(6):
        _below(metadata.number(1, "I"), len(buffers), "buffer of the metadata")
    graphs = tuple(_graph(table, codes, buffers, len(file.data)) for table in model.tables(2))
    if not graphs:
        raise ModelFileError("the file has no graph; export the network again")
    for operator in (operator for graph in graphs for operator in graph.operators):
        for index in operator.calls:
            _below(index, len(graphs), f"graph that {operator.name} runs")
    for signature in model.tables(7):
        index = _below(signature.number(4, "I"), len(graphs), "graph of a signature")
        for entry in (*signature.tables(0), *signature.tables(1)):
            _below(entry.number(1, "I"), len(graphs[index].tensors), "tensor of a signature")
    return graphs


def _graph(table: Table, codes: list[tuple[str, str]], buffers: list[int], file_bytes: int) -> ModelRecord:
    tensors = tuple(_tensor(entry, buffers) for entry in table.tables(0))
    operators = tuple(_operator(entry, codes, len(tensors), file_bytes) for entry in table.tables(3))
    ends = [_indices(table.numbers(field, "i"), len(tensors), 0) for field in (1, 2)]
    return ModelRecord(tensors, operators, *ends)


def _buffer_bytes(table: Table, file_bytes: int) -> int:
    """Bytes of a buffer, which lies in its table or, in large files, behind all tables."""
    offset, size = table.number(1, "Q"), table.number(2, "Q")
    if offset > _OFFSET_IN_USE:
        if offset + size > file_bytes:
            raise IndexError(f"a buffer of {size} bytes at {offset} runs past the end")
        return size
    return table.length(0)


def _tensor(table: Table, buffers: list[int]) -> TensorRecord:
    name = table.text(3)
    shape = _extents(table.numbers(0, "i"), name)
    signature = _extents(table.numbers(7, "i"), name)
    code = table.number(1, "b")
    if code not in TYPES:
        raise ModelFileError(f"tensor '{name}' has the unknown type {code}; export it again")
    kind, bits = TYPES[code]
    if len(signature) not in (0, len(shape)):
        raise ModelFileError(f"tensor '{name}' has two shapes, {shape} and {signature}; export it again")
    content = buffers[_below(table.number(2, "I"), len(buffers), f"buffer of tensor '{name}'")]
    record = TensorRecord(
        name,
        shape,
        kind,
        content > 0,
        *_quantization(table, name, shape),
        variable=bool(table.number(5, "B")),
        dynamic=-1 in shape or -1 in signature,
    )
    sparse = table.table(6) is not None
    if record.constant and bits and not sparse and record.bytes != content:
        raise ModelFileError(
            f"tensor '{name}' of shape {shape} has {content} bytes of content and needs {record.bytes}; "
            "export it again"
        )
    return record


def _extents(numbers: Iterable[int | float], name: str) -> tuple[int, ...]:
    shape = tuple(int(extent) for extent in numbers)
    if len(shape) > _MOST_DIMENSIONS:
        raise ModelFileError(f"tensor '{name}' has {len(shape)} dimensions; {_MOST_DIMENSIONS} are the most")
    if min(shape, default=1) < -1:
        raise ModelFileError(f"tensor '{name}' has the shape {shape}; no extent is below -1: export it again")
    return shape


def _quantization(
    table: Table, name: str, shape: tuple[int, ...]
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Scales and zero points, none for a tensor that is not quantized."""
    quantization = table.table(4)
    if quantization is None:
        return (), ()
    scales = tuple(float(scale) for scale in quantization.numbers(2, "f"))
    axis = quantization.number(6, "i")
    if len(scales) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scales)):
        raise ModelFileError(f"tensor '{name}' of shape {shape} has {len(scales)} scales on axis {axis}")
    zero_points = tuple(int(point) for point in quantization.numbers(3, "q"))
    if scales and len(zero_points) not in (len(scales), 1):
        raise ModelFileError(f"tensor '{name}' has {len(scales)} scales and {len(zero_points)} zero points")
    return scales, zero_points


def _operator(table: Table, codes: list[tuple[str, str]], tensors: int, file_bytes: int) -> OperatorRecord:
    name, custom = codes[_below(table.number(0, "I"), len(codes), "operator code")]
    for field in (4, 12):
        table.table(field)  # the options: bounds only
    offset, size = table.number(9, "Q"), table.number(10, "Q")
    if offset > _OFFSET_IN_USE and offset + size > file_bytes:
        raise IndexError(f"options of {custom or name}, {size} bytes at {offset}, run past the end")
    inputs = _indices(table.numbers(1, "i"), tensors, -1)
    outputs = _indices(table.numbers(2, "i"), tensors, 0)
    return OperatorRecord(name, inputs, outputs, custom, _calls(table, name))


def _calls(table: Table, name: str) -> tuple[int, ...]:
    if name not in _CALLERS:
        return ()
    place, fields = _CALLERS[name]
    options = table.table(place)
    if options is None:
        raise ModelFileError(f"{name} does not say which graph it runs; export the network again")
    return tuple(options.number(field, "i") for field in fields)


def _operator_name(table: Table) -> tuple[str, str]:
    """Name in the schema, and the code of a custom operator."""
    code = max(table.number(0, "b"), table.number(3, "i"))
    custom = table.text(1) if code == _CUSTOM else ""
    return _operator_names().get(code, f"operator {code}"), custom


@cache
def _operator_names() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def _indices(numbers: tuple[int | float, ...], limit: int, least: int) -> tuple[int, ...]:
    for index in numbers:
        if not least <= index < limit:
            raise ModelFileError(f"tensor {index} is referred to, and there are {limit}; export it again")
    return tuple(int(index) for index in numbers)


def _below(index: int, limit: int, what: str) -> int:
    if not 0 <= index < limit:
        raise ModelFileError(f"{what}: {index} is referred to, and there are {limit}; export it again")
    return index


_BITS = dict(TYPES.values())
