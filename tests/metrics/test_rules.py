"""Rules: what they keep, drop and rename, and what is no rule."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from agentd.metrics import rules
from agentd.metrics.assembly import assemble
from agentd.metrics.exposition import Renderer
from agentd.metrics.family import Family, Histogram
from agentd.metrics.rules import Rule, Rules


def cpu():
    samples = {("0", "idle"): 1.0, ("0", "user"): 2.0, ("1", "idle"): 3.0, ("1", None): 4.0}
    return Family("node_cpu_seconds_total", "counter", "Time.", ("cpu", "mode"), samples)


def load(name="node_load1"):
    return Family(name, "gauge", "Load.", (), {(): 1.0})


def applied(*families, **rule):
    return Rules([Rule(**rule)]).apply(families)


def names(families):
    return [family.name for family in families]


def test_no_rules_leave_everything():
    """Without rules the very families come back."""
    family = load()
    assert Rules().apply(iter([family])) == [family]
    assert not Rules()
    assert Rules([Rule(action="drop")])


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ({"action": "drop", "name": "node_load1"}, ["node_load15"]),
        ({"action": "drop", "name": "node_load"}, ["node_load1", "node_load15"]),
        ({"action": "keep", "name": "node_load1"}, ["node_load1"]),
        ({"action": "drop", "name": "node_.*"}, []),
        ({"action": "keep"}, ["node_load1", "node_load15"]),
        ({"action": "drop"}, []),
    ],
)
def test_patterns_match_whole_names(rule, left):
    """A pattern is compared with the whole of a name; left out, it is any."""
    assert names(applied(load(), load("node_load15"), **rule)) == left


@pytest.mark.parametrize(
    ("action", "labels", "left"),
    [
        ("drop", {"mode": "idle"}, [("0", "user"), ("1", None)]),
        ("keep", {"mode": "idle"}, [("0", "idle"), ("1", "idle")]),
        ("drop", {"mode": "idle|user"}, [("1", None)]),
        ("drop", {"mode": "idle", "cpu": "0"}, [("0", "user"), ("1", "idle"), ("1", None)]),
        ("drop", {"mode": ""}, [("0", "idle"), ("0", "user"), ("1", "idle")]),
        ("keep", {"mode": ".*"}, [("0", "idle"), ("0", "user"), ("1", "idle"), ("1", None)]),
        ("keep", {"mode": ".+"}, [("0", "idle"), ("0", "user"), ("1", "idle")]),
        ("drop", {"mode": "idle", "device": ""}, [("0", "user"), ("1", None)]),
    ],
)
def test_rules_by_labels(action, labels, left):
    """All patterns have to match; a label that is absent, in a sample or in the whole family, is empty."""
    family = cpu()
    [result] = applied(family, action=action, labels=labels)
    assert list(result.samples) == left
    assert len(family.samples) == 4


@pytest.mark.parametrize(
    ("action", "pattern", "stays"),
    [("drop", "sda", True), ("drop", "", False), ("drop", ".*", False), ("keep", "sda", False), ("keep", ".*", True)],
)
def test_rules_by_labels_that_a_family_does_not_have(action, pattern, stays):
    """A label that none of a family's samples has is empty, as in Prometheus."""
    assert bool(applied(load(), action=action, labels={"device": pattern})) == stays


def test_a_family_of_which_nothing_is_left_is_left_out():
    """No header without samples comes of a rule; a family that had none before stays."""
    assert applied(cpu(), action="drop", labels={"cpu": "[01]"}) == []
    empty = Family("a", "gauge", "", ("x",), {})
    assert applied(empty, action="drop", labels={"x": "1"}) == [empty]


def test_renaming():
    """The new name may have groups of the old one in it, by number and by name; others keep theirs."""
    assert names(applied(load(), cpu(), action="rename", name="node_(load)(\\d+)", to="\\1_of_\\g<2>_minutes")) == [
        "load_of_1_minutes",
        "node_cpu_seconds_total",
    ]
    [result] = applied(load(), action="rename", name="node_(?P<rest>.*)", to="host_\\g<rest>")
    assert result == load("host_load1")


