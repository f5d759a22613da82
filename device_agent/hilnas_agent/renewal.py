"""Renews this device's certificate when two thirds of its life are over."""

import logging
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc

from hilnas_agent import credentials, openssl
from hilnas_agent.channel import AddressError
from hilnas_agent.credentials import CredentialsError
from hilnas_agent.link import Link
from hilnas_agent.openssl import CertificateFacts, OpensslError

_log = logging.getLogger(__name__)

_SHARE, _JITTER = 2 / 3, 0.05
_LONGEST_PAUSE_S, _SHORTEST_PAUSE_S = 3600.0, 2.0
_LOOK_EVERY_S, _CLOCK_LOOK_S = 0.5, 300.0
_FINAL = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)


def due_at(facts: CertificateFacts, draw: Callable[[float, float], float] = random.uniform) -> float:
    """When to renew, in s since the Unix epoch: after two thirds of the life, and a little, so that not all do at once."""
    life = facts.ends - facts.begins
    return facts.begins + life * (_SHARE + draw(0, _JITTER))


class Renewer(threading.Thread):
    """Keeps the certificate of a link fresh. `busy` says whether a model is being measured, `redial` ends streams.

    The streams are dialled anew when nothing is measured, and at the latest when half of the rest is over.
    """

    def __init__(self, link: Link, busy: Callable[[], object], redial: Callable[[], object]) -> None:
        super().__init__(name="renewal", daemon=True)
        self._link, self._busy, self._redial = link, busy, redial
        self._over = threading.Event()

    def run(self) -> None:
        """Renews until it is told to end, or the host refuses for good."""
        try:
            facts = self._link.facts()
            while facts is not None:
                if self._over_before(due_at(facts)):
                    return
                renewed = self._try(facts)
                if renewed is not None:
                    facts = renewed
                elif self._over.is_set() or self._over.wait(_pause_s(facts)):
                    return
        except CredentialsError as error:
            _log.error("the certificate cannot be renewed: %s", error)

    def stop(self) -> None:
        """Ends it soon."""
        self._over.set()

    def _over_before(self, at_unix: float) -> bool:
        """Waits until a time of day, which may come sooner than it seems; True when this ends before.

        A board without a clock of its own starts with an old time, and is told the right one later.
        """
        while (rest_s := at_unix - time.time()) > 0:
            if self._over.wait(min(rest_s, _CLOCK_LOOK_S)):
                return True
        return self._over.is_set()

    def _try(self, facts: CertificateFacts) -> CertificateFacts | None:
        """One try; what the new certificate says, or None."""
        assert self._link.folder is not None
        until = (time.time() + facts.ends) / 2
        self._wait_idle(until)
        try:
            self._replace(self._link.folder, facts)
            renewed = self._link.facts()
            assert renewed is not None
            before = self._link.reopen()
        except (CredentialsError, OpensslError, AddressError, grpc.RpcError) as error:
            self._complain(error, facts)
            return None
        _log.info(
            "this device has a new certificate, until %s", time.strftime("%F", time.gmtime(renewed.ends))
        )
        self._wait_idle(until)
        self._redial()
        before.close()
        return renewed

    def _replace(self, folder: Path, facts: CertificateFacts) -> None:
        """Makes a key, has it signed, and makes both the identity."""
        fresh = credentials.begin(folder)
        try:
            answer = self._link.renew(openssl.make_request(fresh, facts.name))
            authority = credentials.load(folder).authority
            credentials.finish(fresh, answer.certificate.encode(), authority)
        except BaseException:
            credentials.discard(fresh)
            raise

    def _wait_idle(self, until: float) -> None:
        while self._busy() and time.time() < until and not self._over.wait(_LOOK_EVERY_S):
            pass

    def _complain(self, error: Exception, facts: CertificateFacts) -> None:
        words = str(error)
        if isinstance(error, grpc.RpcError):
            words = f"{error.code().name}: {error.details()}"
            if error.code() in _FINAL:
                self._over.set()
        ends = time.strftime("%F %T UTC", time.gmtime(facts.ends))
        _log.warning("the certificate, good until %s, could not be renewed: %s", ends, words)


def _pause_s(facts: CertificateFacts) -> float:
    return min(_LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, (facts.ends - time.time()) / 20))
