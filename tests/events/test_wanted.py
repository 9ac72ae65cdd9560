"""Which events are wanted."""

import sys
import threading

from agentd.events.wanted import wants


def test_patterns_of_types_and_sources():
    """An event is wanted where a pattern fits its type as a whole, one its source, and it is not the sink's own."""
    wanted = wants(["telemetry.*", "mission.?inished"], ["*"], "sinks.one")
    assert wanted("telemetry.closed", "agentd")
    assert wanted("mission.finished", "")
    assert not wanted("mission.finished.late", "agentd")
    assert not wanted("a.telemetry.closed", "agentd")
    assert not wanted("telemetry.closed", "sinks.one")
    assert wanted("telemetry.closed", "sinks.two")
    assert not wants(["*"], ["collectors.*"])("a", "agentd")
    assert not wants([], ["*"])("a", "b")
    assert not wants(["*"], [])("a", "b")
    assert wants(["a|b", "c"], ["*"])("c", "x")
    assert not wants(["a|b"], ["*"])("a", "x")


def test_from_many_threads():
    """Whoever asks for however many names gets an answer: what is remembered is bounded, and safe to forget."""
    wanted, failures = wants(["a.*"], ["*"]), []

    def ask():
        try:
            for number in range(8000):
                assert wanted(f"a.{number}", "s")
        except Exception as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []
