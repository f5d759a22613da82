"""Executors: where heavy work (training, export, evaluation) runs."""

from hilnas.executors.base import Executor, Told, WorkerDiedError, report

__all__ = ["Executor", "Told", "WorkerDiedError", "report"]
