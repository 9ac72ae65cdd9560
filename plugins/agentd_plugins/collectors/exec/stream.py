"""A program that runs as long as the agent: begun, read, asked, and begun again when it ends."""

import asyncio
from typing import Any

from agentd.plugin import Backoff, Collector
from agentd_plugins.collectors.exec.formats import Answer, Samples, Told, line_of_json, parse
from agentd_plugins.collectors.exec.options import ExecConfig
from agentd_plugins.collectors.exec.program import Command, Process, ProgramError, outcome
from agentd_plugins.collectors.exec.said import Said

LONGEST_DELAY = 60.0
"""Seconds between two beginnings at most. One that ran for as long is begun again as if it had never failed."""

FIRST = 1.0
"""Seconds after its beginning for which collections wait for what it tells first: later ones fail at once."""

FLUSH = "does it flush its output (fflush, stdbuf -oL, python -u)?"

LARGE = 16 << 10
"""Bytes from which on an answer is parsed in a worker, beside the agent's other work."""

TURN = 0.005
"""Seconds of reading after which other tasks of the agent get their turn."""

LEAVE = 0.2
"""Seconds that a program gets to end by itself when the agent stops, and what it has written to be read."""


class Stream:
    """The program of one section."""

    def __init__(self, plugin: Collector[ExecConfig], command: Command, said: Said) -> None:
        self._plugin = plugin
        self._config = plugin.config
        self._command = command
        self._said = said
        self._task: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._told: Answer | None = None
        self._known, self._next = Samples(), Samples()  # of JSON lines, and of those behind the last empty line
        self._problem = ""
        self._begun = 0.0
        self._written = False  # whether anything came since then
        self._at = 0.0  # when something came last, or was asked for
        self._asked = self._answered = 0
        self._changed = asyncio.Event()

    def start(self) -> None:
        """Begin the program, and go on doing so."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the program, if need be by killing it."""
        process, self._process = self._process, None
        ends: set[asyncio.Future[Any]] = set()
        if self._task is not None:
            self._task.cancel()
            ends.add(self._task)
        if process is not None:
            process.terminate()
            ends.add(process.ended)
        try:
            if ends:
                await asyncio.wait(ends, timeout=LEAVE)
        finally:  # the agent may have no time for more
            if process is not None:
                process.close()
        if process is not None:
            await asyncio.wait({process.ended}, timeout=LEAVE / 2)
        self._task = None

    async def answer(self) -> Answer:
        """Return what it tells, after asking it where that is wanted. Raises ``ProgramError``."""
        while self._process is None and not self._problem:
            await self._changed.wait()
        if self._config.signal == "stdin":
            await self._ask()
        while self._told is None and not self._problem:
            try:
                await asyncio.wait_for(self._changed.wait(), self._begun + FIRST - self._plugin.clock.monotonic())
            except TimeoutError:
                break
        if self._told is None:
            raise ProgramError(self._problem or self._silence())
        if self._config.format == "json":
            return Answer(list(self._known.families(self._plugin.context.name)))
        return self._told

    async def _run(self) -> None:
        backoff = Backoff(self._config.restart_delay, LONGEST_DELAY)
        now = self._plugin.clock.monotonic
        while True:
            begun = now()
            try:
                await self._once()
            except ProgramError as error:
                if now() - begun > LONGEST_DELAY:
                    backoff.reset()
                delay = backoff.next()
                why = self._plugin.harmless(error)
                self._plugin.log.warning("%s; it is begun again in %.1f s", why, delay)
                self._lose(f"{why}; it is begun again")
                error.__traceback__ = None  # what it wrote would stay with the frames, in a circle
                await asyncio.sleep(delay)

    async def _once(self) -> None:
        """Run it from its beginning to its end, which is always an error."""
        longest = self._config.max_output
        process = await Process.begin(self._command, self._plugin.in_worker, lasting=True, longest=longest)
        self._process = process
        self._begun = self._at = self._plugin.clock.monotonic()
        self._written = False
        self._asked = self._answered = 0
        self._problem = ""
        self._known, self._next = Samples(), Samples()
        self._wake()
        reading = asyncio.create_task(self._read(process))
        watching = asyncio.create_task(self._watch())
        said = asyncio.create_task(self._said.follow(process.stderr))
        try:
            any_end: set[asyncio.Future[Any]] = {process.ended, reading, watching}
            await asyncio.wait(any_end, return_when=asyncio.FIRST_COMPLETED)
            if not watching.done() and not (reading.done() and reading.exception()):
                await asyncio.wait({*any_end - {watching}, said}, timeout=LEAVE)  # what it wrote last
            for task in (reading, watching):
                if task.done() and (error := task.exception()) is not None:
                    raise error
            if not process.ended.done():
                raise ProgramError(f"{self._command.program} has closed its standard output: it was killed")
            last = f"; it last said: {self._said.last}" if self._said.last else ""
            raise ProgramError(f"{self._command.program} {outcome(process.ended.result())}{last}")
        finally:
            for each in (reading, watching, said):
                each.cancel()
            if self._process is process:  # else it is being stopped, by somebody who gives it more time
                process.close()
                self._process = None

    async def _read(self, process: Process) -> None:
        """Read what it writes, no more in a second than it may write in one answer."""
        most = int(self._config.max_output)
        block = bytearray()
        size = 0
        turn = second = self._plugin.clock.monotonic()
        left = most
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                raise ProgramError(
                    f"{self._command.program} wrote a line of more than {most} bytes: it was killed"
                ) from None
            if not line:
                return
            self._at = self._plugin.clock.monotonic()
            self._written = True
            left -= len(line)
            if left < 0:
                await asyncio.sleep(max(0.0, second + 1.0 - self._at))
                turn = second = self._plugin.clock.monotonic()
                left = most
            elif self._at - turn > TURN:
                await asyncio.sleep(0)
                turn = self._plugin.clock.monotonic()
            bare = line.strip()
            if bare and bare != b"# EOF":
                size += len(line)
                if self._config.format == "json":
                    self._take(bare)
                    continue
                if size > most:
                    raise ProgramError(
                        f"{self._command.program} wrote an answer of more than {most} bytes: it was killed"
                    )
                block += line
            elif bare or size or self._asked > self._answered:  # the end of an answer, which may be empty when asked
                await self._end(bytes(block))
                block.clear()
                size = 0

    def _take(self, line: bytes) -> None:
        """Take account of a JSON line at once."""
        try:
            found = line_of_json(line)
            if isinstance(found, Told):
                self._plugin.context.emit(found.as_event(self._plugin.context.name))
            else:
                self._known.put(found)
                self._next.put(found)
        except ValueError as error:
            self._plugin.log.warning("a line is left out: %s", self._plugin.harmless(error))
            return
        if self._config.signal == "none":
            self._tell(Answer([]))

    async def _end(self, block: bytes) -> None:
        """Take account of the end of an answer."""
        form, name = self._config.format, self._plugin.context.name
        number = self._asked
        if form == "json":
            self._known, self._next = self._next, Samples()
            self._answered = number
            self._tell(Answer([]))
            return
        if form == "openmetrics":
            block += b"# EOF\n"
        try:
            if len(block) > LARGE:
                answer = await self._plugin.in_worker(parse, form, block, name)
            else:
                answer = parse(form, block, name)
        except ProgramError as error:
            self._answered = number
            self._lose(self._plugin.harmless(error))
            return
        for series in answer.repeated:
            self._plugin.log.warning("%s is there more than once; only the first is told", series)
        self._answered = number
        self._tell(answer)

    def _tell(self, answer: Answer) -> None:
        self._told, self._problem = answer, ""
        self._wake()

    def _lose(self, problem: str) -> None:
        self._told, self._problem = None, problem
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _ask(self) -> None:
        """Ask the program, if it owes no answer, and wait until it has answered, or has ended."""
        process = self._process
        if process is None:
            return
        new = self._asked == self._answered
        if new:
            self._asked += 1
            self._at = self._plugin.clock.monotonic()
            process.ask()
        number = self._asked
        try:
            while self._process is process and self._answered < number:
                await self._changed.wait()
        except asyncio.CancelledError:
            if new and not self._written and not self._plugin.time_left():
                self._plugin.log.warning("%s", f"{self._command.program} was asked and has told nothing: {FLUSH}")
            raise

    def _silence(self) -> str:
        """Return what is wrong with one that is running and has not told anything yet.

        The time is a power of ten, for the log names each text once: it should not be another one with each scrape.
        """
        silent = max(1, int(self._plugin.clock.monotonic() - self._begun))
        since = f"for more than {10 ** (len(str(silent)) - 1)} s since it began"
        if not self._written:
            return f"{self._command.program} has told nothing {since}: {FLUSH}"
        if self._config.format == "json":
            return f"{self._command.program} has told nothing that is understood {since}: see the log"
        return f"{self._command.program} has ended no answer {since}: an empty line ends one; {FLUSH}"

    async def _watch(self) -> None:
        """Raise ``ProgramError`` when it has been silent for too long."""
        longest = self._config.max_age
        while True:
            silent = self._plugin.clock.monotonic() - self._at
            waits = self._config.signal == "none" or self._asked > self._answered
            if waits and silent >= longest:
                what = "has told nothing" if self._config.signal == "none" else "has not answered"
                hint = "" if self._written else f"; {FLUSH}"
                raise ProgramError(f"{self._command.program} {what} for {silent:.1f} s: it was killed{hint}")
            await asyncio.sleep(longest - silent if waits else longest / 4)
