"""Long work that is done once for a search: a supernet to train, a sample to score, a search by gradients.

What an estimator prepares is done while trials are measured already, what a filter prepares while they are exported;
what a strategy prepares comes before them.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hilnas.estimators import Estimator, Preparing
from hilnas.executors import Checkpoint, Executor, WorkerDiedError
from hilnas.export.errors import ExportError
from hilnas.plugins import Axis, find
from hilnas.search.errors import SearchError
from hilnas.search.history import History
from hilnas.search.setup import Setup
from hilnas.search.work import prepare_estimator, prepare_filter, prepare_strategy
from hilnas.store import ModelFiles
from hilnas.tasks.training import TrainingError

ESTIMATOR, FILTER, STRATEGY = "estimator", "filter", "strategy"
"""First word of the key of events that tell of what was prepared."""


def origin_of(setup: Setup) -> dict[str, Any]:
    """Return the recipe's sections that say what is searched."""
    return {**setup.recipe.model_dump(mode="json", include={"task", "space"}), "seed": setup.seed}


def check_plugins(setup: Setup) -> None:
    """Let estimator and strategy refuse a search before it begins: files that they need, say."""
    strategy = find(Axis.STRATEGY, setup.recipe.strategy.name)
    if hasattr(strategy, "check"):
        strategy.check(setup.space, setup.objectives, setup.recipe.options(Axis.STRATEGY))
    if hasattr(setup.estimator, "check"):
        setup.estimator.check(setup.space, origin_of(setup))


class Preparation:
    """Gives the search's estimator once it is ready, and what its strategy needs; what the record holds stays."""

    def __init__(
        self,
        setup: Setup,
        executor: Executor,
        history: History,
        files: ModelFiles,
        folder: Path,
        append: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """`files` keep what comes of it, `folder` checkpoints; `append` tells the record: a key and a payload."""
        self._setup, self._executor, self._history = setup, executor, history
        self._files, self._append = files, append
        self._folder = folder / "checkpoints"
        self._estimator: asyncio.Task[Estimator] | None = None
        self._filter: asyncio.Task[bytes] | None = None
        self.shares: dict[str, float] = {}
        """How much is done of what is under way."""

    def start(self) -> None:
        """Begin with what the filter and the estimator prepare, if they do."""
        if self._filter is None and self._setup.recipe.filter is not None:
            self._filter = asyncio.create_task(self._sample(), name="preparation of the filter")
            self._filter.add_done_callback(lambda task: task.cancelled() or task.exception())
        if self._estimator is None:
            self._estimator = asyncio.create_task(self._ready(), name="preparation")
            self._estimator.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def estimator(self) -> Estimator:
        """Return the estimator when it can answer. SearchError when it will not."""
        self.start()
        assert self._estimator is not None
        return await asyncio.shield(self._estimator)

    async def filter(self) -> bytes:
        """Return the scores that the filter ranks against. SearchError when there will be none."""
        self.start()
        assert self._filter is not None
        return await asyncio.shield(self._filter)

    async def strategy(self) -> bytes:
        """Return what the strategy prepares; nothing, if it doesn't. SearchError when that fails."""
        setup = self._setup
        strategy = find(Axis.STRATEGY, setup.recipe.strategy.name)
        if not hasattr(strategy, "prepare"):
            return b""
        options = setup.recipe.options(Axis.STRATEGY)
        return await self._once(
            STRATEGY,
            prepare_strategy,
            strategy,
            setup.space,
            setup.task,
            setup.objectives,
            options,
            setup.seed,
            self._executor.threads(1),
        )

    async def close(self) -> None:
        """End what is under way; its checkpoint stays."""
        for task in (self._filter, self._estimator):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    async def _ready(self) -> Estimator:
        setup, estimator = self._setup, self._setup.estimator
        if not isinstance(estimator, Preparing):
            return estimator
        content = await self._once(
            ESTIMATOR,
            prepare_estimator,
            estimator,
            setup.space,
            setup.task,
            setup.seed,
            self._executor.threads(1),
            origin_of(setup),
        )
        return estimator.prepared(content)

    async def _sample(self) -> bytes:
        setup = self._setup
        return await self._once(
            FILTER,
            prepare_filter,
            setup.space,
            setup.task,
            setup.recipe.filter,
            setup.seed,
            self._executor.threads(1),
        )

    async def _once(self, what: str, function: Callable[..., tuple[bytes, float]], *arguments: Any) -> bytes:
        """Return what an earlier session prepared, or do it."""
        known = self._known(what)
        if known is not None:
            return known
        checkpoint = Checkpoint(self._folder / what)
        self.shares[what] = 0.0
        try:
            content, seconds = await self._executor.run(
                function,
                *arguments,
                told=lambda share: self.shares.update({what: share}),
                checkpoint=checkpoint,
            )
        except (TrainingError, ExportError, WorkerDiedError) as error:
            raise SearchError(
                f"what the {what} needs could not be prepared: {error}. "
                f"Change [{what}] and start anew with another --out"
            ) from error
        finally:
            self.shares.pop(what, None)
        # A file that was lost is made again, in a later session, and told of again.
        key = f"{what} {len(self._history.sessions)}"
        self._append(key, {"content_sha256": self._files.put(content), "seconds": seconds})
        checkpoint.remove()
        return content

    def _known(self, what: str) -> bytes | None:
        """Return what an earlier session prepared, unless its file is gone or torn."""
        digest = self._history.prepared.get(what)
        if digest is None:
            return None
        try:
            return self._files.get(digest)
        except (OSError, ValueError):
            return None
