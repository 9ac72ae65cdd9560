"""The collector hwmon, and what names of files and chips mean."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Clock, Context, Host, HostPaths, NoData, Regex
from agentd_plugins.collectors.host import _devices, _hwmon
from agentd_plugins.collectors.host._hwmon import FOLDER, TYPES, attribute, clean, meaning
from agentd_plugins.collectors.host.hwmon import SURVEY_SECONDS, Hwmon, HwmonConfig

EASY = settings(max_examples=100, deadline=None)


class Stopped(Clock):
    """A clock that goes only when it is told to."""

    now = 1000.0

    def monotonic(self):
        return self.now


class OddHost(Host):
    """A host on which some sensors answer with errors, or hang until they are let go."""

    def __init__(self, paths):
        super().__init__(paths)
        self.errors = {}
        self.hung = {}

    def sys(self, name, *, lasting=False):
        last = name.rpartition("/")[2]
        if name in self.hung:
            self.hung[name].wait(30)
        if last in self.errors:
            raise self.errors[last]
        return super().sys(name)


def chip(tmp_path, folder, device="", **files):
    """Make a chip, with a device of its own where one is named."""
    place = tmp_path / FOLDER / folder
    if device:
        real = tmp_path / "devices" / device / "hwmon" / folder
        real.mkdir(parents=True)
        (tmp_path / FOLDER).mkdir(parents=True, exist_ok=True)
        place.symlink_to(real)
        (real / "device").symlink_to(tmp_path / "devices" / device)
    else:
        place.mkdir(parents=True)
    (place / "power").mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
    return place


def collector(tmp_path, **options):
    """Return the collector of the machine below a folder."""
    context = Context(host=OddHost(HostPaths(sysfs=str(tmp_path))), clock=Stopped())
    return Hwmon(HwmonConfig(**{name: Regex(text) for name, text in options.items()}), context)


async def told(hwmon):
    """Return the samples by the rest of each family's name."""
    families = hwmon.collect()
    families = families if isinstance(families, list) else await families
    return {family.name.removeprefix("node_hwmon_"): family.samples for family in families}


async def test_each_kind_of_sensor_has_its_unit(tmp_path):
    """Names and scales are those that dashboards know."""
    chip(
        tmp_path,
        "hwmon0",
        name="board-x",
        temp1_input=41500,
        temp1_crit_alarm=0,
        temp1_type=4,
        in0_input=1200,
        fan2_input=900,
        fan2_pulses=2,
        fan2_alarm=1,
        fan2_beep=0,
        curr1_max=2500,
        energy1_input=3000000,
        power1_average=15000000,
        power1_accuracy=20000,
        power1_average_interval=1000,
        pwm1=128,
        humidity1_input=450000,
        vrm=90,
        update_interval=2000,
        beep_enable=1,
        cpu0_vid=1100,
    )
    x = ("board_x", "temp1")
    assert await told(collector(tmp_path)) == {
        "chip_names": {("board_x", "board_x"): 1.0},
        "temp_celsius": {x: 41.5},
        "temp_crit_alarm_celsius": {x: 0.0},
        "temp_type": {x: 4.0},
        "in_volts": {("board_x", "in0"): 1.2},
        "cpu_vid_volts": {("board_x", "cpu0"): 1.1},
        "fan_rpm": {("board_x", "fan2"): 900.0},
        "fan_pulses": {("board_x", "fan2"): 2.0},
        "fan_alarm": {("board_x", "fan2"): 1.0},
        "fan_beep_enabled": {("board_x", "fan2"): 0.0},
        "curr_max_amps": {("board_x", "curr1"): 2.5},
        "energy_joule_total": {("board_x", "energy1"): 3.0},
        "power_average_watt": {("board_x", "power1"): 15.0},
        "power_accuracy": {("board_x", "power1"): 0.02},
        "power_average_interval_seconds": {("board_x", "power1"): 1.0},
        "pwm": {("board_x", "pwm1"): 128.0},
        "humidity": {("board_x", "humidity1"): 0.45},
        "voltage_regulator_version": {("board_x", "vrm0"): 90.0},
        "update_interval_seconds": {("board_x", "update_interval0"): 2.0},
        "beep_enabled": {("board_x", "beep_enable0"): 1.0},
    }


