#!/usr/bin/env bash
# Runs as root inside the booted Debian: goes with the Debian package through its life there, from the installation to the
# purge, and prints what came of it in sections. It judges nothing: test_package.py does.
#
# head.sh goes before it. The variable PORT names a free port; /given holds the package (old.deb) and the same with a
# higher version (new.deb).

answers() { curl --silent --fail "http://127.0.0.1:$PORT/readyz"; }
restarted() { (($(show NRestarts) > $1)) && systemctl is-active agentd && answers; }
# No network at all while a package is installed; systemd is asked over its socket.
install_package() { DEBIAN_FRONTEND=noninteractive unshare --net dpkg --install "$@" </dev/null 2>&1; }
drop_in() { install -D --mode=644 /dev/stdin "/etc/systemd/system/agentd.service.d/$1.conf"; }
events() { agentd events --type "$1" --json; }

# This host shares the network of the machine around it, which may have an agent on the usual port.
drop_in port <<<"[Service]
Environment=AGENTD_LISTEN=127.0.0.1:$PORT"

section installed
install_package /given/old.deb
section state
systemctl show agentd --property=ActiveState,SubState,UnitFileState,User,StatusText,StartLimitIntervalUSec,WatchdogUSec,MemoryHigh,MemoryMax,TasksMax
dpkg --verify agentd
dpkg-query --show --showformat='${Conffiles}\n' agentd
getent passwd agentd
section start-milliseconds
for _ in 1 2 3 4 5 6; do
  echo $((($(show ActiveEnterTimestampMonotonic) - $(show InactiveExitTimestampMonotonic)) / 1000)) \
    "$(awk '{ print ($14 + $15) * 10 }' "/proc/$(show MainPID)/stat")" # ticks of user and system time
  systemctl stop agentd
  systemctl start agentd
done
until_so answers
section metrics
curl --silent --fail "http://127.0.0.1:$PORT/metrics"
section manual
zcat /usr/share/man/man1/agentd-run.1.gz | sed --quiet 1,3p
zcat /usr/share/man/man5/agentd.toml.5.gz | sed --quiet 1,3p
section completed
bash -c 'source /usr/share/bash-completion/completions/agentd
  COMP_WORDS=(agentd emi) COMP_CWORD=1
  _agentd_completion agentd
  echo "${COMPREPLY[@]}"'

# An administrator's work: the conffile edited, a sink beside it, a secret that root alone may read.
sed --in-place '0,/^#labels = {}$/s//labels = { site = "hall-3" }/' /etc/agentd/agentd.toml # the first: that of [agent]
mkdir --parents /root/secrets
install --mode=600 /dev/stdin /root/secrets/token <<<"a-token-of-32-characters-at-least"
drop_in secret <<<"[Service]
LoadCredential=token:/root/secrets/token"
install --mode=644 /dev/stdin /etc/agentd/conf.d/local.toml <<END_OF_FILE
[web.tokens.prometheus]
token = { credential = "token" }
scopes = ["metrics:read"]
[sinks.file]
path = "/var/log/agentd/events.jsonl"
END_OF_FILE
systemctl daemon-reload
systemctl restart agentd
section check
agentd check
section credential
for token in a-token-of-32-characters-at-least another-token-of-32-characters--; do
  curl --silent --output /dev/null --write-out '%{http_code}\n' --header "Authorization: Bearer $token" \
    "http://127.0.0.1:$PORT/api/v1/status"
done

section reloaded
before=$(show MainPID)
printf '[sinks.another]\nplugin = "log"\n' >/etc/agentd/conf.d/another.toml
systemctl reload agentd
agentd status >/root/status || true
grep --quiet 'sinks\.another' /root/status && echo sinks.another
echo '[' >/etc/agentd/conf.d/another.toml
systemctl reload agentd 2>/dev/null || echo refused
rm /etc/agentd/conf.d/another.toml
systemctl is-active agentd
[[ $(show MainPID) == "$before" ]] && echo "the same process"
systemctl reload agentd

section upgraded
agentd emit package.before n=1
# Somebody goes on telling what happens, and is told of each whether it is written down.
for n in $(seq 20); do agentd emit package.meanwhile "n:=$n" --wait 60s >/dev/null && echo "$n" >>/root/acknowledged; done &
install_package --force-confold /given/new.deb
until_so answers
wait %1
dpkg-query --show --showformat='${Version}\n' agentd
[[ $(show MainPID) != "$before" ]] && echo "another process"
section conffile-after-upgrade
grep '^labels' /etc/agentd/agentd.toml
grep --count 'of the new version' /etc/agentd/agentd.toml.dpkg-dist
section events-after-upgrade
events package.before
section acknowledged
cat /root/acknowledged
section events-meanwhile
events package.meanwhile

