"""What takes a job on a phone, whichever way: one command runs there at a time, and can be ended from here."""

import threading

from hilnas_agent.phones.adb import Command, Link


class OnPhone:
    """The half of a `Measuring` that all ways to measure on a phone share."""

    def __init__(self, link: Link, runtime_path: str) -> None:
        self.runtime_path = runtime_path
        self._link = link
        self._lock = threading.Lock()
        self._running: Command | None = None
        self._killed = False

    def alive(self) -> bool:
        """True: nothing runs on the phone before there is a job."""
        return not self._killed

    def kill(self) -> None:
        """Ends what runs on the phone, and keeps anything more from starting."""
        with self._lock:
            self._killed, running = True, self._running
        if running is not None:
            running.kill()

    def close(self) -> None:
        """Nothing is held."""

    def open(self, command: str) -> Command | None:
        """Starts a command there; None once it was killed."""
        with self._lock:
            self._running = None if self._killed else self._link.open(command)
            return self._running
