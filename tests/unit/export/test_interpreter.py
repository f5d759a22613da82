"""The interpreter on the host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hilnas.export import Agreement, ExportError, Int8Model, agreement, export_int8
from tests.unit.export.nets import PlainCnn

IMAGES = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return PlainCnn().eval()


@pytest.fixture(scope="module")
def model(net: nn.Module) -> bytes:
    return export_int8(net, IMAGES)


def test_path_and_bytes_and_threads_predict_the_same(model: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(model)
    images = IMAGES.numpy()
    expected = Int8Model(model).predict(images)
    assert expected.shape == (6, 10)
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(Int8Model(path, threads=2).predict(images), expected)
    np.testing.assert_array_equal(Int8Model(model).predict(images[3:4]), expected[3:4])


def test_facts_of_the_model(model: bytes) -> None:
    loaded = Int8Model(model)
    assert loaded.input_shape == (1, 16, 16, 3)
    assert loaded.classes == 10
    assert loaded.delegated
    assert loaded.delegate_partitions == 1
    assert not Int8Model(model, runtime="tflite-runtime").delegated


def test_images_are_quantized_with_saturation() -> None:
    model = export_int8(nn.Flatten(), torch.full((1, 1, 1, 2), 2.0), input_range=(-1.0, 1.0))
    logits = Int8Model(model).predict(np.array([[[[-9.0, 9.0]]]]))
    np.testing.assert_allclose(logits, [[-1.0, 1.0]], atol=0.01)


def test_images_of_another_size_are_refused(model: bytes) -> None:
    with pytest.raises(ExportError, match="16, 16, 3"):
        Int8Model(model).predict(np.zeros((1, 3, 8, 8), np.float32))


def test_unknown_and_missing_runtimes_are_named(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExportError, match="unknown runtime 'onnx'"):
        Int8Model(model, runtime="onnx")
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", None)
    with pytest.raises(ExportError, match="pip install tflite-runtime"):
        Int8Model(model, runtime="tflite-runtime")


def test_agreement_of_a_model_with_its_own_and_with_another_module(net: nn.Module, model: bytes) -> None:
    own = agreement(net.train(), model, IMAGES)
    assert net.training
    assert isinstance(own, Agreement)
    assert own.top1 >= 5 / 6
    assert 0 < own.relative_rmse < 0.05
    torch.manual_seed(1)
    assert agreement(PlainCnn(), model, IMAGES).relative_rmse > 0.5


def test_importing_the_package_imports_no_torch() -> None:
    code = (
        "import sys, hilnas.export as e; e.ExportError; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_name_is_an_attribute_error() -> None:
    import hilnas.export

    with pytest.raises(AttributeError, match="no_such"):
        _ = hilnas.export.no_such
