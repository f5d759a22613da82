# What a board is: lines of key=value. POSIX sh; run as the user that logged in, changes nothing.
# The system's own places alone: a Python at home is out of the service's sight.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
LC_ALL=C
export PATH LC_ALL
say() { printf '%s=%s\n' "$1" "$2"; }

say kernel "$(uname -s)"
say machine "$(uname -m)"
say hostname "$(uname -n)"
say user "$(id -un)"
say now "$(date +%s)"
[ ! -d /system/app ] && [ -z "${TERMUX_VERSION:-}" ] || say android yes
say libc "$({ getconf GNU_LIBC_VERSION || ldd --version; } 2>&1 | head -n 1)"
say memory_kib "$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)"
[ ! -d /run/systemd/system ] || say systemd "$(systemctl --version | awk 'NR == 1 { print $2 }')"
say openssl "$(command -v openssl)"

place=/opt/hilnas
[ -d $place ] || place=/opt
[ -d $place ] || place=/
say free_kib "$(df -Pk $place | awk 'NR == 2 { print $4 }')"
mounted=$(df -Pk $place | awk 'NR == 2 { print $6 }')
say mount "$(awk -v at="$mounted" '$2 == at { options = $4 } END { print options }' /proc/mounts)"

seen=
for python in python3 python3.13 python3.12 python3.11; do
  path=$(PATH=/usr/local/bin:/usr/bin:/bin command -v $python) || continue
  real=$(readlink -f "$path")
  case " $seen " in *" $real "*) continue ;; esac
  seen="$seen $real"
  say python "$path $($path -I -c '
import struct, sys
from importlib.util import find_spec
has = [name for name in ("venv", "numpy") if find_spec(name)]
print("%d.%d" % sys.version_info[:2], struct.calcsize("P") * 8, *has)' 2>/dev/null)"
done
