"""Executors: where heavy work (training, export, evaluation) runs."""

from hilnas.executors.base import Executor, WorkerDiedError
from hilnas.executors.checkpoint import Checkpoint
from hilnas.executors.inside import Told, report, save, saved

__all__ = ["Checkpoint", "Executor", "Told", "WorkerDiedError", "report", "save", "saved"]
