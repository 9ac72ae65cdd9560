"""The collector os."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host import os as os_release
from agentd_plugins.collectors.host import uname
from agentd_plugins.collectors.host.os import Os, midnight, parse

TEXT = """# a comment = no assignment
NAME="Fedora Linux"
VERSION="41 (Server Edition)"
ID=fedora
VERSION_ID=41
PRETTY_NAME="Fedora Linux 41"
VARIANT='Server Edition'

VARIANT_ID=server
SUPPORT_END=2025-12-15
"""


@pytest.fixture
def root(tmp_path):
    """An empty root file system with the two folders in which the file may be."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "usr" / "lib").mkdir(parents=True)
    return tmp_path


def collector(root):
    """Return the collector for a root file system."""
    return Os(context=Context(host=Host(HostPaths(rootfs=str(root)))))


def test_collect_tells_names_version_and_end_of_support(root):
    """All that the file says is told; what it does not say is an empty label, as with node_exporter."""
    (root / "etc" / "os-release").write_text(TEXT)
    info, version, support_end = collector(root).collect()
    assert {family.kind for family in (info, version, support_end)} == {"gauge"}
    ((labels, value),) = info.samples.items()
    assert (info.name, value) == ("node_os_info", 1.0)
    assert dict(zip(info.label_names, labels, strict=True)) == {
        "build_id": "",
        "id": "fedora",
        "id_like": "",
        "image_id": "",
        "image_version": "",
        "name": "Fedora Linux",
        "pretty_name": "Fedora Linux 41",
        "variant": "Server Edition",
        "variant_id": "server",
        "version": "41 (Server Edition)",
        "version_codename": "",
        "version_id": "41",
    }
    assert (version.name, version.label_names) == ("node_os_version", ("id", "id_like", "name"))
    assert version.samples == {("fedora", "", "Fedora Linux"): 41.0}
    assert support_end.name == "node_os_support_end_timestamp_seconds"
    assert support_end.samples == {(): 1765756800.0}


@pytest.mark.parametrize(
    ("version", "told"), [("20.04.1", 20.04), ("12", 12.0), ("7.", 7.0), ("0", None), ("rolling", None)]
)
def test_version_is_the_number_at_the_beginning(root, version, told):
    """Major and minor version make one number; a version that begins with none, or is 0, leaves the metric out."""
    (root / "etc" / "os-release").write_text(f"ID=x\nVERSION_ID={version}\n")
    families = {family.name: family.samples for family in collector(root).collect()}
    assert families.get("node_os_version") == (None if told is None else {("x", "", ""): told})


def test_the_file_of_the_administrator_comes_first(root):
    """/etc/os-release wins over /usr/lib/os-release, which is read where the first is missing."""
    (root / "usr" / "lib" / "os-release").write_text("ID=vendor\n")
    asked = collector(root)
    assert "vendor" in next(iter(asked.collect()[0].samples))
    (root / "etc" / "os-release").write_text("ID=local\n")
    assert "local" in next(iter(asked.collect()[0].samples))


def test_no_file_is_no_data(root):
    """A system without os-release is no failure, and the message names the files that were looked for."""
    with pytest.raises(NoData, match=r"etc/os-release nor .*usr/lib/os-release"):
        collector(root).collect()


def test_an_unchanged_file_is_not_parsed_again(root, monkeypatch):
    """The file is parsed once, and once more when another of the same size and time of change takes its place."""
    parsed = []
    monkeypatch.setattr(os_release, "parse", lambda text: parsed.append(text) or parse(text))
    file = root / "etc" / "os-release"
    file.write_text("ID=a\n")
    asked = collector(root)
    assert asked.collect() == asked.collect()
    assert parsed == [b"ID=a\n"]
    (root / "new").write_text("ID=b\n")
    os.utime(root / "new", ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    (root / "new").replace(file)
    assert "b" in next(iter(asked.collect()[0].samples))
    assert parsed == [b"ID=a\n", b"ID=b\n"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("plain", "plain"),
        ('"in \\"double\\" quotes: \\$5 \\\\ \\n"', 'in "double" quotes: $5 \\ \\n'),
        ("'in single quotes: \\$5'", "in single quotes: \\$5"),
        ("a\\ b", "a b"),
        ('""', ""),
        ("", ""),
        ('"open', '"open'),
        ("a=b", "a=b"),
    ],
)
def test_quotes_are_those_of_the_shell(value, told):
    """Quotes around a value go, and backslashes mean what they mean to a shell."""
    assert parse(f"NAME={value}\n".encode()) == {"NAME": told}


def test_a_wrong_end_of_support_is_an_error_that_says_what_would_be_right(root):
    """A date that is none is not passed over: the message shows what was found and what was expected."""
    (root / "etc" / "os-release").write_text("ID=x\nSUPPORT_END=soon\n")
    with pytest.raises(ValueError, match=r"SUPPORT_END in os-release: expected a date like 2029-05-31, found 'soon'"):
        collector(root).collect()


@given(st.dates())
@settings(max_examples=100, deadline=None)
def test_midnight_takes_any_date(date):
    """Days count from 1970 in UTC, whatever the machine's time zone, and back before 1970 too."""
    assert midnight(f"{date:%Y-%m-%d}".rjust(10, "0")) == (date.toordinal() - 719163) * 86400.0


@given(
    st.dictionaries(st.from_regex(r"\A[A-Z_]{1,9}\Z"), st.text(st.characters(exclude_characters="\n\r", codec="utf-8")))
)
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_any_quoted_value(release):
    """What is quoted by the rules of os-release(5) is read back as it was."""
    quoted = {name: value.translate({ord(sign): f"\\{sign}" for sign in '\\"$`'}) for name, value in release.items()}
    text = "".join(f'{name}="{value}"\n' for name, value in quoted.items())
    assert parse(text.encode()) == release


@given(st.binary())
@settings(max_examples=100, deadline=None)
def test_parse_takes_anything(text):
    """Binary junk is no error: lines that assign nothing say nothing."""
    assert all(isinstance(value, str) for value in parse(text).values())


def test_the_module_hides_no_standard_one():
    """A collector's module named like one of Python's stays apart from it, for itself and for its neighbours."""
    assert os_release is not os
    assert uname.os is os
