"""Run on the board: wheels into a new environment, whose Python runs this. pip would take ten times as long.

Each wheel's SHA-256 was checked before. Bytecode is made for the agent alone: a trial run makes it of what it imports.
"""

import compileall
import sys
import sysconfig
import zipfile
from pathlib import Path


def main(wheels: list[str]) -> int:
    """Unpack wheel files into this environment, and write the command hilnas-agent; the exit code."""
    place = Path(sysconfig.get_path("purelib"))
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                name = _place_of(entry.filename)
                if name:
                    entry.filename = name
                    archive.extract(entry, place)
    compileall.compile_dir(place / "hilnas_agent", quiet=1)
    command = Path(sys.prefix) / "bin/hilnas-agent"
    command.write_text('#!/bin/sh\nexec "$(dirname "$(readlink -f "$0")")/python" -P -m hilnas_agent "$@"\n')
    command.chmod(0o755)
    return 0


def _place_of(name: str) -> str:
    """Return where a file of a wheel belongs in site-packages; "" for what an agent has no use for."""
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return name
    kind, _, rest = rest.partition("/")
    return rest if kind in ("purelib", "platlib") else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
