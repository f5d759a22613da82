"""Every operator alone: the graph is exact, the int8 file is close on both runtimes."""

from __future__ import annotations

import pytest
import torch

from hilnas.export import agreement, check_int8, export_int8
from hilnas.export.calibrate import run
from hilnas.export.lower import lower
from tests.unit.export.cases import CASES

RUNTIMES = ["ai-edge-litert", "tflite-runtime"]


def images(shape: tuple[int, ...], count: int = 24) -> torch.Tensor:
    return 1.5 * torch.randn(count, *shape, generator=torch.Generator().manual_seed(7))


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(3)
    build, shape = CASES[request.param]
    return build().eval(), images(shape)


def test_graph_computes_what_torch_computes(case: tuple[torch.nn.Module, torch.Tensor]) -> None:
    module, batch = case
    graph = lower(module, (1, *batch.shape[1:]))
    with torch.no_grad():
        expected = module(batch)
    torch.testing.assert_close(run(graph, batch).reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
    assert graph.output.shape[1:] == expected.shape[1:]


def test_int8_file_is_close_on_both_runtimes(case: tuple[torch.nn.Module, torch.Tensor]) -> None:
    module, batch = case
    model = export_int8(module, batch)
    check_int8(model)
    with torch.no_grad():
        if module(batch[:1]).ndim == 4:  # compare images in the order the file has them
            module = torch.nn.Sequential(module, Nhwc())
    for runtime in RUNTIMES:
        assert agreement(module, model, batch, runtime).relative_rmse < 0.03, runtime


class Nhwc(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1)
