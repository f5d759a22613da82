"""Tasks: data sets, their splits, and how a model is trained on them."""

from hilnas.tasks.base import Normalisation, Split, SplitName, Task, TaskError, TaskOptions

__all__ = ["Normalisation", "Split", "SplitName", "Task", "TaskError", "TaskOptions"]
