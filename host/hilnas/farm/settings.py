"""Settings of the farm."""

import ipaddress

from pydantic import Field, field_validator

from hilnas.options import Options


class FarmOptions(Options):
    """`[farm]` of a recipe: where agents dial in, and whether this machine is a device itself."""

    listen: str = "127.0.0.1:0"
    """Loopback address for agents; port 0 takes a free one. Boards elsewhere come by an SSH tunnel."""
    local_agent: bool = True
    """Start an agent on this machine."""
    local_cpus: list[int] = Field(default=[])
    """Processors that the local agent's workers are pinned to; the last one when empty."""
    local_meters: list[str] = Field(default=[])
    """Energy meters of this machine that are not found by themselves: a driver's name with its argument, such as
    "ppk2=/dev/ttyACM0", or package.module:Class."""
    quiet: bool = True
    """Hold training on this machine still while an agent on it measures, so that it is timed undisturbed."""
    devices: int = Field(1, ge=1)
    """Devices to wait for before the search starts."""
    wait_s: float = Field(60, gt=0)
    """How long to wait for them, in seconds."""

    @field_validator("listen")
    @classmethod
    def _loopback(cls, listen: str) -> str:
        host, colon, port = listen.rpartition(":")
        try:
            address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
        except ValueError:
            raise ValueError("write an address and a port, such as 127.0.0.1:50817") from None
        if not colon or not port.isdigit() or int(port) > 65535:
            raise ValueError("write an address and a port, such as 127.0.0.1:50817")
        if not address.is_loopback:
            raise ValueError(
                "agents are not authenticated off this machine: listen on 127.0.0.1 and reach boards with "
                f"`ssh -R {port}:127.0.0.1:{port} BOARD hilnas-agent --host 127.0.0.1:{port}`"
            )
        return listen
