"""`hilnas-agent hub`: measures on the phones that adb knows, each of them a device of the host."""

import argparse
import json
import logging
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hilnas_agent import lean
from hilnas_agent.phones.adb import AdbMissingError, Server
from hilnas_agent.phones.files import FOLDER, file_digest
from hilnas_agent.phones.states import Seen

if TYPE_CHECKING:
    from hilnas_agent.link import Link
    from hilnas_agent.phones.bench import Equipment

_UNUSABLE = 5

_EPILOG = """\
A phone is measured by benchmark_model, TFLite's own program, or by this agent's worker where the phone has
Python with a TFLite runtime; the worker is preferred. The class of a phone that is driven so ends in "-adb".
deploy/README.md says how to prepare a phone, and where benchmark_model comes from.

The hub is a service: when a host ends, such as one "hilnas measure", it dials the same address again, within
ten seconds or so, until the next one listens there. It ends by a signal, or when a host refuses it.

examples:
  hilnas-agent hub --list
  hilnas-agent hub --host 127.0.0.1:7707 --benchmark-binary ./benchmark_model \\
      --benchmark-sha256 $(sha256sum benchmark_model | cut -d' ' -f1)

exit codes: 0 ended by a signal, 2 wrong arguments, 3 refused (versions do not fit),
            4 refused (token or enrolment), 5 this machine cannot be a hub as asked
"""


class _StoppedError(BaseException):
    """A signal asked the hub to end."""


class _UnusableError(Exception):
    """The hub cannot run as asked; the message says why."""


def main(argv: list[str]) -> int:
    """Lists the phones, or serves them until it is told to end; the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    if not options.list and not options.host:
        parser.error("one of --host and --list is needed")
    if bool(options.benchmark_binary) != bool(options.benchmark_sha256):
        parser.error("--benchmark-binary and --benchmark-sha256 go together")
    try:
        if options.list:
            return _list(Server(options.adb_server).phones(), options.json)
        lean.restart_with_few_heaps(["hub", *argv])
        return _serve(options)
    except (AdbMissingError, _UnusableError) as error:
        print(f"hilnas-agent hub: {error}", file=sys.stderr)
        return _UNUSABLE
    except _StoppedError:
        return 0


def _list(phones: list[Seen], as_json: bool) -> int:
    if as_json:
        print(json.dumps([seen.to_json() for seen in phones]))
        return 0
    for seen in phones:
        print(f"{seen.serial:24} {seen.state.split(' (')[0]:14} {seen.model}".rstrip())
        if seen.remedy:
            print(f"    {seen.remedy}")
    if not phones:
        print("adb knows no phone: plug one in, with USB debugging on (deploy/README.md, section Phones)")
    return 0


def _serve(options: argparse.Namespace) -> int:
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    # Out of the environment, so that neither the adb server nor a model ever sees it.
    token = os.environ.pop("HILNAS_TOKEN", "")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    lean.import_grpc()
    from hilnas_agent.__main__ import UnusableError, identity_folder, metadata_of
    from hilnas_agent.cache import CacheError, ModelCache
    from hilnas_agent.channel import AddressError
    from hilnas_agent.credentials import CredentialsError
    from hilnas_agent.link import Link
    from hilnas_agent.phones.hub import Hub, SharedFetcher
    from hilnas_agent.renewal import Renewer

    try:
        metadata = metadata_of(token)
        link = Link(options.host, identity_folder(options.host, options.identity))
        prefix = _prefix(options.name_prefix, link)
        cache = ModelCache(options.cache_dir, options.cache_mib << 20)
        equipment = _equipment(options)
    except (AddressError, CacheError, CredentialsError, UnusableError, OSError) as error:
        raise _UnusableError(str(error)) from error
    server = Server(options.adb_server)
    fetcher = SharedFetcher(link, metadata, cache)
    hub = Hub(server, equipment, link, metadata, fetcher, options.serial, prefix)
    renewer = Renewer(link, hub.busy, hub.redial)
    renewer.start()
    try:
        return hub.run()
    finally:
        renewer.stop()
        hub.close()
        link.close()


def _prefix(asked: str, link: "Link") -> str:
    """How the phones' names begin: with a certificate by its name and a slash, for so it is good for all of them."""
    certificate = link.facts()
    if certificate is None:
        return asked
    own = f"{certificate.name}/"
    return asked if asked.startswith(own) else own + asked


def _equipment(options: argparse.Namespace) -> "Equipment":
    from hilnas_agent.phones.bench import Equipment
    from hilnas_agent.phones.python import Package

    folder = options.cache_dir / "phones"
    binary, digest = options.benchmark_binary, options.benchmark_sha256.lower()
    if binary is not None:
        found = file_digest(binary)
        if found != digest:
            raise _UnusableError(
                f"{binary} has SHA-256 {found}, not {digest or '(none)'} as --benchmark-sha256 says: take the right "
                "file, or the hash of this one if you trust it"
            )
        folder.mkdir(parents=True, exist_ok=True)
        # A copy of our own: the file may be built anew while the hub runs.
        binary = Path(shutil.copy(binary, folder / "benchmark_model"))
    return Equipment(
        folder=folder,
        phone_folder=options.phone_dir,
        package=Package(folder),
        binary=binary,
        binary_sha256=digest,
        python=options.phone_python,
    )


def _stop(_number: int, _frame: object) -> NoReturn:
    # A second signal ends the process at once.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    raise _StoppedError


def _parser() -> argparse.ArgumentParser:
    from hilnas_agent.__main__ import add_identity, default_cache_dir, positive

    parser = argparse.ArgumentParser(
        prog="hilnas-agent hub",
        description="Measures on the phones that adb knows, each of them a device of the host.",
        epilog=_EPILOG,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, width=110, max_help_position=28
        ),
    )
    add = parser.add_argument
    add("--list", action="store_true", help="print the phones with state and remedy, and end")
    add("--json", action="store_true", help="with --list: print JSON, for scripts")
    add("--host", metavar="ADDRESS", help="where the host listens: 127.0.0.1:PORT, unix:/PATH, or HOST:PORT")
    add_identity(parser)
    add(
        "--benchmark-binary",
        type=Path,
        metavar="PATH",
        help="benchmark_model, built for the phones' processors",
    )
    add("--benchmark-sha256", default="", metavar="HEX", help="its SHA-256, checked here and on each phone")
    add(
        "--phone-python",
        default="",
        metavar="COMMAND",
        help="Python on the phones, as their shell calls it (default: Termux's, where adb can reach it)",
    )
    add("--adb-server", default="", metavar="HOST:PORT", help="adb's server (default: adb's own, port 5037)")
    add("--serial", action="append", default=[], metavar="SERIAL", help="this phone alone; may be repeated")
    add(
        "--name-prefix",
        default="",
        metavar="TEXT",
        help="names are this and the serial number; with a certificate its name and a slash come first",
    )
    add("--phone-dir", default=FOLDER, metavar="DIR", help="folder on the phones (default: %(default)s)")
    add(
        "--cache-dir",
        type=Path,
        default=default_cache_dir().with_name("hilnas-hub"),
        metavar="DIR",
        help="where models and phones' numbers are kept (default: %(default)s)",
    )
    add(
        "--cache-mib",
        type=positive,
        default=512,
        metavar="N",
        help="most MiB of models (default: %(default)s)",
    )
    add(
        "--log-level",
        default="info",
        choices=["debug", "info", "warning", "error"],
        help="(default: %(default)s)",
    )
    return parser
