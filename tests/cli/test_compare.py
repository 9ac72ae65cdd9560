"""``agentd compare``."""

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.cli.compare import Seen, agree, differences, report

INF, NAN = float("inf"), float("nan")


def seen(*texts):
    """Return what scrapes that answered these texts have shown."""
    result = Seen()
    for text in texts:
        result.add(text)
    return result


@pytest.mark.parametrize(
    ("theirs", "ours", "same"),
    [
        ([5, 5, 5], [5, 5, 5], True),
        ([5, 5, 5], [5.1, 5.1, 5.1], False),
        ([0, 0], [0, 0], True),
        ([0, 0], [1, 1], False),
        ([1e18, 1e18], [1e18 + 1024, 1e18 + 1024], True),
        ([10, 12, 14], [11, 13, 15], True),
        ([10, 12, 14], [1000, 1002, 1004], False),
        ([100, 100], [101, 102], True),
        ([100, 100], [1.0, 1.1], False),
        ([INF], [INF], True),
        ([INF], [-INF], False),
        ([NAN], [NAN], True),
        ([NAN], [0], False),
    ],
)
def test_what_stands_still_has_to_be_equal_and_what_moves_has_to_be_near(theirs, ours, same):
    """Numbers that move while they are looked at may differ by as much as they move; others may not."""
    assert agree(list(map(float, theirs)), list(map(float, ours))) is same


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=False), min_size=1), st.lists(st.floats(allow_nan=False), min_size=1))
def test_agreeing_goes_both_ways(theirs, ours):
    """Everything agrees with itself, and if one agrees with the other, so does the other with the one."""
    assert agree(theirs, theirs)
    if len({*theirs}) > 1 or len({*ours}) > 1:
        assert agree(theirs, ours) == agree(ours, theirs)


THERE = """\
# TYPE same gauge
same{a="1"} 5
# TYPE gone gauge
gone 1
# TYPE turned counter
turned 1
# TYPE parts gauge
parts{a="1"} 1
parts{a="2"} 1
# TYPE other gauge
other 7
# TYPE go_threads gauge
go_threads 7
"""
HERE = """\
# TYPE same gauge
same{a="1"} 5
# TYPE turned gauge
turned 1
# TYPE parts gauge
parts{a="1"} 1
parts{a="3"} 1
# TYPE other gauge
other 8
# TYPE new gauge
new 1
# TYPE agentd_build_info gauge
agentd_build_info 1
"""


def test_all_that_users_would_notice_is_found():
    """Metrics and series that are missing or new, other kinds and other values: each is named, and nothing else is."""
    found = differences(seen(THERE, THERE), seen(HERE, HERE))
    assert found.alike == ["same"]
    assert (list(found.missing), list(found.added)) == (["gone"], ["new"])
    assert found.kinds == {"turned": ("counter", "gauge")}
    assert found.missing_series == {"parts": [("parts", frozenset({("a", "2")}))]}
    assert found.added_series == {"parts": [("parts", frozenset({("a", "3")}))]}
    assert found.values == {("other", frozenset()): ([7.0, 7.0], [8.0, 8.0])}
    assert not found.harmless
    assert list(report(found)) == [
        "1 metrics are the same.",
        "1 metrics would be missing:",
        "  gone (1 series)",
        "turned is a counter there and a gauge here.",
        "1 metrics would lack series:",
        "  parts (1 series)",
        '    parts{a="2"}',
        "1 series have other values:",
        "  other: there 7, here 8",
        "1 metrics would have further series:",
        "  parts (1 series)",
        '    parts{a="3"}',
        "1 metrics would be new:",
        "  new (1 series)",
    ]


def test_an_empty_label_is_none():
    """Series that differ by an empty label alone are the same to Prometheus, and here."""
    assert differences(seen('a{x="1",y=""} 1\n'), seen('a{x="1"} 1\n')).alike == ["a"]


def test_a_further_label_is_no_other_series():
    """A series that has a label more is told as that and not as missing; its value counts nevertheless."""
    found = differences(seen('a{x="1"} 1\nb{x="1"} 1\n'), seen('a{x="1",y="2"} 1\nb{x="1",y="2"} 3\n'))
    assert not any((found.missing_series, found.added_series, found.alike))
    assert list(found.values) == [("b", frozenset({("x", "1"), ("y", "2")}))]
    assert "a would have further labels: y" in report(found)
    assert differences(seen('a{x="1"} 1\n'), seen('a{x="1",y="2"} 1\n')).harmless


def test_series_that_are_split_are_missing():
    """Where several series take the place of one, sums and alerts change: that is no further label."""
    found = differences(seen('a{x="1"} 1\n'), seen('a{x="1",y="1"} 1\na{x="1",y="2"} 1\n'))
    assert list(found.missing_series) == ["a"]
    assert not found.labels


def test_more_is_harmless():
    """An agent that tells all that the other tells, and something beside it, takes nothing away."""
    assert differences(seen("a 1\n"), seen("a 1\nb 2\n")).harmless


def run(*arguments, environment=None):
    """Run the command."""
    command = [sys.executable, "-m", "agentd", "compare", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)


def test_the_agent_that_runs_here_is_compared(start_agent):
    """Over its socket the running agent is asked, and what it says of the machine is what it says over the network."""
    # A scrape over the network is a connection more.
    agent = start_agent('[collectors]\ndisable = ["netstat", "sockstat"]')
    result = run(f"127.0.0.1:{agent.port}", environment=agent.environment)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "missing" not in result.stdout


def test_who_does_not_answer_is_named(free_port, tmp_path):
    """A page that cannot be had, and no agent to compare with, are each one line and status 2."""
    result = run(f"http://127.0.0.1:{free_port}/metrics", "--with", f"http://127.0.0.1:{free_port}/metrics")
    assert result.returncode == 2
    assert result.stderr.startswith(f"agentd: cannot scrape http://127.0.0.1:{free_port}/metrics: connection refused")
    assert len(result.stderr.splitlines()) == 1


def test_without_an_agent_there_is_nothing_to_compare_with(agent, tmp_path):
    """Where no agent answers on the socket, the command says what to do."""
    environment = {**agent.environment, "RUNTIME_DIRECTORY": str(tmp_path), "STATE_DIRECTORY": str(tmp_path)}
    result = run(f"{agent.url}/metrics", environment=environment)
    assert result.returncode == 2
    assert "no agent is running here to compare with" in result.stderr


def test_a_page_that_is_no_exposition_is_refused(agent):
    """What is no exposition is named, and not taken for an empty one."""
    result = run(f"{agent.url}/", "--with", f"{agent.url}/metrics")
    assert result.returncode == 1
    assert "no text that Prometheus could read" in result.stderr


def test_many_series_with_a_further_label_are_compared_in_time():
    """As many series as a big machine has of one metric are matched in about as many steps."""
    theirs, ours = Seen(), Seen()
    for number in range(20_000):
        labels = frozenset({("slab", str(number))})
        theirs.values["slabs", labels] = [1.0]
        ours.values["slabs", labels | {("node", "0")}] = [1.0]
    theirs.kinds = ours.kinds = {"slabs": "gauge"}
    begun = time.process_time()
    assert differences(theirs, ours).labels == {"slabs": ["node"]}
    assert time.process_time() - begun < 8
