"""``agentd simulate``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from agentd.cli import common, fail
from agentd.cli.fleet import SimulatedRobot

if TYPE_CHECKING:
    from agentd.client import MemoryQueue, Problem, TelemetryClient

    Connect = Callable[[str, MemoryQueue, Callable[[Problem], None]], TelemetryClient]

PRESENT_WITHIN = 5.0
"""Seconds that the agent has to answer the first robot."""

STARTS = 200
"""Robots that come in a second at most."""


@click.command("simulate")
@click.option("--robots", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many.")
@click.option(
    "--rate", type=click.FloatRange(0.01, 100), default=2.0, show_default=True, help="Frames of each in a second."
)
@click.option("--url", default="http://127.0.0.1:9797", show_default=True, help="Where the agent is.")
@click.option("--token", metavar="TOKEN", envvar="AGENTD_TOKEN", help="May write as sim-*; $AGENTD_TOKEN does as well.")
@click.option("--duration", metavar="DURATION", help='How long, "5m" say; left out: until Ctrl-C.')
@click.option("--seed", metavar="N", type=int, help="With the same number the robots do the same again.")
@common
def command(
    *,
    robots: int,
    rate: float,
    url: str,
    token: str | None,
    duration: str | None,
    seed: int | None,
    **_options: object,
) -> None:
    """Let a fleet of simulated robots send telemetry to an agent, so that there is something to see.

    The robots drive, run low, charge, do missions, fail, and are switched off now and then. Their ids begin with
    `sim-`, and each of their events has `"simulated": true` in its payload. The agent needs `[collectors.robots]`. Ends
    with 2 where no agent answers, and with 1 where it refuses the robots.
    """
    from agentd.client.address import telemetry_url

    seconds = None if duration is None else _seconds(duration)
    try:
        telemetry_url(url, "sim")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from None
    logging.getLogger("agentd.client").setLevel(logging.CRITICAL)  # what goes wrong is told once for all robots
    chosen = time.time_ns() if seed is None else seed
    fleet = [SimulatedRobot(number, chosen) for number in range(1, robots + 1)]
    click.echo(asyncio.run(_run(fleet, 1 / rate, url, token, seconds)))


@dataclass
class Told:
    """What was said to the agent, and which problems to the user."""

    began: float = field(default_factory=time.monotonic)
    frames: int = 0
    events: int = 0
    problems: set[str] = field(default_factory=set)

    def problem(self, problem: Problem) -> None:
        """Print a problem: once, though it be that of a thousand robots."""
        if problem.text not in self.problems:
            self.problems.add(problem.text)
            click.echo(f"agentd: {problem.text}", err=True)

    def summary(self, robots: int, waiting: int) -> str:
        """Return the last line."""
        took = time.monotonic() - self.began
        left = f"{waiting} of them not acknowledged" if waiting else "all acknowledged"
        return f"{robots} robots, {took:.0f} s: {self.frames} frames of live values, {self.events} events, {left}"


async def _run(fleet: list[SimulatedRobot], every: float, url: str, token: str | None, seconds: float | None) -> str:
    """Let the robots live until a signal comes or the time is over; return what became of it."""
    import aiohttp

    from agentd.client import MemoryQueue, TelemetryClient

    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    # The connector that a session has by default has room for a hundred connections.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        def connect(robot_id: str, queue: MemoryQueue, tell: Callable[[Problem], None]) -> TelemetryClient:
            return TelemetryClient(
                url, robot_id, token=token, queue=queue, on_problem=tell, session=session, close_within=2.0
            )

        await _present(connect, fleet[0].id)
        click.echo(f"{len(fleet)} robots send to {url}; Ctrl-C ends it", err=True)
        told, queues = Told(), [MemoryQueue() for _ in fleet]
        apart = min(1 / STARTS, every / len(fleet))
        lives = [
            asyncio.create_task(_live(robot, queue, connect, told=told, ended=ended, every=every, start=number * apart))
            for number, (robot, queue) in enumerate(zip(fleet, queues, strict=True))
        ]
        await _until(ended, seconds)
        ended.set()
        await asyncio.gather(*lives)
    return told.summary(len(fleet), sum(map(len, queues)))


async def _present(connect: Connect, robot_id: str) -> None:
    """End the program where the agent is not there, or refuses the robot."""
    from agentd.client import MemoryQueue, RefusedError

    async with connect(robot_id, MemoryQueue(), lambda _: None) as client:
        try:
            await client.wait_connected(PRESENT_WITHIN)
        except RefusedError as error:
            fail(str(error))
        except TimeoutError as error:
            fail(f"{error}. Is the agent running?", 2)


async def _live(
    robot: SimulatedRobot,
    queue: MemoryQueue,
    connect: Connect,
    *,
    told: Told,
    ended: asyncio.Event,
    every: float,
    start: float,
) -> None:
    """Be one robot: connected while it is switched on."""
    await _until(ended, start)
    while not ended.is_set():
        async with connect(robot.id, queue, told.problem) as client:
            while not robot.away and not ended.is_set():
                metrics, events = robot.step(every)
                client.live(metrics)
                told.frames += 1
                if events:
                    await client.send(events=events)
                    told.events += len(events)
                await _until(ended, every)
        await _until(ended, robot.away)
        robot.away = 0.0


async def _until(ended: asyncio.Event, seconds: float | None) -> None:
    """Wait so long, or until the end."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ended.wait()


def _seconds(text: str) -> float:
    from agentd.options import Duration

    try:
        return Duration.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--duration") from None
