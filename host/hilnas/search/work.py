"""The heavy steps of a trial, as functions that worker processes run. Each returns its value and seconds."""

import time
from typing import TYPE_CHECKING

from hilnas.estimators import Estimator
from hilnas.executors import report
from hilnas.recipe import FinalOptions
from hilnas.spaces import Space
from hilnas.tasks import Task
from hilnas.trial import Architecture, Estimate

if TYPE_CHECKING:
    from hilnas.estimators.final import Final
    from hilnas.export import Int8Facts


def export_provisional(
    architecture: Architecture, space: Space, task: Task
) -> tuple[tuple[bytes, "Int8Facts"], float]:
    """Export an architecture with fresh weights: latency, memory and energy do not depend on them.

    The same architecture gives the same bytes, whoever exports it.
    """
    import torch

    from hilnas.estimators.train import to_int8
    from hilnas.export import check_int8
    from hilnas.tasks.training import prepare

    start = time.perf_counter()
    torch.manual_seed(int(space.structure(architecture)[:8], 16))
    module = space.build(architecture).eval()
    size = space.input_shape(architecture)[1:]
    content = to_int8(module, prepare(task, task.split("train").subset(16, 0), size), task)
    return (content, check_int8(content)), time.perf_counter() - start


def estimate_architecture(
    estimator: Estimator, architecture: Architecture, space: Space, task: Task, seed: int
) -> tuple[tuple[Estimate, bytes | None], float]:
    """Ask an estimator, and name the int8 file that its estimate is about."""
    import hashlib
    from dataclasses import replace

    start = time.perf_counter()
    result = estimator.estimate(architecture, space, task, seed)
    estimate = result.estimate
    if result.model is not None:
        estimate = replace(estimate, model_sha256=hashlib.sha256(result.model).hexdigest())
    return (estimate, result.model), time.perf_counter() - start


def train_winner(
    architecture: Architecture, space: Space, task: Task, options: FinalOptions, seed: int, threads: int
) -> tuple[tuple["Final", "Int8Facts"], float]:
    """Retrain a winner on `threads` threads; return what came of it, and the facts of its int8 file."""
    import torch

    from hilnas.estimators.final import evaluate_final
    from hilnas.export import check_int8

    start = time.perf_counter()
    torch.set_num_threads(threads)
    final = evaluate_final(architecture, space, task, options, seed, report)
    return (final, check_int8(final.quantized.model)), time.perf_counter() - start
