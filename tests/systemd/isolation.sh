#!/usr/bin/env bash
# Runs as root inside the booted Debian: starts the service with plugins in processes of their own, has one killed for
# want of memory, and stops the service. It prints what came of it in sections, and judges nothing: test_isolation.py does.
#
# head.sh goes before it. The variable PORT names a free port; /given holds the wheels.
metrics() { curl --silent --fail "http://127.0.0.1:$PORT/metrics" | grep -E '^(apart|agentd_collector_success|agentd_plugin_process_restarts_total).*apart|^apart'; }

python3 -m venv /opt/agentd
unshare --net /opt/agentd/bin/pip install --quiet --no-index --find-links=/given/wheels agentd
ln --symbolic /opt/agentd/bin/agentd /usr/bin/agentd
shared=/opt/agentd/share/agentd/systemd
install -D --mode=644 "$shared/agentd.sysusers.conf" /usr/lib/sysusers.d/agentd.conf
install -D --mode=644 "$shared/agentd.service" /usr/lib/systemd/system/agentd.service
systemd-sysusers
mkdir --parents /etc/systemd/system/agentd.service.d /etc/agentd /opt/plugins
printf '[Service]\nEnvironment=AGENTD_LISTEN=127.0.0.1:%s\nTimeoutStopSec=5s\n' "$PORT" >/etc/systemd/system/agentd.service.d/test.conf
for name in apart_forked apart_other; do
  cat >"/opt/plugins/$name.py" <<END
import os
from agentd.plugin import Collector, Config, gauge, hookimpl

class Plugin(Collector[Config]):
    """A plugin for a test."""

    name = "$name"
    pid = gauge("$name", "Its process.")

    def collect(self):
        return [self.pid(float(os.getpid()))]

@hookimpl
def agentd_collectors():
    return [Plugin]
END
done
cat >/etc/agentd/agentd.toml <<END
[agent]
plugin_dirs = ["/opt/plugins"]

[collectors.apart_forked]
isolation = "process"
memory_limit = "64MiB"
cpu_limit = 0.5

[collectors.apart_other]
isolation = "process"
python = "/usr/bin/python3"
memory_limit = "64MiB"
END
systemctl daemon-reload

section started
systemctl start agentd
metrics

section limits
for name in apart_forked apart_other; do
  pid=$(metrics | sed -n "s/^$name \([0-9]*\).*/\1/p")
  grep 'Max data size' "/proc/$pid/limits"
  cat "/proc/$pid/oom_score_adj"
  grep -E '^(NoNewPrivs|Seccomp|CapEff):' "/proc/$pid/status"
done

# As the kernel does where memory is short; what systemd is told of it comes from the control group.
section killed
main=$(systemctl show agentd --property=MainPID --value)
kill -KILL "$(metrics | sed -n 's/^apart_forked \([0-9]*\).*/\1/p')"
back() { metrics | grep -q '^agentd_plugin_process_restarts_total.*apart_forked"} 1' && metrics | grep -q '^apart_forked '; }
until_so back
metrics
[[ $main == $(systemctl show agentd --property=MainPID --value) ]] && echo "the same agent"
systemctl show agentd --property=OOMPolicy

section stopped
systemctl stop agentd
systemctl show agentd --property=ActiveState,Result
systemctl show agentd --property=TasksCurrent

section journal
journalctl --unit=agentd --no-pager --output=cat
