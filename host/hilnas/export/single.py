"""Cuts a .tflite file into models of one operator each, to see what every one of them costs alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from hilnas.export.inspect import inspect_model

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16
_CODES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_CUSTOM = schema.BuiltinOperator.CUSTOM
_NO_SIZE = frozenset({schema.TensorType.RESOURCE, schema.TensorType.VARIANT, schema.TensorType.STRING})


@dataclass(frozen=True)
class SingleOp:
    """One operator of a model."""

    index: int
    """Place in the order of execution."""
    name: str
    """Name in the schema, or the code of a custom operator."""
    output_shape: tuple[int, ...]
    key: str
    """Equal for operators that cost the same: kind, options, shapes and types, not the numbers in them."""
    model: bytes | None
    """A model of this operator alone; None where it cannot stand alone."""
    reason: str = ""
    """Why it cannot."""


def single_ops(content: bytes) -> list[SingleOp]:
    """Return the operators of a model's main graph, each with a model of its own.

    Weights stay constants, everything else becomes an input. ModelFileError when the file is no sound model.
    """
    inspect_model(content)
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    return [_single(model, graph, index) for index in range(len(graph.operators or ()))]


def _single(model: Any, graph: Any, index: int) -> SingleOp:
    operator = graph.operators[index]
    code = model.operatorCodes[operator.opcodeIndex]
    builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
    custom = code.customCode.decode("utf-8", "replace") if isinstance(code.customCode, bytes) else ""
    name = custom if builtin == _CUSTOM and custom else _CODES.get(builtin, str(builtin))
    inputs, outputs = _places(operator.inputs), _places(operator.outputs)
    tensors = [graph.tensors[place] for place in (*inputs, *outputs) if place >= 0]
    shape = _shape(graph.tensors[outputs[0]]) if outputs else ()
    key = json.dumps(
        [
            name,
            _plain(operator.builtinOptions),
            [[t.type, _shape(t), _is_constant(model, t), _channels(t)] for t in tensors],
        ],
        sort_keys=True,
    )
    reason = _reason(model, operator, [graph.tensors[place] for place in inputs if place >= 0], tensors)
    alone = None if reason else _pack(model, graph, operator, inputs, outputs)
    return SingleOp(index, name, shape, key, alone, reason)


def _reason(model: Any, operator: Any, inputs: list[Any], tensors: list[Any]) -> str:
    options = type(operator.builtinOptions).__name__
    if options in ("IfOptionsT", "WhileOptionsT", "CallOptionsT", "CallOnceOptionsT"):
        return "it runs other graphs"
    if any(model.buffers[tensor.buffer].offset > 1 for tensor in tensors):
        return "its weights lie beyond the flatbuffer"
    if any(tensor.type in _NO_SIZE or tensor.isVariable for tensor in tensors):
        return "it works on a state that other operators share"
    if all(_is_constant(model, tensor) for tensor in inputs):
        return "all that it reads is constant"
    if any(-1 in _shape(tensor) for tensor in tensors):
        return "its shapes are known at run time alone"
    return ""


def _pack(model: Any, graph: Any, operator: Any, inputs: list[int], outputs: list[int]) -> bytes:
    """Return a model of one operator: its tensors and their buffers, the rest left out."""
    used = list(dict.fromkeys(place for place in (*inputs, *outputs) if place >= 0))
    place_of = {old: new for new, old in enumerate(used)}
    buffers, tensors = [schema.BufferT()], []
    for old in used:
        tensor = graph.tensors[old]
        tensors.append(tensor_copy := schema.TensorT())
        tensor_copy.__dict__.update(vars(tensor))
        tensor_copy.buffer = 0
        if _is_constant(model, tensor):
            tensor_copy.buffer = len(buffers)
            buffers.append(model.buffers[tensor.buffer])
    alone = schema.OperatorT()
    alone.__dict__.update(vars(operator))
    alone.opcodeIndex = 0
    alone.inputs = [place_of.get(place, -1) for place in inputs]
    alone.outputs = [place_of[place] for place in outputs]
    alone.intermediates = None
    main = schema.SubGraphT()
    main.tensors, main.operators = tensors, [alone]
    main.inputs = list(
        dict.fromkeys(
            place_of[place]
            for place in inputs
            if place >= 0 and not _is_constant(model, graph.tensors[place])
        )
    )
    main.outputs = list(alone.outputs)
    made = schema.ModelT()
    made.version, made.description = model.version, b"one operator"
    made.operatorCodes, made.subgraphs, made.buffers = (
        [model.operatorCodes[operator.opcodeIndex]],
        [main],
        buffers,
    )
    builder = _AlignedBuilder(1024)
    builder.Finish(made.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Aligns every vector as the schema asks of buffers: kernels load bias vectors straight from the file."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:  # noqa: N802, N803
        return super().StartVector(elemSize, numElems, max(alignment, _ALIGNMENT))


def _is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _shape(tensor: Any) -> tuple[int, ...]:
    signature = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    return tuple(int(extent) for extent in (signature if signature is not None else ()))


def _channels(tensor: Any) -> int:
    """Number of scales: a kernel for one scale a channel is not that for one a tensor."""
    quantization = tensor.quantization
    return 0 if quantization is None or quantization.scale is None else len(quantization.scale)


def _places(places: Any) -> list[int]:
    return [int(place) for place in (places if places is not None else ())]


def _plain(value: Any) -> Any:
    """Return options as plain data."""
    if hasattr(value, "__dict__"):
        return {name: _plain(each) for name, each in vars(value).items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return value.hex()
    return value.item() if isinstance(value, np.generic) else value
