"""Metrics and events of other programs, which write them to their standard output."""

import asyncio
import os
import pwd
from typing import Any

from agentd.plugin import Collector, Context, hookimpl
from agentd_plugins.collectors.exec.formats import Answer, labelled, parse
from agentd_plugins.collectors.exec.options import ExecConfig
from agentd_plugins.collectors.exec.program import Process, ProgramError, command_of, located, outcome
from agentd_plugins.collectors.exec.said import Said
from agentd_plugins.collectors.exec.stream import LARGE, Stream

GRACE = 0.3
"""Seconds that is waited for what a program has written when it has ended."""


class Exec(Collector[ExecConfig]):
    """What a program says, in any language: run for each collection, or as long as the agent."""

    name = "exec"
    foreign = True
    exclusive = True  # two of one program might have the same device

    def __init__(self, config: ExecConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._command = command_of(self.config, os.environ)
        self._said = Said(self.log, self.harmless, self.clock.monotonic)
        self._stream = Stream(self, self._command, self._said) if self.config.mode == "stream" else None
        self._process: Process | None = None

    async def start(self) -> None:
        """Begin a program that runs as long as the agent. That it cannot be run yet is no reason not to start."""
        if self.config.format == "openmetrics":  # it takes a while, and not that of the first collection
            await self.in_worker(__import__, "prometheus_client.openmetrics.parser")
        if self._stream is not None:
            self._stream.start()

    async def stop(self) -> None:
        """End what runs."""
        if self._stream is not None:
            await self._stream.stop()
        if self._process is not None:
            self._process.close()
            await asyncio.wait({self._process.ended}, timeout=GRACE)

    async def probe(self) -> str:
        """Say what would be run, without running it."""
        path = await self.in_worker(located, self._command)
        environment = ", ".join(sorted(self._command.env))
        when = "for each collection" if self._stream is None else "as long as the agent"
        shown = self.harmless(self._command._replace(program=path))
        return f"would run {shown} {when}, as {_user()} in {self._command.cwd}, with {environment} in its environment"

    async def collect(self) -> list[Any]:
        """Return what the program tells."""
        try:
            answer = await self._once() if self._stream is None else await self._stream.answer()
        except ProgramError as error:
            raise ProgramError(self.harmless(error)) from None
        finally:
            self._said.tell()
        return labelled(answer.families, self.config.labels)

    async def _once(self) -> Answer:
        """Run the program to its end, and return what it wrote: all of it or nothing."""
        data = await self._output()
        parsing = (self.config.format, data, self.context.name)
        answer: Answer = await self.in_worker(parse, *parsing) if len(data) > LARGE else parse(*parsing)
        for series in answer.repeated:
            self.log.warning("%s is there more than once; only the first is told", series)
        for told in answer.events:
            self.context.emit(told.as_event(self.context.name))
        return answer

    async def _output(self) -> bytes:
        self._said.last = ""
        process = self._process = await Process.begin(self._command, self.in_worker)
        output = bytearray()
        writing = asyncio.create_task(self._fill(output, process))
        saying = asyncio.create_task(self._said.follow(process.stderr))
        try:
            either: set[asyncio.Future[Any]] = {process.ended, writing}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
                await asyncio.wait({process.ended})
            await asyncio.wait({writing, saying}, timeout=GRACE)  # all of it only where something has left its group
            if writing.done():
                writing.result()
            if status := process.ended.result():
                last = f"; it last said: {self._said.last}" if self._said.last else ""
                raise ProgramError(f"{self._command.program} {outcome(status)}{last}")
            return bytes(output)
        except asyncio.CancelledError:
            if not self.time_left():
                last = f"; it last said: {self._said.last}" if self._said.last else ""
                hint = 'one that is to go on for long wants mode = "stream"'
                why = f"was killed, because it had not ended in time{last}; {hint}"
                self.log.warning("%s", f"{self._command.program} {why}")
            raise
        finally:
            writing.cancel()
            saying.cancel()
            process.close()

    async def _fill(self, output: bytearray, process: Process) -> None:
        while data := await process.stdout.read(65536):
            output += data
            if len(output) > self.config.max_output:
                raise ProgramError(f"{self._command.program} wrote more than {self.config.max_output}: it was killed")


def _user() -> str:
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


@hookimpl
def agentd_collectors() -> list[type[Exec]]:
    """Register the collector."""
    return [Exec]
