#!/usr/bin/env bash
# Runs as root inside the booted Debian: installs agentd there as an administrator would, goes through what can happen
# to its service, and prints what came of it in sections. It judges nothing: test_unit.py does.
#
# The variables PORT and ROOT_PORT name two free ports; /given holds the unit, its system user and the wheels.
set -euo pipefail

section() { printf '\n@@ %s\n' "$1"; }
properties() { systemctl show agentd --property=ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts; }
until_so() {
  for _ in $(seq 150); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.2
  done
  echo "not so after 30 s: $*" >&2
  journalctl --unit=agentd --no-pager >&2
  return 1
}
restarted() { [[ $(systemctl show agentd --property=NRestarts --value) == 1 ]] && systemctl is-active agentd; }

section installed
python3 -m venv /opt/agentd
unshare --net /opt/agentd/bin/pip install --quiet --no-index --find-links=/given/wheels agentd
ln --symbolic /opt/agentd/bin/agentd /usr/bin/agentd
install -D --mode=644 /given/agentd.sysusers.conf /usr/lib/sysusers.d/agentd.conf
install -D --mode=644 /given/agentd.service /usr/lib/systemd/system/agentd.service
systemd-sysusers 2>&1
systemd-analyze verify /usr/lib/systemd/system/agentd.service 2>&1
getent passwd agentd
# Where this host has other things on the usual port; and a stop that takes longer is told as Result=timeout.
install -D --mode=644 /dev/stdin /etc/systemd/system/agentd.service.d/test.conf <<END
[Service]
Environment=AGENTD_LISTEN=127.0.0.1:$PORT
TimeoutStopSec=5s
END
systemctl daemon-reload

section exposure
systemd-analyze security --no-pager agentd | tail --lines=1

# What a mount namespace of the unit's own could hide: mounts where people and programs keep theirs …
mkdir --parents /home/somebody/data /tmp/data /srv/late
mount -t tmpfs -o size=11M,mode=700 tmpfs /home/somebody/data
mount -t tmpfs -o size=12M,ro tmpfs /tmp/data
section started
systemctl enable --now agentd 2>/dev/null
properties
# … and what comes about while it runs.
mount -t tmpfs -o size=13M tmpfs /srv/late
hostname renamed

section process
process=$(systemctl show agentd --property=MainPID --value)
ps --no-headers --format=user,ni --pid="$process"
cat "/proc/$process/oom_score_adj"
grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' "/proc/$process/status"
systemctl show agentd --property=LimitNOFILE --value
stat --format='%U %a %n' /etc/agentd /run/agentd /run/agentd/agentd.sock /var/lib/agentd

section writable
for folder in / /etc /etc/agentd /home/somebody /opt/agentd /proc/sys /run/agentd /sys /tmp /var/lib/agentd /var/tmp; do
  if nsenter --target "$process" --mount setpriv --reuid=agentd --regid=agentd --clear-groups test -w "$folder"; then
    echo "$folder"
  fi
done

section status
agentd status

# The same program without any unit: what it answers is what the service should.
STATE_DIRECTORY=/root/state RUNTIME_DIRECTORY=/root/run AGENTD_LISTEN=127.0.0.1:$ROOT_PORT agentd run >/root/log 2>&1 &
until_so curl --fail "http://127.0.0.1:$ROOT_PORT/readyz"
curl --silent --fail "http://127.0.0.1:$ROOT_PORT/metrics" "http://127.0.0.1:$PORT/metrics" >/dev/null
section metrics-of-root
curl --silent --fail "http://127.0.0.1:$ROOT_PORT/metrics"
section metrics-of-unit
curl --silent --fail "http://127.0.0.1:$PORT/metrics"
kill %1

section killed
systemctl kill --kill-whom=main --signal=KILL agentd
until_so restarted
properties
curl --silent --fail "http://127.0.0.1:$PORT/readyz"

section stopped
systemctl stop agentd
properties

section broken
echo 'collectors = "all of them"' >/etc/agentd/agentd.toml
if systemctl start agentd 2>/dev/null; then echo "it was started all the same"; fi
properties

section journal
journalctl --unit=agentd --no-pager
