"""The core's own sections, addresses, and instances as reload compares them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config import CollectorKeys, Document, ExporterKeys, Instance, Origin, core, parse_address
from agentd.options import Config, Duration, Regex, Secret


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9797", ("127.0.0.1", 9797)),
        (":9797", ("", 9797)),
        ("localhost:0", ("localhost", 0)),
        ("robot-1.example.org:65535", ("robot-1.example.org", 65535)),
        ("[::1]:9797", ("::1", 9797)),
        ("[::]:9797", ("::", 9797)),
        ("[fe80::1%eth0]:9797", ("fe80::1%eth0", 9797)),
    ],
)
def test_addresses(text, address):
    """Names, both kinds of IP addresses, all addresses of the machine, and port 0 for a free one."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9797",
        "localhost",
        "localhost:",
        "localhost:http",
        "localhost:65536",
        "localhost:-1",
        "::1:9797",
        "[::1]",
        "[::g]:1",
        "[localhost]:1",
        "300.0.0.1:1",
        "1234:1",
        "*:9797",
        "http://localhost:1",
        "local host:1",
        "localhost:1 ",
        "localhost:\u0661",
    ],
)
def test_what_is_no_address(text):
    """Everything else is refused with what would be right."""
    with pytest.raises(ValueError, match=r'^expected HOST:PORT, \[IPv6\]:PORT or :PORT, such as "127.0.0.1:9797"$'):
        parse_address(text)


@given(st.text() | st.text(st.sampled_from("[]:.%0123456789abcfg\0")))
@settings(max_examples=100, deadline=None)
def test_any_text_is_an_address_or_a_value_error(text):
    """What is accepted has a port that there is."""
    try:
        _, port = parse_address(text)
    except ValueError:
        return
    assert 0 <= port <= 65535


def problems_of(**values):
    """Return the problems of the core's sections in a document without origins, as texts."""
    return [str(problem) for problem in core(Document(values)).problems]


def test_defaults_of_the_core():
    """Without any configuration the core is on loopback, and nothing is wrong."""
    agent, web, host, _, problems = core(Document())
    assert (agent.labels, agent.plugin_dirs, agent.log_level, agent.log_format) == ({}, [], "info", "auto")
    assert web.listen == ["127.0.0.1:9797"]
    assert host.procfs == "/proc"
    assert problems == []


@pytest.mark.parametrize("name", ["site", "_x", "A9", "env", "file"])
def test_labels(name):
    """Label names of the classic character set are accepted, those that look like a reference too."""
    assert core(Document({"agent": {"labels": {name: "x"}}})).agent.labels == {name: "x"}


@pytest.mark.parametrize("name", ["9a", "a-b", "__x", "", "é", "a b"])
def test_what_is_no_label(name):
    """Any other name is refused."""
    [problem] = problems_of(agent={"labels": {name: "x"}})
    assert problem.endswith(": expected a label name: letters, digits and _, no digit first, and not __ first")


def test_wrong_addresses_are_named_by_their_place():
    """Each address that is none is a problem of its own."""
    assert problems_of(web={"listen": [":1", "x", "y"]}) == [
        'web.listen[1]: expected HOST:PORT, [IPv6]:PORT or :PORT, such as "127.0.0.1:9797"; found "x"',
        'web.listen[2]: expected HOST:PORT, [IPv6]:PORT or :PORT, such as "127.0.0.1:9797"; found "y"',
    ]


def test_what_is_wrong_does_not_hide_what_is_right():
    """The folders of plugins are known though the level is wrong, so that their plugins can be known."""
    agent, _, _, _, problems = core(Document({"agent": {"plugin_dirs": ["/p"], "log_level": "loud"}}))
    assert (agent.plugin_dirs, agent.log_level, len(problems)) == (["/p"], "info", 1)


def test_the_command_line_goes_before_the_files():
    """Overrides win, and errors in them name where they come from."""
    document = Document({"web": {"listen": [":1"]}})
    web = core(document, overrides={("web", "listen"): ([":2"], Origin("--listen"))}).web
    assert web.listen == [":2"]
    problems = core(document, overrides={("web", "listen"): (["x"], Origin("environment AGENTD_LISTEN"))}).problems
    assert str(problems[0]).startswith("environment AGENTD_LISTEN: web.listen[0]: expected HOST:PORT")


@pytest.mark.parametrize("name", ["interval", "timeout"])
@pytest.mark.parametrize("value", [0.0, float("inf")])
def test_times_of_a_collector_are_more_than_nothing(name, value):
    """A schedule without any time between would never end."""
    with pytest.raises(ValueError, match=f"{name} must be longer than 0s"):
        CollectorKeys(**{name: Duration(value)})


class Options(Config):
    devices: Regex | None = None
    password: Secret = Secret("")
    text: str = ""


def instance(*, reason="default", **options):
    return Instance("collectors", "a", "b", CollectorKeys(), Options(**options), reason)


def test_instances_are_equal_where_nothing_changed():
    """Reload restarts what differs: any option counts, the line on which it is enabled does not."""
    assert instance(devices=Regex("a")) == instance(devices=Regex("a"), reason="enabled in f:2")
    assert instance(devices=Regex("a")) != instance(devices=Regex("b"))
    assert instance(password=Secret("a")) != instance(password=Secret("b"))
    assert instance() != Instance("collectors", "a", "b", CollectorKeys(max_series=1), Options())
    assert instance() != Instance("exporters", "a", "b", ExporterKeys(), Options())
    assert instance() != Instance("collectors", "a", "b", CollectorKeys(), None)


def test_instances_do_not_show_their_options():
    """Options may hold what came from a file with a secret, whatever their type."""
    shown = repr(instance(text="hunter2"))
    assert "hunter2" not in shown
    assert instance().key == "collectors.a"
    assert "collectors.a" in shown
