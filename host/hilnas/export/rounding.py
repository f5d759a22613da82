"""Rounding that training can see through: values on the int8 grid, with gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def straight_through(exact: Tensor, rounded: Tensor) -> Tensor:
    """`rounded`, whose gradient goes to `exact` unchanged (Bengio et al. 2013, arXiv:1308.3432)."""
    result: Tensor = _StraightThrough.apply(exact, rounded)  # type: ignore[no-untyped-call]
    return result


def fake_quantize(x: Tensor, scale: Tensor, zero_point: int) -> Tensor:
    """x as int8 of a scale (float32, one number) and zero point would hold it; float32 of x's shape.

    The gradient of x goes through where x lies within the range and ends where it does not; that of the
    scale is the learned step size's (Esser et al. 2020, arXiv:1902.08153, eq. 3), without their factor,
    since an optimizer that divides by the gradient's size takes it out again.
    """
    result: Tensor = _FakeQuantize.apply(  # type: ignore[no-untyped-call]
        x, scale, -128 - zero_point, 127 - zero_point
    )
    return result


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exact: Tensor, rounded: Tensor) -> Tensor:
        return rounded

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, lowest: int, highest: int) -> Tensor:
        steps = x / scale
        ctx.save_for_backward(steps, scale)
        ctx.ends = lowest, highest
        return steps.round().clamp_(lowest, highest).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        (grad,) = grads
        steps, _ = ctx.saved_tensors
        lowest, highest = ctx.ends
        stored = steps.round().clamp_(lowest, highest)
        # Rounding within half a step of an end is still rounding.
        inside = (steps - stored).abs_() <= 0.5
        through = grad * inside
        if not ctx.needs_input_grad[1]:
            return through, None, None, None
        scale_grad = (grad * stored).sum() - (through * steps).sum()
        return through, scale_grad, None, None
