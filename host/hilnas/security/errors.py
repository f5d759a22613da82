"""What goes wrong with certificates and tokens."""

from hilnas.errors import HilnasError


class SecurityError(HilnasError, RuntimeError):
    """Somebody or something cannot be let in, or signed; the message says what to do."""


class TokenError(SecurityError):
    """A join token is not good; the message says why."""
