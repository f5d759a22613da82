"""What a lab keeps of its tunnels: the SSH key it logs in with, and the list of boards, in a folder for it alone."""

import json
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from hilnas.options import Options, OptionsError, parse_options
from hilnas.provision.kept import Kept
from hilnas.security.files import PUBLIC, SECRET, locked, private_folder, write

_KEY, _LIST = "id_ed25519", "tunnels.json"


class _List(Options):
    tunnels: tuple[Kept, ...] = ()


class TunnelBook:
    """The folder `ssh` of a lab; nothing is there before there is something to keep."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / _KEY
        self.list = folder / _LIST

    def public_key(self) -> str:
        """Return the key's public half, "ssh-ed25519 AAAA…"; the key is made at the first call."""
        private_folder(self.folder)
        with locked(self.folder / ".lock"):
            if not self.key.exists():
                made = Ed25519PrivateKey.generate()
                write(
                    self.key,
                    made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
                    SECRET,
                )
                public = made.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
                write(self.key.with_suffix(".pub"), public + b" hilnas-tunnel\n", PUBLIC)
        return _public_half(self.key)

    def read(self) -> tuple[Kept, ...]:
        """Return the tunnels. OptionsError names what is wrong in the list."""
        try:
            data = json.loads(self.list.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return ()
        except ValueError as error:
            raise OptionsError(f"{self.list} is no JSON ({error}): put it back from a backup") from error
        if not isinstance(data, dict):
            raise OptionsError(f"{self.list} holds no list of tunnels: put it back from a backup")
        found = parse_options(_List, data, self.list.name).tunnels
        ways = [tunnel.way for tunnel in found]
        for place, tunnel in enumerate(found):
            if tunnel.way in ways[:place]:
                raise OptionsError(f"{self.list} has the tunnel to {tunnel.told} twice: take one away")
        return found

    def write(self, tunnels: Iterable[Kept]) -> None:
        """Replace the list, whole or not at all."""
        private_folder(self.folder)
        data = {"tunnels": [tunnel.model_dump(mode="json") for tunnel in tunnels]}
        write(self.list, json.dumps(data, indent=2).encode() + b"\n", SECRET)

    def stamp(self) -> tuple[int, int, int]:
        """Return what changes when the list does."""
        try:
            found = self.list.stat()
        except FileNotFoundError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_size, found.st_ino)


def _public_half(path: Path) -> str:
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except ValueError as error:
        raise OptionsError(
            f"{path} is no SSH key ({error}): put it back from a backup, or remove it and keep each tunnel again"
        ) from error
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
