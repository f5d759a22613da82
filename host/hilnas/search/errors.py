"""What can keep a search from starting or going on."""

from hilnas.errors import HilnasError


class SearchError(HilnasError, RuntimeError):
    """A search cannot start or go on; the message says what to do."""
