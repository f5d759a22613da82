"""Getting in: sockets, host keys, jump hosts, authentication; each failure in words with its remedy."""

import base64
import contextlib
import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko

from hilnas.provision.errors import ChangedHostKeyError, HostKeyError, ProvisionError, UnknownHostKeyError
from hilnas.provision.target import Target

Ask = Callable[[str], str | None]
"""Asks a person for a secret in the words given; None when nobody is there to answer."""

_SILENCE_MS = 30_000
"""A connection whose peer acknowledges nothing for so long is over; TCP alone would take a quarter of an hour."""


def nobody(_question: str) -> str | None:
    """Answer no question."""
    return None


def fingerprint_of(key: Any) -> str:
    """Return a key's fingerprint as ssh-keygen prints it: "SHA256:…"."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def dial(target: Target, ask: Ask, timeout_s: float) -> list[Any]:
    """Return the SSH clients on the way to a board, its own last. ProvisionError when there is no way."""
    clients: list[Any] = []
    try:
        for stop in (*target.jumps, target):
            way = _through(clients[-1], stop, timeout_s) if clients else _socket(stop, timeout_s)
            clients.append(_log_in(stop, way, ask, timeout_s))
    except BaseException:
        close(clients)
        raise
    return clients


def close(clients: list[Any]) -> None:
    """Close connections, the farthest first."""
    for client in reversed(clients):
        with contextlib.suppress(Exception):
            client.close()


def _socket(target: Target, timeout_s: float) -> socket.socket:
    where = f"{target.host}, port {target.port}"
    try:
        found = socket.create_connection((target.host, target.port), timeout_s)
    except socket.gaierror as error:
        raise ProvisionError(
            f"there is no host {target.host} ({error.strerror}): check the name, or give its address"
        ) from error
    except ConnectionRefusedError as error:
        raise ProvisionError(
            f"{where} refuses the connection: is sshd running there (sudo systemctl enable --now ssh), on that port?"
        ) from error
    except TimeoutError as error:
        raise ProvisionError(
            f"{where} does not answer within {timeout_s:g} s: is the board on, and in this network? If it is behind "
            "another host, give --jump"
        ) from error
    except OSError as error:
        raise ProvisionError(
            f"{where} cannot be reached ({error.strerror}): is the board in this network?"
        ) from error
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_MS)
    return found


def _through(client: Any, target: Target, timeout_s: float) -> Any:
    transport = client.get_transport()
    via = transport.hilnas_name
    try:
        return transport.open_channel(
            "direct-tcpip", (target.host, target.port), ("127.0.0.1", 0), timeout=timeout_s
        )
    except paramiko.ChannelException as error:
        remedy = (
            "set AllowTcpForwarding yes in its sshd_config"
            if error.code == paramiko.common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
            else f"is {target.host} the name that {via} knows it by, and is it on?"
        )
        raise ProvisionError(
            f"the jump host {via} does not get through to {target} ({error.text}): {remedy}"
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise ProvisionError(
            f"the jump host {via} does not get through to {target} ({error}): is it on?"
        ) from error


def _log_in(target: Target, way: Any, ask: Ask, timeout_s: float) -> Any:
    """Return a client that is logged in: by keys and agent first, then with what a person answers."""
    secrets: dict[str, str] = {}
    while True:
        client = paramiko.SSHClient()
        try:
            _connect(client, target, way, secrets, timeout_s)
        except paramiko.PasswordRequiredException as error:
            client.close()
            if not _answered(secrets, "passphrase", ask(f"Passphrase of the SSH key for {target}: ")):
                raise ProvisionError(
                    f"the SSH key for {target} has a passphrase: run ssh-add, and the agent answers for it"
                ) from error
        except paramiko.AuthenticationException as error:
            client.close()
            if not _answered(secrets, "password", ask(f"Password of {target}: ")):
                raise ProvisionError(_refused(target, secrets)) from error
        else:
            client.get_transport().hilnas_name = str(target)
            return client
        way = _again(way, target, timeout_s)


def _connect(client: Any, target: Target, way: Any, secrets: dict[str, str], timeout_s: float) -> None:
    client.set_missing_host_key_policy(_Policy(target))
    if target.host_key:
        entry = paramiko.hostkeys.HostKeyEntry.from_line(f"{target.known_name} {target.host_key}")
        client.get_host_keys().add(target.known_name, entry.key.get_name(), entry.key)
    elif not target.fingerprint:
        for file in target.known_hosts:
            with contextlib.suppress(OSError):
                client.load_system_host_keys(str(file))
    keys = [str(key) for key in target.keys if key.exists()]
    try:
        client.connect(
            target.host,
            target.port,
            target.user,
            password=secrets.get("password"),
            passphrase=secrets.get("passphrase"),
            key_filename=keys or None,
            look_for_keys=not keys and not target.only_keys,
            allow_agent=not target.only_keys,
            sock=way,
            timeout=timeout_s,
            banner_timeout=2 * timeout_s,
            auth_timeout=2 * timeout_s,
            channel_timeout=2 * timeout_s,
        )
    except paramiko.BadHostKeyException as error:
        raise ChangedHostKeyError(_changed(target, error.key)) from error
    except (paramiko.AuthenticationException, HostKeyError):
        raise
    except paramiko.SSHException as error:
        raise ProvisionError(
            f"{target} does not speak SSH as it should ({error}): is sshd on port {target.port}, and is it not too busy?"
        ) from error
    except (OSError, EOFError) as error:
        raise ProvisionError(
            f"{target} ended the connection ({error}): look at its log, journalctl -u ssh"
        ) from error


def _changed(target: Target, key: Any) -> str:
    where, remedy = "in known_hosts", f"ssh-keygen -R '{target.known_name}' and give --fingerprint"
    if target.host_key:
        where, remedy = "that was kept", "keep the tunnel again, and give --fingerprint"
    return (
        f"the host key of {target.known_name} is not the one {where}: it offers {fingerprint_of(key)}. "
        "Either the board was installed anew, or somebody stands between. Ask whoever looks after it; if it was, "
        f"{remedy} with what its console says"
    )


def _answered(secrets: dict[str, str], kind: str, answer: str | None) -> bool:
    """Keep an answer; False when there is none, or the same was wrong already."""
    if not answer or secrets.get(kind) == answer:
        return False
    secrets[kind] = answer
    return True


def _refused(target: Target, secrets: dict[str, str]) -> str:
    tried = (
        ", ".join(str(key) for key in target.keys if key.exists()) or "the agent's keys and those in ~/.ssh"
    )
    if target.only_keys:
        return (
            f"{target} does not let the lab's key in: has its authorized_keys been written anew? Keep the tunnel again, "
            "with hilnas device tunnel BOARD --keep"
        )
    what = "the password is wrong" if secrets else f"it takes none of {tried}"
    return (
        f"{target} does not let us in: {what}, or there is no user {target.user}. Put your key there with "
        f"ssh-copy-id {target.user}@{target.host}, or name another with --key"
    )


def _again(way: Any, target: Target, timeout_s: float) -> Any:
    """Return a fresh way to the same place: a server hangs up after a failed login."""
    if isinstance(way, paramiko.Channel):
        transport = way.get_transport()
        return transport.open_channel(
            "direct-tcpip", (target.host, target.port), ("127.0.0.1", 0), timeout=timeout_s
        )
    return _socket(target, timeout_s)


def text_of(key: Any) -> str:
    """Return a host key as known_hosts has it after the name: "ssh-ed25519 AAAA…"."""
    return f"{key.get_name()} {key.get_base64()}"


def _kind(key: Any) -> str:
    """Return the kind of a key as its file is named: ed25519, ecdsa, rsa."""
    name: str = key.get_name()
    return "ecdsa" if name.startswith("ecdsa") else name.removeprefix("ssh-")


class _Policy(paramiko.RejectPolicy):  # type: ignore[misc]
    """Rejects every key that is not known, unless its fingerprint is the very one that was asked for."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
        """Compare fingerprints."""
        found, wanted = fingerprint_of(key), self._target.fingerprint
        if self._target.host_key:
            raise ChangedHostKeyError(_changed(self._target, key))
        if not wanted:
            line = f"{self._target.known_name} {text_of(key)}"
            raise UnknownHostKeyError(str(self._target), _kind(key), found, line)
        if found != wanted:
            raise ChangedHostKeyError(
                f"{self._target} offers the {_kind(key)} key {found}, not {wanted} as you said: somebody may stand "
                "between, or that is the fingerprint of another of its keys. At the board's console: "
                f"ssh-keygen -lf /etc/ssh/ssh_host_{_kind(key)}_key.pub"
            )


def remember(target: Target, line: str) -> Path:
    """Add a host's line to the first file of known hosts, after a person has confirmed it; that file."""
    path = target.known_hosts[0]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    return path
