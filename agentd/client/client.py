"""The client that a robot uses."""

import asyncio
import logging
import os
import random
from collections.abc import Callable, Iterable, Mapping
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self

import aiohttp

from agentd import __version__
from agentd.client.address import telemetry_url
from agentd.client.connection import Clock, Connection, Problem, Robot
from agentd.client.dialing import Dialer, Token
from agentd.client.encoding import check_robot_id, content, event, live
from agentd.client.ending import TOO_BIG, Ending, RefusedError, TelemetryError
from agentd.client.file import FileQueue
from agentd.client.live import LiveValues
from agentd.client.queue import MemoryQueue
from agentd.resilience import Backoff

FIRST, LONGEST = 1.0, 60.0
"""Seconds between attempts to connect: a random part of the first at first, and of the second at last."""

STABLE = 60.0
"""Seconds after which a connection counts as good, and the next one that fails as a first failure."""

MAX_FRAME = 256 << 10
"""Bytes that a frame may have; an agent takes as many if it is not told otherwise."""

BESIDE = 64
"""Bytes that a frame has beside what is kept of it, at most."""

log = logging.getLogger("agentd.client")


class TelemetryClient:
    """Sends what a robot measures, and what happens to it, to an agent, over one connection that is made again when
    it is lost::

        async with TelemetryClient("http://127.0.0.1:9797", "amr-7", queue="telemetry.queue") as robot:
            await robot.send({"battery_level": 80})

    It is for one event loop; its methods are not to be called from other threads. Nothing raises because there is no
    agent: what is numbered waits in the queue.
    """

    def __init__(
        self,
        url: str,
        robot_id: str,
        *,
        token: Token | None = None,
        queue: MemoryQueue | str | os.PathLike[str] | None = None,
        max_frame: int = MAX_FRAME,
        close_within: float = 5.0,
        on_problem: Callable[[Problem], None] | None = None,
        software: str = f"agentd.client/{__version__}",
        ssl: SSLContext | bool = True,
        session: aiohttp.ClientSession | None = None,
        clock: Clock | None = None,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Prepare; ``async with`` begins.

        ``url``: the agent's, http, https, ws or wss. ``token``: a text, or a function, which may be async and is asked
        before each attempt to connect. ``queue``: a file, or a queue; in memory where it is left out. ``max_frame``:
        bytes that a frame may have. ``close_within``: seconds that the end waits for acknowledgements.
        ``on_problem`` is called with each problem, all of which are logged as well. ``software``: what the robot says
        of itself. ``ssl``: as in aiohttp. ``session``: to be shared by many clients; it needs a connector with room
        for all. ``clock`` and ``spread`` (which chooses how long to wait) are for tests.

        Raises ``ValueError`` where the URL or the robot id is none.
        """
        check_robot_id(robot_id)
        self.url = telemetry_url(url, robot_id)
        self.robot_id = robot_id
        self._dialer = Dialer(self.url, token, ssl=ssl)
        self._given = MemoryQueue() if queue is None else queue
        self._max_frame = max_frame
        self._close_within = close_within
        self._on_problem = on_problem
        self._software = software
        self._session = session
        self._clock = clock or Clock()
        self._spread = spread
        self._robot: Robot | None = None
        self._running: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._ending: Ending | None = None
        self._refused: Ending | None = None
        self._full = False
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Begin to connect, without waiting for it. Raises ``OSError`` where the file of the queue cannot be used."""
        queue = self._given if isinstance(self._given, MemoryQueue) else FileQueue(self._given)
        self._robot = Robot(queue, LiveValues(), self._clock, self._report, self._progress)
        self._running = asyncio.create_task(self._run(self._robot))
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Wait a moment for what is not acknowledged yet, and end."""
        robot, running = self._here(), self._running
        try:
            await self.flush(self._close_within)
        except (TimeoutError, TelemetryError):
            lost = "is sent by the next run" if isinstance(robot.queue, FileQueue) else "is lost with this program"
            log.warning("%s: %d frames are not acknowledged; what is kept %s", self.url, len(robot.queue), lost)
        finally:
            self._robot = self._running = None
            self._notify()
            if running is not None:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            robot.queue.close()

    @property
    def queue(self) -> MemoryQueue:
        """What is not acknowledged yet."""
        return self._here().queue

    @property
    def connected(self) -> bool:
        """Whether the agent has bidden welcome, and the connection stands."""
        return self._connection is not None and self._connection.welcomed_at is not None

    async def send(
        self,
        metrics: Mapping[str, Any] | None = None,
        *,
        events: Iterable[Mapping[str, Any]] = (),
        timestamp: float | None = None,
    ) -> int:
        """Keep metrics and events, of this moment or of the ``timestamp``, until the agent has them; return the number.

        It returns when they are in the queue, not when they have arrived: see ``flush``. An event has at least
        ``type``. Where the queue is full and shall wait, this waits.

        Raises ``ValueError`` for what cannot be sent (NaN, infinity, other types than JSON's, too large), and
        ``OSError`` where the queue's file cannot be written; then nothing of it is kept.
        """
        queue = self._here().queue
        body = content(metrics or {}, events, self._clock.time() if timestamp is None else timestamp)
        self._check_size(len(body) + BESIDE)
        while not queue.fits(len(body)):
            await self._changed.wait()
            self._here()
        dropped = queue.dropped
        seq = queue.append(body)
        if queue.dropped > dropped and not self._full:
            self._full = True
            self._report(Problem("the queue is full: the oldest frames are dropped"))
        self._wake()
        return seq

    async def event(
        self,
        type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        target: str | None = None,
        meta: Mapping[str, Any] | None = None,
        timestamp: float | None = None,
    ) -> int:
        """Say that something happened; as ``send`` with this one event."""
        return await self.send(events=[event(type, payload, target=target, meta=meta)], timestamp=timestamp)

    def live(self, metrics: Mapping[str, Any], *, timestamp: float | None = None) -> None:
        """Say how it is now. Never waits, and is not kept: while there is no connection, or a slow one, the newest
        values with the same names take the place of older ones, and what is older than 30 s is not sent. Raises
        ``ValueError`` as ``send`` does.
        """
        robot = self._here()
        text = live(metrics, self._clock.time() if timestamp is None else timestamp)
        self._check_size(len(text.encode()))
        robot.live.put(metrics, text, self._clock.monotonic())
        self._wake()

    async def flush(self, within: float | None = None) -> None:
        """Return when the agent has safe, or has refused, all that was sent before; ``within`` so many seconds.

        Raises ``TimeoutError``, and ``RefusedError`` where the agent refuses this robot.
        """
        queue = self._here().queue
        last = queue.last_seq
        await self._until(lambda: not 0 < queue.first_seq <= last, within, "frames are not acknowledged")

    async def wait_connected(self, within: float | None = None) -> None:
        """Return when there is a connection. Raises as ``flush`` does."""
        await self._until(lambda: self.connected, within, "no connection")

    async def _until(self, so: Callable[[], bool], within: float | None, otherwise: str) -> None:
        try:
            async with asyncio.timeout(within):
                while not so():
                    self._here()
                    if self._refused is not None:
                        raise RefusedError(f"{self.url}: {self._refused.text}", self._refused.number)
                    await self._changed.wait()
        except TimeoutError:
            why = f": {self._ending.text}" if self._ending is not None and not self.connected else ""
            raise TimeoutError(f"{self.url}: {otherwise} after {within:g} s{why}") from None

    async def _run(self, robot: Robot) -> None:
        """Connect, and again, by the rules."""
        backoff = Backoff(FIRST, LONGEST, self._spread)
        session = self._session or aiohttp.ClientSession()
        try:
            while True:
                ending = await self._once(robot, session)
                connection, self._connection = self._connection, None
                if connection is not None and connection.lasted >= STABLE:
                    backoff.reset()
                if ending.code == TOO_BIG:
                    self._beware(robot, connection)
                self._note(ending)
                wait = ending.wait(renewable=self._dialer.renewable)
                await self._clock.sleep(backoff.next() if wait is None else wait + self._spread(0.0, 0.2 * wait))
        finally:
            self._connection = None
            if session is not self._session:
                await session.close()

    async def _once(self, robot: Robot, session: aiohttp.ClientSession) -> Ending:
        """Connect, speak until the end, and return why it ended."""
        socket = await self._dialer.dial(session)
        if isinstance(socket, Ending):
            return socket
        self._connection = Connection(socket, robot, self._software)
        try:
            return await self._connection.run()
        except Exception as error:  # a mistake here must not silence the robot for ever
            log.exception("%s: the connection failed", self.url)
            return Ending(f"the connection failed: {error!r}")

    def _beware(self, robot: Robot, connection: Connection | None) -> None:
        """Find the frame that is too large: send one at a time, and drop the one after which this comes again."""
        if robot.careful and connection is not None and len(connection.under_way) == 1:
            seq = connection.under_way[0]
            robot.queue.discard(seq)
            self._report(Problem(f"frame {seq} is too large for the agent, and is dropped", seq=seq, code=TOO_BIG))
            self._notify()
        robot.careful = True

    def _note(self, ending: Ending) -> None:
        """Remember why there is no connection, and report it once."""
        refused = ending.refused(renewable=self._dialer.renewable)
        self._refused = ending if refused else None
        if refused or self._ending is None or self._ending.text != ending.text:
            self._report(Problem(ending.text, code=ending.number))
        self._ending = ending
        self._notify()

    def _progress(self) -> None:
        if self._ending is not None:
            log.info("%s: connected", self.url)
        self._ending = self._refused = None
        self._full = False
        self._notify()

    def _report(self, problem: Problem) -> None:
        log.warning("%s: %s", self.url, problem.text)
        if self._on_problem is not None:
            try:
                self._on_problem(problem)
            except Exception:
                log.exception("on_problem failed")

    def _notify(self) -> None:
        """Wake all who wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _wake(self) -> None:
        if self._connection is not None:
            self._connection.wake()

    def _here(self) -> Robot:
        if self._robot is None:
            raise TelemetryError("this client is used outside of `async with TelemetryClient(…) as robot`")
        return self._robot

    def _check_size(self, size: int) -> None:
        if size > self._max_frame:
            raise ValueError(f"a frame of {size} bytes is larger than max_frame ({self._max_frame})")
