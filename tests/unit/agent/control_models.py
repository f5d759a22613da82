"""Models with several graphs: loops that end, loops that do not, branches, graphs that run themselves."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_INT32, _BOOL, _FLOAT32 = schema.TensorType.INT32, schema.TensorType.BOOL, schema.TensorType.FLOAT32


class Builder:
    """Collects graphs of few tensors, then packs them."""

    def __init__(self):
        self.buffers, self.codes, self.graphs = [schema.BufferT()], [], []

    def graph(self):
        self.graphs.append(schema.SubGraphT())
        graph = self.graphs[-1]
        graph.tensors, graph.operators = [], []
        return graph

    def tensor(self, graph, shape=(), kind=_INT32, data=None, signature=None):
        tensor = schema.TensorT()
        tensor.name, tensor.shape = f"t{len(graph.tensors)}", np.array(shape, np.int32)
        tensor.type, tensor.buffer = kind, 0
        if signature is not None:
            tensor.shapeSignature = np.array(signature, np.int32)
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            self.buffers.append(buffer)
            tensor.buffer = len(self.buffers) - 1
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    def operator(self, graph, name, inputs, outputs, options=None, custom=None):
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version, code.customCode = min(code.builtinCode, 127), 1, custom
        self.codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.codes) - 1
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        if options is not None:
            operator.builtinOptions = options
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        graph.operators.append(operator)

    def pack(self):
        for graph in self.graphs:
            graph.inputs, graph.outputs = (np.array(ends, np.int32) for ends in (graph.inputs, graph.outputs))
        model = schema.ModelT()
        model.version, model.description = 3, "test"
        model.subgraphs, model.buffers, model.operatorCodes = self.graphs, self.buffers, self.codes
        builder = flatbuffers.Builder(1 << 12)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def loop(limit=5, body=2, condition=1):
    """Counts up from its input until `limit`; for ever when that is None."""
    builder = Builder()
    main, condition_graph, body_graph = (builder.graph() for _ in range(3))
    main.inputs, main.outputs = [builder.tensor(main)], [builder.tensor(main)]
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = condition, body
    builder.operator(main, "WHILE", main.inputs, main.outputs, options)

    counter = builder.tensor(condition_graph)
    bound = builder.tensor(condition_graph, data=np.array(limit or 0, np.int32))
    verdict = builder.tensor(condition_graph, kind=_BOOL)
    condition_graph.inputs, condition_graph.outputs = [counter], [verdict]
    # Every number equals itself.
    name, right = ("LESS", bound) if limit is not None else ("EQUAL", counter)
    made = schema.LessOptionsT() if limit is not None else schema.EqualOptionsT()
    builder.operator(condition_graph, name, [counter, right], [verdict], made)

    before = builder.tensor(body_graph)
    step = builder.tensor(body_graph, data=np.array(1, np.int32))
    after = builder.tensor(body_graph)
    body_graph.inputs, body_graph.outputs = [before], [after]
    builder.operator(body_graph, "ADD", [before, step], [after], schema.AddOptionsT())
    return builder.pack()


def branch():
    """Adds 1, or 2, to a float vector of unknown length."""
    builder = Builder()
    main = builder.graph()
    which, source = builder.tensor(main, kind=_BOOL), builder.tensor(main, (1,), _FLOAT32, signature=(-1,))
    result = builder.tensor(main, (1,), _FLOAT32, signature=(-1,))
    main.inputs, main.outputs = [which, source], [result]
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
    builder.operator(main, "IF", main.inputs, main.outputs, options)
    for step in (1, 2):
        graph = builder.graph()
        before = builder.tensor(graph, (1,), _FLOAT32)
        added = builder.tensor(graph, (1,), _FLOAT32, np.array([step], np.float32))
        after = builder.tensor(graph, (1,), _FLOAT32)
        graph.inputs, graph.outputs = [before], [after]
        builder.operator(graph, "ADD", [before, added], [after], schema.AddOptionsT())
    return builder.pack()


def chain(operators, ends=None, shapes=None):
    """One graph of custom operators [(inputs, outputs), …] over float tensors; `ends` are its inputs and outputs."""
    builder = Builder()
    graph = builder.graph()
    count = 1 + max(index for pair in operators for indices in pair for index in indices)
    for index in range(count):
        builder.tensor(graph, shapes[index] if shapes else (4,), _FLOAT32)
    graph.inputs, graph.outputs = ends or ([0], [count - 1])
    for inputs, outputs in operators:
        builder.operator(graph, "CUSTOM", inputs, outputs, custom="Step")
    return builder.pack()
