# What of hilnas is on a board: lines of key=value. POSIX sh, as root, changes nothing.
LC_ALL=C
export LC_ALL
say() { printf '%s=%s\n' "$1" "$2"; }
root=$1 config=$2 state=$3 units=$4 user=$5

say current "$(basename "$(readlink $root/current)" 2>/dev/null)"
say previous "$(basename "$(readlink $root/previous)" 2>/dev/null)"
for release in $root/releases/*; do
  case $release in *.partial | *'*') ;; *) say release "$(basename "$release")" ;; esac
done
say account "$(id -u $user 2>/dev/null)"
for file in $config/agent.env $units/hilnas-agent.service $units/hilnas-governor.service; do
  [ ! -f $file ] || say file "$(sha256sum $file)"
done
say device "$(sed -n 's/^HILNAS_AGENT_ARGS=.*--name=\([^" ]*\).*/\1/p' $config/agent.env 2>/dev/null)"
identity=$state/identity/current
[ -d $identity ] || identity=$state/identity
if [ -f $identity/cert.pem ] && [ -f $identity/key.pem ]; then
  say subject "$(openssl x509 -in $identity/cert.pem -noout -subject -nameopt RFC2253)"
  say begins "$(openssl x509 -in $identity/cert.pem -noout -startdate | cut -d= -f2)"
  say ends "$(openssl x509 -in $identity/cert.pem -noout -enddate | cut -d= -f2)"
  say authority "$(sha256sum $identity/ca.pem)"
fi 2>/dev/null
[ -d /run/systemd/system ] || exit 0
for unit in hilnas-agent.service hilnas-governor.service; do
  say unit "$unit $(systemctl is-enabled $unit 2>/dev/null) $(systemctl is-active $unit 2>/dev/null)"
done