section downgraded
install_package --force-confold --force-downgrade /given/old.deb
until_so answers
dpkg-query --show --showformat='${Version}\n' agentd
section events-after-downgrade
events package.before

section newer-store
# As a newer agentd would have left it.
systemctl stop agentd
/opt/agentd/bin/python3 -c 'import sqlite3
connection = sqlite3.connect("/var/lib/agentd/journal.db")
connection.execute("PRAGMA user_version = 99")
connection.close()'
systemctl start agentd
systemctl is-active agentd
ls /var/lib/agentd
section newer-store-journal
journalctl --sync
journalctl --no-pager "_SYSTEMD_INVOCATION_ID=$(show InvocationID)"
agentd emit package.behind

section killed
systemctl kill --kill-whom=main --signal=KILL agentd
until_so restarted 0
systemctl show agentd --property=ActiveState,NRestarts
systemctl kill --kill-whom=main --signal=KILL agentd
until_so restarted 1
systemctl show agentd --property=ActiveState,NRestarts

section watchdog
install -D --mode=644 /dev/stdin /etc/agentd/plugins/sleeper.py <<END_OF_FILE
import pathlib
import time

from agentd.plugin import Collector, Config, hookimpl


class Sleeper(Collector[Config]):
    name = "sleeper"
    blocking = False
    asked = 0

    async def start(self):
        self.log.warning("it will block")

    def collect(self):
        self.asked += 1
        if self.asked == 2:
            time.sleep(3600)
        return []


@hookimpl
def agentd_collectors():
    return [Sleeper]
END_OF_FILE
install --mode=644 /dev/stdin /etc/agentd/conf.d/sleeper.toml <<END_OF_FILE
[agent]
plugin_dirs = ["/etc/agentd/plugins"]
END_OF_FILE
drop_in watchdog <<<"[Service]
WatchdogSec=3s"
systemctl daemon-reload
systemctl restart agentd
sleep 5 # longer than it may be silent: it is not
systemctl show agentd --property=ActiveState,NRestarts
curl --silent --max-time 1 "http://127.0.0.1:$PORT/metrics" || echo "it is blocked"
left_out() { curl --silent "http://127.0.0.1:$PORT/readyz" | grep "is left out"; }
until_so left_out
systemctl show agentd --property=ActiveState,NRestarts
section left-out
left_out
systemctl restart agentd
left_out
curl --silent --fail "http://127.0.0.1:$PORT/metrics" | grep "agentd_plugin_up.*sleeper"
agentd plugins resume collectors.sleeper
answers
section watchdog-journal
journalctl --sync
journalctl --unit=agentd --no-pager --lines=200
section plugin-journal
journalctl --no-pager --output=cat AGENTD_PLUGIN=collectors.sleeper PRIORITY=4
rm /etc/agentd/conf.d/sleeper.toml

section socket
systemctl stop agentd
install -D --mode=644 /dev/stdin /etc/systemd/system/agentd.socket.d/port.conf <<END_OF_FILE
[Socket]
ListenStream=
ListenStream=127.0.0.1:$PORT
END_OF_FILE
systemctl daemon-reload
systemctl enable --now agentd.socket 2>/dev/null
curl --silent --fail --output /dev/null --write-out 'started by a scrape: %{http_code}\n' "http://127.0.0.1:$PORT/metrics"
# None of the scrapes during restarts is refused.
(for _ in 1 2 3; do systemctl restart agentd; done; touch /root/done) &
while [[ ! -e /root/done ]]; do
  curl --silent --fail --output /dev/null --max-time 20 "http://127.0.0.1:$PORT/metrics" || echo "refused: $?"
done
wait %1
journalctl --sync
journalctl --no-pager "_SYSTEMD_INVOCATION_ID=$(show InvocationID)" --output=cat | grep 'systemd has opened' || echo "all taken"

section removed
process=$(show MainPID)
dpkg --remove agentd 2>&1
[[ ! -e /proc/$process ]] && echo "stopped"
systemctl is-active agentd.service agentd.socket || true
ls -d /opt/agentd /usr/bin/agentd /etc/agentd/agentd.toml /var/lib/agentd 2>&1 || true

section purged
dpkg --purge agentd 2>&1
section left
find / -xdev -name '*agentd*' ! -path '/given/*' ! -path '/proc/*'
find /run -name '*agentd*'
systemctl reset-failed
getent passwd agentd || true
systemctl list-units --all --no-legend 'agentd*'

section installed-again
install_package /given/old.deb >/dev/null
systemctl is-active agentd
