"""What an exporter is given: gathering by its own rules, and rendering with prefixes remembered for it."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from agentd.memory import Pressure
from agentd.metrics.exposition import GZIP_INLINE, Format, Renderer, compress
from agentd.metrics.family import Snapshot
from agentd.metrics.frame import Frame, Layout, again
from agentd.metrics.gather import Gatherer
from agentd.metrics.rules import Rules


class Outlet:
    """One exporter's way to the collectors."""

    def __init__(self, gatherer: Gatherer, rules: Rules) -> None:
        self._gatherer = gatherer
        self._rules = rules
        self._layout: Layout | None = None
        self._renderers: dict[tuple[Format, tuple[tuple[str, str], ...]], Renderer] = {}
        self._compressing = ThreadPoolExecutor(1, "compress")

    def shed(self, pressure: Pressure) -> None:
        """Forget the prefixes of what was rendered, which the next rendering learns again."""
        if pressure:
            self._layout = None
            self._renderers.clear()

    async def gather(self, **keywords: Any) -> Snapshot:
        """Return a snapshot after this exporter's rules; keywords as for ``Gatherer.gather``."""
        snapshot = await self._gatherer.gather(rules=self._rules, **keywords)
        if isinstance(snapshot.families, Frame):
            return snapshot
        self._layout, values = again(self._layout, snapshot.families)
        return Snapshot(self._layout.fill(values), snapshot.timestamp)

    async def render(
        self,
        snapshot: Snapshot,
        *,
        format: Format = "text",
        labels: Mapping[str, str] | None = None,
        gzip: bool = False,
    ) -> bytes:
        """Return a snapshot as an exposition, compressed where that is asked for."""
        key = (format, tuple(sorted((labels or {}).items())))
        if key not in self._renderers:
            self._renderers[key] = Renderer(format, labels)
        body = await self._renderers[key].render_in_slices(snapshot.families)
        if not gzip:
            return body
        if len(body) <= GZIP_INLINE:
            return compress(body)
        # Not by the workers of the collectors, nor by the loop's own, which looks names up: all their threads may hang.
        return await asyncio.get_running_loop().run_in_executor(self._compressing, compress, body)
