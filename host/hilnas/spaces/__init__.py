"""Spaces: which architectures there are, and how one becomes a torch module."""

from hilnas.spaces.base import BlockSummary, Decision, Space, SpaceError

__all__ = ["BlockSummary", "Decision", "Space", "SpaceError"]
