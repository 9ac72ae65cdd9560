"""The Prometheus exporter: what it understands of a request."""

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd_plugins.exporters.prometheus import (
    DEADLINE,
    PrometheusConfig,
    accepts_gzip,
    deadline,
    prefers_openmetrics,
    weights,
)

SENT = st.one_of(st.text(max_size=60), st.text(alphabet="qv=;,.*/ 01textgzipopenmr-", max_size=60))
"""What clients may send: anything, and what looks much like a header."""


OF_PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
OF_PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
OF_PROTOBUF_FIRST = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("10", 9.5),
        ("10.000000", 9.5),
        ("60", 59.5),
        ("5", 4.5),
        ("1", 0.9),
        ("0.1", 0.09),
        (" 2 ", 1.8),
        ("3599", 3598.5),
    ],
)
def test_deadline_leaves_time_for_the_way_back(header, seconds):
    """A scrape is answered a tenth of its timeout before it runs out, at most half a second."""
    assert deadline(header) == pytest.approx(seconds)


@pytest.mark.parametrize("header", ["", "soon", "0", "-1", "nan", "inf", "-inf", "1e400", "3600", "1,5", "10s", "\x00"])
def test_deadline_of_what_is_no_timeout(header):
    """What is no sensible timeout counts as Prometheus's default."""
    assert deadline(header) == DEADLINE


@given(st.one_of(SENT, st.floats().map(str), st.integers().map(str)))
@settings(max_examples=100, deadline=None)
def test_deadline_is_always_one(header):
    """Whatever is sent, there is a deadline, above zero and finite."""
    assert 0 < deadline(header) < inf


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", {}),
        ("text/plain", {"text/plain": 1.0}),
        ("text/plain;q=0.5, */*;q=0.1", {"text/plain": 0.5, "*/*": 0.1}),
        ("Text/Plain ; Q=0.5", {"text/plain": 0.5}),
        ("text/plain;version=0.0.4;charset=utf-8;q=0.3", {"text/plain;version=0.0.4": 0.3}),
        ("a;q=1;version=2", {"a;version=2": 1.0}),
        ("gzip;q=many", {"gzip": 0.0}),
        ("gzip;q=", {"gzip": 0.0}),
        (",,;q=1,", {}),
    ],
)
def test_weights(header, wanted):
    """The alternatives of a header are told with their weights, in lower case and with the version."""
    assert weights(header) == wanted


@given(SENT)
@settings(max_examples=100, deadline=None)
def test_weights_never_raise(header):
    """Whatever is sent, alternatives have names and weights."""
    assert all(name and isinstance(weight, float) for name, weight in weights(header).items())


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,*/*;q=0.8", False),
        ("text/plain;version=0.0.4", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0", True),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", True),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;version=1.0.0;q=0", False),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.5", True),
        ("application/openmetrics-text;version=1.0.0;q=0.4,text/plain;q=0.5", False),
        ("application/openmetrics-text;version=1.0.0;q=0.4,text/plain;version=1.0.0;q=0.5", True),
        (OF_PROMETHEUS_2, True),
        (OF_PROMETHEUS_3, True),
        (OF_PROTOBUF_FIRST, False),
    ],
)
def test_prefers_openmetrics(header, wanted):
    """OpenMetrics 1.0 is for those who ask for it and do not like the text format better."""
    assert prefers_openmetrics(header) is wanted


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("*", True),
        ("*;q=0", False),
        ("*, gzip;q=0", False),
        ("identity", False),
        ("x-gzip-not", False),
    ],
)
def test_accepts_gzip(header, wanted):
    """Gzip is for those who say that they take it."""
    assert accepts_gzip(header) is wanted


@given(SENT)
@settings(max_examples=100, deadline=None)
def test_negotiation_never_raises(header):
    """Whatever is sent, it is decided."""
    assert prefers_openmetrics(header) in (True, False)
    assert accepts_gzip(header) in (True, False)


@given(SENT)
@settings(max_examples=100, deadline=None)
def test_openmetrics_is_never_sent_unasked(header):
    """A client that does not name OpenMetrics does not get it, whatever else it sends."""
    if "openmetrics" not in header.lower():
        assert not prefers_openmetrics(header)


@pytest.mark.parametrize("path", ["", "metrics", "/", "/{name}"])
def test_path_that_is_none(path):
    """A path that is no page of its own is refused with what would be right."""
    with pytest.raises(ValueError, match='such as "/metrics"'):
        PrometheusConfig(path=path)


def test_limit_that_is_none():
    """A negative limit of scrapes is refused."""
    with pytest.raises(ValueError, match="max_requests must be 0 or more"):
        PrometheusConfig(max_requests=-1)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/api/v1/status"])
def test_paths_of_the_agent_are_refused(path):
    """What the agent answers itself cannot be the path of the metrics; all that is wrong is said at once."""
    with pytest.raises(ValueError, match="which the agent itself answers; max_requests must be 0 or more"):
        PrometheusConfig(path=path, max_requests=-1)
