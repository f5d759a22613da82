"""The command line of the agent."""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

from hilnas_agent import __version__, lean, limits

_log = logging.getLogger("hilnas_agent")

UNUSABLE = 5
"""Exit code: this device cannot run an agent as asked; the message says why."""

_EPILOG = """\
examples:
  hilnas-agent check        what on this device would spoil a figure, and the remedy
  hilnas-agent --host 127.0.0.1:7707 --name kitchen-pi --cpus 2,3
  hilnas-agent hub --list   the phones on adb, and what to do about those that cannot be used
  hilnas-agent hub --help   how to measure on phones that are plugged into this machine
  hilnas-agent join --help  how to get a certificate for a host elsewhere
  hilnas-agent --host lab.example:50817

A host elsewhere is reached over TLS, with this device's certificate (join). On this machine the host is reached
in clear, over the loopback interface or a Unix socket (unix:/path); a tunnel that a host elsewhere opens,
ssh -R 7707:127.0.0.1:7707 <device>, ends there, too. The token that it then demands goes into the environment
variable HILNAS_TOKEN, never on a command line.

exit codes: 0 ended as asked, 2 wrong arguments, 3 refused (versions do not fit),
            4 refused (token, certificate or enrolment), 5 this device cannot run an agent as asked
"""


class _StoppedError(BaseException):
    """A signal asked the agent to end."""


