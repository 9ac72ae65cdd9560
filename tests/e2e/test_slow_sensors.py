"""A sensor that takes its time, or never answers, holds up nothing but its own sample."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

TEMPERATURE = "node_hwmon_temp_celsius"


class Sensor:
    """A sensor that answers at once, until it becomes a pipe: that answers when it is told to."""

    def __init__(self, path):
        self.path = path
        self.descriptor = -1
        path.write_text("40000\n")

    def slow_down(self):
        """Take time from now on."""
        self.path.unlink()
        os.mkfifo(self.path)

    def asked(self):
        """Say whether somebody waits for its answer."""
        try:
            self.descriptor = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody does
            return False
        return True

    def answer(self, content):
        """Answer."""
        os.write(self.descriptor, content)

    def close(self):
        """Let go of whoever waits."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@pytest.fixture
def sensor(tmp_path):
    """A sensor on a chip of a machine that has another chip, which answers at once."""
    for chip in ("quick", "slow"):
        folder = tmp_path / "sys" / "class" / "hwmon" / chip
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{chip}\n")
    (tmp_path / "sys/class/hwmon/quick/temp1_input").write_text("20000\n")
    with closing(Sensor(tmp_path / "sys/class/hwmon/slow/temp1_input")) as made:
        yield made


def temperature(answer, chip):
    """Return the temperature of a chip in an answer."""
    return answer.value(TEMPERATURE, chip=chip, sensor="temp1")


def test_a_slow_sensor_delays_nothing_else(start_agent, sensor, tmp_path):
    """While a scrape waits for a sensor, all others are answered; in the end it has that sensor and all the rest."""
    agent = start_agent(f"[host]\nsysfs = '{tmp_path}/sys'")
    assert temperature(agent.get("/metrics"), "slow") == 40
    sensor.slow_down()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.get, "/metrics")
        agent.until(sensor.asked)
        for _ in range(3):
            assert agent.get("/livez").status == 200
            answer = agent.get("/metrics?collect[]=loadavg&collect[]=meminfo")
            assert answer.value("node_scrape_collector_success", collector="loadavg") == 1
            assert answer.value("node_scrape_collector_success", collector="meminfo") == 1
        assert not waiting.done()
        sensor.answer(b"41000\n")
        sensor.close()
        answer = waiting.result()
    assert temperature(answer, "slow") == 41
    assert temperature(answer, "quick") == 20
    assert answer.value("node_load1") is not None


def test_a_sensor_that_hangs_is_left_out(start_agent, sensor, tmp_path):
    """A sensor that does not answer is missing from each scrape and named once; all others are there."""
    agent = start_agent(f"[host]\nsysfs = '{tmp_path}/sys'")
    assert temperature(agent.get("/metrics"), "slow") == 40
    sensor.slow_down()
    for _ in range(3):
        answer = agent.get("/metrics", {"X-Prometheus-Scrape-Timeout-Seconds": "2"})
        assert temperature(answer, "slow") is None
        assert temperature(answer, "quick") == 20
        assert answer.value("node_load1") is not None
        assert answer.value("node_scrape_collector_success", collector="hwmon") == 1
    assert agent.log().count("the device slow did not answer") == 1
    assert agent.stop() == 0
