"""For people who write plugins: what it takes to try one without an agent, and on a real one.

What is listed in ``__all__`` is the kit's interface; ``docs/testing.md`` shows how it is used. Each part is imported
when it is first asked for, so that a pytest that finds this package installed pays nothing for it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentd.testing.accounting import Account, Trial, account, numbers
    from agentd.testing.agent import AgentProcess
    from agentd.testing.clock import FakeClock
    from agentd.testing.collecting import LeftOut, collect, run_collector
    from agentd.testing.contract import RULES, Broken, Finding, check_plugin
    from agentd.testing.expected import assert_metrics, exposition, samples
    from agentd.testing.exporting import run_exporter
    from agentd.testing.fuzz import Fuzzed, fuzz_collector
    from agentd.testing.golden import Golden
    from agentd.testing.hosts import Symlink, machine
    from agentd.testing.instance import running
    from agentd.testing.proxy import Proxy
    from agentd.testing.recorder import Commit, Recorder, records
    from agentd.testing.sending import Attempt, Delivery, run_sink
    from agentd.testing.server import Reply, Request, ScriptedServer
    from agentd.testing.within import Hang

__all__ = [
    "RULES",
    "Account",
    "AgentProcess",
    "Attempt",
    "Broken",
    "Commit",
    "Delivery",
    "FakeClock",
    "Finding",
    "Fuzzed",
    "Golden",
    "Hang",
    "LeftOut",
    "Proxy",
    "Recorder",
    "Reply",
    "Request",
    "ScriptedServer",
    "Symlink",
    "Trial",
    "account",
    "assert_metrics",
    "check_plugin",
    "collect",
    "exposition",
    "fuzz_collector",
    "machine",
    "numbers",
    "records",
    "run_collector",
    "run_exporter",
    "run_sink",
    "running",
    "samples",
]

_MODULES = {
    "accounting": ("Account", "Trial", "account", "numbers"),
    "agent": ("AgentProcess",),
    "clock": ("FakeClock",),
    "collecting": ("LeftOut", "collect", "run_collector"),
    "contract": ("RULES", "Broken", "Finding", "check_plugin"),
    "exporting": ("run_exporter",),
    "expected": ("assert_metrics", "exposition", "samples"),
    "fuzz": ("Fuzzed", "fuzz_collector"),
    "golden": ("Golden",),
    "hosts": ("Symlink", "machine"),
    "proxy": ("Proxy",),
    "recorder": ("Commit", "Recorder", "records"),
    "instance": ("running",),
    "sending": ("Attempt", "Delivery", "run_sink"),
    "server": ("Reply", "Request", "ScriptedServer"),
    "within": ("Hang",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
