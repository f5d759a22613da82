"""Small int8 .tflite files written by hand: good ones, and ones that must fail in a known way."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_INT8 = schema.TensorType.INT8
_CONV = schema.BuiltinOperator.CONV_2D
_MAX_POOL = schema.BuiltinOperator.MAX_POOL_2D
_CUSTOM = schema.BuiltinOperator.CUSTOM
_SCALE = 0.05


class _Net:
    """Collects the tensors and operators of one subgraph, then packs them."""

    def __init__(self):
        self.buffers = [schema.BufferT()]
        self.tensors, self.operators, self.codes = [], [], []

    def tensor(self, shape, data=None, kind=_INT8, scale=_SCALE):
        tensor = schema.TensorT()
        tensor.name = f"t{len(self.tensors)}"
        tensor.shape = np.array(shape, np.int32)
        tensor.type = kind
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            self.buffers.append(buffer)
            tensor.buffer = len(self.buffers) - 1
        quantization = schema.QuantizationParametersT()
        quantization.scale = np.array([scale], np.float32)
        quantization.zeroPoint = np.zeros(1, np.int64)
        tensor.quantization = quantization
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def operator(self, code, inputs, outputs, *, options=(None, 0), version=1, custom=None):
        op_code = schema.OperatorCodeT()
        op_code.builtinCode, op_code.deprecatedBuiltinCode = code, min(code, 127)
        op_code.version, op_code.customCode = version, custom
        self.codes.append(op_code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.codes) - 1
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        operator.builtinOptions, operator.builtinOptionsType = options
        self.operators.append(operator)

    def conv(self, source, shape, channels, *, size=3, version=3, seed=0):
        rng = np.random.default_rng(seed)
        weights = rng.integers(-127, 128, (channels, size, size, shape[3]), np.int8)
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        out_shape = (*shape[:3], channels)
        out = self.tensor(out_shape)
        bias = np.zeros(channels, np.int32)
        inputs = [
            source,
            self.tensor(weights.shape, weights, scale=0.01),
            self.tensor(bias.shape, bias, schema.TensorType.INT32, _SCALE * 0.01),
        ]
        kind = schema.BuiltinOptions.Conv2DOptions
        self.operator(_CONV, inputs, [out], options=(options, kind), version=version)
        return out, out_shape

    def pool(self, source, shape, size):
        options = schema.Pool2DOptionsT()
        options.padding = schema.Padding.SAME
        options.strideH = options.strideW = 1
        options.filterHeight = options.filterWidth = size
        out = self.tensor(shape)
        kind = schema.BuiltinOptions.Pool2DOptions
        self.operator(_MAX_POOL, [source], [out], options=(options, kind), version=2)
        return out, shape

    def pack(self, inputs, outputs):
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "main", self.tensors, self.operators
        graph.inputs, graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        model = schema.ModelT()
        model.version, model.description = 3, "test"
        model.subgraphs, model.buffers, model.operatorCodes = [graph], self.buffers, self.codes
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def good(side=16, channels=8, layers=2, seed=0, version=3):
    """An int8 convolutional net; about 20 µs with the defaults."""
    net, shape = _Net(), (1, side, side, 3)
    source = tail = net.tensor(shape)
    for layer in range(layers):
        tail, shape = net.conv(tail, shape, channels, version=version, seed=seed + layer)
    return net.pack([source], [tail])


def unsupported_custom_op():
    """A net whose only operator is a custom one that no runtime has."""
    net, shape = _Net(), (1, 4, 4, 3)
    source, out = net.tensor(shape), net.tensor(shape)
    net.operator(_CUSTOM, [source], [out], custom="NobodyHasThis")
    return net.pack([source], [out])


def unsupported_version():
    """A convolution of a version that no runtime knows."""
    return good(layers=1, version=99)


def huge(gib=8):
    """A net of a few hundred bytes whose activations need `gib` GiB."""
    net, shape = _Net(), (1, gib * 1024, 1024, 1024)
    source = net.tensor(shape)
    out, _ = net.pool(source, shape, 1)
    out, _ = net.pool(out, shape, 1)
    return net.pack([source], [out])


def slow():
    """A net whose single inference takes minutes."""
    net, shape = _Net(), (1, 2048, 2048, 16)
    source = net.tensor(shape)
    out, _ = net.pool(source, shape, 255)
    return net.pack([source], [out])


def torn():
    """The first half of a good net: the identifier is there, the rest is not."""
    whole = good()
    return whole[: len(whole) // 2]


NOT_A_MODEL = b"this is no flatbuffer at all, whatever its name says"
EIGHT_BYTES = b"\x18\0\0\0TFL3"
"""Ends a process with SIGSEGV when a runtime is given it as `model_content`."""
