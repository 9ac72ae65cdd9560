"""The collector cpu_vulnerabilities."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.cpu_vulnerabilities import FOLDER, STATES, CpuVulnerabilities, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Not affected", ("not affected", "")),
        ("Vulnerable", ("vulnerable", "")),
        ("Vulnerable: No microcode", ("vulnerable", "No microcode")),
        ("Mitigation: PTI", ("mitigation", "PTI")),
        ("Mitigation: Clear buffers;  SMT   off", ("mitigation", "Clear buffers; SMT off")),
        ("Unknown: No mitigations", ("unknown", "No mitigations")),
        ("KVM: Mitigation: VMX unsupported", ("unknown", "KVM: Mitigation: VMX unsupported")),
        ("", ("unknown", "")),
    ],
)
def test_parse(text, expected):
    """A sentence is split into a state and the rest; one that begins otherwise is kept whole."""
    assert parse(text) == expected


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80))
def test_any_text_has_a_state(text):
    """Whatever the kernel may write one day, it has one of the four states."""
    state, rest = parse(text)
    assert state in STATES
    assert len(rest) <= len(text)


def test_collect_leaves_out_what_cannot_be_read(tmp_path):
    """A folder in the place of a file costs that flaw only; without the list there are none."""
    collector = CpuVulnerabilities(context=Context(host=Host(HostPaths(sysfs=str(tmp_path)))))
    assert collector.collect() == []
    (tmp_path / FOLDER / "odd").mkdir(parents=True)
    (tmp_path / FOLDER / "l1tf").write_bytes(b"Mitigation: PTE Inversion\n")
    (family,) = collector.collect()
    assert family.samples == {("l1tf", "mitigation", "PTE Inversion"): 1.0}
