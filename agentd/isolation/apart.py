"""The plugins that run in processes alone: the agent does not import them, and knows them by what a process tells."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from agentd.isolation.launcher import Launcher
from agentd.isolation.source import DescribeError, Source

if TYPE_CHECKING:
    from agentd.plugin import Plugin


class Apart:
    """Which these are, and the classes that stand for them. Files that are as they were are not described again."""

    def __init__(self, plugins: Mapping[tuple[str, str], str | None], before: "Apart | None") -> None:
        """``plugins`` are their kinds and names, with the interpreter of each."""
        self.launcher: Launcher = Launcher() if before is None else before.launcher
        self.plugins = plugins
        self._before = {} if before is None else before._classes  # noqa: SLF001  # one of its kind
        self._classes: dict[tuple[Source, int], type[Plugin[Any]]] = {}
        self._failed: dict[Source, str] = {}

    def plugin_class(self, source: Source) -> type["Plugin[Any]"]:
        """Return a class like that of a plugin which is not imported here. Raises ``DescribeError``."""
        from agentd.isolation.describe import described_class

        if source in self._failed:
            raise DescribeError(self._failed[source])
        try:
            stamp = 0 if source.file is None else crc32(Path(source.file).read_bytes())
            cls = self._before.get((source, stamp)) or described_class(self.launcher, source)
        except (DescribeError, OSError) as error:
            self._failed[source] = str(error)
            raise DescribeError(str(error)) from error
        self._classes[source, stamp] = cls
        return cls
