"""Profiles: the operators of a model one by one, and the latency table of a space."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from hilnas.daemon.measure import Bench
from hilnas.export.single import SingleOp, single_ops
from hilnas.farm import Fidelity
from hilnas.spaces import Space
from hilnas.spaces.base import Part
from hilnas.store.latency_table import LatencyTable
from hilnas.trial import DEVICE_FAULTS, FIGURE_VERDICTS, Architecture, Measurement

if TYPE_CHECKING:
    from torch import nn

_AT_ONCE = 8
"""Models that are exported before any of them is measured: exporting beside it would disturb a local device."""
_MOST_FAULTS = 5
"""A device that failed so many parts in a row will not do better with the next."""

Done = Callable[[int], object]


@dataclass(frozen=True)
class OpFigure:
    """An operator of a model, and what it takes alone; `measurement` is None where it cannot stand alone."""

    op: SingleOp
    measurement: Measurement | None

    @property
    def latency_ms(self) -> float | None:
        """Median of one inference of the operator alone, in ms; None without a figure."""
        latency = self.measurement.latency if self.measurement else None
        return latency.median_ms if latency else None


@dataclass(frozen=True)
class ModelProfile:
    """A model's operators, and the model as a whole."""

    whole: Measurement
    ops: tuple[OpFigure, ...]

    @property
    def sum_ms(self) -> float:
        """Sum of the operators' latencies."""
        return sum(op.latency_ms or 0.0 for op in self.ops)

    def share(self, op: OpFigure) -> float | None:
        """Return an operator's part of the sum."""
        return None if op.latency_ms is None or not self.sum_ms else op.latency_ms / self.sum_ms


async def profile_model(
    bench: Bench, content: bytes, fidelity: Fidelity, begin: Done, done: Done
) -> ModelProfile:
    """Return what each operator of a model takes alone; equal ones are measured once.

    `begin` is told how many models there are to measure, `done` of each.
    """
    ops = single_ops(content)
    alone: dict[str, bytes] = {}
    for op in ops:
        if op.model is not None:
            alone.setdefault(op.key, op.model)
    begin(len(alone) + 1)
    (whole,) = await bench.measure([content], fidelity)
    done(1)
    found: dict[str, Measurement] = {}
    for key, model in alone.items():
        (found[key],) = await bench.measure([model], fidelity)
        done(1)
    figures = tuple(OpFigure(op, found.get(op.key) if op.model is not None else None) for op in ops)
    return ModelProfile(whole, figures)


def chosen_nets(space: Space, count: int, seed: int) -> list[Architecture]:
    """Return different architectures, drawn at random, to hold a table against."""
    generator = np.random.default_rng(seed)
    drawn = (space.sample(generator) for _ in range(20 * count))
    return list(islice(dict.fromkeys(drawn), count))


async def fill_table(
    bench: Bench,
    space: Space,
    table: LatencyTable,
    parts: Sequence[Part],
    nets: Sequence[Architecture],
    fidelity: Fidelity,
    done: Done,
) -> str:
    """Measure what a table does not have yet; return why it ended early, or nothing.

    What the device failed is left out and asked for again the next time.
    """
    missing: list[tuple[list[str], Part | Architecture]] = [
        *(([part.key], part) for part in parts if part.key not in table.parts),
        *((keys, net) for net in nets if " | ".join(keys := _keys(space, net)) not in table.nets),
    ]
    faults, why = 0, ""
    for some in _batches(missing):
        contents = await asyncio.to_thread(_export_all, space, [what for _, what in some])
        for (keys, what), found in zip(some, await bench.measure(contents, fidelity), strict=True):
            if found.verdict in DEVICE_FAULTS:
                faults, why = faults + 1, f"{found.verdict} on {found.device}: {found.message}"
                continue
            faults = 0 if found.verdict in FIGURE_VERDICTS else faults
            if isinstance(what, Part):
                table.add_part(what.key, found)
            else:
                table.add_net(keys, found)
            done(1)
        if faults >= _MOST_FAULTS:
            return why
    return ""


def _keys(space: Space, architecture: Architecture) -> list[str]:
    return [part.key for part in space.parts(architecture)]


def _batches(
    missing: Sequence[tuple[list[str], Part | Architecture]],
) -> Iterator[Sequence[tuple[list[str], Part | Architecture]]]:
    for start in range(0, len(missing), _AT_ONCE):
        yield missing[start : start + _AT_ONCE]


def _export_all(space: Space, some: Sequence[Part | Architecture]) -> list[bytes]:
    return [_export(space, what) for what in some]


def _export(space: Space, what: Part | Architecture) -> bytes:
    """Export a part or a net with seeded weights: latency does not depend on them."""
    import torch

    from hilnas.export import export_int8

    if isinstance(what, Part):
        name, shape, build = what.key, what.input_shape, what.build
    else:
        name, shape, build = what.digest, space.input_shape(what), _builder(space, what)
    seed = int(sha256(name.encode()).hexdigest()[:8], 16)
    torch.manual_seed(seed)
    return export_int8(build().eval(), torch.randn(4, *shape))


def _builder(space: Space, architecture: Architecture) -> "Callable[[], nn.Module]":
    return lambda: space.build(architecture)
