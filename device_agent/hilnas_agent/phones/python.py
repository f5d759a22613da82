"""The agent's own worker on a phone that has Python and a runtime (Termux): sent there, and run over adb."""

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hilnas_agent
from hilnas_agent.identity import METER
from hilnas_agent.jobs import FaultError
from hilnas_agent.phones.adb import Command, LinkError, quote
from hilnas_agent.phones.benchmark import tail
from hilnas_agent.phones.files import PhoneFiles
from hilnas_agent.phones.on_phone import OnPhone
from hilnas_agent.process import Answer
from hilnas_agent.stages import TAKEN
from hilnas_agent.verdicts import Ended

TERMUX = "/data/data/com.termux/files/usr/bin/python"
"""Where Termux has its Python; adb's shell reaches it on rooted phones alone."""
RUNTIMES = ("hilnas_agent.runtimes.litert:LiteRt", "hilnas_agent.runtimes.tflite:TfliteRuntime")
METERS = ("hilnas_agent.meters.android:Odpm", "hilnas_agent.meters.android:AndroidBattery")
_LOOK_S = 120.0
_EPOCH = (1980, 1, 1, 0, 0, 0)
_KILLED = -9


class Package:
    """This agent's modules as one file, the same bytes for the same version."""

    def __init__(self, folder: Path) -> None:
        root, content = Path(hilnas_agent.__file__).parent, io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(root.rglob("*.py")):
                inside = path.relative_to(root)
                if inside.parts[0] != "phones":
                    archive.writestr(zipfile.ZipInfo(f"hilnas_agent/{inside}", _EPOCH), path.read_bytes())
        self.digest = hashlib.sha256(content.getvalue()).hexdigest()
        self.path = folder / f"agent-{hilnas_agent.__version__}-{self.digest[:16]}.zip"
        folder.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(content.getvalue())


class PhonePython:
    """A Python on a phone, as words for its shell: a path, or "run-as com.termux …/python"."""

    def __init__(self, files: PhoneFiles, python: str, package: Package) -> None:
        self._files, self._python, self._package = files, python, package

    def command(self, module: str, *arguments: str) -> str:
        """The command that runs a module of the agent there."""
        place = self._files.program(self._package.path, self._package.digest, ".zip")
        words = " ".join(map(quote, arguments))
        # One thread suffices for NumPy's statistics, and its pool costs memory and time.
        environment = f"env PYTHONPATH={quote(place)} PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1"
        return f"{environment} {self._python} -P -m {module} {words}"

    def facts(self, link: Any) -> dict[str, Any]:
        """What `hilnas_agent.identity` says there; LinkError with the words of Python when it does not run."""
        # By their paths: what is sent as one file has no entry points.
        asked = [*RUNTIMES, *(f"{METER}{path}" for path in METERS)]
        finished = link.run(self.command("hilnas_agent.identity", *asked), _LOOK_S)
        try:
            facts: dict[str, Any] = json.loads(finished.text)
        except ValueError as error:
            raise LinkError(
                f"{self._python} on phone {link.serial} cannot run the agent (exit {finished.code}: "
                f"{tail(finished.errors or finished.text)}): it takes Python 3.11 or newer, with NumPy and a TFLite "
                "runtime, where adb's shell may run it"
            ) from error
        return facts


class PythonWorker(OnPhone):
    """Takes jobs for a phone that has Python: a `Measuring` with the answers of a worker on a board."""

    def __init__(self, link: Any, files: PhoneFiles, python: PhonePython, runtime_path: str) -> None:
        super().__init__(link, runtime_path)
        self._files, self._phone_python = files, python

    def run(
        self, job: bytes, deadline_s: float, on_taken: Callable[[], object], start_next: Callable[[], Any]
    ) -> Ended:
        """Sends the job's files and the job, and brings the answer; FaultError when the phone goes away."""
        try:
            running = self._start(self._on_phone(json.loads(job)))
            if running is None:
                return Ended(took_job=True, returncode=_KILLED)
            answer = Answer()

            def read(block: bytes) -> None:
                if TAKEN in answer.add(block):
                    on_taken()
                if answer.overflowed:
                    running.kill()

            finished = running.finish(time.monotonic() + deadline_s, read)
        except (LinkError, OSError) as error:
            raise FaultError(str(error)) from error
        code = 128 - finished.code if finished.code > 128 else finished.code
        return Ended(
            payload=None if answer.overflowed else answer.content(),
            took_job=answer.took_job,
            timed_out=finished.timed_out and answer.content() is None,
            overflowed=answer.overflowed,
            returncode=code,
            stderr=finished.errors,
        )

    def _on_phone(self, spec: dict[str, Any]) -> str:
        """The job with its files' places on the phone."""
        for key, suffix in (("model_path", ".tflite"), ("examples_path", ".npy")):
            if key in spec:
                source = Path(spec[key])
                spec[key] = self._files.data(source, source.name, suffix)
        return json.dumps(spec)

    def _start(self, job: str) -> Command | None:
        # The answer goes by a descriptor of its own, for a runtime may print. The worker ends when its parent
        # does, which is the shell whose number we know. Its input is at its end from the start: there is no
        # next worker to wait for.
        worker = self._phone_python.command("hilnas_agent.worker")
        command = (
            f"exec 3>&1 1>&2; printf '%s\\n' {quote(job)} | {worker} 3 $$ {quote(self.runtime_path)}; exit $?"
        )
        return self.open(command)
