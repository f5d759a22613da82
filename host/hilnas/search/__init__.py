"""The search: the life of a trial, the loop, resume by replay."""

from hilnas.search.errors import SearchError
from hilnas.search.setup import Setup

__all__ = ["SearchError", "Setup"]
