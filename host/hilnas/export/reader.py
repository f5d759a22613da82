"""Reads a .tflite file with every offset checked, since the runtimes crash on a torn one."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache

from hilnas.export.errors import ExportError

# TensorType of the schema → (name, bytes an element).
TYPES = {
    0: ("float32", 4),
    1: ("float16", 2),
    2: ("int32", 4),
    3: ("uint8", 1),
    4: ("int64", 8),
    6: ("bool", 1),
    7: ("int16", 2),
    9: ("int8", 1),
    10: ("float64", 8),
}


@dataclass(frozen=True)
class TensorRecord:
    """One tensor; `constant`: its content is in the file."""

    name: str
    shape: tuple[int, ...]
    type: str
    constant: bool
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size


@dataclass(frozen=True)
class OperatorRecord:
    """One operator by its name in the schema; tensors by index, −1 for one left out."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class ModelRecord:
    """The main graph of a file."""

    tensors: tuple[TensorRecord, ...]
    operators: tuple[OperatorRecord, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_model(model: bytes) -> ModelRecord:
    """The main graph of a .tflite file. Raises ExportError where the file is torn or contradicts itself."""
    try:
        return _read(_File(model))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ExportError(
            f"not a sound .tflite file ({len(model)} bytes): {error}; write it again"
        ) from error


class _File:
    """Bounds-checked access to the bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def number(self, form: str, at: int) -> int:
        if at < 0:
            raise IndexError(f"offset {at}")
        return int(struct.unpack_from("<" + form, self.data, at)[0])

    def root(self) -> _Table:
        if self.data[4:8] != b"TFL3":
            raise IndexError("no TFL3 identifier")
        return _Table(self, self.number("I", 0))


class _Table:
    """A flatbuffer table: its fields by number."""

    def __init__(self, file: _File, at: int) -> None:
        self._file = file
        self._at = at
        self._vtable = at - file.number("i", at)
        self._size = file.number("H", self._vtable)
        end = self._vtable + self._size
        if self._size < 4 or self._size % 2 or end > len(file.data):
            raise IndexError(f"table at {at} has a broken field list")
        if at + file.number("H", self._vtable + 2) > len(file.data):
            raise IndexError(f"table at {at} runs past the end")

    def number(self, field: int, form: str, default: int = 0) -> int:
        place = self._place(field)
        return self._file.number(form, place) if place else default

    def table(self, field: int) -> _Table | None:
        place = self._place(field)
        return _Table(self._file, self._target(place)) if place else None

    def tables(self, field: int) -> list[_Table]:
        start, count = self._vector(field, 4)
        return [_Table(self._file, self._target(start + 4 * i)) for i in range(count)]

    def numbers(self, field: int, form: str) -> tuple[int | float, ...]:
        start, count = self._vector(field, struct.calcsize("<" + form))
        return struct.unpack_from(f"<{count}{form}", self._file.data, start)

    def content(self, field: int) -> bytes:
        start, count = self._vector(field, 1)
        return self._file.data[start : start + count]

    def _place(self, field: int) -> int:
        slot = 4 + 2 * field
        offset = self._file.number("H", self._vtable + slot) if slot < self._size else 0
        return self._at + offset if offset else 0

    def _target(self, place: int) -> int:
        return place + self._file.number("I", place)

    def _vector(self, field: int, width: int) -> tuple[int, int]:
        place = self._place(field)
        if not place:
            return 0, 0
        start = self._target(place)
        count = self._file.number("I", start)
        if start + 4 + count * width > len(self._file.data):
            raise IndexError(f"vector at {start} runs past the end")
        return start + 4, count


def _read(file: _File) -> ModelRecord:
    model = file.root()
    codes = [_operator_name(table) for table in model.tables(1)]
    buffers = [len(table.content(0)) for table in model.tables(4)]
    graphs = model.tables(2)
    if len(graphs) != 1:
        raise ExportError(f"the file has {len(graphs)} graphs; one is expected")
    for metadata in model.tables(6):
        _below(metadata.number(1, "I"), len(buffers), "buffer of the metadata")
    (graph,) = graphs
    tensors = tuple(_tensor(table, buffers) for table in graph.tables(0))
    for signature in model.tables(7):
        for entry in (*signature.tables(0), *signature.tables(1)):
            _below(entry.number(1, "I"), len(tensors), "tensor of a signature")
    operators = tuple(_operator(table, codes, len(tensors)) for table in graph.tables(3))
    ends = [_indices(graph.numbers(field, "i"), len(tensors), 0) for field in (1, 2)]
    return ModelRecord(tensors, operators, *ends)


def _tensor(table: _Table, buffers: list[int]) -> TensorRecord:
    name = table.content(3).decode()
    shape = tuple(int(extent) for extent in table.numbers(0, "i"))
    code = table.number(1, "b")
    if code not in TYPES or min(shape, default=1) < 0:
        raise ExportError(f"tensor '{name}' has the unknown type {code} or the shape {shape}")
    kind, width = TYPES[code]
    buffer = _below(table.number(2, "I"), len(buffers), f"buffer of tensor '{name}'")
    record = TensorRecord(name, shape, kind, buffers[buffer] > 0, *_quantization(table, name, shape))
    if record.constant and record.size * width != buffers[buffer]:
        raise ExportError(f"tensor '{name}' of shape {shape} has {buffers[buffer]} bytes of content")
    return record


def _quantization(
    table: _Table, name: str, shape: tuple[int, ...]
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Scales and zero points, none for a tensor that is not quantized."""
    quantization = table.table(4)
    if quantization is None:
        return (), ()
    scales = tuple(float(scale) for scale in quantization.numbers(2, "f"))
    axis = quantization.number(6, "i")
    if len(scales) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scales)):
        raise ExportError(f"tensor '{name}' of shape {shape} has {len(scales)} scales on axis {axis}")
    zero_points = tuple(int(point) for point in quantization.numbers(3, "q"))
    if len(zero_points) not in (len(scales), 1):
        raise ExportError(f"tensor '{name}' has {len(scales)} scales and another number of zero points")
    return scales, zero_points


def _operator(table: _Table, codes: list[str], tensors: int) -> OperatorRecord:
    table.table(4)  # the options: bounds only
    name = codes[_below(table.number(0, "I"), len(codes), "operator code")]
    inputs = _indices(table.numbers(1, "i"), tensors, -1)
    return OperatorRecord(name, inputs, _indices(table.numbers(2, "i"), tensors, 0))


def _operator_name(table: _Table) -> str:
    code = max(table.number(0, "b"), table.number(3, "i"))
    return _operator_names().get(code, f"operator {code}")


@cache
def _operator_names() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def _indices(numbers: tuple[int | float, ...], limit: int, least: int) -> tuple[int, ...]:
    for index in numbers:
        if not least <= index < limit:
            raise ExportError(f"tensor {index} is referred to, and there are {limit}")
    return tuple(int(index) for index in numbers)


def _below(index: int, limit: int, what: str) -> int:
    if not 0 <= index < limit:
        raise ExportError(f"{what}: {index} is referred to, and there are {limit}")
    return index