async def test_labels_name_sensors_and_frequencies(tmp_path):
    """A frequency is told by its label alone, and not at all without one; junk in a label is replaced."""
    files = {"freq1_input": 300000000, "freq1_label": "SCLK", "freq2_input": 1, "temp1_label": b"a \xff\xfe\n"}
    chip(tmp_path, "hwmon0", name="gpu", **files)
    assert await told(collector(tmp_path)) == {
        "chip_names": {("gpu", "gpu"): 1.0},
        "sensor_label": {("gpu", "freq1", "SCLK"): 1.0, ("gpu", "temp1", "a \ufffd"): 1.0},
        "freq_freq_mhz": {("gpu", "sclk"): 300.0},
    }


async def test_broken_sensors_cost_only_themselves(tmp_path):
    """EAGAIN, EIO, ENODEV, nothing and nonsense are left out, and come back when they are good again."""
    hwmon = collector(tmp_path)
    names = [f"temp{number}_input" for number in range(1, 7)]
    place = chip(tmp_path, "hwmon0", name="odd", **dict.fromkeys(names, 1000))
    (place / "temp4_input").write_bytes(b"")
    (place / "temp5_input").write_bytes(b"\x00junk")
    hwmon.host.errors = {
        "temp1_input": BlockingIOError(11, "EAGAIN"),
        "temp2_input": OSError(5, "EIO"),
        "temp3_input": OSError(19, "ENODEV"),
    }
    assert (await told(hwmon))["temp_celsius"] == {("odd", "temp6"): 1.0}
    hwmon.host.errors = {}
    assert len((await told(hwmon))["temp_celsius"]) == 4


async def test_a_label_that_failed_is_read_again(tmp_path):
    """It is not missing until the next survey."""
    hwmon = collector(tmp_path)
    chip(tmp_path, "hwmon0", name="slow", temp1_input=1, temp1_label="inlet")
    hwmon.host.errors = {"temp1_label": BlockingIOError(11, "EAGAIN")}
    assert "sensor_label" not in await told(hwmon)
    hwmon.host.errors = {}
    assert (await told(hwmon))["sensor_label"] == {("slow", "temp1", "inlet"): 1.0}


async def test_a_chip_that_hangs_costs_only_itself(tmp_path, monkeypatch, caplog):
    """The other chips are told, in the same collection and in those that follow."""
    monkeypatch.setattr(_devices, "PATIENCE", 1.0)
    hwmon = collector(tmp_path)
    chip(tmp_path, "hwmon0", name="hung", temp1_input=1000)
    chip(tmp_path, "hwmon1", name="good", temp1_input=2000)
    go = threading.Event()
    hwmon.host.hung = {f"{FOLDER}/hwmon0/temp1_input": go}
    try:
        for _ in range(2):
            assert (await told(hwmon))["temp_celsius"] == {("good", "temp1"): 2.0}
        assert "the device hwmon0 did not answer" in caplog.text
    finally:
        go.set()


async def test_chips_come_go_and_change(tmp_path):
    """A new chip is told at once, also one that has the folder of another; a new file of a chip after a while."""
    hwmon = collector(tmp_path)
    place = chip(tmp_path, "hwmon0", "platform/first.0", temp1_input=1000)
    assert (await told(hwmon))["temp_celsius"] == {("platform_first_0", "temp1"): 1.0}
    (place / "temp2_input").write_text("5000\n")
    assert len((await told(hwmon))["temp_celsius"]) == 1
    hwmon.clock.now += SURVEY_SECONDS + 1
    assert len((await told(hwmon))["temp_celsius"]) == 2
    place.unlink()
    chip(tmp_path, "hwmon0", "platform/second.0", temp1_input=3000)
    assert (await told(hwmon))["temp_celsius"] == {("platform_second_0", "temp1"): 3.0}


