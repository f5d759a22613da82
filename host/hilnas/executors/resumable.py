"""Long work that goes on exactly where it was lost: trainings of supernets, searches by gradients."""

import io
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from hilnas.executors.inside import report, save, saved

_log = logging.getLogger(__name__)

CHECKPOINT_S = 30.0
"""Seconds between two checkpoints, at least."""


class Resumable(ABC):
    """Work in steps that follow from seeds and step alone, so that its state is all that going on needs.

    Derive, set `steps`, and say what a step is, what the state is, and what names the work.
    """

    step: int = 0
    """Steps that are done."""
    steps: int = 0
    """Steps of the whole."""
    checkpoint_s: float = CHECKPOINT_S

    @abstractmethod
    def key(self) -> str:
        """Name the work: checkpoints of others are not for it."""

    @abstractmethod
    def one_step(self) -> None:
        """Do step number `step`. TrainingError when a loss is no longer a number."""

    @abstractmethod
    def state(self) -> Mapping[str, Any]:
        """Return tensors and plain data."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""

    def run(
        self,
        report: Callable[[float], None] = lambda share: None,
        save: Callable[[bytes], None] | None = None,
        until: int | None = None,
    ) -> None:
        """Work to the end, or to step `until`; `report` gets the share done, `save` a checkpoint now and then."""
        last = time.monotonic()
        while self.step < (self.steps if until is None else until):
            self.one_step()
            self.step += 1
            report(self.step / self.steps)
            due = time.monotonic() - last > self.checkpoint_s and self.step < self.steps
            if save is not None and due:
                save(self.checkpoint())
                last = time.monotonic()

    def checkpoint(self) -> bytes:
        """Return all that going on needs."""
        import torch

        content = io.BytesIO()
        torch.save({"key": self.key(), "step": self.step, "state": dict(self.state())}, content)
        return content.getvalue()

    def restore(self, checkpoint: bytes) -> bool:
        """Go on from a checkpoint; False, and as before, when it is torn or of other work."""
        import torch

        try:
            kept: dict[str, Any] = torch.load(io.BytesIO(checkpoint), "cpu", weights_only=True)
            key, step, state = kept["key"], int(kept["step"]), kept["state"]
        except Exception:  # noqa: BLE001 - torn files fail in every way; the work begins anew
            return False
        if key != self.key():
            return False
        self.load_state(state)
        self.step = step
        return True


def go_on(work: Resumable) -> None:
    """Do work in an executor's worker, from where an earlier try was lost."""
    before = saved()
    if before is not None and not work.restore(before):
        _log.warning("the checkpoint is torn, or of other settings: the work begins anew")
    work.run(report, save)
