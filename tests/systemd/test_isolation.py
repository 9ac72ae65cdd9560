"""Plugins in processes of their own under the unit, in a Debian that was really booted."""

from collections.abc import Callable

import pytest

from tests.systemd.test_unit import build_wheels, properties

pytestmark = pytest.mark.systemd

Sections = dict[str, str]


@pytest.fixture(scope="module")
def host(
    boot: Callable[..., Sections],
    unused_ports: Callable[[int], list[int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Sections:
    """What the script inside the booted host printed, by section."""
    given = tmp_path_factory.mktemp("given")
    build_wheels(given / "wheels")
    (port,) = unused_ports(1)
    return boot("isolation.sh", given, PORT=port)


def test_processes_begin_under_the_unit(host: Sections) -> None:
    """What the unit forbids does not keep a process from being forked, or another interpreter from being run."""
    assert 'agentd_collector_success{plugin="collectors.apart_forked"} 1.0' in host["started"]
    assert 'agentd_collector_success{plugin="collectors.apart_other"} 1.0' in host["started"]


def test_limits_hold_under_the_unit(host: Sections) -> None:
    """Both have their memory limit, go before the agent where memory is short, and may do no more than the agent."""
    lines = host["limits"].strip().splitlines()
    assert [line.split() for line in lines] == 2 * [
        ["Max", "data", "size", "67108864", "67108864", "bytes"],
        ["700"],
        ["CapEff:", "0" * 16],
        ["NoNewPrivs:", "1"],
        ["Seccomp:", "2"],
    ]


def test_one_that_is_killed_comes_back(host: Sections) -> None:
    """The agent goes on, and systemd leaves it alone."""
    assert 'agentd_collector_success{plugin="collectors.apart_forked"} 1.0' in host["killed"]
    assert "the same agent" in host["killed"]
    assert "OOMPolicy=continue" in host["killed"]


def test_all_end_with_the_service(host: Sections) -> None:
    """Stopping ends well and in time, though systemd signals every process of the unit, and nothing stays behind."""
    found = properties(host["stopped"])
    assert (found["ActiveState"], found["Result"]) == ("inactive", "success")
    assert "ended by SIGTERM" not in host["journal"]
    assert "did not stop" not in host["journal"]
