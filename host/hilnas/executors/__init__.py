"""Executors: where heavy work (training, export, evaluation) runs."""

from hilnas.executors.base import Executor, WorkerDiedError

__all__ = ["Executor", "WorkerDiedError"]
