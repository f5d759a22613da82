"""The search: the life of a trial, the loop, resume by replay."""

from hilnas.search.setup import SearchError, Setup

__all__ = ["SearchError", "Setup"]
