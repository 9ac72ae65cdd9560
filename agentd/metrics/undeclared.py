"""Finds the families that a collector tells without having declared them: nobody can look up what they mean.

Names are looked at once for each new layout, never for each sample, and nothing is done while a collector tells what it
told the last time.
"""

import re
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
        self._declared: re.Pattern[str] | None = None
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
            try:
                self._declared = declared_names(self._collector)
            except Exception:  # noqa: BLE001  # what a plugin's class computes may fail, and is no reason to stop here
                self._declared = None
            self._silent = self._declared is None
        if self._declared is None or len(self.names) >= MOST:
            return []
        found = [name for name in sorted(fresh - self.names) if not self._declared.fullmatch(name)]
        self.names.update(found)
        return found


def declared_names(collector: Collector[Any]) -> re.Pattern[str] | None:
    """Return an expression for the names of all that a collector declares, where ``*`` is any text; None where its
    class declares nothing.
    """
    declared = [metric.name for metric in declared_metrics(type(collector))]
    if not declared:
        return None
    given = collector.config.metric_names().values()
    return re.compile("|".join(re.escape(name).replace(r"\*", ".*") for name in (*declared, *given)))
