"""The collector pcidevice, and the list of names."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host._pci import location, padded, speed
from agentd_plugins.collectors.host._pciids import Numbers, names, parse
from agentd_plugins.collectors.host.pcidevice import FILES, FOLDER, STATES, Pcidevice, PcideviceConfig

EASY = settings(max_examples=100, deadline=None)

LIST = """# a comment

abcd  Example Corp.
\t0001  Gadget
\t\tabcd 0042  Gadget in a Robot
\t0002  Widget  with blanks
C 02  Network controller
\t00  Ethernet controller
\t\t01  With an interface
ffff  After the classes
"""


def device(tmp_path, path, **files):
    """Make a device, and the link by which it is found."""
    real = tmp_path / "devices" / path
    real.mkdir(parents=True)
    (tmp_path / FOLDER).mkdir(parents=True, exist_ok=True)
    (tmp_path / FOLDER / real.name).symlink_to(f"../../../devices/{path}")
    known = {"class": "0x020000", "vendor": "0xabcd", "device": "0x0001", "subsystem_vendor": "0xabcd"}
    known |= {"subsystem_device": "0x0042", "revision": "0x03", "numa_node": "-1"}
    for name, content in (known | files).items():
        (real / name).write_text(f"{content}\n")
    return real


def collector(tmp_path, **options):
    """Return the collector of the machine below a folder."""
    return Pcidevice(PcideviceConfig(**options), Context(host=Host(HostPaths(sysfs=str(tmp_path)))))


def told(pcidevice):
    """Return the samples by the rest of each family's name."""
    return {family.name.removeprefix("node_pcidevice_"): family.samples for family in pcidevice.collect()}


def test_a_device_behind_a_bridge(tmp_path):
    """Numbers are padded, links in transfers a second, and the bridge is the parent."""
    device(
        tmp_path,
        "pci0000:00/0000:00:02.1/0000:05:00.0",
        max_link_speed="16.0 GT/s PCIe",
        current_link_speed="2.5 GT/s PCIe",
        max_link_width=4,
        current_link_width=1,
        numa_node=1,
        power_state="D3hot",
        d3cold_allowed=1,
        sriov_totalvfs=8,
    )
    place = ("0000", "05", "00", "0")
    samples = told(collector(tmp_path))
    assert samples.pop("power_state") == {(*place, state): float(state == "D3hot") for state in STATES}
    numbers = ("0x020000", "0xabcd", "0x0001", "0xabcd", "0x0042", "0x03")
    assert samples.pop("info") == {(*place, "0000", "00", "02", "1", *numbers): 1.0}
    assert {name: values[place] for name, values in samples.items()} == {
        "max_link_transfers_per_second": 16e9,
        "current_link_transfers_per_second": 2.5e9,
        "max_link_width": 4.0,
        "current_link_width": 1.0,
        "numa_node": 1.0,
        "d3cold_allowed": 1.0,
        "sriov_drivers_autoprobe": 0.0,
        "sriov_numvfs": 0.0,
        "sriov_totalvfs": 8.0,
        "sriov_vf_total_msix": 0.0,
    }


def test_what_is_not_known(tmp_path):
    """A link without a speed has -1, a device without a node none; one without a parent has stars."""
    device(tmp_path, "pci0000:00/0000:00:02.1", max_link_speed="Unknown", current_link_width="")
    samples = told(collector(tmp_path))
    place = ("0000", "00", "02", "1")
    assert samples["max_link_transfers_per_second"] == {place: -1.0}
    assert samples["current_link_width"] == {place: -1.0}
    assert "numa_node" not in samples
    assert "power_state" not in samples
    assert next(iter(samples["info"]))[:8] == (*place, "*", "*", "*", "*")


def test_devices_that_vanish_are_left_out(tmp_path):
    """A link to nothing, a folder that is no device, and one whose numbers cannot be read."""
    device(tmp_path, "pci0000:00/0000:00:02.1")
    device(tmp_path, "pci0000:00/0000:00:03.0", vendor="")
    (tmp_path / FOLDER / "0000:00:04.0").symlink_to("../../../devices/pci0000:00/0000:00:04.0")
    (tmp_path / FOLDER / "odd").mkdir()
    assert set(told(collector(tmp_path))["max_link_width"]) == {("0000", "00", "02", "1")}


def test_names_come_from_the_list(tmp_path, caplog):
    """Names are further labels; without the list they are the numbers, and the log says so."""
    device(tmp_path, "pci0000:00/0000:00:02.1")
    (tmp_path / "pci.ids").write_text(LIST)
    named = collector(tmp_path, names=True, idsfile=str(tmp_path / "pci.ids"))
    for _ in range(2):
        (labels,) = told(named)["info"]
        assert labels[14:] == ("Example Corp.", "Gadget", "Example Corp.", "Gadget in a Robot", "Ethernet controller")
    unnamed = collector(tmp_path, names=True, idsfile=str(tmp_path / "missing"))
    for _ in range(2):
        (labels,) = told(unnamed)["info"]
        assert labels[14:] == ("abcd", "0001", "abcd", "0042", "Unknown class (020000)")
    assert len(caplog.records) == 1


def test_without_a_bus_there_is_no_data(tmp_path):
    """Small boards have none."""
    with pytest.raises(NoData):
        collector(tmp_path).collect()


@pytest.mark.parametrize(
    ("class_", "name"),
    [("020001", "With an interface"), ("0200ff", "Ethernet controller"), ("02ff00", "Network controller")],
)
def test_a_class_is_named_as_exactly_as_can_be(class_, name):
    """The interface, else the subclass, else the class."""
    numbers = Numbers("ffff", "0009", "1234", "0001", class_)
    assert names(LIST, [numbers]) == {numbers: ("After the classes", "0009", "1234", "0001", name)}


@EASY
@given(st.text("abC012 \t\n#", max_size=200))
def test_any_list_can_be_read(text):
    """Lines that are none of a list's are passed over."""
    assert all(all(key) for key in parse(text))


@pytest.mark.parametrize("name", ["", "odd", "0000:00:02", "0000.00.02.1", "0000:00:02:1", "xxxx:00:02.1"])
def test_other_names_are_no_places(name):
    """Only four numbers with the right signs between them are."""
    assert location(name) is None


@EASY
@given(st.text(max_size=30))
def test_any_text_can_stand_in_a_file(text):
    """What is no number or speed is told as unknown."""
    assert speed(text) == -1.0 or "GT/s" in text
    assert not padded(text, 4) or int(padded(text, 4), 16) >= 0
    assert location(text) is None or "." in text


def test_every_number_has_a_file():
    """The order of the files is that of the labels."""
    assert [file.removesuffix("_id") for file in FILES] == [
        "class",
        "vendor",
        "device",
        "subsystem_vendor",
        "subsystem_device",
        "revision",
    ]
