"""Finds the families that a collector tells without having declared them: nobody can look up what they mean.

Names are looked at once for each new layout, never for each sample, and nothing is done while a collector tells what it
told the last time.
"""

from fnmatch import fnmatchcase
from typing import Any

from agentd.metrics.frame import Layout
from agentd.plugin import Collector
from agentd.plugin.declared import declared_metrics

MOST = 1000
"""Names that are kept of a collector at most: one that makes up new ones all the time must not fill the memory."""


class Undeclared:
    """The names that a collector told and does not declare.

    A class that declares no metric at all does not say what it tells, and one that is ``foreign`` tells what others
    have written: of these none counts. Names that options give (``Config.metric_names``) are declared.
    """

    def __init__(self, collector: Collector[Any]) -> None:
        self.names: set[str] = set()
        """Those that were found so far."""
        self._collector = collector
        self._layout: Layout | None = None
        self._known: frozenset[str] = frozenset()  # of the layout before
        self._declared: frozenset[str] | None = None
        self._silent = collector.foreign

    def found(self, layout: Layout) -> list[str]:
        """Return the names in a layout that are not declared, each the first time only."""
        if layout is self._layout or self._silent:
            return []
        self._layout = layout
        names = frozenset([name for (name, *_), _ in layout.parts()])
        fresh, self._known = names - self._known, names
        if not fresh:
            return []
        if self._declared is None:
            self._declared = _declared(self._collector)
            self._silent = not self._declared
        if self._silent or len(self.names) >= MOST:
            return []
        patterns = [name for name in self._declared if "*" in name]
        unknown = sorted(fresh - self.names - self._declared)
        found = [name for name in unknown if not any(fnmatchcase(name, pattern) for pattern in patterns)]
        self.names.update(found)
        return found


def _declared(collector: Collector[Any]) -> frozenset[str]:
    """Return the names of all that a collector declares, in which ``*`` is any text; none where its class declares
    nothing, or cannot say what.
    """
    declared = [metric.name for metric in declared_metrics(type(collector))]
    try:
        return frozenset([*declared, *collector.config.metric_names().values()] if declared else ())
    except Exception:  # noqa: BLE001  # a plugin's own code: that it fails is told where it is asked for more than this
        return frozenset()
