"""Single-operator models: each computes what its operator computes inside the whole model."""

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

from hilnas.export import ModelFileError, export_int8
from hilnas.export.single import single_ops
from hilnas.spaces.mbconv import MBConv
from tests.unit.agent import control_models, tiny_models


def _net():
    space = MBConv((1, 16, 16), 4)
    architecture = space.sample(np.random.default_rng(1))
    torch.manual_seed(0)
    return export_int8(space.build(architecture).eval(), torch.randn(4, *space.input_shape(architecture)))


def test_operators_alone_compute_what_they_compute_together():
    content = _net()
    # Without a delegate every tensor can be looked at, and the kernels are the same on both sides.
    from ai_edge_litert.interpreter import OpResolverType

    plain = {"experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
    whole = Interpreter(model_content=content, experimental_preserve_all_tensors=True, **plain)
    whole.allocate_tensors()
    place = whole.get_input_details()[0]
    whole.set_tensor(place["index"], np.random.default_rng(0).integers(-128, 127, place["shape"], np.int8))
    whole.invoke()
    operators = whole._get_ops_details()
    ops = single_ops(content)
    assert [op.name for op in ops] == [operator["op_name"] for operator in operators]
    for op, operator in zip(ops, operators, strict=True):
        alone = Interpreter(model_content=op.model, **plain)
        alone.allocate_tensors()
        constant = {i["index"] for i in alone.get_input_details()}
        assert constant
        shapes = {tuple(d["shape"]) for d in alone.get_input_details()}
        fed = [i for i in operator["inputs"] if i >= 0 and tuple(whole.get_tensor(i).shape) in shapes]
        for details in alone.get_input_details():
            source = next(i for i in fed if tuple(whole.get_tensor(i).shape) == tuple(details["shape"]))
            fed.remove(source)
            alone.set_tensor(details["index"], whole.get_tensor(source))
        alone.invoke()
        ours = alone.get_tensor(alone.get_output_details()[0]["index"])
        np.testing.assert_array_equal(ours, whole.get_tensor(operator["outputs"][0]), op.name)


def test_buffers_are_aligned_as_the_schema_asks():
    from ai_edge_litert import schema_py_generated as schema

    for op in single_ops(_net()):
        model = schema.Model.GetRootAs(op.model, 0)
        for number in range(model.BuffersLength()):
            buffer = model.Buffers(number)
            if buffer.DataLength():
                data = buffer.DataAsNumpy()
                start = data.__array_interface__["data"][0] - np.frombuffer(op.model, np.uint8).ctypes.data
                assert start % 16 == 0


def test_equal_operators_have_one_key_and_others_another():
    space = MBConv((1, 16, 16), 4)
    architecture = space.sample(np.random.default_rng(1))
    keys = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        net = space.build(architecture).eval()
        keys.append(
            [op.key for op in single_ops(export_int8(net, torch.randn(4, *space.input_shape(architecture))))]
        )
    assert keys[0] == keys[1]
    assert len(set(keys[0])) > 5


def test_what_cannot_stand_alone_says_why():
    (loop,) = (op for op in single_ops(control_models.loop()) if op.name == "WHILE")
    assert (loop.model, loop.reason) == (None, "it runs other graphs")
    ops = single_ops(tiny_models.unsupported_custom_op())
    assert any(op.name not in ("CUSTOM", "32") and op.model is not None for op in ops)


def test_a_torn_file_is_refused():
    with pytest.raises(ModelFileError):
        single_ops(_net()[:-200])
