"""A soak (`make soak`): everything at once, for long, and in the end the agent needs no more than near the beginning.

A round has about five reloads, fifteen scrapes, a hundred posts, forty streams and seventy robots that come and go.
Descriptors, threads and tasks are as many after each, so that one that stays every other round is a leak. Blocks of
Python's memory go up and down a little; a plugin that stays after each reload has several hundred of them, and so has
an object that each request leaves. Resident memory, which has what C allocates as well, gets holes at first: in a
run of forty minutes it went from 58 to 77 MB within the first eight, and grew by 8 KB a round in the last thirty.
"""

import logging
import os

import pytest

from .soak import Soak

MINUTES = float(os.environ.get("AGENTD_SOAK_MINUTES", "30"))

COUNTED = {"descriptors": 0.5, "threads": 0.5, "tasks": 0.5, "blocks": 350.0}
SHORT = COUNTED | {"resident": 1.5 * 2**20}
LONG = COUNTED | {"resident": 48 * 2**10}

WRONG = ("Traceback", "never retrieved", "never awaited", "ResourceWarning", "Unclosed", "events.bus:")
"""What the log has where an error was not dealt with, something not closed, or an event refused."""

HAPPENS = ("scrapes", "posted", "robots", "visitors", "streams", "reloads", "reloads refused", "clock stepped")


@pytest.fixture
def soaked(start_agent, tmp_path, free_port, caplog):
    """Soaks an agent, and judges."""

    async def judge(minutes, most, *, tidy):
        caplog.set_level(logging.ERROR, "agentd.client")
        soak = Soak(start_agent, tmp_path, free_port, seed=1, tidy=tidy)
        await soak.run(minutes)
        slopes, accounts, log = soak.slopes(), soak.accounts(), soak.agent.log()
        print(f"{len(soak.samples)} rounds:", *(f"{times} {what}," for what, times in soak.loads.done.items()))
        print("the webhook's receiver:", dict(soak.hook.asked))
        print(
            "grows by in a round:",
            *(f"{name} {slope:.2f} (at most {most[name]:g})," for name, slope in slopes.items()),
        )
        print("the event loop was late:", soak.lag())
        print(*(f"{name}: {found}" for name, found in accounts.items()), sep="\n")
        assert {what: soak.loads.done[what] for what in HAPPENS if not soak.loads.done[what]} == {}
        assert soak.hook.asked.keys() > {"take"}
        assert [sign for sign in WRONG if sign in log] == [], log
        assert soak.ready.status == 200, soak.ready.text
        assert soak.metrics.value("agentd_journal_events_dropped_total") == 0
        assert soak.metrics.value("agentd_config_last_reload_successful") == 1
        assert all(found.right for found in accounts.values())
        assert {name: slope for name, slope in slopes.items() if slope > most[name]} == {}
        assert soak.status == 0

    return judge


async def test_two_minutes(soaked):
    """After its first rounds the agent needs no more from one to the next, and every event that was safe arrives."""
    await soaked(2, SHORT, tidy=True)


@pytest.mark.soak
async def test_for_long(soaked):
    """The same for as long as one likes, without looking for garbage in between: what grows slowly is seen, too."""
    await soaked(MINUTES, LONG, tidy=False)
