"""Keeps a session to the host for each phone that is ready, and says what to do about the others.

A host that sends a phone away may be the end of one `hilnas measure`, and the next host listens at the same
address: unlike the ordinary agent, the hub dials again.
"""

import logging
import re
import threading
import time
from typing import Any

from hilnas_agent.cache import Held
from hilnas_agent.fetch import Cancellation, Fetcher
from hilnas_agent.jobs import FaultError
from hilnas_agent.link import Link
from hilnas_agent.outbox import Outbox
from hilnas_agent.phones.adb import AdbMissingError, LinkError, Server
from hilnas_agent.phones.bench import Driven, Equipment, drive
from hilnas_agent.phones.states import Seen
from hilnas_agent.runner import Runner
from hilnas_agent.session import DENIED, REFUSED, Backoff, Epochs, Identity, Session
from hilnas_protos.v1 import agent_pb2, device_pb2
from hilnas_protos.v1 import measurement_pb2 as wire

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_TRY_AGAIN_S = 10.0
_LASTING_S = 30.0
"""A session that lasted so long was no quick dismissal: the pauses before dialling again begin anew."""
_LAST_WORDS_S = 3.0
_JOIN_S = 5.0


class SharedFetcher(Fetcher):
    """One transfer at a time: phones that want the same model get it from one."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._lock = threading.Lock()

    def fetch(self, artifact: wire.Artifact, cancellation: Cancellation) -> Held | None:
        """The model, held in the cache; None when cancelled."""
        with self._lock:
            return self.cached(artifact) or super().fetch(artifact, cancellation)


class Plugged(threading.Thread):
    """One phone while it is plugged in: looked over, then served until it goes or the host sends it away.

    `backoff` has the pauses after hosts that sent it away; each next one of the same phone goes on with it.
    """

    def __init__(
        self,
        server: Server,
        seen: Seen,
        name: str,
        equipment: Equipment,
        link: Link,
        metadata: tuple[tuple[str, str], ...],
        fetcher: Fetcher,
        backoff: Backoff,
    ) -> None:
        super().__init__(name=f"phone {seen.serial}", daemon=True)
        self._server, self._seen, self._device_name, self._equipment = server, seen, name, equipment
        self._link, self._metadata, self._fetcher = link, metadata, fetcher
        self._folder = equipment.folder / re.sub(r"[^A-Za-z0-9._-]", "_", seen.serial)
        self._lock = threading.Lock()
        self._over = False
        self.backoff = backoff
        self._runner: Runner | None = None
        self._session: Session | None = None
        self.code: int | None = None
        """Exit code of its session, once that has ended by the host's word."""
        self.trouble = ""
        """Why it cannot be used, with the remedy."""
        self.again_at = 0.0
        """When to try again, by the monotonic clock, once this has ended."""

    def run(self) -> None:
        """Serves the phone."""
        pause_s = _TRY_AGAIN_S
        try:
            driven = drive(self._server.link(self._seen.serial), self._equipment, self._fetcher, self._folder)
            session = self._prepare(driven)
            if session is not None:
                _log.info(
                    "phone %s is %s of class %s", self._seen.serial, self._device_name, driven.device_class
                )
                began = time.monotonic()
                code = session.run()
                if time.monotonic() - began >= _LASTING_S:
                    self.backoff.reset()
                pause_s = self.backoff.pause()
                self.code = code
        except (LinkError, FaultError, OSError) as error:
            self.trouble = str(error)
        finally:
            if self._runner is not None:
                self._runner.stop()
            self.again_at = time.monotonic() + pause_s

    @property
    def connected(self) -> bool:
        """True once it has been looked over and has a session."""
        return self._session is not None

    @property
    def busy(self) -> bool:
        """True while a model is measured on it."""
        return self._runner is not None and bool(self._runner.running())

    def redial(self) -> None:
        """Has its session dial the host anew."""
        if self._session is not None:
            self._session.leave()

    def end(self) -> None:
        """Ends its session; what it was measuring is given a moment to say how that ended."""
        with self._lock:
            self._over = True
            runner, session = self._runner, self._session
        if runner is None or session is None:
            return
        ends_at = time.monotonic() + _LAST_WORDS_S
        while runner.running() and time.monotonic() < ends_at:
            time.sleep(0.05)
        runner.stop()
        session.end()
        self.join(_JOIN_S)

    def _prepare(self, driven: Driven) -> Session | None:
        described = [
            {"name": o.name, "version": o.version, "xnnpack_int8": o.xnnpack_int8}
            for o in driven.bench.offers
        ]
        identity = Identity(
            device_name=self._device_name,
            device_class=driven.device_class,
            boot_id=driven.boot_id,
            device=device_pb2.DeviceInfo(**driven.device, runtimes=described),
        )
        outbox = Outbox()
        runner = Runner(
            driven.bench,
            deliver=outbox.put,
            started=lambda job: outbox.note(_started(job)),
            make_worker=driven.make_worker,
        )
        session = Session(
            self._link,
            self._metadata,
            identity=identity,
            epochs=Epochs(self._folder / "epoch"),
            runner=runner,
            outbox=outbox,
            fetcher=self._fetcher,
            trouble=self._link.trouble,
        )
        with self._lock:
            if self._over:
                return None
            self._runner, self._session = runner, session
            runner.start()
        return session


