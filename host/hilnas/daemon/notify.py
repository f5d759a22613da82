"""Tells systemd that the service is ready, alive, or about to end (sd_notify(3)), where systemd asked."""

import asyncio
import os
import socket

_MOST_S = 3600.0


def notify(*assignments: str) -> None:
    """Send assignments such as READY=1; nothing happens where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto("\n".join(assignments).encode(), address)
        except OSError:
            return  # systemd will notice by itself


async def keep_alive() -> None:
    """Tell the watchdog, twice as often as it asks, that this loop still turns; for ever."""
    asked_us = os.environ.get("WATCHDOG_USEC", "")
    asked_pid = os.environ.get("WATCHDOG_PID", "")
    wanted = asked_us.isdigit() and asked_pid in ("", str(os.getpid()))
    pause_s = int(asked_us) / 2e6 if wanted else _MOST_S
    while True:
        if wanted:
            notify("WATCHDOG=1")
        await asyncio.sleep(pause_s)
