"""A study of estimators: some architectures trained in full, and what each estimator says of them.

All of it is kept as events in a record, so that a study that was broken off, or is to have more architectures,
repeats, or estimators, goes on from there.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from hilnas.estimators import Estimator, Learned, Preparing
from hilnas.estimators.quality import RankQuality, rank_quality
from hilnas.executors import Checkpoint, Executor, WorkerDiedError
from hilnas.export.errors import ExportError
from hilnas.recipe import Recipe
from hilnas.search.work import estimate_architecture, prepare_estimator, train_in_full
from hilnas.spaces import Space
from hilnas.store import Event, EventKind, ModelFiles
from hilnas.store.codec import dump, load
from hilnas.tasks import Task
from hilnas.tasks.training import TrainingError
from hilnas.trial import Architecture, Estimate, Proposal

FULL = "full"
"""Label of full trainings among what has failed."""
SEEDS_APART = 1_000_003
"""Between the seeds of full trainings of one architecture."""


@dataclass(frozen=True)
class Answer:
    """What a training or an estimator said of an architecture, and how long it took."""

    estimate: Estimate
    seconds: float


@dataclass
class Findings:
    """A study as its events tell it."""

    architectures: list[Architecture] = field(default_factory=list)
    truths: dict[tuple[int, int], Answer] = field(default_factory=dict)
    """Of full trainings, by architecture and repeat."""
    answers: dict[tuple[str, int], Answer] = field(default_factory=dict)
    """By estimator's label and architecture."""
    failures: dict[tuple[str, int], str] = field(default_factory=dict)
    """Why there is no answer, or no full training: that is told under `FULL`."""
    settings: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """What each estimator was asked with, by label."""
    prepared: dict[str, tuple[str, float]] = field(default_factory=dict)
    """SHA-256 of what an estimator prepared, and the seconds that it took, by label."""

    def add(self, event: Event) -> None:
        """Take the next event."""
        payload = event.payload
        match event.kind:
            case EventKind.PROPOSED:
                self.architectures.append(load(Proposal, payload).architecture)
            case EventKind.STUDY_STARTED:
                self.settings.update(payload["estimators"])
            case EventKind.TRAINED_IN_FULL:
                self.truths[event.trial, int(event.key)] = _answer(payload)
                self.failures.pop((FULL, event.trial), None)
            case EventKind.ESTIMATED:
                self.answers[event.key, event.trial] = _answer(payload)
                self.failures.pop((event.key, event.trial), None)
            case EventKind.FAILED:
                self.failures[event.key, event.trial] = payload["reason"]
            case EventKind.PREPARED:
                self.prepared[event.key] = (payload["content_sha256"], float(payload["seconds"]))
            case _:
                pass

    def truth(self, number: int) -> float | None:
        """Return the mean accuracy of an architecture's full trainings."""
        found = [answer.estimate.accuracy for (one, _), answer in self.truths.items() if one == number]
        return sum(found) / len(found) if found else None

    def quality(self, label: str, top: int) -> RankQuality:
        """Return how an estimator ranks."""
        pairs = [
            (answer.estimate.accuracy, truth)
            for (name, number), answer in self.answers.items()
            if name == label and (truth := self.truth(number)) is not None
        ]
        return rank_quality([said for said, _ in pairs], [true for _, true in pairs], top)

    def ceiling(self, top: int) -> RankQuality | None:
        """Return how one full training ranks another of the same architectures; None without repeats.

        No estimator can agree better with a single training than that.
        """
        both = [n for n, repeat in self.truths if repeat == 1 and (n, 0) in self.truths]
        if not both:
            return None
        first, second = ([self.truths[n, repeat].estimate.accuracy for n in both] for repeat in (0, 1))
        return rank_quality(first, second, top)

    def cost_s(self, label: str) -> float | None:
        """Return the median seconds that an estimator takes for an architecture, what it prepares not counted."""
        seconds = [answer.seconds for (name, _), answer in self.answers.items() if name == label]
        return median(seconds) if seconds else None

    def full_cost_s(self) -> float | None:
        """Return the median seconds of a full training."""
        seconds = [answer.seconds for answer in self.truths.values()]
        return median(seconds) if seconds else None


