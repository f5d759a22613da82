"""The tunnels that a daemon holds: to boards that only SSH reaches, for as long as the lab's list has them."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from hilnas.daemon.tunnel_book import TunnelBook
from hilnas.errors import HilnasError
from hilnas.options import OptionsError
from hilnas.provision.connection import Connection
from hilnas.provision.errors import ProvisionError
from hilnas.provision.kept import Kept, Place
from hilnas.provision.tunnel import Tunnel
from hilnas.provision.tunnel_key import clear

_log = logging.getLogger(__name__)

_LOOK_S = 1.0
_END_S = 2.0
"""Tunnels have so long to end when the daemon leaves; its end closes what is left."""


@dataclass(frozen=True)
class Held:
    """A tunnel that is held, and its threads."""

    kept: Kept
    tunnel: Tunnel


class Tunnels:
    """Holds what the book lists, and follows its changes, whoever makes them. Belongs to one event loop.

    A board that is silent for `silence_s` is dialled anew.
    """

    def __init__(self, book: TunnelBook, silence_s: float) -> None:
        self.book = book
        self.to = ("127.0.0.1", 0)
        """Where agents dial in on this machine; to be set before anything is held."""
        self._silence_s = silence_s
        self._held: dict[tuple[Place, ...], Held] = {}
        self._stamp = (0, 0, 0)
        self.trouble = ""
        """What is wrong with the list; the tunnels are those of before then."""
        # Its own words about a link that broke come with a traceback each time; the tunnel's are enough.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)

    def all(self) -> list[Held]:
        """Return the tunnels, by board. May be called by any thread."""
        return sorted(self._held.copy().values(), key=lambda held: held.kept.told)

    def keep(self, tunnel: Kept) -> Held:
        """Hold a tunnel from now on. OptionsError when the list is damaged, OSError when it cannot be written."""
        others = (_with_keys_of(tunnel, kept) for kept in self._listed() if kept.way != tunnel.way)
        self._replace([*others, tunnel])
        return self._held[tunnel.way]

    def forget(self, way: tuple[Place, ...]) -> Held | None:
        """End a tunnel for good, and return it as it was; None when there is none."""
        listed = self._listed()
        found = self._held.get(way)
        if found is not None:
            self._replace([kept for kept in listed if kept.way != way])
        return found

    async def run(self) -> None:
        """Hold what the list says, for ever."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_S)

    def look(self) -> None:
        """Read the list again if it has changed."""
        try:
            stamp = self.book.stamp()
            if stamp == self._stamp and not self.trouble:
                return
            self._stamp = stamp
            listed = self.book.read()
        except (HilnasError, OSError) as error:
            if str(error) != self.trouble:
                _log.error("%s", error)
            self.trouble = str(error)
            return
        self.trouble = ""
        self._apply(listed)

    async def close(self) -> None:
        """End all tunnels."""
        held, self._held = list(self._held.values()), {}
        await asyncio.gather(*(asyncio.to_thread(each.tunnel.stop, _END_S) for each in held))

    def _listed(self) -> tuple[Kept, ...]:
        """Return what the list says now, all of it held."""
        self.look()
        if self.trouble:
            raise OptionsError(self.trouble)
        return tuple(held.kept for held in self._held.values())

    def _replace(self, tunnels: Sequence[Kept]) -> None:
        self.book.write(tunnels)
        self._stamp = self.book.stamp()
        self.trouble = ""
        self._apply(tunnels)

    def _apply(self, tunnels: Iterable[Kept]) -> None:
        wanted = {kept.way: kept for kept in tunnels}
        for way, held in list(self._held.items()):
            kept = wanted.get(way)
            if kept is None or (kept.port, kept.hops) != (held.kept.port, held.kept.hops):
                del self._held[way]
                threading.Thread(target=held.tunnel.stop, name="tunnel-end", daemon=True).start()
        for way, kept in wanted.items():
            before = self._held.get(way)
            self._held[way] = Held(kept, before.tunnel if before is not None else self._start(kept))

    def _start(self, kept: Kept) -> Tunnel:
        def changed(state: str) -> None:
            _log.info("tunnel to %s: %s", kept.told, state, extra={"board": kept.board})

        def log_in() -> Connection:
            if not self.book.key.exists():
                raise ProvisionError(
                    f"the lab's key {self.book.key} is not there: put it back from a backup, or keep each tunnel again"
                )
            return Connection.open(kept.target(self.book.key))

        tunnel = Tunnel(
            log_in,
            kept.port,
            self.to,
            silence_s=self._silence_s,
            changed=changed,
            clear=partial(clear, kept),
        )
        tunnel.start()
        return tunnel


def down(tunnels: Tunnels) -> list[str]:
    """Return what an operator should look at, in sentences."""
    told = [tunnels.trouble] if tunnels.trouble else []
    now = time.time()
    for held in tunnels.all():
        tunnel = held.tunnel
        if not tunnel.is_up and now - tunnel.since_unix > 60:
            told.append(
                f"the tunnel to {held.kept.told} is down for {(now - tunnel.since_unix) / 60:.0f} min: {tunnel.state}"
            )
    return told


def _with_keys_of(newer: Kept, kept: Kept) -> Kept:
    """Return a tunnel with the host keys of a newer one, as far as they go the same way."""
    keys = {newer.way[: place + 1]: hop.host_key for place, hop in enumerate(newer.hops)}
    hops = tuple(
        hop.model_copy(update={"host_key": keys.get(kept.way[: place + 1], hop.host_key)})
        for place, hop in enumerate(kept.hops)
    )
    return kept.model_copy(update={"hops": hops})
