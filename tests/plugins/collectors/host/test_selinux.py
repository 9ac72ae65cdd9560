"""The collector selinux."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.selinux import Selinux, parse

CONFIG = b"# How to boot\n; SELINUX=permissive\n\nSELINUXTYPE=targeted\n  SELINUX=enforcing  \nSELINUX=disabled\n"


@pytest.fixture
def machine(tmp_path):
    """Return a fake machine on which SELinux enforces its policy."""
    for file, content in {
        "sys/fs/selinux/enforce": b"1",
        "proc/self/attr/current": b"system_u:system_r:unconfined_service_t:s0\0",
        "etc/selinux/config": CONFIG,
    }.items():
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_bytes(content)
    return tmp_path


def collector(machine, host=Host):
    """Return a collector that reads a fake machine."""
    paths = HostPaths(procfs=f"{machine}/proc", sysfs=f"{machine}/sys", rootfs=str(machine))
    return Selinux(context=Context(host=host(paths)))


def values(collector):
    """Return the value of each family that a collector tells."""
    return {family.name: family.samples[()] for family in collector.collect()}


def test_collect_tells_both_modes(machine):
    """What is enforced now and what is configured are told apart."""
    (machine / "sys" / "fs" / "selinux" / "enforce").write_bytes(b"0")
    assert values(collector(machine)) == {
        "node_selinux_enabled": 1.0,
        "node_selinux_config_mode": 1.0,
        "node_selinux_current_mode": 0.0,
    }
    assert {family.kind for family in collector(machine).collect()} == {"gauge"}


def test_collect_tells_where_there_is_no_selinux(machine):
    """Where selinuxfs is not mounted, it is disabled, and there are no modes."""
    (machine / "sys" / "fs" / "selinux" / "enforce").unlink()
    assert values(collector(machine)) == {"node_selinux_enabled": 0.0}


def test_collect_tells_where_no_policy_is_loaded(machine):
    """A kernel with SELinux and without a policy has it disabled."""
    (machine / "proc" / "self" / "attr" / "current").write_bytes(b"kernel\0")
    assert values(collector(machine)) == {"node_selinux_enabled": 0.0}


def test_collect_follows_the_configuration(machine):
    """A configuration that changes, vanishes or comes is seen at the next collection."""
    watching = collector(machine)
    file = machine / "etc" / "selinux" / "config"
    assert values(watching)["node_selinux_config_mode"] == 1.0
    file.write_bytes(b"SELINUX=permissive\n")
    os.utime(file, ns=(1, 1))
    assert values(watching)["node_selinux_config_mode"] == 0.0
    file.unlink()
    assert values(watching)["node_selinux_config_mode"] == -1.0
    file.write_bytes(b"SELINUX=enforcing\n")
    os.utime(file, ns=(2, 2))
    assert values(watching)["node_selinux_config_mode"] == 1.0


def test_a_mode_that_is_refused_is_unknown(machine):
    """A policy may keep the agent from reading the mode, and its own context: SELinux is then surely enabled."""

    class RefusingHost(Host):
        def sys(self, name, *, lasting=False):
            raise PermissionError(13, "Permission denied", name)

        def proc(self, name):
            raise PermissionError(13, "Permission denied", name)

    assert values(collector(machine, RefusingHost)) == {
        "node_selinux_enabled": 1.0,
        "node_selinux_config_mode": 1.0,
        "node_selinux_current_mode": -1.0,
    }


@pytest.mark.parametrize("content", [b"", b"\xff", b"many"])
def test_a_mode_that_is_no_number_is_unknown(machine, content):
    """A file that is empty or holds junk leaves the mode unknown."""
    (machine / "sys" / "fs" / "selinux" / "enforce").write_bytes(content)
    assert values(collector(machine))["node_selinux_current_mode"] == -1.0


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (CONFIG, 1.0),
        (b'SELINUX="permissive"\n', 0.0),
        (b"SELINUX=disabled\n", -1.0),
        (b"SELINUX=Enforcing\n", -1.0),
        (b"SELINUX\n#SELINUX=enforcing", -1.0),
        (b"", -1.0),
    ],
)
def test_parse_tells_the_mode(text, mode):
    """The first assignment counts, comments do not, and any other word is unknown."""
    assert parse(text) == mode


@given(st.integers(0, len(CONFIG)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_one_of_three_modes(length, junk):
    """A file cut off anywhere, with binary junk behind it, has one of the modes."""
    assert parse(CONFIG[:length] + junk) in (1.0, 0.0, -1.0)
