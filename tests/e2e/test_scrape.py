"""What a running agentd answers over HTTP."""

import gzip
import json
import re
import socket
import threading
import time

import pytest

from agentd.registry import Registry
from agentd_plugins import PATHS

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OF_PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)

HANGING = '''
import threading
from agentd.plugin import Collector, Config, hookimpl

class Hanging(Collector[Config]):
    """Waits for something that does not come."""

    name = "hanging"

    def collect(self):
        print("is asked", flush=True)
        threading.Event().wait()

@hookimpl
def agentd_collectors():
    return [Hanging]
'''

GATED = '''
import time
from pathlib import Path
from agentd.plugin import Collector, Config, Family, hookimpl

class Gated(Collector[Config]):
    """Tells nothing as long as there is a file."""

    name = "gated"

    def collect(self):
        while Path("closed").exists():
            time.sleep(0.01)
        return [Family.gauge("gated", "Told when it was let.", 1.0)]

@hookimpl
def agentd_collectors():
    return [Gated]
'''

SLOW = '''
import time
from agentd.plugin import Collector, Config, Family, hookimpl

class Slow(Collector[Config]):
    """Takes its time."""

    name = "slow"
    runs = 0

    def collect(self):
        self.runs += 1
        time.sleep(1.2)
        return [Family.gauge("slow_runs", "How often this was asked for.", self.runs)]

@hookimpl
def agentd_collectors():
    return [Slow]
'''


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, TEXT),
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPENMETRICS),
        (OF_PROMETHEUS, OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;q=0.2,text/plain;version=0.0.4;q=0.5", TEXT),
        ("application/openmetrics-text;version=1.0.0;q=0,text/plain", TEXT),
        ("application/openmetrics-text;version=99.0.0", TEXT),
        (";;;,q=,application/openmetrics-text;q=abc", TEXT),
    ],
)
def test_format_is_negotiated(standing_agent, accept, wanted):
    """The client's Accept header decides between the text format and OpenMetrics; in doubt it is the text format."""
    answer = standing_agent.get("/metrics", {} if accept is None else {"Accept": accept})
    assert answer.status == 200
    assert answer.headers["content-type"] == wanted
    assert answer.text.endswith("\n# EOF\n") == (wanted == OPENMETRICS)
    assert "node_load1 " in answer.text


def test_both_formats_tell_the_same(standing_agent):
    """Whatever the format, the same series are there."""
    text = standing_agent.get("/metrics?collect[]=loadavg&collect[]=uname").text
    other = standing_agent.get("/metrics?collect[]=loadavg&collect[]=uname", {"Accept": OPENMETRICS}).text
    series = [{line.rpartition(" ")[0] for line in body.splitlines() if line[0] != "#"} for body in (text, other)]
    assert series[0] == series[1]


@pytest.mark.parametrize(
    ("encodings", "compressed"),
    [
        (None, False),
        ("", False),
        ("identity", False),
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("deflate, gzip;q=0.1", True),
        ("*", True),
        ("gzip;q=0", False),
        ("br", False),
        ("gzip;q=rubbish", False),
    ],
)
def test_gzip_only_for_those_who_ask(standing_agent, encodings, compressed):
    """A client gets gzip when it says that it takes it, and plain text otherwise."""
    answer = standing_agent.get("/metrics", {} if encodings is None else {"Accept-Encoding": encodings})
    assert (answer.headers.get("content-encoding") == "gzip") == compressed
    assert (answer.body[:2] == b"\x1f\x8b") == compressed
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert "accept" in answer.headers["vary"].lower()
    assert b"node_load1 " in (gzip.decompress(answer.body) if compressed else answer.body)


def collectors(answer):
    """Return the collectors that an answer tells of."""
    return {dict(labels)["collector"] for name, labels in answer.samples if name == "node_scrape_collector_success"}


def test_collect_names_those_that_are_asked(standing_agent):
    """With collect[] the named collectors are asked, once each, and no other."""
    answer = standing_agent.get("/metrics?collect[]=loadavg&collect%5B%5D=uname&collect[]=loadavg")
    assert answer.status == 200
    assert collectors(answer) == {"loadavg", "uname"}
    assert answer.value("node_load1") is not None
    assert answer.value("node_boot_time_seconds") is None


def test_exclude_leaves_out_and_ignores_what_it_does_not_know(standing_agent):
    """With exclude[] the named collectors are left out; a name that nobody has is ignored."""
    everything = collectors(standing_agent.get("/metrics"))
    answer = standing_agent.get("/metrics?exclude[]=loadavg&exclude[]=cpu&exclude[]=no_such_thing")
    assert answer.status == 200
    assert collectors(answer) == everything - {"loadavg", "cpu"}
    assert answer.value("node_load1") is None


