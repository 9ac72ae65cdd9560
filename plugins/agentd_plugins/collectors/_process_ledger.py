"""What groups of processes have counted, kept so that it never goes back when one of their processes ends."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agentd_plugins.collectors._process_files import ZERO, Count, Counts

Identity = tuple[str, int]
"""Of a process or thread: its folder in /proc, and when it began. Numbers are used again, both together are not."""

OF_PROCESSES = Counts(0.0, 0.0, None, None, 0.0, 0.0, None, None)
"""The sums of a group of which nothing has been seen: what may be unreadable is not known yet."""


@dataclass(slots=True)
class Thread:
    """A thread at this moment."""

    name: str
    state: str
    counts: Counts


@dataclass(slots=True)
class Member:
    """A process, of a group or of none, as it was last seen."""

    comm: str
    group: str | None = None
    fresh: bool = False
    """Whether it began after the agent had looked for the first time: all that it has counted is to be told."""
    counts: Counts | None = None
    threads: dict[Identity, Counts] = field(default_factory=dict)


@dataclass(slots=True)
class Present:
    """What all processes of a group have and do at this moment."""

    members: set[Identity] = field(default_factory=set)
    memory: dict[str, list[Count]] = field(default_factory=lambda: defaultdict(list))
    descriptors: list[Count] = field(default_factory=list)
    worst_ratio: float = 0.0
    threads: float = 0.0
    oldest: float = float("inf")
    states: Counter[str] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)
    """How many threads have a name, of processes that have several."""


@dataclass(slots=True)
class Group:
    """What outlives the processes of a group."""

    sums: Counts = OF_PROCESSES
    threads: dict[str, Counts] = field(default_factory=dict)
    """Sums by the names of threads, for those names that there are."""
    members: set[Identity] = field(default_factory=set)
    """The processes that were there when it last had any."""
    restarts: float = 0.0

    def add(self, member: Member, now: Counts, threads: Mapping[Identity, Thread]) -> None:
        """Add what a member has counted since it was last seen, and remember what it has counted until now.

        Switches of context are counted for each thread alone, everything else for the process, ended threads included.
        """
        known = member.fresh or member.counts is not None
        process = now._replace(voluntary=None, nonvoluntary=None)
        before = member.counts or (ZERO if member.fresh else process)
        self.sums = grown(self.sums, before, process)
        several = len(threads) > 1
        for identity, thread in threads.items():
            base = member.threads.get(identity) or (ZERO if known else thread.counts)
            switches = Counts(voluntary=thread.counts.voluntary, nonvoluntary=thread.counts.nonvoluntary)
            self.sums = grown(self.sums, base, switches)
            if several:
                self.threads[thread.name] = grown(self.threads.get(thread.name, OF_PROCESSES), base, thread.counts)
        member.counts = process
        member.threads = {identity: thread.counts for identity, thread in threads.items()}

    def settle(self, present: Present) -> None:
        """Note who is there, whether that means that the group was restarted, and forget names of threads now gone."""
        if present.members:
            if self.members and not self.members & present.members:
                self.restarts += 1.0
            self.members = present.members
        self.threads = {name: sums for name, sums in self.threads.items() if name in present.named}


def grown(sums: Counts, before: Counts, now: Counts) -> Counts:
    """Return sums to which is added by how much each number has grown. One that is not known changes nothing.

    A number that becomes known adds nothing the first time: nobody knows how much of it is new.
    """
    return Counts(*(_sum(*numbers) for numbers in zip(sums, before, now, strict=True)))


def _sum(value: Count, before: Count, now: Count) -> Count:
    if now is None:
        return value
    return (value or 0.0) + max(0.0, now - (now if before is None else before))


def superfluous(groups: Iterable[str], alive: set[str | None]) -> str | None:
    """Return the oldest group that has no process any more, None where each has one."""
    return next((name for name in groups if name not in alive), None)
