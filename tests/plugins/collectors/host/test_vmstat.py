"""The collector vmstat."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, Regex
from agentd_plugins.collectors.host.vmstat import Vmstat, VmstatConfig, parse

PROC = Path(__file__).parents[3] / "fixtures" / "host" / "proc"


def values(collector):
    """Return the value of each family that a collector returns."""
    return {family.name: family.samples[()] for family in collector.collect()}


def test_collect_tells_the_fields_of_the_default():
    """Paging, swapping, faults and killed processes are told by default, and all of unknown kind."""
    collector = Vmstat(context=Context(host=Host(HostPaths(procfs=str(PROC)))))
    assert values(collector) == {
        "node_vmstat_pgpgin": 7344136.0,
        "node_vmstat_pgpgout": 1541180581.0,
        "node_vmstat_pswpin": 1476.0,
        "node_vmstat_pswpout": 35045.0,
        "node_vmstat_pgfault": 2320168809.0,
        "node_vmstat_pgmajfault": 507162.0,
        "node_vmstat_oom_kill": 2.0,
    }
    assert {family.kind for family in collector.collect()} == {"unknown"}


def test_collect_tells_the_fields_that_the_option_names():
    """The expression is searched for anywhere in the name, as node_exporter does."""
    collector = Vmstat(VmstatConfig(fields=Regex("hit|steal")), Context(host=Host(HostPaths(procfs=str(PROC)))))
    assert values(collector) == {"node_vmstat_pgsteal_kswapd": 8.0, "node_vmstat_numa_hit": 2601924.0}


def test_collect_follows_a_list_of_fields_that_changes(tmp_path):
    """What is remembered about the names does not outlive a change of their list, nor freeze their values."""
    collector = Vmstat(context=Context(host=Host(HostPaths(procfs=str(tmp_path)))))
    file = tmp_path / "vmstat"
    file.write_bytes(b"pgfault 1\noom_kill 2\n")
    assert values(collector) == {"node_vmstat_pgfault": 1.0, "node_vmstat_oom_kill": 2.0}
    file.write_bytes(b"pgfault 5\noom_kill 6\n")
    assert values(collector) == {"node_vmstat_pgfault": 5.0, "node_vmstat_oom_kill": 6.0}
    file.write_bytes(b"pswpin 3\npgfault 4\n")
    assert values(collector) == {"node_vmstat_pswpin": 3.0, "node_vmstat_pgfault": 4.0}


@pytest.mark.parametrize("text", [b"", b"pgfault", b"pgfault 1\noom_kill"])
def test_parse_refuses_names_without_numbers(text):
    """A file that ends within a pair, or is empty, is an error."""
    with pytest.raises(ValueError, match="expected names and numbers"):
        parse(text.split())


def test_collect_refuses_a_wanted_field_without_a_number(tmp_path):
    """A number that is none is an error where the field is wanted, and not looked at where it is not."""
    (tmp_path / "vmstat").write_bytes(b"pgfault 1\nnr_free_pages many\n")
    context = Context(host=Host(HostPaths(procfs=str(tmp_path))))
    assert values(Vmstat(context=context)) == {"node_vmstat_pgfault": 1.0}
    with pytest.raises(ValueError, match="could not convert"):
        Vmstat(VmstatConfig(fields=Regex("nr_")), context).collect()


@given(st.binary())
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(text):
    """Binary junk never raises anything but ValueError."""
    with suppress(ValueError):
        parse(text.split())


@given(st.dictionaries(st.from_regex(r"\A[a-z_]{1,20}\Z"), st.integers(0, 10**400), min_size=1))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(fields):
    """Any fields are found, in their order."""
    words = "".join(f"{name} {number}\n" for name, number in fields.items()).encode().split()
    assert {name: words[place] for name, place in parse(words).items()} == {
        name: b"%d" % number for name, number in fields.items()
    }
