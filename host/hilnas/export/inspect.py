"""What is in a .tflite file of unknown origin, and whether it may go to a device at all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hilnas.export.errors import ModelFileError
from hilnas.export.order import arena_bytes, check_calls, check_order
from hilnas.export.reader import ModelRecord, TensorRecord, read_graphs

MOST_TENSOR_BYTES = 4 << 30
_INT8 = frozenset({"int8", "int32", "int64", "bool"})
_FLOATS = frozenset({"float32", "float16", "float64", "bfloat16"})
_FLOAT = _FLOATS | {"int32", "int64", "bool"}


@dataclass(frozen=True)
class End:
    """An input or output: shape as it stands in the file (−1: known at run time alone) and element type."""

    name: str
    shape: tuple[int, ...]
    type: str
    dynamic: bool


@dataclass(frozen=True)
class ModelSummary:
    """What a file holds; the main graph comes first among `graphs` graphs.

    `operators`: how often each occurs, by its name in the schema, custom ones as `CUSTOM:<code>`.
    `arithmetic`: "int8", "float", or "mixed" (float weights or ends around integers, other integers).
    `constant_bytes`: weights. `arena_bytes`: most bytes of tensors that are alive at once, summed over the
    graphs: the least that any runtime needs, unknown extents counted as 1. `dynamic`: some shape is known at
    run time alone. `control_flow`: operators that run other graphs.
    """

    bytes: int
    graphs: int
    operators: dict[str, int]
    custom: tuple[str, ...]
    control_flow: tuple[str, ...]
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    arithmetic: str
    constant_bytes: int
    arena_bytes: int
    dynamic: bool


def inspect_model(content: bytes, most_tensor_bytes: int = MOST_TENSOR_BYTES) -> ModelSummary:
    """Say what a .tflite file holds: any element type, several graphs, control flow, custom operators.

    Raises ModelFileError, and nothing else, where the file is torn or contradicts itself, where graphs run
    each other without end, where an operator reads what nobody has written, and where one tensor, or what
    must be in memory at once, is larger than `most_tensor_bytes`.
    """
    graphs = read_graphs(content)
    check_calls(graphs)
    for graph in graphs:
        check_order(graph)
        for tensor in graph.tensors:
            if tensor.bytes > most_tensor_bytes:
                raise _too_large(
                    f"tensor '{tensor.name}' of shape {tensor.shape}", tensor.bytes, most_tensor_bytes
                )
    needed = sum(arena_bytes(graph) for graph in graphs)
    if needed > most_tensor_bytes:
        raise _too_large("the tensors that must be in memory at once", needed, most_tensor_bytes)
    names = Counter(
        f"CUSTOM:{operator.custom}" if operator.name == "CUSTOM" else operator.name
        for graph in graphs
        for operator in graph.operators
    )
    tensors = [tensor for graph in graphs for tensor in graph.tensors]
    return ModelSummary(
        bytes=len(content),
        graphs=len(graphs),
        operators=dict(names),
        custom=tuple(sorted(name.partition(":")[2] for name in names if name.startswith("CUSTOM:"))),
        control_flow=tuple(sorted({o.name for graph in graphs for o in graph.operators if o.calls})),
        inputs=_ends(graphs[0], graphs[0].inputs),
        outputs=_ends(graphs[0], graphs[0].outputs),
        arithmetic=_arithmetic(graphs),
        constant_bytes=sum(tensor.bytes for tensor in tensors if tensor.constant),
        arena_bytes=needed,
        dynamic=any(tensor.dynamic for tensor in tensors),
    )


def _ends(graph: ModelRecord, indices: tuple[int, ...]) -> tuple[End, ...]:
    tensors = [graph.tensors[index] for index in indices]
    return tuple(End(tensor.name, tensor.shape, tensor.type, tensor.dynamic) for tensor in tensors)


def _arithmetic(graphs: tuple[ModelRecord, ...]) -> str:
    used: set[TensorRecord] = set()
    for graph in graphs:
        touched = {index for o in graph.operators for index in (*o.inputs, *o.outputs) if index >= 0}
        used.update(graph.tensors[index] for index in touched.union(graph.inputs, graph.outputs))
    types = {tensor.type for tensor in used}
    if "int8" in types and types <= _INT8:
        return "int8"
    return "float" if types & _FLOATS and types <= _FLOAT else "mixed"


def _too_large(what: str, found: int, most: int) -> ModelFileError:
    # Extents may be anything, so the number is shown in GiB and cut.
    shown = f"{found / 2**30:.1f} GiB" if found < 2**70 else "more than any machine has"
    return ModelFileError(
        f"{what} need {shown}; at most {most / 2**30:.1f} GiB are allowed: make the input or the network smaller"
    )
