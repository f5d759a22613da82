"""A release on a board: wheels up, an environment made of them, tried out, and only then given its name."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

from hilnas.provision import layout
from hilnas.provision.connection import Connection, explain
from hilnas.provision.errors import ProvisionError, UnfitBoardError
from hilnas.provision.facts import BoardFacts
from hilnas.provision.wheels import Bundle

Progress = Callable[[str], object]

_INSTALL_S = 1800.0
"""An emulated board, or one with a slow card, takes minutes."""
_TRY_S = 300.0

_UNPACK = Path(__file__).with_name("unpack.py")

_PREPARE = """
set -eu; umask 022
mkdir -p "$1/wheels"; chown -R "$2" "$1/wheels"
cd "$1/wheels"; rm -f -- *.part; sha256sum -- *.whl 2>/dev/null || true
"""
_BUILD = """
set -eu; umask 022
partial=$1; python=$2; script=$3; shift 3
find "$partial" -mindepth 1 -maxdepth 1 ! -name wheels -exec rm -rf {} +
cd /
"$python" -I -m venv --without-pip "$@" "$partial"
exec "$partial/bin/python" -I -c "$script" "$partial"/wheels/*.whl
"""
# Scripts and settings of an environment name its folder; sync, because after a power cut the name must hold.
_SETTLE = """
set -eu; umask 022
partial=$1; final=${1%.partial}
rm -rf "$partial/wheels"
find "$partial/bin" "$partial/pyvenv.cfg" -type f -exec sed -i "s|$partial|$final|g" {} +
sync
mv -T "$partial" "$final"
"""
_SWITCH = """
set -eu
cd "$1"; before=$(readlink current || true)
if [ -n "$before" ] && [ "$before" != "releases/$2" ]; then ln -sfn "$before" previous.new; mv -T previous.new previous; fi
ln -sfn "releases/$2" current.new; mv -T current.new current; sync
"""
_PRUNE = """
set -eu
cd "$1/releases"
for release in *; do
  case "releases/$release" in "$(readlink ../current)" | "$(readlink ../previous || true)" | 'releases/*') continue ;; esac
  rm -rf -- "$release"
done
"""
# What an agent and its workers import, so that all of it is there, and its bytecode too.
_TRY = """
import importlib, sys
importlib.import_module("hilnas_protos.v1.agent_pb2_grpc")
agent = {
    name: importlib.import_module("hilnas_agent." + name)
    for name in ("cache", "check", "fetch", "jobs", "link", "outbox", "renewal", "runner", "runtimes", "session", "worker")
}
for offer in agent["runtimes"].discover()[0][:1]:
    agent["runtimes"].resolve(offer.path).preload()
sys.exit(agent["check"].main(["--json"]))
"""


def check_room(facts: BoardFacts, bundle: Bundle, name: str) -> None:
    """Raise UnfitBoardError when the board called `name` has no room for a release."""
    needed = bundle.installed_bytes >> 10
    if facts.free_kib < needed:
        raise UnfitBoardError(
            f"{name}: an agent takes {needed >> 10} MiB in {layout.ROOT}, and {facts.free_kib >> 10} MiB are free there: "
            "make room (sudo du -xh / | sort -h | tail; sudo apt clean)"
        )


def install(board: Connection, facts: BoardFacts, bundle: Bundle, progress: Progress) -> None:
    """Bring a release under its own name; whatever breaks off is taken up again next time.

    ProvisionError says what failed; nothing that runs has been touched then.
    """
    partial = f"{layout.RELEASES}/{bundle.release}.partial"
    _upload(board, facts, bundle, partial, progress)
    progress("building the agent's environment")
    options = ["--system-site-packages"] if bundle.platform.from_system else []
    arguments = [partial, facts.python.path, _UNPACK.read_text(encoding="utf-8"), *options]
    board.script(_BUILD, *arguments, what="build the agent's environment", sudo=True, timeout_s=_INSTALL_S)
    progress("trying the agent out")
    try_out(board, f"{partial}/bin/python")
    board.script(_SETTLE, partial, what="put the release in place", sudo=True, timeout_s=_INSTALL_S)


def try_out(board: Connection, python: str) -> None:
    """Have an installed agent look at its board. ProvisionError when it cannot be imported, or has no runtime."""
    result = board.run(
        ["env", "-i", "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", python, "-P", "-c", _TRY],
        sudo=True,
        timeout_s=_TRY_S,
    )
    try:
        checks = json.loads(result.output)["checks"]
    except (ValueError, KeyError, TypeError):
        raise ProvisionError(
            f"{board.target}: the agent does not start there: {_remedy(explain(result))}"
        ) from None
    for each in checks:
        if each["rule"] == "runtime" and not each["passed"]:
            raise ProvisionError(f"{board.target}: {each['text']}")


def switch(board: Connection, release: str) -> None:
    """Have `current` lead to a release, at once or not at all."""
    board.script(_SWITCH, layout.ROOT, release, what=f"switch to {release}", sudo=True)


def prune(board: Connection) -> None:
    """Remove all releases but the current one and the one before it, and what broke off."""
    board.script(_PRUNE, layout.ROOT, what="remove old releases", sudo=True, timeout_s=_INSTALL_S)


def _upload(board: Connection, facts: BoardFacts, bundle: Bundle, partial: str, progress: Progress) -> None:
    folder = f"{partial}/wheels"
    wheels = bundle.wheels
    there = _digests(board.script(_PREPARE, partial, facts.user, what=f"make {layout.ROOT}", sudo=True))
    missing = [wheel for wheel in wheels if there.get(wheel.path.name) != wheel.sha256]
    total = sum(wheel.path.stat().st_size for wheel in missing)
    done = 0
    for wheel in missing:
        progress(f"bringing {wheel.path.name} ({done >> 20} of {total >> 20} MiB)")
        board.put(wheel.path, f"{folder}/{wheel.path.name}")
        done += wheel.path.stat().st_size
    keep = " ".join(f"! -name {shlex.quote(wheel.path.name)}" for wheel in wheels)
    text = f'set -eu; cd "$1"; chown -R 0:0 .; find . -type f {keep} -exec rm -f {{}} +; sha256sum -- *.whl'
    there = _digests(board.script(text, folder, what="check what was brought", sudo=True))
    for wheel in wheels:
        if there.get(wheel.path.name) != wheel.sha256:
            raise ProvisionError(
                f"{board.target}: {wheel.path.name} did not arrive as it was sent: run this again; if that repeats, "
                "the board's memory or card is failing"
            )


def _digests(text: str) -> dict[str, str]:
    pairs = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return {name.removeprefix("*"): digest for digest, name in pairs}


def _remedy(words: str) -> str:
    library = words.partition(": cannot open shared object")[0].rpartition(" ")[2]
    if ".so" in library:
        package = {"libatomic.so.1": "libatomic1", "libgomp.so.1": "libgomp1"}.get(library)
        return f"{words}: sudo apt install {package or f'the package that has {library}'}"
    return words
