"""The systemd units of a board, and the file that tells the agent whom to dial."""

import re
from collections.abc import Sequence
from pathlib import Path

from hilnas.provision import layout
from hilnas.provision.errors import ProvisionError

_FOLDER = Path(__file__).with_name("systemd")
_WORD = re.compile(r"[A-Za-z0-9_.,:/@=+\[\]-]+")
"""Neither systemd nor a shell reads anything into these."""


def unit(name: str) -> str:
    """Return the text of a unit, as deploy/systemd has it."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def environment(arguments: Sequence[str], token: str = "") -> str:
    """Return the agent's environment file: its `arguments`, and the host's token where it has one.

    It means the same to systemd and to a shell. ProvisionError for a word that would not survive.
    """
    for word in arguments:
        if not _WORD.fullmatch(word):
            raise ProvisionError(
                f'"{word}" cannot be given to an agent: use letters, digits and . , : / @ = + - _ alone'
            )
    if token and not _WORD.fullmatch(token):
        raise ProvisionError("the token holds characters that no token has: make a new one")
    lines = ["# Written by hilnas device deploy.", f'HILNAS_AGENT_ARGS="{" ".join(arguments)}"']
    lines += [f'HILNAS_TOKEN="{token}"'] if token else []
    return "\n".join([*lines, ""])


def start_by_hand() -> str:
    """Return the command that starts the agent where there is no systemd."""
    return (
        f"sudo sh -c 'set -a; . {layout.ENVIRONMENT}; HOME={layout.STATE} XDG_CACHE_HOME=/var/cache; "
        f"exec setpriv --reuid={layout.USER} --regid={layout.USER} --init-groups --no-new-privs --inh-caps=-all "
        f"{layout.PYTHON} -P -m hilnas_agent $HILNAS_AGENT_ARGS'"
    )