class Study:
    """Fills a study's findings."""

    def __init__(
        self,
        recipe: Recipe,
        task: Task,
        space: Space,
        executor: Executor,
        folder: Path,
        findings: Findings,
        append: Callable[[EventKind, int, str, Mapping[str, Any]], object],
    ) -> None:
        """`append` takes an event to the record, and the record feeds `findings`."""
        self.recipe, self.task, self.space = recipe, task, space
        self.executor, self.folder, self.findings = executor, folder, findings
        self._append = append
        self._files = ModelFiles(folder / "weights", ".pt")
        self.share: dict[str, float] = {}
        """How much each estimator has prepared, while it does."""

    def draw(self, count: int) -> None:
        """Draw architectures until there are `count`: the same ones for a seed, however many at first."""
        generator = np.random.default_rng(self.recipe.search.seed)
        drawn = dict.fromkeys(self.space.sample(generator) for _ in range(20 * count))
        for number, architecture in enumerate(islice(drawn, count)):
            if number >= len(self.findings.architectures):
                self._append(EventKind.PROPOSED, number, "", dump(Proposal(architecture)))

    async def train_all(self, repeats: int, done: Callable[[], object]) -> None:
        """Train each architecture in full, `repeats` times with seeds of their own."""
        wanted = [(n, r) for r in range(repeats) for n in range(len(self.findings.architectures))]
        await self._all([self._train(n, r, done) for n, r in wanted if (n, r) not in self.findings.truths])

    async def ask_all(self, label: str, estimator: Estimator, done: Callable[[], object]) -> None:
        """Ask an estimator for each architecture."""
        numbers = range(len(self.findings.architectures))
        missing = [n for n in numbers if (label, n) not in self.findings.answers]
        if not missing:
            return
        ready = await self._prepared(label, estimator)
        await self._all([self._ask(label, ready, n, done) for n in missing])

    async def _train(self, number: int, repeat: int, done: Callable[[], object]) -> None:
        try:
            estimate, seconds = await self.executor.run(
                train_in_full,
                self.findings.architectures[number],
                self.space,
                self.task,
                self.recipe.final,
                self.recipe.search.seed + repeat * SEEDS_APART,
            )
        except (TrainingError, ExportError, WorkerDiedError) as error:
            self._failed(number, FULL, error)
        else:
            payload = {"estimate": dump(estimate), "seconds": seconds}
            self._append(EventKind.TRAINED_IN_FULL, number, str(repeat), payload)
        done()

    def _failed(self, number: int, label: str, error: Exception) -> None:
        """Have the record keep that an architecture has no answer, which ends nothing else."""
        self._append(EventKind.FAILED, number, label, {"reason": f"{type(error).__name__}: {error}"})

    async def _ask(self, label: str, estimator: Estimator, number: int, done: Callable[[], object]) -> None:
        architecture = self.findings.architectures[number]
        if isinstance(estimator, Learned) and estimator.knows(architecture):
            self._append(
                EventKind.FAILED, number, label, {"reason": "not asked: it has learned from this one"}
            )
            done()
            return
        try:
            (estimate, _), seconds = await self.executor.run(
                estimate_architecture,
                estimator,
                architecture,
                self.space,
                self.task,
                self.recipe.search.seed,
            )
        except (TrainingError, ExportError, WorkerDiedError) as error:
            self._failed(number, label, error)
        else:
            payload = {"estimate": dump(replace(estimate, model_sha256=None)), "seconds": seconds}
            self._append(EventKind.ESTIMATED, number, label, payload)
        done()

    async def _prepared(self, label: str, estimator: Estimator) -> Estimator:
        if not isinstance(estimator, Preparing):
            return estimator
        if label in self.findings.prepared:
            try:
                return estimator.prepared(self._files.get(self.findings.prepared[label][0]))
            except (OSError, ValueError):
                pass  # lost or torn: it is made again, and comes out the same
        checkpoint = Checkpoint(self.folder / "checkpoints" / label.replace("/", "-"))
        sections = self.recipe.model_dump(mode="json", include={"task", "space"})
        seed = self.recipe.search.seed
        content, seconds = await self.executor.run(
            prepare_estimator,
            estimator,
            self.space,
            self.task,
            seed,
            self.executor.threads(1),
            {**sections, "seed": seed},
            told=lambda share: self.share.update({label: share}),
            checkpoint=checkpoint,
        )
        self.share.pop(label, None)
        payload = {"content_sha256": self._files.put(content), "seconds": seconds}
        self._append(EventKind.PREPARED, -1, label, payload)
        checkpoint.remove()
        return estimator.prepared(content)

    @staticmethod
    async def _all(work: list[Coroutine[Any, Any, None]]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for one in work:
                    group.create_task(one)
        except BaseExceptionGroup as errors:
            error: BaseException = errors
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            raise error from None


def _answer(payload: Mapping[str, Any]) -> Answer:
    return Answer(load(Estimate, payload["estimate"]), float(payload["seconds"]))
