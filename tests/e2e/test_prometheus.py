"""A real Prometheus scrapes a running agentd."""

import json
import subprocess
from urllib.parse import quote

import pytest

CONFIGURATION = """
global: {{scrape_interval: 2s, scrape_timeout: 2s}}
scrape_configs:
  - job_name: hosts
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""

COMPATIBLE = ("node_", "promhttp_", "process_")
"""Names that are others', and of which promtool dislikes some."""


class Prometheus:
    """A Prometheus that has scraped an agent a few times."""

    def __init__(self, server, agent):
        self.server = server
        self.agent = agent
        self.target = f"127.0.0.1:{agent.port}"

    def api(self, path):
        """Return the data of an answer of Prometheus's API."""
        answer = json.loads(self.server.get(f"/api/v1/{path}").text)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression):
        """Return the series that an expression gives now, as pairs of labels and value."""
        result = self.api(f"query?query={quote(expression)}")["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def number(self, expression):
        """Return the value of an expression that gives one series."""
        [(_, value)] = self.query(expression)
        return value

    def own(self, name):
        """Return the sum of one of the metrics that Prometheus has about itself."""
        samples = [value for (known, _), value in self.server.get("/metrics").samples.items() if known == name]
        assert samples, f"this Prometheus has no metric {name}"
        return sum(samples)


@pytest.fixture(scope="module")
def prometheus(server_binary, standing, unused_ports, tmp_path_factory):
    """A Prometheus that has scraped an agent three times."""
    binary, folder, [port] = server_binary("prometheus"), tmp_path_factory.mktemp("prometheus"), unused_ports(1)
    agent = standing.agent()
    (folder / "prometheus.yml").write_text(CONFIGURATION.format(port=agent.port))
    command = [
        binary,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    server = standing.server(command, port, folder, {"HOME": str(folder)}, ready="/-/ready")
    started = Prometheus(server, agent)
    server.until(lambda: started.query("count_over_time(up[1m]) >= 3"))
    return started


def test_target_is_up(prometheus):
    """Prometheus says of its target that it is healthy, and of the last scrape that nothing was wrong with it."""
    [target] = prometheus.api("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert prometheus.query("up") == [
        ({"__name__": "up", "instance": prometheus.target, "job": "hosts"}, 1.0),
    ]


@pytest.mark.parametrize(
    "name", ["node_load1", "node_time_seconds", "node_memory_MemTotal_bytes", "node_boot_time_seconds"]
)
def test_series_of_the_host_have_the_target_s_labels(prometheus, name):
    """What is known of node_exporter is there under job and instance, and under no other label."""
    [(labels, value)] = prometheus.query(name)
    assert labels == {"__name__": name, "instance": prometheus.target, "job": "hosts"}
    assert value > 0 or name == "node_load1"


def test_usual_expressions_work(prometheus):
    """Expressions of node_exporter's dashboards and alerts give a value."""
    prometheus.server.until(lambda: prometheus.query("rate(node_cpu_seconds_total[1m])"))
    idle = prometheus.number('avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[1m]))')
    assert 0 <= idle < 1.5
    assert 0 < prometheus.number("node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes") < 1
    assert prometheus.query("agentd_collector_success == 0") == []
    assert prometheus.query("agentd_plugin_up == 0") == []


def test_every_sample_is_taken(prometheus):
    """What was scraped was stored: nothing is dropped, doubled, out of order or out of bounds."""
    scraped = prometheus.number("scrape_samples_scraped")
    assert scraped > 100
    assert prometheus.number("scrape_samples_post_metric_relabeling") == scraped
    for fault in ("sample_duplicate_timestamp", "sample_out_of_order", "sample_out_of_bounds", "exceeded_sample_limit"):
        assert prometheus.own(f"prometheus_target_scrapes_{fault}_total") == 0
    assert "level=warn" not in prometheus.server.log()
    assert "level=error" not in prometheus.server.log()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("node_cpu_seconds", "counter"),
        ("node_load1", "gauge"),
        ("node_vmstat_pgfault", "unknown"),
        ("agentd_loop_lag_seconds", "histogram"),
    ],
)
def test_metadata_has_types_and_help(prometheus, name, kind):
    """Prometheus learns of each metric what kind it is and what it means, a counter by its family's name.

    In OpenMetrics a counter's family is named without ``_total``: that it is, shows that this format was agreed upon.
    """
    [told] = prometheus.api(f"metadata?metric={name}")[name]
    assert told["type"] == kind
    assert told["help"]
    assert prometheus.api("metadata?metric=node_cpu_seconds_total") == {}


def test_promtool_finds_nothing_to_say(server_binary, standing_agent):
    """Promtool's lint is silent about all metrics of agentd's own, and finds no error in the whole."""
    text = standing_agent.get("/metrics").body
    checked = subprocess.run(
        [server_binary("promtool"), "check", "metrics"], input=text, capture_output=True, timeout=60, check=False
    )
    said = [line for line in checked.stderr.decode().splitlines() if not line.startswith(COMPATIBLE)]
    assert said == []
    assert checked.returncode in (0, 3), "3: only lint, about names that are others'"