@pytest.mark.parametrize("name", ["no_such_thing", "", "LOADAVG", "%00", "%ff%fe", "a" * 5000])
def test_collect_refuses_what_it_does_not_know(standing_agent, name):
    """A name in collect[] that no collector has is a 400 that says which."""
    answer = standing_agent.get(f"/metrics?collect[]=loadavg&collect[]={name}")
    assert answer.status == 400
    assert "collect[]" in answer.text
    assert len(answer.text) < 1000
    if name.isalpha() and len(name) < 100:
        assert name in answer.text


def test_collect_refuses_what_is_disabled(start_agent):
    """A collector that is switched off cannot be asked by collect[]: a 400 says so."""
    agent = start_agent("[collectors]\ndisable = ['loadavg']")
    answer = agent.get("/metrics?collect[]=loadavg")
    assert (answer.status, "loadavg" in answer.text) == (400, True)
    assert agent.get("/metrics").value("node_load1") is None


def test_collect_and_exclude_do_not_go_together(standing_agent):
    """Asking for both is a 400 that says why."""
    answer = standing_agent.get("/metrics?collect[]=loadavg&exclude[]=cpu")
    assert answer.status == 400
    assert "collect[]" in answer.text
    assert "exclude[]" in answer.text


def test_scrape_answers_within_its_deadline(start_agent):
    """A collector that hangs is missing at the scrape's deadline, and said to be; all others are there."""
    agent = start_agent("[collectors.hanging]\ntimeout = '1h'", plugins={"hanging": HANGING}, ready=False)
    agent.until(lambda: agent.answers("/livez"))
    begun = time.monotonic()
    answer = agent.get("/metrics", {"X-Prometheus-Scrape-Timeout-Seconds": "1"})
    took = time.monotonic() - begun
    assert answer.status == 200
    assert 0.5 < took < 8, "it waits as long as it may, and far less than without the header"
    assert answer.value("node_scrape_collector_success", collector="hanging") == 0
    assert answer.value("agentd_collector_success", plugin="collectors.hanging") == 0
    assert answer.value("agentd_collector_timeouts_total", plugin="collectors.hanging") >= 1
    assert answer.value("node_scrape_collector_success", collector="loadavg") == 1
    assert answer.value("node_load1") is not None


def test_hanging_collector_is_given_up_after_its_timeout(start_agent):
    """Past its own timeout a collector that hangs delays no further scrape, and is not asked again."""
    agent = start_agent("[collectors.hanging]\ntimeout = '200ms'", plugins={"hanging": HANGING})
    for _ in range(20):
        answer = agent.get("/metrics", {"X-Prometheus-Scrape-Timeout-Seconds": "30"})
        assert answer.value("node_scrape_collector_success", collector="hanging") == 0
    assert agent.log().count("is asked") == 1
    assert agent.log().count("collectors.hanging") == 1


def test_scrapes_beyond_the_limit_get_503(start_agent):
    """When as many scrapes are under way as may be, a further one is refused, and later ones are answered again."""
    agent = start_agent(
        "[exporters.prometheus]\nmax_requests = 2\n[collectors.gated]\ntimeout = '1h'", plugins={"gated": GATED}
    )
    (agent.folder / "closed").touch()
    statuses = []

    def scrape():
        while (status := agent.get("/metrics", {"X-Prometheus-Scrape-Timeout-Seconds": "120"}).status) == 503:
            pass  # that which looks whether there is room had taken it
        statuses.append(status)

    scrapes = [threading.Thread(target=scrape) for _ in range(2)]
    for each in scrapes:
        each.start()
    try:
        agent.until(lambda: agent.get("/metrics?collect[]=loadavg").status == 503)
        refused = [agent.get("/metrics?collect[]=loadavg") for _ in range(3)]
        assert agent.get("/livez").status == 200
    finally:
        (agent.folder / "closed").unlink()
        for each in scrapes:
            each.join()
    assert [answer.status for answer in refused] == [503] * 3
    assert "max_requests" in refused[0].text
    assert statuses == [200, 200]
    answer = agent.get("/metrics")
    assert answer.status == 200
    assert answer.value("promhttp_metric_handler_requests_total", code="503") >= 1
    assert answer.value("promhttp_metric_handler_requests_in_flight") == 1


def test_simultaneous_readers_share_one_run(start_agent):
    """Scrapes at the same time do not make a slow collector run several times over."""
    agent = start_agent(plugins={"slow": SLOW})
    answers = []
    scrapes = [threading.Thread(target=lambda: answers.append(agent.get("/metrics"))) for _ in range(10)]
    for scrape in scrapes:
        scrape.start()
    for scrape in scrapes:
        scrape.join()
    assert max(answer.value("slow_runs") for answer in answers) < 6, "one was at the start"


def test_landing_page_leads_to_the_others(standing_agent):
    """The page at / is HTML, and each of its links is answered."""
    answer = standing_agent.get("/")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    links = re.findall(r'href="([^"]+)"', answer.text)
    assert "./metrics" in links
    assert {standing_agent.get(link.removeprefix(".")).status for link in links} == {200}


