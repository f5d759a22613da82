"""What a person calls a board, and what SSH's configuration makes of it."""

import getpass
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import paramiko

from hilnas.provision.errors import TargetError

_MOST_JUMPS = 8
_FORM = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>\[[^\]\s]+\]|[^:@\s]+)(?::(?P<port>\d{1,5}))?")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")
_SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")


@dataclass(frozen=True)
class Target:
    """Where a board is, how to log in, and the hosts to jump through, nearest first."""

    name: str
    host: str
    port: int
    user: str
    keys: tuple[Path, ...] = ()
    jumps: tuple["Target", ...] = ()
    fingerprint: str = ""
    """The host key's, "SHA256:…"; known_hosts decides when it is empty."""
    known_hosts: tuple[Path, ...] = ()
    host_key: str = ""
    """The host key itself, "ssh-ed25519 AAAA…"; fingerprint and known_hosts decide when it is empty."""
    only_keys: bool = False
    """Log in with `keys` alone: no SSH agent, no other keys of whoever runs this."""

    @property
    def known_name(self) -> str:
        """Its name in known_hosts."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}" + ("" if self.port == 22 else f":{self.port}")


def resolve(
    text: str,
    *,
    jump: str = "",
    keys: Sequence[Path] = (),
    fingerprint: str = "",
    config: Path | None = None,
) -> Target:
    """Return the board that `text` names: "user@host:port", or a Host of SSH's configuration.

    `jump`: hosts to jump through, with commas, instead of those configured; `keys`: private keys instead of those
    configured; `config`: the file, ~/.ssh/config when None. TargetError for what names no board.
    """
    if fingerprint and not _FINGERPRINT.fullmatch(fingerprint):
        raise TargetError(
            f'--fingerprint "{fingerprint}" is none: write SHA256: and 43 characters, as ssh-keygen -lf prints it'
        )
    found = _resolve(text, jump, _read(config), 0)
    return replace(
        found,
        keys=tuple(key.expanduser() for key in keys) or found.keys,
        fingerprint=fingerprint.rstrip("="),
    )


def _resolve(text: str, jump: str, config: Any, depth: int) -> Target:
    if depth > _MOST_JUMPS:
        raise TargetError(
            f"{text}: ProxyJump leads through more than {_MOST_JUMPS} hosts; does it lead in circles?"
        )
    form = _FORM.fullmatch(text.strip())
    if form is None or text.startswith("-"):
        raise TargetError(
            f'"{text}" names no board: write user@host, user@host:port, or a Host of ~/.ssh/config'
        )
    asked = form["host"].strip("[]")
    known = config.lookup(asked)
    hops = jump or ("" if known.get("proxyjump", "none").lower() == "none" else known["proxyjump"])
    if known.get("proxycommand", "none") != "none" and not hops:
        raise TargetError(
            f"{asked}: ~/.ssh/config names a ProxyCommand, which is not run here; write ProxyJump, or give --jump"
        )
    port = int(form["port"] or known.get("port", "22"))
    if not 0 < port < 65536:
        raise TargetError(f'"{text}": a port is between 1 and 65535')
    files = known.get("userknownhostsfile", "~/.ssh/known_hosts").split()
    return Target(
        name=asked,
        host=known.get("hostname", asked),
        port=port,
        user=form["user"] or known.get("user", "") or getpass.getuser(),
        keys=tuple(Path(key).expanduser() for key in known.get("identityfile", [])),
        jumps=_chain(hops, config, depth),
        known_hosts=(*(Path(file).expanduser() for file in files), _SYSTEM_KNOWN_HOSTS),
    )


def _chain(hops: str, config: Any, depth: int) -> tuple[Target, ...]:
    """Return the hosts to jump through; the first may itself lie behind others."""
    chain: list[Target] = []
    for place, hop in enumerate(part.strip() for part in hops.split(",") if part.strip()):
        found = _resolve(hop, "", config, depth + 1)
        chain += [*(found.jumps if place == 0 else ()), replace(found, jumps=())]
    return tuple(chain)


def _read(config: Path | None) -> Any:
    path = config or Path("~/.ssh/config").expanduser()
    if config is None and not path.exists():
        return paramiko.SSHConfig()
    try:
        return paramiko.SSHConfig.from_path(str(path))
    except (OSError, paramiko.SSHException, UnicodeDecodeError) as error:
        raise TargetError(f"{path} cannot be read: {error}") from error
