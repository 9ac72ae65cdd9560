"""Breaks each file that a collector reads, one at a time, and holds the collector to an answer or a clear error."""

import errno
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from agentd.errors import described as in_words
from agentd.plugin import Clock, Collector, Host, HostPaths, NoData
from agentd.testing.collecting import collect
from agentd.testing.faults import FOR_GOOD, Fault, OddHost, described, faults, kinds
from agentd.testing.hosts import Files, Root, machine
from agentd.testing.instance import Given, on_machine
from agentd.testing.within import within

__tracebackhide__ = True

FAULTS = 500
"""How many faults a collector suffers, roughly: one with hundreds of files does not suffer all of them in each."""

LEAST = 4
"""Faults that each file suffers at least."""

HANGS_AFTER = 30.0
"""Seconds after which one collection counts as hanging."""

LISTED = 10
"""Faults that did harm, and are listed at most."""

Series = dict[tuple[str, tuple[str | None, ...]], Any]


class Fuzzed(NamedTuple):
    """What was tried."""

    files: int
    """Files that the collector reads; of those of many devices, one of each kind was broken."""
    faults: int
    """How often one of them was broken."""
    refused: int
    """How often that made the collector say that it cannot tell anything."""


def fuzz_collector(
    plugin: type[Collector[Any]],
    *,
    config: Given[Host] = None,
    proc: Files | None = None,
    sys: Files | None = None,
    files: Files | None = None,
    root: Root | None = None,
    clock: Clock | None = None,
    seed: int = 0,
    limit: int = FAULTS,
    may_fail: Callable[[str], bool] = lambda _path: True,
    is_fault: Callable[[str, Fault], bool] = lambda _path, _fault: True,
    hangs_after: float = HANGS_AFTER,
) -> Fuzzed:
    """Break each file that a collector reads in the ways of odd hardware, and return how much was tried.

    Files of ``/proc`` and ``/sys`` hold something else or answer with an error; those of ``files`` hold something else
    or are gone. Whatever is broken, the collector tells what it still can: valid families with finite values; or it
    raises ``NoData``, or an ``OSError`` or ``ValueError`` whose text has the path of the file. Afterwards it tells the
    same series as before. ``may_fail`` says of which path that may keep it from telling anything (an attribute of one
    device should not), ``is_fault`` whether this content of a path is one: what is a good answer, too, may be
    remembered.

    The same ``seed`` gives the same faults, at most about ``limit``. Raises ``AssertionError`` with all the faults
    that did harm, and ``Hang`` for a collection that is not done after ``hangs_after`` seconds.
    """
    with machine(proc=proc, sys=sys, files=files, root=root) as paths:
        own = [Path(paths.rootfs, name) for name in files or {}]
        trial = _Trial(
            plugin=plugin,
            paths=paths,
            config=config,
            clock=clock,
            own={str(path): path.read_bytes() for path in own if path.is_file() and not path.is_symlink()},
            may_fail=may_fail,
            is_fault=is_fault,
        )
        found = within(
            hangs_after,
            lambda: f"{plugin.__name__}.collect(), while {trial.now},",
            lambda: trial.run(seed, limit),
            progress=lambda: trial.faults,
        )
    if trial.harm:
        listed = "\n".join(f"  {each}" for each in trial.harm[:LISTED])
        more = f"\n  … and {len(trial.harm) - LISTED} more" if len(trial.harm) > LISTED else ""
        raise AssertionError(f"{plugin.__name__} does not bear that a file is broken:\n{listed}{more}")
    return found


@dataclass(kw_only=True)
class _Trial:
    plugin: type[Collector[Any]]
    paths: HostPaths
    config: Given[Host]
    clock: Clock | None
    own: dict[str, bytes]
    """Files that the plugin opens itself, by path."""
    may_fail: Callable[[str], bool]
    is_fault: Callable[[str, Fault], bool]
    now: str = "nothing is broken"
    harm: list[str] = field(default_factory=list)
    faults: int = 0
    refused: int = 0

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[tuple[Collector[Any], OddHost]]:
        host = OddHost(self.paths)
        async with on_machine(self.plugin, host, self.config, self.clock) as collector:
            yield collector, host

    async def run(self, seed: int, limit: int) -> Fuzzed:
        """Suffer it all."""
        async with self._started() as (lasting, host):
            expected = await _told(lasting)
            content = {**host.told, **self.own}
            if not content:
                raise AssertionError(f"{self.plugin.__name__} reads no file by way of self.host: nothing can be broken")
            paths = kinds(content)
            for path in paths:
                random = Random(f"{seed} {self._relative(path)}")
                found = [each for each in self._faults(path, content[path], random) if self.is_fault(path, each)]
                for fault in random.sample(found, min(len(found), max(LEAST, limit // len(paths)))):
                    self.faults += 1
                    self.now = f"{path} {described(fault)}"
                    if fault in FOR_GOOD or random.random() < 0.5:
                        async with self._started() as (other, its_host):
                            await self._suffer(other, its_host, path, fault)
                    else:
                        await self._suffer(lasting, host, path, fault)
            self.now = "nothing is broken any more"
            if lost := expected.keys() ^ (await _told(lasting)).keys():
                self.harm.append(
                    f"with no file broken any more, it tells other series than before: {sorted(lost, key=str)[:3]}"
                )
        return Fuzzed(len(content), self.faults, self.refused)

    def _faults(self, path: str, content: bytes, random: Random) -> list[Fault]:
        found = faults(content, random, driver=path.startswith(self.paths.sysfs))
        # What a plugin opens itself can hold something else or be gone, and cannot be made to fail otherwise.
        return [each for each in found if path not in self.own or isinstance(each, bytes) or each == errno.ENOENT]

    def _relative(self, path: str) -> str:
        for folder in (self.paths.procfs, self.paths.sysfs, self.paths.rootfs):
            if path.startswith(folder):
                return path.removeprefix(folder)
        return path

    async def _suffer(self, collector: Collector[Any], host: OddHost, path: str, fault: Fault) -> None:
        with self._broken(host, path, fault):
            try:
                told = await _told(collector)
            except NoData:
                return
            except (OSError, ValueError) as error:
                self.refused += 1
                if path not in str(error):
                    self._harmed(f"the error does not name the file: {in_words(error)}")
                elif not self.may_fail(path):
                    self._harmed(f"it tells nothing at all for that: {in_words(error)}")
                return
            except Exception as error:  # noqa: BLE001  # whatever it raises is what is looked for
                self._harmed(f"it raises {in_words(error)}")
                return
        for (name, labels), value in told.items():
            if isinstance(value, float) and not isfinite(value):
                self._harmed(f"it tells {name}{list(labels)} as {value}")
                return

    @contextmanager
    def _broken(self, host: OddHost, path: str, fault: Fault) -> Iterator[None]:
        host.odd = {path: fault}
        if path in self.own and isinstance(fault, bytes):
            Path(path).write_bytes(fault)
        elif path in self.own:
            Path(path).unlink()
        try:
            yield
        finally:
            host.odd = {}
            if path in self.own:
                Path(path).write_bytes(self.own[path])

    def _harmed(self, what: str) -> None:
        self.harm.append(f"{self.now}: {what}")


async def _told(collector: Collector[Any]) -> Series:
    return {
        (family.name, labels): value for family in await collect(collector) for labels, value in family.samples.items()
    }
