"""A Debian that is booted, for one script: see ``../shared/systemd/booted``, which is no part of this repository."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

RELEASE = "bookworm"

PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "python3-venv", "procps", "curl")

Sections = dict[str, str]


@pytest.fixture(scope="module")
def boot(
    shared: Path, server_binary: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Sections]:
    """Runs a script of this folder in a booted Debian, with a folder at /given and variables before it.

    Returns what it printed, by section.
    """
    booted = shared / "systemd" / "booted"
    if not booted.exists():
        pytest.skip(f"{booted} is not there: it boots the host, and is no part of this repository")
    if os.geteuid() != 0:
        pytest.skip("only root may boot a host")
    nspawn = server_binary("systemd-nspawn")
    root = debian(server_binary("debootstrap"))

    def run(name: str, given: Path, **variables: object) -> Sections:
        script = given / "script"
        lines = "".join(f"{key}={value}\n" for key, value in variables.items())
        script.write_text(lines + "".join(Path(__file__).with_name(each).read_text() for each in ("head.sh", name)))
        done = subprocess.run(
            [booted, root, script, f"{given}:/given"],
            env=os.environ | {"PATH": f"{as_a_machine(nspawn, tmp_path_factory.mktemp('bin'))}:{os.environ['PATH']}"},
            capture_output=True,
            encoding="utf-8",
            timeout=600,
            check=False,
        )
        print(done.stdout, done.stderr)  # pytest shows it where a test fails
        assert done.returncode == 0, f"the script inside the host ended with status {done.returncode}"
        _, *titled = re.split(r"^@@ (.*)\n", done.stdout, flags=re.MULTILINE)
        return dict(zip(titled[::2], titled[1::2], strict=True))

    return run


def as_a_machine(nspawn: str, folder: Path) -> Path:
    """Return a folder with a systemd-nspawn that leaves to the units in the booted host what a machine leaves them.

    By itself it forbids to all of them, root's too, to read the clock's discipline (adjtimex passes only where the
    clock may be set, CAP_SYS_TIME) and to count events: nothing of that would say anything about agentd's unit.
    """
    options = "--capability=CAP_PERFMON --system-call-filter='adjtimex clock_adjtime perf_event_open'"
    wrapper = folder / "systemd-nspawn"
    wrapper.write_text(f'#!/bin/sh\nexec {nspawn} {options} "$@"\n')
    wrapper.chmod(0o755)
    return folder


def debian(debootstrap: str) -> Path:
    """Return the folder of a Debian's file system; the first time it is made, which takes about a minute.

    It gets its name when it is complete: one that was broken off is never taken for a Debian.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "/var/tmp")
    root = cache / f"agentd-test-{RELEASE}"
    if not root.exists():
        cache.mkdir(parents=True, exist_ok=True)
        begun = Path(tempfile.mkdtemp(prefix=f"{root.name}-", dir=cache))
        begun.chmod(0o755)
        packages = f"--include={','.join(PACKAGES)}"
        made = subprocess.run(
            [debootstrap, "--variant=minbase", packages, RELEASE, begun, *mirror()],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if made.returncode:
            pytest.fail(f"debootstrap ended with status {made.returncode}:\n{made.stdout[-2000:]}{made.stderr}")
        begun.rename(root)
    return root


def mirror() -> list[str]:
    """Return where this machine gets its own packages from; nothing where apt does not say, for debootstrap's own."""
    fields = ("--format", "$(REPO_URI)", "Origin: Debian", "Created-By: Packages", f"Codename: {RELEASE}")
    if shutil.which("apt-get") is None:
        return []
    said = subprocess.run(["apt-get", "indextargets", *fields], capture_output=True, encoding="utf-8", check=False)
    return said.stdout.split()[:1]
