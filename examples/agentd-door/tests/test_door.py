"""The collector door."""

import asyncio

import pytest
from agentd_door.door import Door, DoorConfig

from agentd.plugin import Duration, NoData
from agentd.testing import FakeClock, Recorder, assert_metrics, check_plugin, fuzz_collector, run_collector, running
from agentd.testing import collect as collect_once

FILES = {"run/doors/gate": "3 0\n", "run/doors/dock": "7 1\n"}


def test_each_door_is_told():
    """Both numbers of each file are told, under the door's name."""
    expected = {
        'door_opened_total{door="gate"}': 3.0,
        'door_opened_total{door="dock"}': 7.0,
        'door_open{door="gate"}': 0.0,
        'door_open{door="dock"}': 1.0,
    }
    assert_metrics(run_collector(Door, files=FILES), expected, exact=True)


def test_doors_can_be_left_out():
    """A door that the option ``ignore`` finds is not told."""
    families = run_collector(Door, files=FILES, config={"ignore": "^dock$"})
    assert_metrics(families, {'door_open{door="gate"}': 0.0, 'door_open{door="dock"}': None})


def test_a_machine_without_doors():
    """Without the folder there is nothing to tell, which is no failure."""
    with pytest.raises(NoData, match="no controller"):
        run_collector(Door)


def test_a_wrong_file_costs_its_own_door_alone():
    """The other doors are told."""
    families = run_collector(Door, files={**FILES, "run/doors/gate": "open\n"})
    assert_metrics(families, {'door_open{door="gate"}': None, 'door_open{door="dock"}': 1.0})


def test_a_door_that_stands_open_is_an_event_once():
    """After the time of the option, and not again before it was closed."""

    async def stand():
        recorder = Recorder(clock=FakeClock(1000.0))
        async with running(Door, files=FILES, clock=recorder.clock, recorder=recorder) as door:
            for _ in range(8):
                await collect_once(door)
                recorder.clock.advance(100)
        return recorder.events

    (event,) = asyncio.run(stand())
    assert (event.type, event.target, event.payload) == ("door.left_open", "dock", {"seconds": 300})


def test_an_option_that_cannot_be_is_refused():
    """It says what would be right."""
    with pytest.raises(ValueError, match='at least "1s", found "500ms"'):
        DoorConfig(open_at_most=Duration(0.5))


def test_odd_files():
    """Whatever the files have, it does not fail in an odd way."""
    fuzz_collector(Door, files=FILES)


def test_the_contract():
    """It is all that agentd asks of a plugin."""
    check_plugin(Door, files=FILES)
