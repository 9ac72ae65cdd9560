#!/usr/bin/env bash
# Runs as root inside the booted Debian: installs agentd there as an administrator would, goes through what can happen
# to its service, and prints what came of it in sections. It judges nothing: test_unit.py does.
#
# head.sh goes before it. The variables PORT and ROOT_PORT name two free ports; /given holds the wheels.

properties() { systemctl show agentd --property=ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts; }
restarted() { [[ $(show NRestarts) == 1 ]] && systemctl is-active agentd; }

section installed
python3 -m venv /opt/agentd
unshare --net /opt/agentd/bin/pip install --quiet --no-index --find-links=/given/wheels agentd
ln --symbolic /opt/agentd/bin/agentd /usr/bin/agentd
shared=/opt/agentd/share/agentd/systemd
install -D --mode=644 "$shared/agentd.sysusers.conf" /usr/lib/sysusers.d/agentd.conf
install -D --mode=644 "$shared/agentd.service" /usr/lib/systemd/system/agentd.service
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

section shared
(cd /opt/agentd/share && find . -type f -printf '%P\n')

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
process=$(show MainPID)
ps --no-headers --format=user,ni --pid="$process"
cat "/proc/$process/oom_score_adj"
grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' "/proc/$process/status"
show LimitNOFILE
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

# What each drop-in is for. Firmware and energy counters, which this machine may lack, are files in a folder of links to
# /sys, with the modes that the kernel gives them.
mkdir --parents /srv/sys/class/dmi/id /srv/sys/class/powercap/intel-rapl:0 /srv/private/data
ln --symbolic /sys/[!c]* /srv/sys
for class in /sys/class/*; do
  case $class in */dmi | */powercap) ;; *) ln --symbolic "$class" /srv/sys/class ;; esac
done
echo board >/srv/sys/class/dmi/id/product_name
echo secret >/srv/sys/class/dmi/id/product_serial
echo package-0 >/srv/sys/class/powercap/intel-rapl:0/name
echo 5000000 >/srv/sys/class/powercap/intel-rapl:0/energy_uj
chmod 400 /srv/sys/class/dmi/id/product_serial /srv/sys/class/powercap/intel-rapl:0/energy_uj
chmod 700 /srv/private
mount -t tmpfs -o size=14M tmpfs /srv/private/data
mount -t tracefs tracefs /sys/kernel/tracing
mknod --mode=666 /dev/nvidiactl c 195 255
cat >/etc/agentd/agentd.toml <<END
[host]
sysfs = "/srv/sys"
[collectors]
enable = ["perf", "process", "processes", "slabinfo", "sysctl"]
[collectors.perf]
cpus = "0"
tracepoint = ["sched:sched_process_fork"]
[collectors.process]
groups = [{ name = "all", cmdline = [""] }]
[collectors.sysctl]
include = ["kernel.cad_pid", "kernel.threads-max"]
END

# with SECTION [DROP-IN ...]: start the service with these drop-ins, and show what it then may and tells.
with() {
  local section=$1 name process
  shift
  for name in "$@"; do install --mode=644 "$shared/drop-ins/$name.conf" /etc/systemd/system/agentd.service.d; done
  systemctl daemon-reload
  systemctl reset-failed agentd # so many starts within seconds are not taken for a failure
  systemctl restart agentd
  section "with-$section"
  properties
  process=$(show MainPID)
  grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' "/proc/$process/status"
  section "devices-with-$section"
  nsenter --target "$process" --mount find /dev -maxdepth 1 -name 'nvidia*'
  systemctl show agentd --property=DeviceAllow
  section "metrics-with-$section"
  curl --silent --fail "http://127.0.0.1:$PORT/metrics"
  section "journal-with-$section"
  journalctl --sync
  journalctl --no-pager "_SYSTEMD_INVOCATION_ID=$(show InvocationID)"
  for name in "$@"; do rm "/etc/systemd/system/agentd.service.d/$name.conf"; done
}
with none
with read-all read-all
with perf perf
with gpu gpu
with clock clock
with processes processes
with all read-all perf gpu clock processes
# As where /proc is mounted with hidepid=. The host's own option would not do: this systemd gives the unit a /proc that
# is mounted anew, without it.
printf '[Service]\nProtectProc=invisible\n' >/etc/systemd/system/agentd.service.d/hidden.conf
with hidden
with hidden-processes processes
rm /etc/systemd/system/agentd.service.d/hidden.conf
systemctl daemon-reload
systemctl stop agentd

section fallen-back
echo 'collectors = "all of them"' >/etc/agentd/agentd.toml
systemctl start agentd
properties
systemctl show agentd --property=StatusText
curl --silent "http://127.0.0.1:$PORT/readyz"
systemctl stop agentd

section broken
rm /var/lib/agentd/configuration.json
if systemctl start agentd 2>/dev/null; then echo "it was started all the same"; fi
properties

section journal
journalctl --unit=agentd --no-pager
