"""Long work that an estimator asks for once, such as training a supernet, while trials are measured already."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hilnas.estimators import Estimator, Preparing
from hilnas.executors import Checkpoint, Executor, WorkerDiedError
from hilnas.export.errors import ExportError
from hilnas.search.errors import SearchError
from hilnas.search.history import History
from hilnas.search.setup import Setup
from hilnas.search.work import prepare_estimator
from hilnas.store import ModelFiles
from hilnas.tasks.training import TrainingError

ESTIMATOR = "estimator"
"""First word of the key of events that tell of what an estimator prepared."""


class Preparation:
    """Gives the search's estimator, once it is ready; what the record holds is not done again."""

    def __init__(
        self,
        setup: Setup,
        executor: Executor,
        history: History,
        files: ModelFiles,
        folder: Path,
        append: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """`files` keep what comes of it, `folder` its checkpoint; `append` tells the record: a key and a payload."""
        self._setup, self._executor, self._history = setup, executor, history
        self._files, self._append = files, append
        self._checkpoint = Checkpoint(folder / "checkpoints" / ESTIMATOR)
        self._task: asyncio.Task[Estimator] | None = None
        self.share: float | None = None
        """How much is done; None when there is nothing under way."""

    def start(self) -> None:
        """Begin, if there is anything to do."""
        if self._task is None:
            self._task = asyncio.create_task(self._ready(), name="preparation")
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def estimator(self) -> Estimator:
        """Return the estimator when it can answer. SearchError when it will not."""
        self.start()
        assert self._task is not None
        return await asyncio.shield(self._task)

    async def close(self) -> None:
        """End what is under way; its checkpoint stays."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._task

    async def _ready(self) -> Estimator:
        estimator = self._setup.estimator
        if not isinstance(estimator, Preparing):
            return estimator
        content = self._known()
        return estimator.prepared(await self._prepare(estimator) if content is None else content)

    def _known(self) -> bytes | None:
        """Return what an earlier session prepared, unless its file is gone or torn."""
        digest = self._history.prepared.get(ESTIMATOR)
        if digest is None:
            return None
        try:
            return self._files.get(digest)
        except (OSError, ValueError):
            return None

    async def _prepare(self, estimator: Preparing) -> bytes:
        setup = self._setup
        recipe = setup.recipe.model_dump(mode="json", include={"task", "space"})
        self.share = 0.0
        try:
            content, seconds = await self._executor.run(
                prepare_estimator,
                estimator,
                setup.space,
                setup.task,
                setup.seed,
                self._executor.slots,
                {**recipe, "seed": setup.seed},
                told=self._told,
                checkpoint=self._checkpoint,
            )
        except (TrainingError, ExportError, WorkerDiedError) as error:
            raise SearchError(
                f'the estimator "{setup.recipe.estimator.name}" could not be prepared: {error}. '
                "Change [estimator] and start anew with another --out"
            ) from error
        finally:
            self.share = None
        # A file that was lost is made again, in a later session, and told of again.
        key = f"{ESTIMATOR} {len(self._history.sessions)}"
        self._append(key, {"sha256": self._files.put(content), "seconds": seconds})
        self._checkpoint.remove()
        return content

    def _told(self, share: float) -> None:
        self.share = share
