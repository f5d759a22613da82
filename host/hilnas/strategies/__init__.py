"""Strategies: they propose architectures and observe scored trials."""

from hilnas.strategies.base import Strategy

__all__ = ["Strategy"]
