"""A daemon as a process, with an agent on this machine, for tests that disturb it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hilnas.daemon.client import DaemonError, Where, daemon_at
from hilnas.store import Record
from hilnas_protos.v1 import daemon_pb2 as api
from tests.integration.searches import ROOT

SETTINGS = 'listen_local = "127.0.0.1:0"\nmetrics = ""\nlocal_agent = true\nsearches = 2\n'
ENDED = ("FINISHED", "CANCELLED", "FAILED")


class Lab:
    """A lab in a folder with a short name, as a socket wants it; its daemon is started and killed as told."""

    def __init__(self, settings=SETTINGS):
        self._holder = tempfile.TemporaryDirectory(prefix="lab-")
        self.folder = Path(self._holder.name)
        (self.folder / "daemon.toml").write_text(settings)
        self.where = Where(lab=self.folder)
        self.process = None
        self.environment = {}
        self.log = self.folder / "daemon.log"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)
        self._holder.cleanup()

    def start(self, *more, wait=True):
        """Start the daemon, and wait until it answers."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **self.environment}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hilnas", "daemon", "--lab", str(self.folder), "--log-json", *more],
                cwd=ROOT, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        if wait:
            self.wait_for(lambda: self.status() is not None, 30)

    def stop(self, number=signal.SIGTERM):
        """End the daemon; its exit code."""
        if self.process is None or self.process.poll() is not None:
            return self.process and self.process.returncode
        self.process.send_signal(number)
        return self.process.wait(60)

    def status(self):
        """What the daemon says of itself; None while it does not answer."""
        try:
            with daemon_at(self.where) as stubs:
                return stubs.daemon.GetStatus(api.GetStatusRequest(), timeout=5)
        except DaemonError:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            return None

    def submit(self, data, **more):
        """Submit a recipe; its id."""
        with daemon_at(self.where) as stubs:
            return stubs.searches.Submit(api.SubmitRequest(recipe=json.dumps(data), **more), timeout=30).id

    def search(self, search_id):
        """A search as it stands."""
        with daemon_at(self.where) as stubs:
            return stubs.searches.GetSearch(api.GetSearchRequest(search=search_id), timeout=30)

    def change(self, search_id, action):
        """Pause, resume or cancel a search."""
        with daemon_at(self.where) as stubs:
            return stubs.searches.ChangeSearch(
                api.ChangeSearchRequest(search=search_id, action=action), timeout=60
            )

    def device(self, name="local"):
        """A device as it stands; None while it is not known."""
        with daemon_at(self.where) as stubs:
            found = stubs.devices.ListDevices(
                api.ListDevicesRequest(labels={"name": name}), timeout=30
            ).devices
        return found[0] if found else None

    def wait_for(self, condition, seconds, what="it"):
        """Wait until a condition holds."""
        ends = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < ends, f"{what} did not come about: {self.log.read_text()[-3000:]}"
            time.sleep(0.1)
        return found

    def finish(self, search_id, seconds=300):
        """Wait until a search has ended; the search."""
        return self.wait_for(
            lambda: s if (s := self.search(search_id)).status in ENDED else None, seconds, "the end"
        )

    def events(self, search_id):
        """All events of a search, from the record itself."""
        record = Record(f"sqlite:///{self.folder}/record.sqlite")
        try:
            return record.events(search_id)
        finally:
            record.close()

    def results(self, search_id):
        """Folder of a search's results."""
        return self.folder / "searches" / search_id

    def begin(self, *words):
        """Start `hilnas … --lab FOLDER`; the process."""
        return subprocess.Popen(
            [sys.executable, "-m", "hilnas", *words, "--lab", str(self.folder)],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def hilnas(self, *words, code=0):
        """Run `hilnas … --lab FOLDER`; its standard output, and of a failure its errors too."""
        with self.begin(*words) as process:
            try:
                out, err = process.communicate(timeout=120)
            finally:
                process.kill()
        assert process.returncode == code, (process.returncode, out, err)
        return out if code == 0 else out + err
