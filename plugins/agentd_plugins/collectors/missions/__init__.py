"""Missions: their entries in streams of Redis, each counted exactly once (redis.io/docs, Streams)."""

import asyncio
import socket
from collections.abc import Mapping
from math import inf
from typing import Any, Protocol

from agentd.plugin import Backoff, Collector, Context, Family, hookimpl
from agentd_plugins.collectors._streams.ledger import Ledger, Restored
from agentd_plugins.collectors._streams.link import Failure, Link
from agentd_plugins.collectors._streams.position import Entry
from agentd_plugins.collectors.missions import figures
from agentd_plugins.collectors.missions.alone import Alone
from agentd_plugins.collectors.missions.group import Terms, Together
from agentd_plugins.collectors.missions.job import Job
from agentd_plugins.collectors.missions.options import MissionsConfig
from agentd_plugins.collectors.missions.tally import OTHER, Statuses, Tally

WAIT = 5.0
"""Seconds that Redis is asked to wait for an entry: so old may the answer get by which one sees that it is there."""

SAVE_EVERY = 0.1
"""Seconds after which what was counted is written down, while there is more to count."""

RETRY = (0.5, 30.0)
"""Seconds between two attempts to reach Redis: at first, and at last."""


class Way(Protocol):
    """How entries are read and counted: alone, or together with other agents."""

    async def open(self) -> None:
        """Connect, and find where to go on."""

    async def read(self, wait: float) -> dict[str, list[Entry]]:
        """Return the next entries by their streams; where there are none, wait so long for one."""

    async def count(self, found: Mapping[str, list[Entry]]) -> bool:
        """Count what was read, and say whether that was all that there was."""

    async def look(self, now: float) -> None:
        """See what is missing, and forget missions of which nothing was heard for long."""

    def changes(self) -> dict[str, Any]:
        """Return what has to be saved, all at once."""

    def saved(self) -> None:
        """Note that it was."""

    def figures(self) -> figures.Figures | None:
        """Return what was counted; None where nothing is known."""


class Missions(Collector[MissionsConfig]):
    """Counts missions by status, from entries of Redis streams."""

    name = "missions"
    extra = "redis"
    exclusive = True  # it has a place in its streams
    blocking = False  # a task of its own reads
    metrics = (*figures.DECLARED,)

    def __init__(self, config: MissionsConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        config = self.config
        self._link = Link(config)
        self._ledger = Ledger(self)
        self._statuses, self._way = self._begin()
        self._task: asyncio.Task[None] | None = None
        self._answered: float | None = None
        self._job: Job | None = None
        self._failed_at = -inf
        self._away = self._crowded = self._unsaved = False

    def _begin(self) -> tuple[Statuses, Way]:
        config = self.config
        statuses = Statuses(config.starts, config.ends, config.max_statuses)
        if config.group is None:
            tally = Tally(statuses, config.buckets, self.state, most=config.max_open, forget_after=config.forget_after)
            beginning = config.start == "beginning"
            return statuses, Alone(self._link, config.streams, self.state, tally, beginning=beginning)
        terms = Terms(
            group=config.group,
            agent=config.consumer or socket.gethostname(),
            beginning=config.start == "beginning",
            claim_after=config.claim_after,
            bounds=config.buckets,
            most=config.max_open,
            forget_after=config.forget_after,
        )
        return statuses, Together(self._link, config.streams, terms, statuses)

    async def start(self) -> None:
        """Begin to read. That Redis is away is no reason not to."""
        self._link.load()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop reading. What was read and not counted is read again after the next start."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        await self._link.close()

    async def probe(self) -> str:
        """Connect, log in, and ask whether it is there."""
        return await self._link.probe()

    def collect(self) -> list[Family]:
        """Return what was counted."""
        counted = self._way.figures()
        families = [] if counted is None else counted.families()
        if self._answered is not None:
            families.append(figures.AGE(self.clock.monotonic() - self._answered))
        return families

    async def _run(self) -> None:
        backoff = Backoff(*RETRY)
        while True:
            try:
                await self._way.open()
                self._note_answer()
                backoff.reset()
                while True:
                    await self._work()
                    await asyncio.sleep(self.config.pause)
            except Restored as reason:
                self.log.warning("%s", reason)
                self._statuses, self._way = self._begin()
                continue
            except Failure as failure:
                if not self._away:
                    self.log.warning("%s; what was counted stays, and it is tried again", failure)
                self._fail(failure)
            except Exception as error:
                self.log.exception("missions cannot be counted; it is tried again")
                self._fail(error)
            await self._link.close()
            await asyncio.sleep(backoff.next())

    async def _work(self) -> None:
        """Wait for entries, but not for longer than ``job_every``, and count all that there are."""
        way, now = self._way, self.clock.monotonic
        due = now() + self.config.job_every
        found: dict[str, list[Entry]] = {}
        while not found and (left := due - now()) > 0:
            found = await way.read(min(left, WAIT))
            self._note_answer()
        self._job = job = Job(self.clock)
        saved = now()
        due = saved + self.config.job_every
        while not job.done:
            job.entries += sum(map(len, found.values()))
            if await way.count(found) or now() > due:
                await way.look(self.clock.time())
                job.complete()
            if job.done or now() - saved > SAVE_EVERY:
                await self._save(job)
                saved = now()
            if not job.done:
                found = await way.read(0.0)
            self._note_answer()
        self._job = None
        if self._statuses.refused and not self._crowded:
            self._crowded = True
            self.log.warning(
                "there are more statuses than max_statuses = %d: %r and others are counted as %r",
                self.config.max_statuses,
                self._statuses.refused,
                OTHER,
            )

    async def _save(self, job: Job) -> None:
        refused = await self._ledger.save(self._way.changes(), job.events)
        if refused is None:
            self._way.saved()
            job.events.clear()
        else:
            if not self._unsaved:
                job.fail(refused)
            self._emit(job)
        self._unsaved = refused is not None

    def _fail(self, error: Exception) -> None:
        """Tell that a job came to nothing, but not at each attempt to reach a server that is away."""
        self._away = True
        job, self._job = self._job, None
        now = self.clock.monotonic()
        if job is not None or now - self._failed_at >= self.config.job_every:
            self._failed_at = now
            job = job or Job(self.clock)
            job.fail(error)
            self._emit(job)

    def _emit(self, job: Job) -> None:
        for event in job.events:
            self.context.emit(event)
        job.events.clear()

    def _note_answer(self) -> None:
        self._answered = self.clock.monotonic()
        if self._away:
            self._away = False
            self.log.info("%s answers again", self._link.where)


@hookimpl
def agentd_collectors() -> list[type[Missions]]:
    """Register the collector."""
    return [Missions]
