"""The collector uname."""

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.uname import Uname, parse, printable

PROC = Path(__file__).parents[3] / "fixtures" / "host" / "proc"


def labels(procfs):
    """Return the labels of the one sample, after checking that its value is 1."""
    (family,) = Uname(context=Context(host=Host(HostPaths(procfs=str(procfs))))).collect()
    assert (family.name, family.kind) == ("node_uname_info", "gauge")
    ((values, value),) = family.samples.items()
    assert value == 1.0
    return dict(zip(family.label_names, values, strict=True))


def test_collect_tells_uname_and_the_domain():
    """The labels are what uname(2) says, with the domain from procfs."""
    names = os.uname()
    assert labels(PROC) == {
        "sysname": names.sysname,
        "release": names.release,
        "version": names.version,
        "machine": names.machine,
        "nodename": names.nodename,
        "domainname": "plant.example",
    }


def test_collect_says_none_where_the_domain_cannot_be_read(tmp_path):
    """Without the file the domain is told as the kernel tells one that nobody has set."""
    assert labels(tmp_path)["domainname"] == "(none)"


def test_names_that_are_no_utf8_can_be_shown(monkeypatch):
    """A name with bytes that are no UTF-8 becomes text that can be encoded, instead of breaking the whole answer."""
    monkeypatch.setattr(
        os,
        "uname",
        lambda: os.uname_result(("Linux", b"ab\xff".decode("utf-8", "surrogateescape"), "6", "#1", "x86_64")),
    )
    assert labels(PROC)["nodename"] == "ab\N{REPLACEMENT CHARACTER}"


@given(st.binary())
@settings(max_examples=100, deadline=None)
def test_any_bytes_make_a_name(name):
    """Whatever the kernel has as a name becomes text that can be encoded, and UTF-8 stays as it is."""
    assert printable(parse(name + b"\n")) == name.decode(errors="replace")
