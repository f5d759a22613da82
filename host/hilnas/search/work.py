"""The heavy steps of a trial, as functions that worker processes run. Each returns its value and seconds."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hilnas.estimators import Estimator, Preparing, Staged
from hilnas.executors import report, save, saved
from hilnas.objectives import Objective
from hilnas.options import Options
from hilnas.recipe import FinalOptions
from hilnas.spaces import Space
from hilnas.strategies.base import Preparing as PreparingStrategy
from hilnas.tasks import Task
from hilnas.tasks.training import TrainingOptions
from hilnas.trial import Architecture, Estimate, ProxyRank

if TYPE_CHECKING:
    from hilnas.estimators.final import Final
    from hilnas.export import Int8Facts
    from hilnas.proxies import Scores
    from hilnas.proxies.options import ProxyOptions, RankOptions


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


def train_rung(
    estimator: Staged,
    architecture: Architecture,
    space: Space,
    task: Task,
    seed: int,
    rung: int,
    checkpoint: bytes | None,
) -> tuple[tuple[Estimate, bytes | None, bytes], float]:
    """Train a candidate to a rung; return its estimate with the int8 file named, that file, and the checkpoint."""
    import hashlib
    from dataclasses import replace

    start = time.perf_counter()
    found = estimator.train_rung(architecture, space, task, seed, rung, checkpoint)
    estimate, model = found.result.estimate, found.result.model
    if model is not None:
        estimate = replace(estimate, model_sha256=hashlib.sha256(model).hexdigest())
    return (estimate, model, found.checkpoint), time.perf_counter() - start


def prepare_estimator(
    estimator: Preparing, space: Space, task: Task, seed: int, threads: int, origin: Mapping[str, Any]
) -> tuple[bytes, float]:
    """Let an estimator do what it needs before it can answer."""
    start = time.perf_counter()
    return estimator.prepare(space, task, seed, threads, origin), time.perf_counter() - start


def score_by_proxies(
    architectures: Sequence[Architecture], space: Space, task: Task, options: "ProxyOptions", seed: int
) -> list["Scores"]:
    """Score architectures by zero-cost proxies; tried again, it goes on from its last checkpoint."""
    from hilnas.proxies import Scorer

    return Scorer(space, task, options, seed).all_of(architectures, report, save, saved())


def prepare_filter(
    space: Space, task: Task, options: "RankOptions", seed: int, threads: int
) -> tuple[bytes, float]:
    """Score the sample that a search's filter ranks candidates against."""
    import torch

    from hilnas.proxies import Reference, sample

    start = time.perf_counter()
    torch.set_num_threads(threads)
    scores = score_by_proxies(sample(space, options.reference, seed), space, task, options, seed)
    return Reference.of(scores).to_bytes(), time.perf_counter() - start


def rank_by_proxies(
    reference: bytes, architecture: Architecture, space: Space, task: Task, options: "RankOptions", seed: int
) -> tuple[ProxyRank, float]:
    """Score an architecture, and rank it against what `prepare_filter` returned."""
    from hilnas.proxies import Reference, Scorer, told

    start = time.perf_counter()
    sample = Reference.from_bytes(reference)
    scores = Scorer(space, task, options, seed).scores(architecture)
    rank = ProxyRank(sample.rank(scores), told(scores), len(sample.scores))
    return rank, time.perf_counter() - start


def prepare_strategy(
    strategy: type[PreparingStrategy],
    space: Space,
    task: Task,
    objectives: Sequence[Objective],
    options: Options,
    seed: int,
    threads: int,
) -> tuple[bytes, float]:
    """Let a strategy do what it needs before its first proposal."""
    start = time.perf_counter()
    return strategy.prepare(space, task, objectives, options, seed, threads), time.perf_counter() - start


def finish_specialised(
    content: bytes,
    model: bytes,
    architecture: Architecture,
    space: Space,
    task: Task,
    seed: int,
    fine_tune: int,
) -> tuple[bytes, dict[str, Any]]:
    """Return the int8 file of a supernet's net as it ships, and its accuracies: here it meets the test split.

    With `fine_tune` epochs, its own weights are trained on; it ships when that is better on validation data.
    """
    from hilnas.estimators.supernet import fine_tuned
    from hilnas.estimators.train import int8_accuracy
    from hilnas.tasks.training import prepare

    size = space.input_shape(architecture)[1:]
    validation = prepare(task, task.split("validation"), size)
    accuracy = int8_accuracy(model, validation)
    facts: dict[str, Any] = {"fine_tuned": False}
    if fine_tune:
        tuned = fine_tuned(content, architecture, space, task, seed, fine_tune)
        after = int8_accuracy(tuned, validation)
        facts.update(validation_accuracy_before=accuracy, validation_accuracy_tuned=after)
        if after > accuracy:
            model, accuracy, facts["fine_tuned"] = tuned, after, True
    facts["validation_accuracy"] = accuracy
    facts["test_accuracy"] = int8_accuracy(model, prepare(task, task.split("test"), size))
    return model, facts


def train_in_full(
    architecture: Architecture, space: Space, task: Task, options: TrainingOptions, seed: int
) -> tuple[Estimate, float]:
    """Train an architecture as a winner is trained; what it reaches on validation data."""
    from hilnas.estimators.train import full_accuracy

    start = time.perf_counter()
    return full_accuracy(architecture, space, task, options, seed), time.perf_counter() - start


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
