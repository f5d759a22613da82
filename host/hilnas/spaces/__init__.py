"""Spaces: which architectures there are, and how one becomes a torch module."""

from hilnas.spaces.base import BlockSummary, Decision, PartFactor, Pick, Share, Space, SpaceError, uniform

__all__ = ["BlockSummary", "Decision", "PartFactor", "Pick", "Share", "Space", "SpaceError", "uniform"]
