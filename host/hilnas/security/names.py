"""Names in certificates."""

import re

from hilnas.security.errors import SecurityError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
BELOW = "/"
"""Between the name of a hub's certificate and that of a device behind it; in no certificate's own name."""


def check_name(name: str) -> str:
    """Return a name that a certificate can have. SecurityError for any other."""
    if not _NAME.fullmatch(name):
        raise SecurityError(
            f"{name!r} cannot be a name in a certificate: take 1 to 64 letters, digits, dots, dashes or underscores"
        )
    return name


def speaks_for(certificate_name: str, device_name: str) -> bool:
    """Is a certificate of that name good for a device: the one of its name, or one behind a hub (HUB/SERIAL)?"""
    return device_name == certificate_name or device_name.startswith(certificate_name + BELOW)
