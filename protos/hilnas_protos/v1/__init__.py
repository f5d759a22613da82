"""Version 1 of the wire. The .proto files beside this module are the specification."""

PROTOCOL_VERSION = 2
"""Newest protocol version that this package speaks, exchanged in Hello."""

PROTOCOL_OLDEST = 1
"""Oldest protocol version that this package still speaks."""