@pytest.mark.parametrize(
    ("pattern", "to"), [("node_load(.*)", "\\1x"), ("node_load1(.?)", "\\1"), ("(x)?node_.*", "\\1")]
)
def test_a_new_name_that_is_none_leaves_the_old_one(pattern, to):
    """What a group gives may begin with a digit or be empty."""
    assert names(applied(load(), action="rename", name=pattern, to=to)) == ["node_load1"]


def test_rules_are_applied_in_order():
    """A rule sees the names that those before it gave."""
    sequence = Rules(
        [
            Rule(action="rename", name="node_load1", to="host_load"),
            Rule(action="drop", name="node_.*"),
            Rule(action="drop", name="host_load", labels={"x": "1"}),
            Rule(action="rename", name="host_(.*)", to="machine_\\1"),
        ]
    )
    assert names(sequence.apply([load(), load("node_load5")])) == ["machine_load"]


def test_several_rules_by_labels():
    """A series stays where every rule lets it."""
    sequence = Rules([Rule(action="drop", labels={"mode": "idle"}), Rule(action="keep", labels={"cpu": "0"})])
    [result] = sequence.apply([cpu()])
    assert list(result.samples) == [("0", "user")]


def united(sequence, *families):
    """Return what a reader gets, with the names that had to be left out: what rules leave goes through assembly."""
    kept, rejections = assemble([("", sequence.apply(families))])
    return kept, [rejection.subject for _, rejection in rejections]


def test_families_renamed_to_one_name_are_one_family():
    """Series that differ are united under one header; one that is there already, or of another kind, is left out."""
    sequence = Rules([Rule(action="rename", name="disk_.*", to="disk")])
    first = Family("disk_a", "gauge", "A.", ("x",), {("1",): 1.0})
    second = Family("disk_b", "gauge", "B.", ("x",), {("1",): 2.0, ("2",): 3.0})
    other = Family("disk_c", "counter", "C.", ("x",), {("3",): 4.0})
    kept, left_out = united(sequence, first, second, other)
    assert kept == [Family("disk", "gauge", "A.", ("x",), {("1",): 1.0, ("2",): 3.0})]
    assert left_out == ["disk", "disk"]
    assert first == Family("disk_a", "gauge", "A.", ("x",), {("1",): 1.0})


def test_a_name_that_the_series_of_a_histogram_have_is_not_taken():
    """Renamed to what looks like a part of a histogram, a metric is left out, and the histogram stays whole."""
    histogram = Family("seconds", "histogram", "", (), {(): Histogram(((1.0, 1.0),), 1.0, 0.5)})
    sequence = Rules([Rule(action="rename", name="node_load1", to="seconds_count")])
    kept, left_out = united(sequence, histogram, load())
    assert (kept, left_out) == ([histogram], ["seconds_count"])


def test_whatever_a_group_gives_the_rendering_is_valid():
    """An empty name or one with a digit first never reaches a reader, and every name there is parses."""
    sequence = Rules([Rule(action="rename", name="node_(.*?)([0-9]*)", to="\\2\\1"), Rule(action="keep")])
    kept, left_out = united(sequence, load(), load("node_"), load("node_load"))
    body = Renderer().render(kept).decode()
    assert [family.name for family in text_string_to_metric_families(body)] == ["node_load1", "node_", "load"]
    assert left_out == []


def test_histograms_go_by_their_own_name():
    """The names of their series are not looked at, and their samples pass unchanged."""
    family = Family("seconds", "histogram", "", (), {(): Histogram(((1.0, 1.0),), 1.0, 0.5)})
    assert applied(family, action="drop", name="seconds_bucket") == [family]


def test_what_is_remembered_is_right_for_new_samples_and_has_an_end(monkeypatch):
    """Applied again and again, rules see new label sets and new names, and forget what there is too much of."""
    monkeypatch.setattr(rules, "_REMEMBERED", 10)
    sequence = Rules([Rule(action="keep", labels={"x": ".*[05]"})])
    for run in range(100):
        samples = {(str(number),): 1.0 for number in range(run, run + 25)}
        [first, _] = sequence.apply([Family(name, "gauge", "", ("x",), samples) for name in ("a", f"b{run}")])
        assert list(first.samples) == [key for key in samples if int(key[0]) % 5 == 0]
    assert len(sequence._plans) <= 10
    assert all(len(plan._verdicts) <= 25 for plan in sequence._plans.values()), "only those that came last"


