"""What a lab's key may do on boards and on hosts on the way to them: one line of authorized_keys each, and no more."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from hilnas.provision.connection import Connection
from hilnas.provision.errors import LostLinkError, ProvisionError
from hilnas.provision.kept import Hop, Kept

_NOWHERE = "nowhere.invalid:1"
"""What stands for "none" in permitopen and permitlisten, which know no such word: a name that no host can have."""

# Runs on the board in place of any program that the key's holder asks for, whose words must be a tunnel's number. It
# ends the sshd that this tunnel left behind when its link broke, and notes the one of now. Without root nobody can see who
# holds a port, hence the note: the process and when it began. It stands in single quotes, so it has none.
_FORCED = (
    "exec 2>/dev/null; "
    'case $SSH_ORIGINAL_COMMAND in ""|*[!0-9]*|???????????*) exit 2;; esac; '
    "of() { name= began=; read -r name </proc/$1/comm && read -r rest </proc/$1/stat && "
    "rest=${rest##*)} && set -- $rest && up=$2 began=${20}; }; "
    "me=$PPID; while of $me; do case $name in sshd*) break;; esac; me=$up; done; "
    "of $me || exit 1; mine=$began; note=$HOME/.ssh/@NOTE@-$SSH_ORIGINAL_COMMAND; "
    'if read -r old at <"$note" && [ $old != $me ] && of $old && [ $began = $at ]; then '
    "case $name in sshd*) kill $old; n=0; "
    "while [ $n -lt 30 ] && kill -0 $old; do sleep 0.1; n=$((n+1)); done;; esac; fi; "
    'umask 077; echo $me $mine >"$note"'
)

# Puts a line into the authorized_keys of whoever is logged in, in place of the one that the same key has there, or takes
# that away when the line is empty. Whole or not at all: a torn file would lock people out.
_WRITE = """
set -eu; umask 077
line=$1 key=$2 note=$3
folder=$HOME/.ssh; file=$folder/authorized_keys
[ -d "$folder" ] || { [ -n "$line" ] || exit 0; mkdir -m 700 "$folder"; }
[ -f "$file" ] || { [ -n "$line" ] || exit 0; : >"$file"; }
file=$(readlink -f "$file")
if [ -n "$line" ] && grep -qxF "$line" "$file"; then echo same; exit 0; fi
cp -p "$file" "$file.hilnas"
{ grep -vF "$key" "$file" || true; [ -z "$line" ] || printf '%s\\n' "$line"; } >"$file.hilnas"
sync; mv -f "$file.hilnas" "$file"
if [ -z "$line" ]; then
  rm -f "$folder/$note"-*
  [ -s "$file" ] || rm -f "$file"
fi
"""


@dataclass(frozen=True)
class Grants:
    """What the key may do in one place."""

    listens: tuple[int, ...] = ()
    """Ports of loopback there that may lead back to the lab."""
    opens: tuple[str, ...] = ()
    """Addresses, host:port, that it may get through to."""

    def __bool__(self) -> bool:
        return bool(self.listens or self.opens)


def grants(tunnels: Iterable[Kept], way: tuple[Hop, ...]) -> Grants:
    """Return what `tunnels` need in the place that `way` leads to.

    A key has one line a user, so one place has all of them: that of the same way, or of the same user and host key,
    which is the same host by another name.
    """
    listens: set[int] = set()
    opens: set[str] = set()
    here, key = tuple(hop.place for hop in way), (way[-1].user, way[-1].host_key)
    for tunnel in tunnels:
        for place, hop in enumerate(tunnel.hops):
            if tunnel.way[: place + 1] != here and (hop.user, hop.host_key) != key:
                continue
            if hop is tunnel.hops[-1]:
                listens.add(tunnel.port)
            else:
                opens.add(_address(tunnel.hops[place + 1]))
    return Grants(tuple(sorted(listens)), tuple(sorted(opens)))


def line(public: str, given: Grants) -> str:
    """Return the line of authorized_keys for a public key, "ssh-ed25519 AAAA…"; "" where nothing is granted."""
    if not given:
        return ""
    listens = [f"127.0.0.1:{port}" for port in given.listens] or [_NOWHERE]
    forced = "exec /bin/sh -c '" + _FORCED.replace("@NOTE@", _note(public)) + "'"
    options = [
        "restrict",
        "port-forwarding",
        *(f'permitlisten="{address}"' for address in listens),
        *(f'permitopen="{address}"' for address in given.opens or [_NOWHERE]),
        'command="' + forced.replace('"', '\\"') + '"',
    ]
    return f"{','.join(options)} {public} {_note(public)}"


def authorize(host: Connection, public: str, given: Grants) -> bool:
    """Let the key do that there, for the user who is logged in, and nothing else; False when it was so already.

    ProvisionError when the file cannot be written.
    """
    said = host.script(
        _WRITE, line(public, given), public, _note(public), what="write ~/.ssh/authorized_keys"
    )
    return said.strip() != "same"


def clear(tunnel: Kept, board: Connection) -> None:
    """Have the board end what the tunnel left there before; LostLinkError when the link is lost meanwhile.

    A board where that cannot be done has the tunnel all the same: its port is free again once sshd sees the cut.
    """
    try:
        board.run([str(tunnel.number)], timeout_s=20)
    except LostLinkError:
        raise
    except ProvisionError:
        return


def _note(public: str) -> str:
    """Return the name of the key's notes on boards."""
    blob = base64.b64decode(public.split()[1])
    return f"hilnas-tunnel-{hashlib.sha256(blob).hexdigest()[:8]}"


def _address(hop: Hop) -> str:
    return f"[{hop.host}]:{hop.port}" if ":" in hop.host else f"{hop.host}:{hop.port}"
