"""Ends of ranges: percentiles, and the least mean squared error against trying every range on the values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hilnas.export import ExportError, Int8Model, QuantizationOptions, agreement, calibrate, export_int8
from hilnas.export.clipping import Histogram
from hilnas.export.emitter import QParams, emit
from hilnas.export.lower import lower
from hilnas.export.quantize import quantization, share
from tests.unit.export.cases import Apply
from tests.unit.export.nets import Cells, MobileNetV3, PlainCnn, settled

GENERATOR = np.random.default_rng(0)
VALUES = {
    "normal": GENERATOR.normal(size=40_000),
    "heavy tails": GENERATOR.standard_t(3, size=40_000),
    "one side": np.maximum(GENERATOR.laplace(size=40_000), 0),
    "lopsided": np.where(GENERATOR.random(40_000) < 0.5, GENERATOR.exponential(5, 40_000), GENERATOR.normal(size=40_000)),
    "uniform": GENERATOR.uniform(-1, 3, 40_000),
}  # fmt: skip
IMAGES = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def histogram(values: np.ndarray) -> Histogram:
    found = Histogram(min(values.min(), 0.0), max(values.max(), 0.0))
    for part in np.array_split(values.astype(np.float32), 3):
        found.add(torch.from_numpy(part))
    return found


def squared_error(values: np.ndarray, low: float, high: float) -> float:
    params = QParams.spanning(low, high)
    stored = np.clip(np.rint(values / params.scale) + params.zero_point, -128, 127)
    return float(np.mean(np.square((stored - params.zero_point) * params.scale - values)))


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("percent", [90.0, 99.0, 99.9])
def test_percentiles_are_those_of_the_values(name: str, percent: float) -> None:
    values = VALUES[name]
    low, high = histogram(values).percentile(percent)
    allowed, bin_ = (1 - percent / 100) * len(values), np.ptp(values) / 2**15
    # As many as may lie beyond the end do, and one more would not.
    for sign, end in ((1, high), (-1, -low)):
        assert np.sum(sign * values > end + bin_) <= allowed
        assert end == 0 or np.sum(sign * values > end - bin_) > allowed - 1


def test_a_hundred_percent_clip_nothing() -> None:
    values = VALUES["heavy tails"]
    assert histogram(values).percentile(100.0) == pytest.approx((values.min(), values.max()))


@pytest.mark.parametrize("name", VALUES)
def test_no_other_range_has_a_much_smaller_squared_error(name: str) -> None:
    values = VALUES[name]
    found = squared_error(values, *histogram(values).least_squared_error())
    shares = np.geomspace(0.02, 1, 40)
    lows, highs = min(values.min(), 0.0) * shares, values.max() * shares
    least = min(squared_error(values, low, high) for low in np.unique(lows) for high in highs)
    assert found <= 1.1 * least


def test_outliers_are_given_up_where_that_pays() -> None:
    # One number r in n: where high^2 / (12 * 255^2) + (r - high)^2 / n is smallest.
    values = np.append(GENERATOR.normal(size=1_000_000), 1000.0)
    low, high = histogram(values).least_squared_error()
    steps = 12 * 255**2
    assert high == pytest.approx(1000 * steps / (steps + len(values)), rel=0.06)
    assert squared_error(values, low, high) < squared_error(values, values.min(), 1000.0)
    uniform = VALUES["uniform"]
    assert histogram(uniform).least_squared_error() == pytest.approx((uniform.min(), uniform.max()))


def test_zeros_cost_nothing_since_int8_has_them_exactly() -> None:
    values = VALUES["one side"]
    diluted = np.concatenate([values, np.zeros(400_000)])
    assert histogram(diluted).least_squared_error() == histogram(values).least_squared_error()


def test_nothing_but_zeros_has_a_range_all_the_same() -> None:
    found = Histogram(0.0, 0.0)
    found.add(torch.zeros(10))
    assert found.percentile(99.0) == found.least_squared_error() == (0.0, 0.0)


@pytest.mark.parametrize("options", [QuantizationOptions("percentile", 99.0), QuantizationOptions("mse")])
def test_clipping_narrows_ranges_but_never_those_of_input_and_output(options: QuantizationOptions) -> None:
    torch.manual_seed(0)
    for net in (MobileNetV3(), Cells(), PlainCnn()):
        graph, _ = share(lower(settled(net, IMAGES), (1, 3, 16, 16)))
        whole, clipped = calibrate.ranges(graph, IMAGES), calibrate.ranges(graph, IMAGES, options)
        assert whole.keys() == clipped.keys()
        for end in (graph.input, graph.output):
            assert clipped[end] == whole[end]
        assert all(low <= 0 <= high and math.isfinite(high - low) for low, high in clipped.values())
        narrower = [
            clipped[value][1] - clipped[value][0] < whole[value][1] - whole[value][0] for value in whole
        ]
        assert sum(narrower) > len(whole) / 3
        assert all(clipped[v][0] >= whole[v][0] and clipped[v][1] <= whole[v][1] for v in whole)


def test_an_output_that_is_only_moved_is_not_clipped_either() -> None:
    net = Apply(lambda x, conv: conv(x).flatten(1), conv=nn.Conv2d(3, 4, 16))
    spike = IMAGES.clone()
    spike[7] *= 50
    plain, clipped = (
        Int8Model(export_int8(net, spike, options=QuantizationOptions(ranges)))._output_scale
        for ranges in ("minmax", "percentile")
    )
    assert plain == clipped


def test_left_to_themselves_files_are_what_they_were() -> None:
    torch.manual_seed(0)
    for net in (MobileNetV3(), Cells()):
        settled(net, IMAGES)
        graph, groups = share(lower(net, (1, 3, 16, 16)))
        before = emit(graph, quantization(graph, groups, calibrate.ranges(graph, IMAGES)), "")
        assert export_int8(net, IMAGES) == before
        assert export_int8(net, IMAGES, options=QuantizationOptions()) == before
        for options in (QuantizationOptions("mse"), QuantizationOptions(bias_correction=True)):
            assert export_int8(net, IMAGES, options=options) != before


def test_heavy_tails_lose_less_with_the_least_squared_error() -> None:
    torch.manual_seed(0)

    def forward(x: Tensor, conv: nn.Module) -> Tensor:
        return conv(x * (x * x)).flatten(1)

    net = Apply(forward, conv=nn.Conv2d(3, 4, 3))
    plain, clipped = (
        agreement(net, export_int8(net, IMAGES, options=QuantizationOptions(ranges)), IMAGES).relative_rmse
        for ranges in ("minmax", "mse")
    )
    assert clipped < 0.9 * plain


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: QuantizationOptions("entropy"), "minmax, percentile, mse"),  # type: ignore[arg-type]
        (lambda: QuantizationOptions(percentile=50.0), "above 50"),
        (lambda: QuantizationOptions(percentile=math.nan), "got nan"),
    ],
)
def test_options_without_meaning_are_refused(make: object, words: str) -> None:
    with pytest.raises(ExportError, match=words):
        make()  # type: ignore[operator]


def test_options_have_names_to_tell_them_by() -> None:
    assert QuantizationOptions().name == "minmax"
    assert QuantizationOptions("percentile", 99.9).name == "percentile 99.9"
    assert QuantizationOptions("mse", bias_correction=True).name == "mse with bias correction"