async def test_chips_on_one_device_are_told_apart(tmp_path):
    """By what the driver calls them, or by their folders where that is the same."""
    for folder, name in (("hwmon0", "fans"), ("hwmon1", "wmi"), ("hwmon2", "wmi")):
        chip(tmp_path, folder, "platform/asus", name=name, temp1_input=1000)
    names = set(await told(collector(tmp_path)))
    assert names == {"chip_names", "temp_celsius"}
    assert set((await told(collector(tmp_path)))["temp_celsius"]) == {
        ("platform_asus_fans", "temp1"),
        ("platform_asus_hwmon1", "temp1"),
        ("platform_asus_hwmon2", "temp1"),
    }


async def test_old_drivers_have_their_files_in_the_device(tmp_path):
    """Both places are read."""
    chip(tmp_path, "hwmon0", "i2c/0-002e", temp1_input=1000)
    (tmp_path / "devices" / "i2c" / "0-002e" / "temp2_input").write_text("2000\n")
    assert (await told(collector(tmp_path)))["temp_celsius"] == {
        ("i2c_0_002e", "temp1"): 1.0,
        ("i2c_0_002e", "temp2"): 2.0,
    }


@pytest.mark.parametrize(
    ("options", "sensors"),
    [
        ({"chip_include": "^a$"}, {("a", "temp1"), ("a", "temp2")}),
        ({"chip_exclude": "a"}, {("b", "temp1"), ("b", "temp2")}),
        ({"chip_include": "a|b", "chip_exclude": "b"}, {("a", "temp1"), ("a", "temp2")}),
        ({"sensor_include": "^b;temp2$"}, {("b", "temp2")}),
        ({"sensor_exclude": "temp2"}, {("a", "temp1"), ("b", "temp1")}),
    ],
)
async def test_options_choose_chips_and_sensors(tmp_path, options, sensors):
    """Expressions are searched for anywhere in a name; what is excluded stays so."""
    for folder, name in (("hwmon0", "a"), ("hwmon1", "b")):
        chip(tmp_path, folder, name=name, temp1_input=1, temp2_input=2)
    assert set((await told(collector(tmp_path, **options)))["temp_celsius"]) == sensors


def test_no_support_and_no_chip_differ(tmp_path):
    """A kernel that knows no chips has no data; one that knows of none answers nothing."""
    hwmon = collector(tmp_path)
    with pytest.raises(NoData):
        hwmon.collect()
    (tmp_path / FOLDER).mkdir(parents=True)
    assert hwmon.collect() == []


@pytest.mark.parametrize(
    "file", ["name", "uevent", "alarms", "temp_reset_history", "bogus1_input", "temp12345678901_x", ""]
)
def test_other_files_are_no_sensors(file):
    """Files that do not begin with a known type are left alone."""
    assert attribute(file) is None


@EASY
@given(st.text(max_size=30) | st.from_regex(r"(temp|fan|in|freq)[0-9]{0,12}(_[a-z0-9_ ]*)?", fullmatch=True))
def test_any_name_of_a_file_gives_names_that_may_be_written(file):
    """Whatever a driver calls a file, what is made of it may stand in the name of a metric."""
    found = attribute(file)
    if found:
        assert found.type in TYPES
        for bare in (True, False):
            told_ = meaning(found.type, found.element, bare=bare)
            assert told_ is None or not set(told_.part) - set("abcdefghijklmnopqrstuvwxyz0123456789:_")


@EASY
@given(st.text(max_size=30))
def test_clean_names_stay_clean(text):
    """Cleaning twice is as good as once."""
    assert clean(clean(text)) == clean(text)


def test_input_beside_a_bare_value():
    """Where a sensor has a value without a further name, the one named input is told beside it."""
    assert meaning("temp", "input", bare=True) == (_hwmon.OF_TYPE["temp"], "temp_input")
    assert meaning("temp", "input", bare=False) == (_hwmon.OF_TYPE["temp"], "temp")
