"""Appends events to a file, as JSON lines: one event a line. It is rotated here, or by logrotate."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from agentd.plugin import Config, Context, Duration, Record, Retry, Sink, Size, hookimpl
from agentd_plugins._files import could_write
from agentd_plugins.sinks._alone import Alone
from agentd_plugins.sinks._lines import Lines
from agentd_plugins.sinks._rotated import Rotated


class FileConfig(Config):
    """Options of the sink file."""

    path: Annotated[str, Meta(examples=["/var/log/agentd/events.jsonl"])]
    """The file. It is made, with its folders, where it is not there."""
    mode: Annotated[str, Meta(pattern="^0?[0-7]{3}$", examples=["0640"])] = "0640"
    """Who may read and write the file when it is made, in octal."""
    max_size: Size = Size(64 << 20)
    """The file is rotated before it would get larger; "0B": never. It is renamed to "PATH.000001", the next one to
    "PATH.000002": the names of rotated files do not change again."""
    max_age: Annotated[Duration, Meta(examples=["1d"])] | None = None
    """The file is rotated at each multiple of this since 1970 UTC, "1d" being midnight, with the first event after it;
    left out, its age does not matter."""
    keep: Annotated[int, Meta(ge=1)] = 5
    """Rotated files that are kept; the oldest are removed."""
    compress: bool = True
    """Whether rotated files are compressed with gzip."""
    fsync: Literal["batch", "interval", "never"] = "batch"
    """When what was written is made to survive a power cut: with each batch, before the agent counts it as delivered;
    at the interval; or when the system likes to."""
    fsync_interval: Duration = Duration(1)
    """The longest time until then for fsync = "interval"."""

    def __post_init__(self) -> None:
        wrong = []
        if not self.path.startswith("/") or self.path.endswith("/"):
            wrong.append(f'path must begin with "/" and name a file; found "{self.path}"')
        if self.max_age is not None and self.max_age < 60:
            wrong.append("max_age must be at least 1m")
        if self.fsync_interval <= 0:
            wrong.append("fsync_interval must be longer than 0s")
        if wrong:
            raise ValueError("; ".join(wrong))


class File(Sink[FileConfig]):
    """Writes events to a file as JSON lines, and rotates it by size or age."""

    name = "file"

    def __init__(self, config: FileConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._rotated = Rotated(Path(self.config.path), self.config.keep, compress=self.config.compress)
        self._lines = Lines(self.config, self._rotated, self.clock.time, self.log)
        self._alone = Alone(self.in_worker)
        self._tidying: asyncio.Task[None] | None = None
        self._syncing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the file. Rotated ones that an earlier life did not compress are compressed now."""
        await self._alone(self._lines.open)
        self._tidy_soon()

    async def probe(self) -> str:
        """See whether the file could be written, without making or opening it."""
        return await self.in_worker(could_write, Path(self.config.path))

    async def stop(self) -> None:
        """Close the file. Compressing ends where it is: the next life begins that file anew."""
        self._rotated.ending.set()
        tasks = [task for task in (self._tidying, self._syncing) if task is not None]
        if self._syncing is not None:
            self._syncing.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._alone(self._lines.close)

    async def reopen(self) -> None:
        """Close the file, and open the one that has the path now."""
        await self._alone(self._lines.close)
        await self._alone(self._lines.open)

    async def send(self, events: Sequence[Record]) -> None:
        """Append events; all of them are in the file in the end, or none."""
        try:
            await self._alone(self._lines.append, events)
        except OSError as error:
            raise Retry(f"cannot write {self.config.path}: {error.strerror or error}") from error
        finally:
            self._tidy_soon()
        self._lines.unheard = frozenset()
        if self.config.fsync == "interval" and (self._syncing is None or self._syncing.done()):
            self._syncing = asyncio.create_task(self._sync_later())

    def _tidy_soon(self) -> None:
        # Apart from writing: compressing takes seconds.
        if self._rotated.untidy and (self._tidying is None or self._tidying.done()):
            self._tidying = asyncio.create_task(self._tidy())

    async def _tidy(self) -> None:
        try:
            await self.in_worker(self._rotated.tidy)
        except (OSError, RuntimeError) as error:  # the workers of an agent that stops take no more jobs
            self.log.warning("cannot compress or remove rotated files of %s: %s", self.config.path, error)

    async def _sync_later(self) -> None:
        await asyncio.sleep(self.config.fsync_interval)
        try:
            await self._alone(self._lines.sync)
        except (OSError, RuntimeError) as error:
            self.log.error("events in %s may be lost with a power cut: %s", self.config.path, error)


@hookimpl
def agentd_sinks() -> list[type[Any]]:
    """Register the sink."""
    return [File]
