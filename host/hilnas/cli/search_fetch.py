"""Brings a search's results from a daemon."""

from pathlib import Path

from hilnas.daemon.api_searches import RESULT_FILES
from hilnas.daemon.client import DaemonError, Where, daemon_at
from hilnas.store.files import write_atomically
from hilnas_protos.v1 import daemon_pb2 as api

_MOST_BYTES = 256 * 2**20


def fetch_results(where: Where, named: str, folder: Path) -> list[str]:
    """Write a search's files into a folder; return their names. DaemonError when what comes makes no sense."""
    done: list[str] = []
    name, size, content = "", 0, bytearray()

    def finish() -> None:
        if not name:
            return
        if len(content) != size:
            raise DaemonError(f"{name} came torn: {len(content)} of {size} bytes; fetch again")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, bytes(content))
        done.append(name)

    with daemon_at(where) as stubs:
        for piece in stubs.searches.FetchResults(api.FetchResultsRequest(search=named)):
            if piece.name:
                finish()
                # What a peer calls a file is no path here: it is one of a few names, or nothing.
                if piece.name not in RESULT_FILES or piece.size_bytes > _MOST_BYTES:
                    raise DaemonError(f"the daemon sends a file that no results have: {piece.name[:80]!r}")
                name, size, content = piece.name, piece.size_bytes, bytearray()
            content += piece.chunk
            if len(content) > size:
                raise DaemonError(f"{name} is longer than the daemon said; fetch again")
        finish()
    return done