def main(argv: list[str] | None = None) -> int:
    """Runs the agent until it is sent away; the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["check"]:
        from hilnas_agent import check

        return check.main(arguments[1:])
    if arguments[:1] == ["join"]:
        from hilnas_agent import join

        return join.main(arguments[1:])
    if arguments[:1] == ["hub"]:
        from hilnas_agent.phones import command

        return command.main(arguments[1:])
    options = _parser().parse_args(argv)
    parent_pid = lean.restart_with_few_heaps(arguments)
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    if options.exit_with_parent is not None and not limits.die_with_parent(
        options.exit_with_parent or parent_pid, signal.SIGTERM
    ):
        return 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        return _run(options)
    except _StoppedError:
        return 0


def _run(options: argparse.Namespace) -> int:
    # Out of the environment, so that no worker and no model ever sees it.
    token = os.environ.pop("HILNAS_TOKEN", "")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    probe = _start_probe(options.runtime, options.meter)
    lean.import_grpc()
    from hilnas_agent.cache import CacheError, ModelCache
    from hilnas_agent.channel import AddressError
    from hilnas_agent.credentials import CredentialsError
    from hilnas_agent.fetch import Fetcher
    from hilnas_agent.jobs import Bench
    from hilnas_agent.link import Link
    from hilnas_agent.meter_offers import MeterOffer
    from hilnas_agent.outbox import Outbox
    from hilnas_agent.renewal import Renewer
    from hilnas_agent.runner import Runner
    from hilnas_agent.runtimes import Offer
    from hilnas_agent.session import Epochs, Identity, Session
    from hilnas_agent.speed import KnownSpeed
    from hilnas_protos.v1 import device_pb2

    try:
        metadata = metadata_of(token)
        link = Link(options.host, identity_folder(options.host, options.identity))
        certificate = link.facts()
        cache = ModelCache(options.cache_dir, options.cache_mib << 20)
        facts = _facts(probe)
    except (AddressError, CacheError, CredentialsError, UnusableError) as error:
        probe.kill()
        probe.wait()
        print(f"hilnas-agent: {error}", file=sys.stderr)
        return UNUSABLE

    offers = [Offer(*offer) for offer in facts["offers"]]
    if not offers:
        _log.warning("no inference runtime can be used here: %s", "; ".join(facts["reasons"]) or "none known")
    described = [{"name": o.name, "version": o.version, "xnnpack_int8": o.xnnpack_int8} for o in offers]
    identity = Identity(
        device_name=options.name or (certificate.name if certificate else os.uname().nodename),
        device_class=options.device_class or facts["device_class"],
        boot_id=facts["boot_id"],
        device=device_pb2.DeviceInfo(**facts["device"], runtimes=described),
    )
    fetcher, outbox = Fetcher(link, metadata, cache), Outbox()
    cpus = _share_processors(options.cpus)
    runner = Runner(
        Bench(
            offers,
            fetcher,
            cpus,
            options.address_space_mib,
            speed=KnownSpeed(speed_file(options.cache_dir, cpus), facts["boot_id"]),
            meters=[MeterOffer(*meter) for meter in facts["meters"]],
            no_meter="; ".join(facts["meter_reasons"]),
        ),
        deliver=outbox.put,
        started=lambda job: outbox.note(_started(job)),
    )
    epochs = Epochs(options.cache_dir / "epoch")
    session = Session(
        link, metadata, identity=identity, epochs=epochs, runner=runner, outbox=outbox, fetcher=fetcher,
        trouble=link.trouble,
    )  # fmt: skip
    renewer = Renewer(link, busy=runner.running, redial=session.leave)
    runner.start()
    renewer.start()
    try:
        return session.run()
    finally:
        renewer.stop()
        runner.stop()
        session.leave()
        link.close()


def _share_processors(asked: list[int]) -> list[int]:
    """The processors that measure: those asked for, else the fastest kind; this process keeps to others."""
    from hilnas_agent import cores

    allowed = sorted(os.sched_getaffinity(0))
    measuring, serving = cores.share_out(asked or allowed)
    serving = [cpu for cpu in allowed if cpu not in (asked or measuring)] or serving
    os.sched_setaffinity(0, serving)
    return asked or measuring


class UnusableError(Exception):
    """This device cannot run an agent as asked."""


def _started(job: Any) -> Any:
    from hilnas_protos.v1 import agent_pb2

    started = agent_pb2.JobStarted(job_id=job.job_id, attempt=job.attempt)
    return agent_pb2.ConnectRequest(job_started=started)


def _start_probe(extra_runtimes: list[str], extra_meters: list[str]) -> "subprocess.Popen[bytes]":
    """Asks a process of its own what this device is, while this one imports gRPC."""
    command = [sys.executable, "-P", "-m", "hilnas_agent.identity", *extra_runtimes]
    command += [f"--meter={name}" for name in extra_meters]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def _facts(probe: "subprocess.Popen[bytes]") -> dict[str, Any]:
    text, _ = probe.communicate()
    if probe.returncode != 0:
        raise UnusableError(
            f"the device could not be described (exit {probe.returncode}); see the error above"
        )
    facts: dict[str, Any] = json.loads(text)
    return facts


def metadata_of(token: str) -> tuple[tuple[str, str], ...]:
    """What goes with every call to the host; UnusableError for what is no token."""
    if not token:
        return ()
    if not (token.isascii() and token.isprintable()) or token != token.strip():
        raise UnusableError(
            "HILNAS_TOKEN holds characters that no token has; set it to the host's token anew"
        )
    return (("hilnas-token", token),)


def _stop(_number: int, _frame: object) -> NoReturn:
    # A second signal ends the process at once; the kernel then ends its workers.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    raise _StoppedError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hilnas-agent",
        description="Measures int8 .tflite models on this device for a hilnas host, which it dials itself.",
        epilog=_EPILOG,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, width=110, max_help_position=28
        ),
    )
    add = parser.add_argument
    add(
        "--host",
        required=True,
        metavar="ADDRESS",
        help="where the host listens: 127.0.0.1:PORT, unix:/PATH, or HOST:PORT elsewhere",
    )
    add(
        "--name",
        default="",
        help=f"name of this device, unique on the host (default: its certificate's, or {os.uname().nodename})",
    )
    add_identity(parser)
    add(
        "--device-class",
        metavar="CLASS",
        help="class of interchangeable devices (default: from board and processor)",
    )
    add(
        "--cache-dir",
        type=Path,
        default=default_cache_dir(),
        metavar="DIR",
        help="where models are kept (default: %(default)s)",
    )
    add(
        "--cache-mib",
        type=positive,
        default=512,
        metavar="N",
        help="most MiB of models kept (default: %(default)s)",
    )
    add(
        "--cpus",
        type=cpu_list,
        default=[],
        metavar="LIST",
        help="processors that measure, such as 2,3 or 4-7 (default: the fastest kind there is)",
    )
    add(
        "--address-space-mib",
        type=positive,
        default=0,
        metavar="N",
        help="address space of a measurement where the job names none (default: this device's memory + 1024)",
    )
    add(
        "--runtime",
        action="append",
        default=[],
        metavar="MODULE:CLASS",
        help="a further runtime; may be repeated",
    )
    add(
        "--meter",
        action="append",
        default=[],
        metavar="METER",
        help="an energy meter that is not found by itself, before all others: a driver's name or MODULE:CLASS, with "
        "=ARGUMENT where it needs one (ppk2=/dev/ttyACM0, shelly=http://192.0.2.7); may be repeated",
    )
    add(
        "--exit-with-parent",
        nargs="?",
        type=positive,
        const=0,
        metavar="PID",
        help="end when the process that started this one ends (precisely: the thread that started it); "
        "with its PID, even if it ended already",
    )
    add(
        "--log-level",
        default="info",
        choices=["debug", "info", "warning", "error"],
        help="(default: %(default)s)",
    )
    add("--version", action="version", version=f"hilnas-agent {__version__}")
    return parser  # fmt: skip


def add_identity(parser: argparse.ArgumentParser) -> None:
    """Adds the option --identity."""
    from hilnas_agent.credentials import default_folder

    parser.add_argument(
        "--identity",
        type=Path,
        metavar="DIR",
        help="folder of this device's certificate, for TLS on this machine, too (default, for hosts elsewhere: "
        f"{default_folder()})",
    )


def identity_folder(host: str, asked: Path | None) -> Path | None:
    """Where the identity for that host lies; None where none is needed."""
    from hilnas_agent.channel import is_local
    from hilnas_agent.credentials import default_folder

    return asked or (None if is_local(host) else default_folder())


def default_cache_dir() -> Path:
    """Where models are kept unless the user says otherwise."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "hilnas-agent"


def speed_file(cache_dir: Path, cpus: list[int]) -> Path:
    """Where the processors' best speed is remembered: one place for all agents of a user, if there may be one.

    It is a fact of the machine, and an agent whose folder is new should know it.
    """
    shared = default_cache_dir()
    try:
        shared.mkdir(parents=True, exist_ok=True)
    except OSError:
        shared = cache_dir
    return shared / f"speed-{'-'.join(map(str, cpus)) or 'all'}"


def positive(text: str) -> int:
    """A whole number above 0; ArgumentTypeError for any other text."""
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def cpu_list(text: str) -> list[int]:
    """Processors from "2,3" or "4-7"; ArgumentTypeError for what is no list or may not be used."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise argparse.ArgumentTypeError(f"{text!r} is no list of processors such as 2,3 or 4-7")
        found.update(range(int(first), int(last or first) + 1))
    strange = found - os.sched_getaffinity(0)
    if strange or not found:
        raise argparse.ArgumentTypeError(
            f"{text!r}: this process may not use {sorted(strange) or 'an empty list'}; "
            f"it may use {sorted(os.sched_getaffinity(0))}"
        )
    return sorted(found)


if __name__ == "__main__":
    sys.exit(main())
