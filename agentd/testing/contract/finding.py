"""What a plugin breaks of the contract: the rules by name, with what to do, and the error that tells all at once."""

from collections.abc import Mapping
from typing import NamedTuple

__tracebackhide__ = True

RULES: Mapping[str, str] = {
    "name": 'give the class a name in snake case, that of its file: name = "loadavg"',
    "doc": "write a docstring of a sentence or more below the class statement: `agentd plugins NAME` shows it",
    "option-doc": "write a docstring below the field: what it means, and in which unit",
    "option-name": "use snake case: words of small letters and digits with underscores between them",
    "option-reserved": "take another name: this key belongs to the agent, in every plugin's section",
    "option-default": "give a default that the option's own type accepts, or None if that is one of its types",
    "config": "make the options fit each other by default, or give check_plugin the ones that are needed: config={…}",
    "attribute": "see the class's documentation in agentd.plugin",
    "async": "write `async def`: the agent awaits it",
    "metric-name": "use snake case that begins with whom it is about: robot_battery_ratio",
    "metric-help": "say in a sentence what is measured, and in which unit",
    "metric-counter": "let the names of counters, and of nothing else, end in _total",
    "metric-unit": "use base units, written out: seconds, bytes, celsius, meters, volts, ratios from 0 to 1",
    "metric-kind": "leave the kind out of the name: it is told beside it",
    "metric-suffix": "_bucket, _count and _sum belong to what histograms and summaries are made of",
    "metric-label": "use snake case; instance and job belong to Prometheus, le and quantile to the format",
    "metric-undeclared": "declare it as an attribute of the class: load = gauge(name, help, labels)",
    "metric-differs": "make families by calling the declared metric, so that they cannot differ",
    "families": "see what agentd.plugin.Family says may be in a family",
    "series": "tell less, or say in the class what it may be: max_series = 50_000",
    "collect": "raise NoData where this machine lacks the thing; all else counts as a failure",
    "export": "give check_plugin what it needs (config=), or mend it: each failure costs what that snapshot had",
    "construct": "do nothing in __init__ that can fail, and call the base class's: start() is for what may fail",
    "start": "give check_plugin what it needs to start (config=, proc=, sys=, files=, replies=), or mend it",
    "start-twice": "let a second start() do nothing, or begin anew after closing what the first has opened",
    "stop": "let stop() raise nothing, whatever the plugin has come to",
    "stop-twice": "let stop() forget what it has closed",
    "stop-unstarted": "begin in __init__ with None for all that start() opens, and close what is not None",
    "stop-failed-start": "close in stop() whatever start() has opened before it failed or was cancelled",
    "deadline": "see to it that every wait ends: pass timeouts to libraries, and cancel tasks",
    "left-task": "keep each task that is begun; cancel it in stop(), and await it",
    "left-thread": "end each thread in stop(), and join it; or leave threads to self.in_worker(…)",
    "left-descriptor": "close in stop() whatever start() or a collection has opened",
    "loop-held": "hand it to a worker: blocking = True for a plain collect(), else await self.in_worker(function)",
    "loop-call": "hand it to a worker: blocking = True for a plain collect(), else await self.in_worker(function)",
    "shed": "let shed() drop references at most, and raise nothing",
    "routes": "return Route objects, without doing any work",
}
"""The rules, and what to do where one is broken."""


class Finding(NamedTuple):
    """One thing in which a plugin breaks the contract."""

    rule: str
    subject: str
    """The option, the metric or the method; empty where it is the whole class."""
    what: str

    def __str__(self) -> str:
        return f"{self.rule}{f' ({self.subject})' if self.subject else ''}: {self.what}\n      -> {RULES[self.rule]}"


class Broken(AssertionError):
    """A plugin breaks the contract. ``findings`` has every way in which it does."""

    def __init__(self, plugin: str, findings: list[Finding]) -> None:
        self.findings = findings
        points = "one point" if len(findings) == 1 else f"{len(findings)} points"
        listed = "\n".join(f"  {each}" for each in findings)
        super().__init__(
            f"{plugin} breaks the contract of plugins in {points}:\n{listed}\n"
            'what has to stay so is waived by its rule, with a reason: waive={"metric-unit:a_name": "why"}'
        )


class Findings:
    """Collects findings, each once, without those that are waived."""

    def __init__(self, waive: Mapping[str, str]) -> None:
        """``waive`` maps a rule, or ``rule:subject``, to the reason. Raises ``ValueError`` for what is no rule, and
        for one without a reason.
        """
        for waived, reason in waive.items():
            if waived.partition(":")[0] not in RULES:
                raise ValueError(f"waive: there is no rule {waived!r}; there are {', '.join(RULES)}")
            if not reason.strip():
                raise ValueError(f"waive: {waived!r} needs a reason")
        self._waived = frozenset(waive)
        self.found: list[Finding] = []

    def add(self, rule: str, subject: str, what: str) -> None:
        """Note one."""
        known = any((each.rule, each.subject) == (rule, subject) for each in self.found)
        if not known and not self._waived & {rule, f"{rule}:{subject}"}:
            self.found.append(Finding(rule, subject, what))