def test_metrics_may_be_found_elsewhere(start_agent):
    """The option path moves the metrics, and the landing page follows."""
    agent = start_agent("[exporters.prometheus]\npath = '/my/metrics'")
    assert agent.get("/metrics").status == 404
    assert agent.get("/my/metrics").status == 200
    assert "/my/metrics" in agent.get("/").text


def test_rules_of_the_exporter_apply(start_agent):
    """Metrics are dropped and renamed on their way out as the exporter's rules say."""
    rules = (
        r"[{ action = 'drop', name = 'node_load15' }, { action = 'rename', name = 'node_load(.*)', to = 'load_\1' }]"
    )
    agent = start_agent(f"[exporters.prometheus]\nrules = {rules}")
    answer = agent.get("/metrics")
    assert answer.value("load_1") is not None
    assert [name for name, _ in answer.samples if "load15" in name or name == "node_load1"] == []


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health(standing_agent, path):
    """An agent that runs says that it is alive and ready."""
    assert standing_agent.get(path).status == 200


def test_not_ready_before_the_first_collection(start_agent):
    """While the first collection is under way the agent is alive, but not ready, and says why."""
    agent = start_agent("[collectors.hanging]\ntimeout = '1h'", plugins={"hanging": HANGING}, ready=False)
    agent.until(lambda: agent.answers("/livez"))
    answer = agent.get("/readyz")
    assert answer.status == 503
    assert "first collection" in answer.text


def test_status_tells_of_each_plugin(standing_agent):
    """The status is JSON about the agent and each of its plugins."""
    standing_agent.get("/metrics")
    answer = standing_agent.get("/api/v1/status")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    status = json.loads(answer.text)
    assert status["pid"] == standing_agent.pid
    assert status["ready"] is True
    assert status["listen"] == [f"127.0.0.1:{standing_agent.port}"]
    plugins = {plugin["plugin"]: plugin for plugin in status["plugins"]}
    assert plugins["exporters.prometheus"]["up"] is True
    load = plugins["collectors.loadavg"]
    assert (load["up"], load["last_run"], load["series"], load["reason"]) == (True, "ok", 3, "default")


@pytest.mark.parametrize(
    "path", ["/nothing", "/metrics/", "//metrics", "/Metrics", "/metrics/..", "/%2e%2e/etc/passwd", "/%00"]
)
def test_unknown_paths_are_404(standing_agent, path):
    """What is not there is a 404 that repeats what was asked for."""
    answer = standing_agent.get(path)
    assert answer.status == 404
    assert answer.text.startswith("there is nothing at /")


@pytest.mark.parametrize("path", ["/api/telemetry/info", "/api/telemetry/ws/amr-7"])
def test_paths_of_robots_where_robots_are_not_configured(standing_agent, path):
    """They are a 404 that says which section to add."""
    answer = standing_agent.get(path)
    assert (answer.status, "[collectors.robots]" in answer.text) == (404, True)


@pytest.mark.parametrize("kind_name", PATHS.values())
def test_sections_of_paths_are_those_of_plugins(kind_name):
    """Each section that such an answer may name is that of a plugin."""
    kind, name = kind_name.split(".")
    assert name in Registry().names(kind)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_405(standing_agent, method):
    """A method that a path does not know is a 405 that names those that it does."""
    answer = standing_agent.get("/metrics", method=method)
    assert answer.status == 405
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("path", ["/metrics", "/", "/livez", "/api/v1/status", "/nothing"])
def test_head_is_get_without_a_body(standing_agent, path):
    """HEAD answers as GET does, but for the body."""
    with socket.create_connection(("127.0.0.1", standing_agent.port), timeout=30) as connection:
        connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert body == b""
    assert int(head.split()[1]) == standing_agent.get(path).status


def test_several_requests_on_one_connection(standing_agent):
    """A connection stays open from one scrape to the next, also where the requests come all at once."""
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", standing_agent.port), timeout=30) as connection:
        connection.sendall(request * 9 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.count(b"HTTP/1.1 200 OK") == 10


def test_http_1_0_is_answered(standing_agent):
    """A client of 1996 gets its metrics, and the connection is closed behind them."""
    with socket.create_connection(("127.0.0.1", standing_agent.port), timeout=30) as connection:
        connection.sendall(b"GET /metrics?collect[]=loadavg HTTP/1.0\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 200 OK\r\n" in received
    assert b"node_load1 " in received


@pytest.mark.parametrize(
    "header",
    [
        {"Origin": "http://elsewhere.example"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"x-forwarded-host": "localhost"},
    ],
)
def test_passed_on_requests_may_read_metrics_only(standing_agent, header):
    """A request that a browser or a proxy passed on reads the metrics, but not the status, wherever it comes from."""
    assert standing_agent.get("/api/v1/status", header).status == (403 if "Origin" in header else 401)
    assert "scope" in standing_agent.get("/api/v1/status", header).text
    assert standing_agent.get("/metrics?collect[]=loadavg", header).status == 200
    assert standing_agent.get("/livez", header).status == 200
