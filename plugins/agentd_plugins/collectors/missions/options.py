"""The options of the collector of missions."""

from math import inf
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agentd.plugin import Duration, Url
from agentd_plugins import _redis

ENDS = ["completed", "succeeded", "finished", "failed", "aborted", "cancelled", "canceled", "rejected", "timeout"]
BUCKETS = [1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0]

Name = Annotated[str, Meta(min_length=1)]


class MissionsConfig(_redis.RedisServer):
    """Options of the collector of missions."""

    url: Url = Url("redis://localhost:6379/0")
    """The server: redis://HOST:PORT/DATABASE, rediss:// with TLS, or unix:///PATH?db=DATABASE."""
    streams: Annotated[list[Name], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["brain.events.missions"]
    )
    """The keys of the streams that have the entries."""
    start: Literal["now", "beginning"] = "beginning"
    """Where to begin in a stream that was not there before: with all that it has, or with what comes from now on."""
    starts: list[str] = msgspec.field(default_factory=lambda: ["started"])
    """Statuses with which a mission begins, capitals or not: from there its duration is measured."""
    ends: list[str] = msgspec.field(default_factory=ENDS.copy)
    """Statuses with which a mission is over, capitals or not. With any other it is open."""
    buckets: Annotated[list[float], Meta(min_length=1, max_length=100)] = msgspec.field(default_factory=BUCKETS.copy)
    """The upper bounds of the histogram of durations, in seconds. Where they change, it begins anew."""
    max_statuses: Annotated[int, Meta(ge=1, le=1000)] = 50
    """How many statuses get a series of their own; any further one is counted as ``other``."""
    max_open: Annotated[int, Meta(ge=1, le=100_000)] = 10_000
    """How many missions may be open at once; of more, those are forgotten of which nothing was heard for longest."""
    forget_after: Duration = Duration(7 * 86400)
    """After how long a mission of which nothing is heard is no longer taken for open."""
    pause: Duration = Duration(1)
    """The shortest time between two jobs: entries that come closer together are counted by one."""
    job_every: Duration = Duration(30)
    """The longest time between two jobs, whether there is an entry or not."""
    group: Name | None = None
    """The consumer group by which several agents share the streams. Left out, this agent counts every entry."""
    consumer: Name | None = None
    """This agent's name in the group, which no other may have; left out, the host's."""
    claim_after: Duration = Duration(60)
    """After how long an entry that another agent of the group took and did not count is taken over."""

    def __post_init__(self) -> None:
        wrong = _redis.check(self)
        if sorted(set(self.buckets)) != self.buckets or not all(0 < bound < inf for bound in self.buckets):
            wrong.append("buckets: expected numbers above 0 that grow")
        if not 0 < self.pause <= self.job_every:
            wrong.append("pause must be longer than 0s, and not longer than job_every")
        if self.consumer is not None and self.group is None:
            wrong.append("consumer needs group")
        for name in ("forget_after", "claim_after"):
            if not getattr(self, name) > 0:
                wrong.append(f"{name} must be longer than 0s")
        if wrong:
            raise ValueError("; ".join(wrong))
