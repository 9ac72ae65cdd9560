"""The collector interrupts."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, Regex
from agentd_plugins.collectors.host.interrupts import Interrupts, InterruptsConfig, Source, parse

TEXT = b"""           CPU0       CPU1
  8:          1          0  IR-IO-APIC-edge      rtc0
 16:        328          9  IR-IO-APIC   5-fasteoi   usb1, mmc0
NMI:         47          0   Non-maskable interrupts
ERR:          0
MIS:          0
"""


def collect(tmp_path, text=TEXT, **options):
    """Return the samples that a collector with these options tells from a fake procfs."""
    (tmp_path / "interrupts").write_bytes(text)
    context = Context(host=Host(HostPaths(procfs=str(tmp_path))))
    (family,) = Interrupts(InterruptsConfig(**options), context).collect()
    return family.samples


def test_collect_tells_counts_by_cpu_and_source(tmp_path):
    """Those with a number have devices, the others only a text; errors, which no CPU counts, are left out."""
    assert collect(tmp_path) == {
        ("0", "8", "IR-IO-APIC-edge", "rtc0"): 1.0,
        ("1", "8", "IR-IO-APIC-edge", "rtc0"): 0.0,
        ("0", "16", "IR-IO-APIC", "5-fasteoi usb1, mmc0"): 328.0,
        ("1", "16", "IR-IO-APIC", "5-fasteoi usb1, mmc0"): 9.0,
        ("0", "NMI", "Non-maskable interrupts", ""): 47.0,
        ("1", "NMI", "Non-maskable interrupts", ""): 0.0,
    }
    assert Interrupts.served.labels == ("cpu", "type", "info", "devices")
    assert (Interrupts.served.name, Interrupts.served.kind) == ("node_interrupts_total", "counter")


@pytest.mark.parametrize(
    ("options", "types"),
    [
        ({"name_include": Regex("rtc0$")}, {"8"}),
        ({"name_include": Regex("^16;IR-IO-APIC;5-fasteoi")}, {"16"}),
        ({"name_exclude": Regex("^NMI;Non-maskable interrupts;$")}, {"8", "16"}),
        ({"name_include": Regex("APIC"), "name_exclude": Regex("^8;")}, {"16"}),
        ({"name_include": Regex(""), "name_exclude": Regex("")}, {"8", "16", "NMI"}),
    ],
)
def test_options_pick_interrupts(tmp_path, options, types):
    """Expressions see type, info and devices joined by semicolons; where both are given, both have to agree."""
    assert {kind for _, kind, _, _ in collect(tmp_path, **options)} == types


def test_zeros_can_be_left_out(tmp_path):
    """Without them, only what a CPU has had is told."""
    assert set(collect(tmp_path, include_zeros=False).values()) == {1.0, 328.0, 9.0, 47.0}


def test_parse_takes_a_name_that_touches_its_counts():
    """On arm64 nothing but the colon may stand between the two, and the architecture's own names have digits."""
    text = b"  CPU0 CPU1\nIPI0:1234567890 22 Rescheduling interrupts\n"
    assert list(parse(text)) == [Source("IPI0", "Rescheduling interrupts", "", [1234567890.0, 22.0])]


def test_parse_takes_an_interrupt_without_devices():
    """An interrupt that no driver has taken yet has a controller alone."""
    assert list(parse(b"CPU0\n 7: 5 XT-PIC\n")) == [Source("7", "XT-PIC", "", [5.0])]


@pytest.mark.parametrize("text", [b"", b"\n 8: 1 APIC\n", b"CPU0\n 8: many APIC\n"])
def test_parse_refuses_what_is_no_table(text):
    """A file without CPUs, or with something else than counts, is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected a heading|could not convert"):
        list(parse(text))


@given(st.lists(st.integers(0, 10**400), min_size=1, max_size=6), st.sampled_from(["17", "LOC"]))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(counts, kind):
    """Any counts of any number of CPUs are read; those beyond any float become infinite."""
    heading = b"".join(b"%11s" % f"CPU{cpu}".encode() for cpu in range(len(counts)))
    line = b"%4s:%s   One two\n" % (kind.encode(), b"".join(b" %10d" % count for count in counts))
    info, devices = ("One", "two") if kind == "17" else ("One two", "")
    expected = Source(kind, info, devices, [float(str(count)) for count in counts])
    assert list(parse(heading + b"\n" + line)) == [expected]


@given(st.integers(0, len(TEXT)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        list(parse(TEXT[:length] + junk))
