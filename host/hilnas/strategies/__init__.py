"""Strategies: they propose architectures and observe scored trials."""

from hilnas.strategies.base import Problem, Strategy

__all__ = ["Problem", "Strategy"]
