"""A board is left as it was before it was a device."""

from hilnas.provision import layout, state
from hilnas.provision.connection import Connection
from hilnas.provision.dial import Ask, nobody
from hilnas.provision.install import Progress
from hilnas.provision.target import Target

_REMOVE = """
root=$1 config=$2 state=$3 cache=$4 units=$5 account=$6
if [ -d /run/systemd/system ]; then
  systemctl disable -q --now hilnas-agent.service hilnas-governor.service 2>/dev/null
fi
# What was started by hand.
if id "$account" >/dev/null 2>&1; then
  number=$(id -u "$account")
  for signal in TERM TERM KILL; do
    found=
    for process in /proc/[0-9]*; do
      [ "$(stat -c %u "$process" 2>/dev/null)" != "$number" ] || { kill -s $signal "${process#/proc/}" 2>/dev/null; found=1; }
    done
    [ -n "$found" ] || break
    sleep 1
  done
fi
set -e
rm -rf "$units/hilnas-agent.service" "$units/hilnas-governor.service" \\
  "$units/hilnas-agent.service.d" "$units/hilnas-governor.service.d"
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl reset-failed hilnas-agent.service hilnas-governor.service 2>/dev/null || true
fi
rm -rf "$root/releases" "$root/current" "$root/previous" "$root/current.new" "$root/previous.new"
[ ! -d "$root" ] || rmdir "$root" 2>/dev/null || true
rm -rf "$config" "$state" "$cache"
if id "$account" >/dev/null 2>&1; then userdel "$account"; fi
if getent group "$account" >/dev/null; then groupdel "$account"; fi
"""


def remove(target: Target, *, ask: Ask = nobody, progress: Progress = lambda text: None) -> bool:
    """Stop the agent and take away all that `deploy` brought; False when there was nothing.

    ProvisionError says what could not be removed; the same call goes on there.
    """
    with Connection.open(target, ask) as board:
        progress(f"logged in to {target}")
        if state.read(board).empty:
            return False
        progress("stopping the agent and removing it")
        places = (layout.ROOT, layout.CONFIG, layout.STATE, layout.CACHE, layout.UNITS, layout.USER)
        board.script(_REMOVE, *places, what="remove the agent", sudo=True, timeout_s=300)
        return True