class Hub:
    """All phones of one adb server."""

    def __init__(
        self,
        server: Server,
        equipment: Equipment,
        link: Link,
        metadata: tuple[tuple[str, str], ...],
        fetcher: Fetcher,
        serials: list[str],
        prefix: str,
    ) -> None:
        self._server, self._equipment, self._link = server, equipment, link
        self._metadata, self._fetcher = metadata, fetcher
        self._serials, self._prefix = serials, prefix
        self._plugged: dict[str, Plugged] = {}
        self._told: dict[str, str] = {}

    def run(self) -> int:
        """Serves phones until a host refuses them; the exit code."""
        while True:
            code = self._look()
            if code is not None:
                return code
            time.sleep(_LOOK_EVERY_S)

    def busy(self) -> bool:
        """True while a model is measured on one of the phones."""
        return any(plugged.busy for plugged in list(self._plugged.values()))

    def redial(self) -> None:
        """Has all sessions dial the host anew."""
        for plugged in list(self._plugged.values()):
            plugged.redial()

    def close(self) -> None:
        """Ends all sessions, side by side."""
        enders = [threading.Thread(target=plugged.end, daemon=True) for plugged in self._plugged.values()]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join(_LAST_WORDS_S + _JOIN_S)

    def _look(self) -> int | None:
        try:
            phones = self._server.phones()
        except AdbMissingError as error:
            self._tell("", str(error))
            phones = []
        else:
            self._told.pop("", None)
        wanted = {seen.serial: seen for seen in phones if not self._serials or seen.serial in self._serials}
        for serial in [
            serial for serial in self._plugged if serial not in wanted or not wanted[serial].ready
        ]:
            state = wanted[serial].state if serial in wanted else "unplugged"
            _log.warning("phone %s is %s: its session ends", serial, state)
            # On a thread of its own: the other phones must not wait for its last words.
            threading.Thread(target=self._plugged.pop(serial).end, daemon=True).start()
        for serial in [serial for serial in self._told if serial and serial not in wanted]:
            del self._told[serial]
        for seen in wanted.values():
            code = self._serve(seen)
            if code is not None:
                return code
        return None

    def _serve(self, seen: Seen) -> int | None:
        if not seen.ready:
            self._tell(seen.serial, f"phone {seen.serial} is {seen.state}: {seen.remedy}")
            return None
        plugged = self._plugged.get(seen.serial)
        if plugged is None:
            self._plugged[seen.serial] = self._start(seen, Backoff())
        elif not plugged.is_alive():
            if plugged.code in (REFUSED, DENIED):
                return plugged.code
            if plugged.trouble:
                self._tell(seen.serial, plugged.trouble)
            if time.monotonic() >= plugged.again_at:
                self._plugged[seen.serial] = self._start(seen, plugged.backoff)
        elif plugged.connected:
            self._told.pop(seen.serial, None)
        return None

    def _start(self, seen: Seen, backoff: Backoff) -> Plugged:
        plugged = Plugged(
            self._server, seen, f"{self._prefix}{seen.serial}", self._equipment,
            self._link, self._metadata, self._fetcher, backoff,
        )  # fmt: skip
        plugged.start()
        return plugged

    def _tell(self, about: str, text: str) -> None:
        """Says a thing once, until it changes."""
        if self._told.get(about) != text:
            self._told[about] = text
            _log.warning("%s", text)


def _started(job: wire.MeasureJob) -> agent_pb2.ConnectRequest:
    return agent_pb2.ConnectRequest(job_started={"job_id": job.job_id, "attempt": job.attempt})
