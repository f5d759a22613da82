"""Can the operators of a graph run in the order in which they stand, and what must be in memory meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from hilnas.export.errors import ModelFileError
from hilnas.export.reader import ModelRecord, OperatorRecord


def check_order(graph: ModelRecord) -> None:
    """Raise ModelFileError where a tensor is read before it is written, or written twice."""
    tensors = graph.tensors
    given = {
        index
        for index, tensor in enumerate(tensors)
        # A tensor without elements needs nobody to write it.
        if tensor.constant or tensor.variable or 0 in tensor.shape
    }
    written = given.union(graph.inputs)
    fixed = {index for index in given if 0 not in tensors[index].shape}.union(graph.inputs)
    for place, operator in enumerate(graph.operators):
        what = f"operator {place} ({operator.custom or operator.name})"
        for index in _read_by(operator):
            if index not in written:
                raise ModelFileError(
                    f"{what} reads tensor '{tensors[index].name}', which nothing before it writes; "
                    "export the network again"
                )
        for index in operator.outputs:
            if index in fixed:
                raise ModelFileError(
                    f"{what} writes tensor '{tensors[index].name}', which is written already; "
                    "export the network again"
                )
            fixed.add(index)
            written.add(index)
    for index in graph.outputs:
        if index not in written:
            raise ModelFileError(f"output '{tensors[index].name}' is never written; export the network again")


def check_calls(graphs: Sequence[ModelRecord]) -> None:
    """Raise ModelFileError where graphs run each other in a circle, or with the wrong number of tensors."""
    for graph in graphs:
        for operator in graph.operators:
            _check_ends(operator, [graphs[index] for index in operator.calls])
    waiting = [{index for operator in graph.operators for index in operator.calls} for graph in graphs]
    callers: list[list[int]] = [[] for _ in graphs]
    for caller, called in enumerate(waiting):
        for index in called:
            callers[index].append(caller)
    # Graphs whose callees are all done are done; what never is done runs in a circle.
    ready = [index for index, called in enumerate(waiting) if not called]
    done = 0
    while ready:
        index = ready.pop()
        done += 1
        for caller in callers[index]:
            waiting[caller].discard(index)
            if not waiting[caller]:
                ready.append(caller)
    if done < len(graphs):
        stuck = next(index for index, called in enumerate(waiting) if called)
        raise ModelFileError(f"graph {stuck} runs itself, if only through others: it would never end")


def arena_bytes(graph: ModelRecord) -> int:
    """Most bytes of written tensors that are alive at once; inputs and outputs are, from first to last."""
    last = len(graph.operators)
    born, dies = dict.fromkeys(graph.inputs, 0), dict.fromkeys((*graph.inputs, *graph.outputs), last)
    for place, operator in enumerate(graph.operators):
        for index in operator.outputs:
            born.setdefault(index, place)
            dies.setdefault(index, place)
        for index in operator.inputs:
            if dies.get(index, last) < last:
                dies[index] = place
    changes = [0] * (last + 2)
    for index, place in born.items():
        if not graph.tensors[index].constant:
            changes[place] += graph.tensors[index].bytes
            changes[dies[index] + 1] -= graph.tensors[index].bytes
    most = now = 0
    for change in changes:
        now += change
        most = max(most, now)
    return most


def _read_by(operator: OperatorRecord) -> list[int]:
    inputs = operator.inputs
    if operator.name == "RESHAPE":
        # The new shape may stand in the options; of the tensor beside it the extents alone are used.
        inputs = inputs[:1]
    return [index for index in inputs if index >= 0]


def _check_ends(operator: OperatorRecord, called: list[ModelRecord]) -> None:
    reads, writes = len(operator.inputs), len(operator.outputs)
    if operator.name == "WHILE":
        expected = [(reads, 1), (reads, reads)]
    elif operator.name == "IF":
        expected = [(reads - 1, writes)] * 2
    else:
        return
    for graph, (inputs, outputs) in zip(called, expected, strict=True):
        if (len(graph.inputs), len(graph.outputs)) != (inputs, outputs):
            raise ModelFileError(
                f"{operator.name} runs a graph of {len(graph.inputs)} inputs and {len(graph.outputs)} outputs, "
                f"where {inputs} and {outputs} fit; export the network again"
            )
