"""What every inference runtime of the agent must do. It knows the agent by shape alone, not by import."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class RuntimeContract:
    """Derive, and give the fixture `runtime`; a small int8 net is exported for it."""

    @pytest.fixture
    def runtime(self) -> Any:
        """Return the runtime under test, made without arguments."""
        pytest.fail("give the fixture `runtime`")

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        """Return the path of a small int8 model."""
        import torch
        from torch import nn

        from hilnas.export import export_int8

        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
        )
        path = tmp_path / "model.tflite"
        path.write_bytes(export_int8(net.eval(), torch.randn(8, 1, 12, 12)))
        return path

    def test_it_says_what_it_is(self, runtime: Any) -> None:
        assert runtime.name
        assert runtime.problem() is None
        assert runtime.version()[0].isdigit()
        assert isinstance(runtime.xnnpack_int8, bool)

    def test_it_runs_a_model(self, runtime: Any, model: Path) -> None:
        runtime.preload()
        loaded = runtime.load(model, 1)
        loaded.fill_inputs(3)
        invoke: Callable[[], object] = loaded.invoke
        for _ in range(3):
            invoke()
        graph = loaded.graph()
        assert isinstance(graph.delegate, str)
        assert graph.nodes >= graph.delegated_nodes >= graph.partitions >= 0
        assert loaded.arena_kib() is None or loaded.arena_kib() > 0

    def test_it_runs_without_a_delegate(self, runtime: Any, model: Path) -> None:
        runtime.preload()
        loaded = runtime.load(model, 1, "none")
        loaded.fill_inputs(3)
        loaded.invoke()
        assert loaded.graph().delegated_nodes == 0

    def test_a_torn_file_is_an_error(self, runtime: Any, model: Path) -> None:
        torn = model.with_name("torn.tflite")
        torn.write_bytes(b"\x00" * 64)
        with pytest.raises((ValueError, RuntimeError)):
            runtime.load(torn, 1)
