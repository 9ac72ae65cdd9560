"""Groups of processes, picked by name, command line or user, from /proc: under the names of process-exporter."""

import os
from collections.abc import Iterator

from agentd.plugin import Collector, Config, Context, Family, NoData, hookimpl
from agentd_plugins.collectors._process_families import EMPTY, STATES, Families
from agentd_plugins.collectors._process_files import TICKS, Count, Counts, Files, Stat, counts, number, owner, total
from agentd_plugins.collectors._process_groups import GroupRule, Traits, Users, group_of
from agentd_plugins.collectors._process_ledger import Group, Identity, Member, Present, Thread, superfluous

HIDDEN = (
    "processes of other users are left out: /proc is mounted with hidepid, and seeing them takes the drop-in "
    "processes.conf, or the group that its option gid names"
)


class ProcessConfig(Config, frozen=True):
    """Options of the collector process."""

    groups: tuple[GroupRule, ...] = ()
    """Rules that put processes into groups; the first that is met counts."""
    children: bool = True
    """Whether a process that meets no rule belongs to the group of its parent."""
    threads: bool = True
    """Whether to look at each thread, which takes most of the time. Without it, ``states`` counts processes,
    ``context_switches_total`` counts their first threads only, and there are no ``thread_…``."""
    gather_smaps: bool = True
    """Whether to tell proportional and unique memory, for which the kernel goes through all pages of a process."""
    remove_empty_groups: bool = False
    """Whether a group whose processes have all ended is forgotten; it begins at 0 when it comes back."""
    max_groups: int = 1000
    """How many groups are told of; beyond that, empty ones are forgotten first, and then new ones are left out."""


