#!/usr/bin/env bash
# The head of each script of this folder that runs as root inside a booted Debian, put before it by conftest.py.
set -euo pipefail

section() { printf '\n@@ %s\n' "$1"; }
show() { systemctl show agentd --property="$1" --value; }
until_so() {
  for _ in $(seq 300); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.2
  done
  echo "not so after 60 s: $*" >&2
  journalctl --unit=agentd --no-pager >&2
  return 1
}