def test_one_name_with_other_labels_is_decided_anew():
    """Whether a family has a label at all is part of the decision."""
    sequence = Rules([Rule(action="drop", labels={"x": ""})])
    assert sequence.apply([Family("a", "gauge", "", (), {(): 1.0})]) == []
    family = Family("a", "gauge", "", ("x",), {("1",): 1.0})
    assert sequence.apply([family]) == [family]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"action": "drop", "name": "("},
            "'(' is no regular expression: missing ), unterminated subpattern at position 0",
        ),
        (
            {"action": "drop", "labels": {"a": "["}},
            "'[' is no regular expression: unterminated character set at position 0",
        ),
        (
            {"action": "drop", "name": "a{99999999999999999999}"},
            "no regular expression: the repetition number is too large",
        ),
        ({"action": "drop", "labels": {"a-b": "x"}}, "'a-b' is no label; patterns for names stand in \"name\""),
        (
            {"action": "drop", "labels": {"__name__": "x"}},
            "'__name__' is no label; patterns for names stand in \"name\"",
        ),
        ({"action": "drop", "to": "x"}, '"to" belongs to action "rename", and to no other'),
        ({"action": "rename"}, 'action "rename" needs "to"'),
        ({"action": "rename", "to": "x", "labels": {"a": "b"}}, 'action "rename" goes by name: it takes no "labels"'),
        ({"action": "rename", "to": "a b"}, "\"to\" is 'a b', which is no valid metric name"),
        ({"action": "rename", "to": "9a"}, "\"to\" is '9a', which is no valid metric name"),
        ({"action": "rename", "to": "é"}, "\"to\" is 'é', which is no valid metric name"),
        ({"action": "rename", "to": "a\\n"}, "which is no valid metric name"),
        ({"action": "rename", "to": "\\0"}, "which is no valid metric name"),
        ({"action": "rename", "to": "\\1"}, 'which does not go with "name": invalid group reference 1 at position 1'),
        ({"action": "rename", "to": "\\g<x>"}, "which does not go with \"name\": unknown group name 'x'"),
        ({"action": "rename", "to": "a\\"}, 'which does not go with "name": bad escape (end of pattern) at position 1'),
    ],
)
def test_what_is_no_rule(rule, message):
    """Everything that could fail later is said when the configuration is read."""
    with pytest.raises(ValueError, match=re.escape(message)):
        Rule(**rule)


PATTERNS = st.sampled_from([".*", "a.*", "(a)(b)?.*", "(?P<x>.).*", "", "[", "a{9}", "(.*)"])
RULES = st.fixed_dictionaries(
    {"action": st.sampled_from(["keep", "drop", "rename"])},
    optional={
        "name": PATTERNS | st.text(max_size=5),
        "labels": st.dictionaries(st.sampled_from(["x", "y", "z z"]), PATTERNS, max_size=2),
        "to": st.text(st.sampled_from("ab1_:\\g<>x20-")),
    },
)
LABELS = st.none() | st.text(max_size=3)
FAMILIES = st.builds(
    lambda name, samples: Family(name, "gauge", "", ("x", "y"), samples),
    st.text(st.sampled_from("ab_1"), min_size=1).map("a{}".format),
    st.dictionaries(st.tuples(LABELS, LABELS), st.floats(allow_nan=False), max_size=4),
)


@given(st.lists(RULES, max_size=4), st.lists(FAMILIES, max_size=4))
@settings(max_examples=100, deadline=None)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_any_rules_leave_valid_parts_of_what_there_was(given_rules, families):
    """A rule is refused with ValueError, or never fails: names stay valid, and samples are those of before."""
    made = []
    for rule in given_rules:
        try:
            made.append(Rule(**rule))
        except ValueError:
            continue
    compiled = Rules(made)
    results = compiled.apply(families)
    assert compiled.apply(families) == results
    before = [family.samples.items() for family in families]
    for family in results:
        assert re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", family.name)
        assert any(family.samples.items() <= samples for samples in before)