class Process(Families, Collector[ProcessConfig]):
    """Groups of processes. Counters begin at 0 with the agent, and keep what processes counted that have ended.

    What a process counted before the agent began is left out: else each start of the agent would look as if all of it
    had happened at that moment.
    """

    name = "process"

    def __init__(self, config: ProcessConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._users = Users()
        self._asks_users = any(rule.needs_user for rule in self.config.groups)
        self._members: dict[Identity, Member] | None = None
        self._groups: dict[str, Group] = {}
        self._unread = self._partial = 0
        self._said: set[str] = set()

    def collect(self) -> list[Family]:
        """Return what the groups do now and have done since the agent began."""
        if not self.config.groups:
            raise NoData("no groups of processes are configured")
        found = self._find()
        members = self._sort(found)
        alive = {member.group for member in members.values()}
        boot = boot_time(self.host.proc("stat"))
        present: dict[str, Present] = {}
        for identity, (files, stat) in found.items():
            member = members[identity]
            if member.group is not None and (group := self._group(member.group, alive)) is not None:
                here = present.setdefault(member.group, Present())
                group.add(member, *self._look(files, stat, here))
                here.members.add(identity)
                here.oldest = min(here.oldest, boot + stat.start / TICKS)
        self._members = members
        for name in list(self._groups):
            self._groups[name].settle(present.get(name, EMPTY))
            if self.config.remove_empty_groups and name not in present:
                del self._groups[name]
        families = [
            *self.now(self._groups, present, smaps=self.config.gather_smaps),
            *self.since(self._groups),
            *self.of_threads(self._groups, present),
            *self._errors(),
        ]
        return [family for family in families if family.samples]

    def _find(self) -> dict[Identity, tuple[Files, Stat]]:
        procfs = self.host.paths.procfs
        found = {}
        try:
            names = os.listdir(procfs)
        except FileNotFoundError:
            raise NoData(f"there is no {procfs}") from None
        if "1" not in names:  # the first process is always there
            self._say("hidden", HIDDEN)
        for pid in names:
            if pid.isdigit():
                files = Files(procfs, pid)
                try:
                    stat = files.stat()
                except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
                    continue
                except PermissionError:
                    self._unread += 1
                    self._say("hidden", HIDDEN)
                    continue
                except (OSError, ValueError):
                    self._unread += 1
                    continue
                found[pid, stat.start] = (files, stat)
        return found

    def _sort(self, found: dict[Identity, tuple[Files, Stat]]) -> dict[Identity, Member]:
        known = self._members or {}
        first = self._members is None
        by_number = {pid: (pid, start) for pid, start in found}
        members: dict[Identity, Member] = {}
        for identity in sorted(found, key=lambda identity: identity[1]):  # parents come before their children
            files, stat = found[identity]
            member = known.get(identity)
            # A process looks like its parent until it runs a program of its own, and is then called otherwise.
            if member is None or member.comm != stat.comm:
                member = member or Member(stat.comm, fresh=not first)
                member.comm = stat.comm
                member.group = group_of(self._traits(identity, files, stat), self.config.groups)
                parent = members.get(by_number.get(str(stat.parent), ("", 0)))
                if member.group is None and self.config.children and parent is not None:
                    member.group = parent.group
            elif member.group is None:  # what it counted until now belongs to none, should it come into one later
                member.fresh = False
            members[identity] = member
        return members

    def _traits(self, identity: Identity, files: Files, stat: Stat) -> Traits:
        user = owner(files.status()) if self._asks_users else None
        return Traits(int(identity[0]), stat.comm, files.command_line(), self._users.name(user), user)

    def _group(self, name: str, alive: set[str | None]) -> Group | None:
        if name not in self._groups:
            if len(self._groups) >= self.config.max_groups:
                old = superfluous(self._groups, alive)
                if old is None:
                    self._say("max_groups", f"there are more than {self.config.max_groups} groups: others are left out")
                    return None
                del self._groups[old]
            self._groups[name] = Group()
        return self._groups[name]

    def _look(self, files: Files, stat: Stat, present: Present) -> tuple[Counts, dict[Identity, Thread]]:
        """Add a process to those that are present, and return what it and its threads have counted."""
        status = files.status()
        of_process = counts(stat, status, files.io())
        first = {(f"{files.folder}/task/{files.folder}", stat.start): Thread(stat.comm, stat.state, of_process)}
        threads = (self.config.threads and stat.threads > 1 and self._look_at_threads(files)) or first
        present.threads += stat.threads
        present.states.update(STATES.get(thread.state, "Other") for thread in threads.values())
        if len(threads) > 1:
            present.named.update(thread.name for thread in threads.values())
        for kind, size in self._sizes(files, stat, status):
            present.memory[kind].append(size)
        descriptors, limit = files.descriptors(), files.descriptor_limit()
        present.descriptors.append(descriptors)
        if descriptors and limit:
            present.worst_ratio = max(present.worst_ratio, descriptors / limit)
        if files.denied:
            self._partial += 1
            self._say(
                "denied",
                "what processes of other users read and wrote (io), their memory by pages (smaps_rollup) or their open "
                "files (fd) cannot be read and is left out: that takes the drop-in processes.conf",
            )
        return of_process, threads

    def _sizes(self, files: Files, stat: Stat, status: dict[bytes, bytes]) -> Iterator[tuple[str, Count]]:
        yield "resident", stat.resident
        yield "virtual", stat.virtual
        yield "swapped", number(status, b"VmSwap") or (0.0 if status else None)
        if self.config.gather_smaps:
            # A thread of the kernel and a process that has ended have no memory of their own to be asked for.
            smaps = files.smaps() if stat.resident else {b"Pss": b"0", b"SwapPss": b"0", b"Private_Clean": b"0"}
            yield "proportionalResident", number(smaps, b"Pss")
            yield "proportionalSwapped", number(smaps, b"SwapPss")
            private = [number(smaps, b"Private_Clean"), number(smaps, b"Private_Dirty")]
            yield "unique", total(private)

    @staticmethod
    def _look_at_threads(process: Files) -> dict[Identity, Thread]:
        threads = {}
        for folder in process.threads():
            files = process.thread(folder)
            try:
                stat = files.stat()
            except (OSError, ValueError):  # ended meanwhile
                continue
            threads[folder, stat.start] = Thread(stat.comm, stat.state, counts(stat, files.status(), files.io()))
        return threads

    def _errors(self) -> Iterator[Family]:
        yield self.scrape_errors(0.0)
        yield self.read_errors(float(self._unread))
        yield self.partial_errors(float(self._partial))

    def _say(self, topic: str, text: str) -> None:
        if topic not in self._said:
            self._said.add(topic)
            self.log.warning("%s", text)


def boot_time(text: bytes) -> float:
    """Return when the machine was started, in seconds since 1970, from /proc/stat. Raises ``ValueError``."""
    words = text.partition(b"\nbtime ")[2].split(maxsplit=1)
    if not words:
        raise ValueError(f"expected a line btime in stat, found {text[-80:]!r} at its end")
    return float(words[0])


@hookimpl
def agentd_collectors() -> list[type[Process]]:
    """Register the collector."""
    return [Process]
