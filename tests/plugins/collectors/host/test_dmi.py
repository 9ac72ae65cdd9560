"""The collector dmi."""

import pytest

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.dmi import FOLDER, LABELS, Dmi


class SecretiveHost(Host):
    """A host on which serial numbers are for root alone."""

    def sys(self, name, *, lasting=False):
        if name.endswith("_serial"):
            raise PermissionError(13, "Permission denied", name)
        return super().sys(name)


def machine(tmp_path, **files):
    """Return the collector on a machine whose firmware says this."""
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return Dmi(context=Context(host=SecretiveHost(HostPaths(sysfs=str(tmp_path)))))


def labels(collector):
    """Return the labels that are there."""
    (family,) = collector.collect()
    ((values, one),) = family.samples.items()
    assert one == 1.0
    return {name: value for name, value in zip(family.label_names, values, strict=True) if value is not None}


def test_labels_are_what_the_firmware_says(tmp_path):
    """Empty texts are told, missing ones not; one file has another name than its label."""
    collector = machine(
        tmp_path, sys_vendor=b"Robots & Co\n", bios_version=b"\n", product_name=b"R\xff\xfe2\n", uevent=b""
    )
    assert labels(collector) == {"system_vendor": "Robots & Co", "bios_version": "", "product_name": "R\ufffd2"}
    assert len(LABELS) == 20


def test_serial_numbers_need_a_right(tmp_path, caplog):
    """What only root may read is left out, and the log says so once."""
    collector = machine(tmp_path, board_name=b"X1\n", board_serial=b"1\n", product_serial=b"2\n")
    assert labels(collector) == labels(collector) == {"board_name": "X1"}
    assert len(caplog.records) == 1
    assert "read-all.conf" in caplog.text


def test_a_machine_without_dmi_has_no_data(tmp_path):
    """Neither a missing folder nor an empty one is a failure."""
    with pytest.raises(NoData):
        Dmi(context=Context(host=Host(HostPaths(sysfs=str(tmp_path / "missing"))))).collect()
    with pytest.raises(NoData):
        machine(tmp_path).collect()
