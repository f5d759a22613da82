"""A connection to a board: commands, root's commands, files."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paramiko

from hilnas.provision import dial as ways
from hilnas.provision.dial import Ask, nobody
from hilnas.provision.errors import LostLinkError, ProvisionError
from hilnas.provision.running import Result, broke_off, run
from hilnas.provision.target import Target

TIMEOUT_S = 30.0
"""How long a host may take to answer, in s: an emulated or busy board is slow to log in."""
_KEEPALIVE_S = 10
_AS_ROOT = ("sh", "-c", 'exec "$@"', "sh")
"""sudo always runs this one program, so whether it wants a password is known after the first time."""
_EVERYWHERE = "PATH=$PATH:/usr/sbin:/sbin; export PATH\n"
_SUDO = ("env", "LC_ALL=C", "sudo")


class Connection:
    """Logged in to a board. Not for several threads at once."""

    def __init__(self, target: Target, clients: list[Any], ask: Ask = nobody) -> None:
        self.target = target
        self._clients, self._ask = clients, ask
        self._transport = clients[-1].get_transport()
        self._transport.set_keepalive(_KEEPALIVE_S)
        self._before_root: tuple[str, ...] | None = None
        self._password = b""
        self._sftp: Any = None

    @classmethod
    def open(cls, target: Target, ask: Ask = nobody, timeout_s: float = TIMEOUT_S) -> Self:
        """Log in. `ask` is asked for passwords and passphrases. ProvisionError says why it cannot be."""
        return cls(target, ways.dial(target, ask, timeout_s), ask)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Log out."""
        ways.close(self._clients)

    @property
    def transport(self) -> Any:
        """Paramiko's transport."""
        return self._transport

    @property
    def host_keys(self) -> tuple[str, ...]:
        """Host keys of the hosts on the way, all verified, the board's last: "ssh-ed25519 AAAA…" each."""
        return tuple(ways.text_of(client.get_transport().get_remote_server_key()) for client in self._clients)

    def run(
        self, words: Sequence[str], *, sudo: bool = False, content: bytes = b"", timeout_s: float = 60.0
    ) -> Result:
        """Run a program with its arguments, as root if `sudo`, given `content` on standard input.

        ProvisionError when the link breaks, root cannot be had, or it takes longer than `timeout_s`.
        """
        before = self._elevation() if sudo else ()
        secret = self._password if before and "-S" in before else b""
        result = run(self._transport, str(self.target), [*before, *words], secret + content, timeout_s)
        if secret and not result.ok and "incorrect password" in result.errors:
            raise ProvisionError(
                f"{self.target}: sudo does not take the password: give the one of {self.target.user}"
            )
        return result

    def check(
        self,
        words: Sequence[str],
        what: str,
        *,
        sudo: bool = False,
        content: bytes = b"",
        timeout_s: float = 60.0,
    ) -> str:
        """Return the output of a program that must succeed; ProvisionError says that `what` failed, and why."""
        result = self.run(words, sudo=sudo, content=content, timeout_s=timeout_s)
        if not result.ok:
            raise ProvisionError(f"{self.target}: cannot {what}: {explain(result)}")
        return result.output

    def script(
        self,
        text: str,
        *arguments: str,
        what: str,
        sudo: bool = False,
        content: bytes = b"",
        timeout_s: float = 60.0,
    ) -> str:
        """Return the output of a POSIX shell script that must succeed; `arguments` are its $1, $2, …"""
        return self.check(
            ["sh", "-c", _EVERYWHERE + text, "hilnas", *arguments],
            what,
            sudo=sudo,
            content=content,
            timeout_s=timeout_s,
        )

    def put(self, source: Path, to: str, progress: Callable[[int, int], object] | None = None) -> None:
        """Copy a file to the board over SFTP, as the user that is logged in; it has its name once it is whole."""
        name = source.name
        try:
            self._files().put(str(source), f"{to}.part", callback=progress, confirm=True)
            self._files().posix_rename(f"{to}.part", to)
        except (OSError, EOFError, paramiko.SSHException) as error:
            if broke_off(self._transport):
                raise LostLinkError(
                    f"the connection to {self.target} broke off while {name} was sent. The same command goes on there"
                ) from error
            raise ProvisionError(
                f"{self.target}: {name} cannot be written to {to} ({error}): {self._room(to)}"
            ) from error

    def _files(self) -> Any:
        if self._sftp is None:
            try:
                self._sftp = paramiko.SFTPClient.from_transport(self._transport)
                self._sftp.get_channel().settimeout(120.0)
            except (OSError, EOFError, paramiko.SSHException) as error:
                if broke_off(self._transport):
                    raise LostLinkError(
                        f"the connection to {self.target} broke off: run the same command again"
                    ) from error
                raise ProvisionError(
                    f"{self.target} has no SFTP ({error}): apt install openssh-sftp-server, "
                    "and keep its sshd_config's line Subsystem sftp"
                ) from error
        return self._sftp

    def _room(self, path: str) -> str:
        """Return what is wrong with the place that could not be written to."""
        with contextlib.suppress(ProvisionError):
            found = self.run(["df", "-Pk", path.rpartition("/")[0]])
            fields = found.output.splitlines()[-1].split() if found.ok else []
            if len(fields) > 3 and fields[3].isdigit():
                return f"{int(fields[3]) >> 10} MiB are free there; make room (du -xh / | sort -h | tail)"
        return "is it full, or mounted read-only?"

    def _elevation(self) -> tuple[str, ...]:
        """Return the words before a command of root's; none where root is logged in."""
        if self._before_root is None:
            self._before_root = self._find_root()
        return self._before_root

    def _find_root(self) -> tuple[str, ...]:
        user = self.target.user
        if self.check(["id", "-u"], "see who is logged in").strip() == "0":
            return ()
        silent = (*_SUDO, "-n", "--", *_AS_ROOT)
        tried = self.run([*silent, "true"])
        if tried.ok:
            return silent
        said = tried.errors + tried.output
        if "not found" in said or "No such file" in said:
            raise ProvisionError(
                f"{self.target} has no sudo, and {user} is not root: log in as root, or apt install sudo"
            )
        if "password" not in said:
            raise ProvisionError(f"{self.target}: sudo refuses {user}: {tried.last_words()}")
        answer = self._ask(f"sudo's password of {self.target}: ")
        if not answer:
            raise ProvisionError(
                f"{self.target}: sudo wants a password of {user}, and nobody is there to give it: run this at a "
                f"terminal, or let {user} do without (a file in /etc/sudoers.d: {user} ALL=(ALL) NOPASSWD: ALL)"
            )
        # -k: asked every time, else the line with the password would become the command's input.
        aloud = (*_SUDO, "-k", "-S", "-p", "", "--", *_AS_ROOT)
        self._password = answer.encode() + b"\n"
        tried = run(self._transport, str(self.target), [*aloud, "true"], self._password, 60.0)
        if tried.ok:
            return aloud
        self._password = b""
        why = (
            "does not take the password"
            if "password" in tried.errors
            else f"refuses {user}: {tried.last_words()}"
        )
        remedy = f"give the password of {user}, who must be in the group sudo"
        raise ProvisionError(f"{self.target}: sudo {why}: {remedy}")


def explain(result: Result) -> str:
    """Return a failed command's last words, with the remedy where it is known."""
    said = result.errors + result.output
    for sign, remedy in _SIGNS:
        if sign in said:
            return f"{result.last_words()}: {remedy}"
    return result.last_words()


_SIGNS = (
    ("No space left on device", "the board's disk is full; make room (du -xh / | sort -h | tail)"),
    ("Disk quota exceeded", "the user's quota is spent there; make room"),
    (
        "Read-only file system",
        "its file system is mounted read-only: mount it for writing (raspi-config: Overlay File System off), "
        "or, if the kernel did that by itself, its card is failing (dmesg)",
    ),
    ("Input/output error", "its card is failing; dmesg there says more"),
    ("Cannot allocate memory", "the board has no memory left; end other programs"),
)
