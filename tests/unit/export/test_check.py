"""check_int8: exact counts, and no for float models, torn files and unknown operators."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from hilnas.export import ExportError, Int8Model, check_int8, export_int8
from hilnas.export import writer as writing
from hilnas.export.writer import ModelWriter, Quantization
from tests.unit.export.nets import MobileNetV2, MobileNetV3

PER_TENSOR = Quantization(np.array([0.1], np.float32), np.array([0], np.int64))


@pytest.fixture(scope="module")
def model() -> bytes:
    torch.manual_seed(0)
    return export_int8(MobileNetV3(), torch.randn(4, 3, 32, 32))


def test_counts_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),  # 6 x 5 x 8 outputs of 27
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),  # 6 x 5 x 8 outputs of 25
        nn.Conv2d(8, 16, 1),  # 6 x 5 x 16 outputs of 8
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )
    facts = check_int8(export_int8(net, torch.randn(4, 3, 11, 10)))
    assert facts.macs == 240 * 27 + 240 * 25 + 480 * 8 + 160
    assert facts.parameters == (216 + 8) + (200 + 8) + (128 + 16) + (160 + 10)
    assert facts.ops == (
        *("PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "MEAN", "RESHAPE", "FULLY_CONNECTED"),
    )
    assert facts.input_shape == (1, 11, 10, 3)
    assert facts.output_shape == (1, 10)


def test_counts_of_a_channel_multiplier_and_an_asymmetric_kernel() -> None:
    net = nn.Sequential(nn.Conv2d(4, 12, (3, 1), groups=4), nn.Conv2d(12, 2, (1, 5), dilation=(1, 2)))
    facts = check_int8(export_int8(net, torch.randn(2, 4, 9, 12)))
    assert facts.macs == 7 * 12 * 12 * 3 + 7 * 4 * 2 * 12 * 5


def test_counts_agree_with_hooks_on_a_whole_net() -> None:
    net = MobileNetV2().eval()
    macs = 0

    def count(layer: nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal macs
        macs += out.numel() * layer.weight[0].numel()

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    net(torch.zeros(1, 3, 40, 40))
    facts = check_int8(export_int8(net, torch.randn(2, 3, 40, 40)))
    assert facts.macs == macs
    assert facts.bytes > facts.parameters


def test_float_tensor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(writing._TYPES, np.dtype(np.float32), writing.schema.TensorType.FLOAT32)
    writer = ModelWriter()
    source, result = (writer.activation(name, (1, 4), PER_TENSOR) for name in ("in", "out"))
    operand = writer.constant("floating", np.ones(4, np.float32))
    writer.operator("MUL", [source, operand], [result])
    with pytest.raises(ExportError, match="'floating' is float32"):
        check_int8(writer.finish([source], [result]))


def test_input_that_is_not_int8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing.schema.TensorType, "INT8", writing.schema.TensorType.FLOAT32)
    writer = ModelWriter()
    source, result = (writer.activation(name, (1, 4), PER_TENSOR) for name in ("in", "out"))
    writer.operator("ADD", [source, source], [result])
    floating = writer.finish([source], [result])
    monkeypatch.undo()
    with pytest.raises(ExportError, match="input 'in' is float32"):
        check_int8(floating)
    with pytest.raises(ExportError, match="not int8"):
        Int8Model(floating)


def test_unknown_operator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(writing._OPERATORS, "CUMSUM", (1, "CumsumOptions"))
    writer = ModelWriter()
    source, result = (writer.activation(name, (1, 4), PER_TENSOR) for name in ("in", "out"))
    writer.operator("CUMSUM", [source], [result])
    with pytest.raises(ExportError, match="unknown operator CUMSUM"):
        check_int8(writer.finish([source], [result]))


@pytest.mark.parametrize(
    "junk", [b"", b"x", b"\x18\0\0\0TFL3", b"\0" * 64, b"\xff" * 4 + b"TFL3" + b"\xff" * 200]
)
def test_junk_is_refused(junk: bytes) -> None:
    with pytest.raises(ExportError):
        check_int8(junk)
    with pytest.raises(ExportError):
        Int8Model(junk)


def test_file_torn_anywhere_is_refused(model: bytes) -> None:
    ends = [*range(0, 200, 7), *range(200, len(model) - 1, len(model) // 150), len(model) - 1]
    for end in ends:
        with pytest.raises(ExportError):
            check_int8(model[:end])


def test_content_that_contradicts_shapes_is_refused() -> None:
    writer = ModelWriter()
    source, result = (writer.activation(name, (1, 4), PER_TENSOR) for name in ("in", "out"))
    operand = writer.constant("short", np.ones(4, np.int8), PER_TENSOR)
    writer._tensors[operand] = writing._Tensor("short", (9,), writing.schema.TensorType.INT8, 1, PER_TENSOR)
    writer.operator("MUL", [source, operand], [result])
    with pytest.raises(ExportError, match="4 bytes of content"):
        check_int8(writer.finish([source], [result]))
    writer.operator("MUL", [source, 77], [result])
    with pytest.raises(ExportError):
        check_int8(writer.finish([source], [result]))


def test_flipped_offsets_are_refused_or_harmless(model: bytes) -> None:
    """Whatever the reader lets through must load, or be refused by the runtime, without a crash."""
    script = (
        "import sys, pathlib\n"
        "from hilnas.export import ExportError, Int8Model\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try:\n        Int8Model(path)\n"
        "    except ExportError:\n        pass\n"
        "print('survived')\n"
    )
    import tempfile
    from pathlib import Path

    generator = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(60):
            torn = bytearray(model)
            # The head of the file holds the tables; the weights behind them may hold any bytes.
            torn[generator.randrange(8, 3000)] ^= 1 << generator.randrange(8)
            (Path(folder) / f"{index:03}.tflite").write_bytes(torn)
        done = subprocess.run(
            [sys.executable, "-c", script, folder], capture_output=True, text=True, check=False
        )
    assert done.stdout.strip().endswith("survived"), done.stderr[-2000:]
