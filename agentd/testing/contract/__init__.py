"""``check_plugin``: a plugin held against the whole contract, everything that is wrong told at once."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from agentd.config import ConfigError
from agentd.plugin import Clock, Event, Family, Host, Plugin, Sink
from agentd.testing.contract.declaration import check_declaration
from agentd.testing.contract.finding import RULES, Broken, Finding, Findings
from agentd.testing.contract.life import Life
from agentd.testing.hosts import Files, Root, machine
from agentd.testing.instance import Given, options_of, require_class
from agentd.testing.recorder import records
from agentd.testing.server import Reply, ScriptedServer
from agentd.testing.within import DEADLINE, Hang, within

__all__ = ["RULES", "Broken", "Finding", "check_plugin"]

__tracebackhide__ = True

EVENTS = ("agentd.testing", "agentd.testing")
"""The events that a sink is given where the test says no others."""


def check_plugin(
    plugin: type[Plugin[Any]],
    *,
    config: Given[Any] = None,
    proc: Files | None = None,
    sys: Files | None = None,
    files: Files | None = None,
    root: Root | None = None,
    clock: Clock | None = None,
    events: Iterable[Event | Mapping[str, Any] | str] = EVENTS,
    replies: Iterable[Reply | int] = (),
    waive: Mapping[str, str] | None = None,
    deadline: float = DEADLINE,
) -> list[Family]:
    """Hold a plugin against the contract: names, documentation, options, metrics, its life, and what it does to the
    event loop. Returns the families that were seen.

    It is built, started, asked for all that it has and stopped, three times over, and then stopped without having been
    started and after a start that failed. The machine is one with these files alone (see ``run_collector``). A sink is
    handed ``events``, and finds a ``ScriptedServer`` with ``replies``: ``config`` may be a function of that, and for
    other kinds one of the ``Host``.

    What takes too long, or holds the event loop, counts where it does so each time. Calls that may wait are seen by
    Python's audit events: files that are no file of the kernel's, sleeping, resolving names, connecting, and waiting
    for processes, by the plugin's code on the loop.

    ``waive`` maps a rule (``RULES`` has all), or ``"rule:subject"``, to the reason for which it does not hold.

    Raises ``Broken``, an ``AssertionError``, with every finding and what to do about it.
    """
    require_class(plugin)
    findings = Findings(waive or {})
    check_declaration(plugin, findings.add)
    handed = records(*events, clock=clock)
    seen: list[Family] = []
    life: Life | None = None

    async def live() -> None:
        nonlocal life
        async with ScriptedServer(replies) as server:
            host = Host(paths)
            try:
                options = options_of(plugin, config, server if issubclass(plugin, Sink) else host)
            except ConfigError as error:
                findings.add("config", "", f"its options are not accepted: {error}")
                return
            life = Life(plugin, options, paths, events=handed, findings=findings, clock=clock)
            await life.run()
            seen.extend(life.families.values())

    with machine(proc=proc, sys=sys, files=files, root=root) as paths:
        try:
            within(deadline, lambda: f"{life.done if life else 'its options'}()", live)
        except Hang as hang:
            findings.add("deadline", life.done if life else "", str(hang))
        except msgspec.MsgspecError as error:
            findings.add("config", "", str(error))
    if findings.found:
        raise Broken(plugin.__name__, findings.found)
    return seen
