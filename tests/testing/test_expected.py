"""What a test expects of metrics: near misses are named, golden files compared, the clock moved by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Family, Histogram
from agentd.testing import FakeClock, Golden, assert_metrics, exposition, samples

FAMILIES = [
    Family.gauge("node_load5", "Load.", 0.5),
    Family.gauge("node_load1", "Load.", 1.5),
    Family.counter("node_cpu_seconds_total", "CPU.", {("1", "idle"): 7.0, ("0", "idle"): 9.0}, ("cpu", "mode")),
    Family.histogram("job_seconds", "Jobs.", {"a": Histogram(((0.1, 3.0), (1.0, 7.0)), 8.0, 4.2)}, ("job",)),
    Family.gauge("odd", "Odd.", {'a "quoted" \\ one\n': 1.0}, ("label",)),
]


def wrong(expected, families=FAMILIES, **keywords):
    """Return the lines by which an expectation is refused."""
    with pytest.raises(AssertionError) as error:
        assert_metrics(families, expected, **keywords)
    return [line.strip() for line in str(error.value).splitlines()[1:]]


def test_what_is_right_is_accepted():
    """Series in any order of labels, parts of histograms, text, odd label values, and what must not be there."""
    assert_metrics(
        FAMILIES,
        {
            'node_cpu_seconds_total{mode="idle",cpu="0"}': 9,
            'job_seconds_bucket{job="a",le="0.1"}': 3,
            "node_load1": pytest.approx(1.4, abs=0.2),
            "node_load15": None,
            'odd{label="a \\"quoted\\" \\\\ one\\n"}': 1,
        },
    )
    assert_metrics(FAMILIES, 'node_load1 1.5\njob_seconds_count{job="a"} 8')
    assert_metrics([Family.gauge("x", "X.", float("nan"))], {"x": float("nan")})
    assert_metrics(FAMILIES, exposition(FAMILIES), exact=True)
    assert_metrics(FAMILIES, samples(FAMILIES), exact=True)


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ({"node_load1": 1.0}, "node_load1: value 1.5 instead of 1.0"),
        ({"node_laod1": 1.5}, "node_laod1: did you mean node_load1"),
        ({"node_laod1": 1.0}, "node_laod1: did you mean node_load1; value 1.5 instead of 1.0"),
        (
            {'node_laod1{x="1"}': 1.0},
            'node_laod1{x="1"}: did you mean node_load1; label x missing; value 1.5 instead of 1.0',
        ),
        (
            {'node_cpu_seconds_total{cpu="0",mode="idel"}': 9.0},
            'node_cpu_seconds_total{cpu="0",mode="idel"}: label mode is "idle" instead of "idel"',
        ),
        ({'node_cpu_seconds_total{cpu="1"}': 7.0}, 'node_cpu_seconds_total{cpu="1"}: label mode="idle" not expected'),
        ({"node_load1": None}, "node_load1: is there, with the value 1.5, and should not be"),
        (
            {"zzz": 1.0},
            (
                "zzz: is not there; there are job_seconds_bucket, job_seconds_count, job_seconds_sum, "
                "node_cpu_seconds_total, node_load1, node_load5, odd"
            ),
        ),
    ],
)
def test_a_near_miss_is_named(expected, said):
    """Whatever is nearly right is told by what is different."""
    assert wrong(expected) == [said]


def test_everything_that_is_wrong_is_told_at_once():
    """Each series has its line, and with ``exact`` those that were not expected."""
    assert wrong({"a": 1.0, "c": 2.0}, [Family.gauge("a", "A.", 2.0), Family.gauge("b", "B.", 3.0)], exact=True) == [
        "a: value 2.0 instead of 1.0",
        "c: is not there; there are a, b",
        "b: is there, and was not expected",
    ]
    assert wrong({"a": 1.0}, []) == ["a: is not there; there is no series at all"]
    with pytest.raises(ValueError, match="'no series' is no series"):
        assert_metrics([], {"no series": 1.0})


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.tuples(st.sampled_from("abc"), st.text(max_size=5) | st.none()), st.floats(), max_size=5),
    st.randoms(),
)
def test_the_order_of_an_answer_does_not_matter(told, random):
    """Families and samples in any order give the same exposition, which holds itself."""
    families = [Family.gauge(f"f_{name}", "F.", {(value,): number}, ("l",)) for (name, value), number in told.items()]
    families = [one for number, one in enumerate(families) if one.name not in {each.name for each in families[:number]}]
    before = exposition(families)
    random.shuffle(families)
    assert exposition(families) == before
    assert_metrics(families, before, exact=True)


def test_golden_files_are_compared_and_made(tmp_path):
    """Without a file the way to make one is told; then the same passes, and what differs is shown line by line."""
    golden = Golden(tmp_path / "golden", "test_x[a/b]")
    with pytest.raises(AssertionError, match="make it with pytest --update-golden"):
        golden(FAMILIES)
    Golden(tmp_path / "golden", "test_x[a/b]", update=True)(FAMILIES)
    golden(FAMILIES)
    golden(FAMILIES[::-1])
    assert (tmp_path / "golden" / "test_x-a-b.prom").read_text() == exposition(FAMILIES)
    with pytest.raises(AssertionError) as error:
        golden([*FAMILIES[1:], Family.gauge("node_load5", "Load.", 0.75)])
    assert "\n-node_load5 0.5\n+node_load5 0.75\n" in str(error.value)
    assert "--update-golden" in str(error.value)
    many = [Family.gauge("many", "Many.", {str(number): 1.0 for number in range(500)}, ("number",))]
    with pytest.raises(AssertionError, match="lines more"):
        golden(many)
    Golden(tmp_path, "any", update=True)("any text", "own.txt")
    Golden(tmp_path, "any")(b"any text", "own.txt")


def test_time_passes_by_hand():
    """Both clocks go on together; the time of day alone may be set, back as well."""
    clock = FakeClock(100.0)
    begun = clock.monotonic()
    assert (clock.time(), clock.time()) == (100.0, 100.0)
    clock.advance(2.5)
    assert (clock.time(), clock.monotonic() - begun) == (102.5, 2.5)
    clock.set(50.0)
    assert (clock.time(), clock.monotonic() - begun) == (50.0, 2.5)
    with pytest.raises(ValueError, match="forwards only"):
        clock.advance(-1)
