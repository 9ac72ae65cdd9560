"""The dashboards of etc/grafana and the rules of etc/prometheus: what they ask for is there, and alerts fire when they
should.
"""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "etc" / "prometheus"
UNITS = ROOT / "tests" / "fixtures" / "prometheus"
DASHBOARDS = {file.stem: json.loads(file.read_text()) for file in sorted((ROOT / "etc" / "grafana").glob("*.json"))}
ALERTS = {group["name"]: group["rules"] for group in yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]}
RECORDED = [
    rule for group in yaml.safe_load((RULES / "recording.yml").read_text())["groups"] for rule in group["rules"]
]

OF_PROMETHEUS = {"up", "scrape_duration_seconds"}
"""Metrics that Prometheus makes of each scrape."""

LACKING = {
    "node_hwmon_temp_celsius": "a virtual machine has no sensors",
    "node_hwmon_temp_crit_celsius": "a virtual machine has no sensors",
    "node_md_disks": "there is no array",
    "node_edac_uncorrectable_errors_total": "there is no memory that tells of errors",
    "node_nf_conntrack_entries": "the packet filter may not be loaded",
    "node_nf_conntrack_entries_limit": "the packet filter may not be loaded",
    "node_timex_sync_status": "a container may not be allowed to ask for the clock",
    "node_timex_maxerror_seconds": "a container may not be allowed to ask for the clock",
    "node_pressure_cpu_waiting_seconds_total": "the kernel may be built without PSI",
    "node_pressure_memory_waiting_seconds_total": "the kernel may be built without PSI",
    "node_pressure_io_waiting_seconds_total": "the kernel may be built without PSI",
    "node_pressure_io_stalled_seconds_total": "the kernel may be built without PSI",
    "agentd_collector_rejected_total": "it begins with the first sample that is rejected",
    "robot_messages_lost_total": "it begins with the first frame that is lost",
}
"""Why a metric may be absent here. Where it is there, what asks for it has to have data all the same."""

QUIET = {
    "agentd_collector_timeouts_total": "only collectors that were not in time are shown",
    "node_disk_reads_completed_total": "a disk that does nothing has no operations that take time",
}
"""Why a panel may be empty although its metrics are there: those of which it asks for more than nothing (``> 0``)."""

NO_METRICS = {"and", "or", "unless", "bool", "offset"}


def selectors(expression):
    """Return the metrics of an expression, each with its matchers."""
    plain = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", expression)
    plain = re.sub(r"\[[^\]]*\]", " ", plain)
    found = re.finditer(r'(?<![\w:.])([a-zA-Z_:][\w:]*)(?![\w:]|\s*\()(\{(?:[^}"]|"[^"]*")*\})?', plain)
    return [(each[1], each[0]) for each in found if each[1] not in NO_METRICS]


def panels(dashboard):
    """Return the panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries():
    """Return all queries of all panels, with what one has to know to find them."""
    return [
        (f"{name}: {panel['title']}", target["expr"])
        for name, dashboard in DASHBOARDS.items()
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]


def documented():
    """Return a pattern of all names of series that the reference lists."""
    names = []
    for page in ("metrics.md", "fields.md"):
        for line in (ROOT / "docs" / page).read_text().splitlines():
            if row := re.match(r"\| `([\w*]+)(?:\{.*?\})?` \| (\w+)", line):
                ending = "(_bucket|_sum|_count)" if row[2] == "histogram" else ""
                names.append(row[1].replace("*", r"\w+") + ending)
    assert len(names) > 1000
    return re.compile("|".join(names))


def test_metrics_of_an_expression_are_found():
    """What this file takes for the metrics of an expression are these and nothing else."""
    asked = 'sum by (job, le) (rate(a_total{x=~"(b|c).*", y!="}"}[5m])) / on (job) (d > bool 0.5) unless time() - e:f'
    assert selectors(asked) == [("a_total", 'a_total{x=~"(b|c).*", y!="}"}'), ("d", "d"), ("e:f", "e:f")]


def test_dashboards_are_what_their_description_makes():
    """etc/grafana is what `make docs` would write."""
    spec = importlib.util.spec_from_file_location("dashboards", ROOT / "docs" / "dashboards.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.dashboards()
    assert {Path(file).stem for file in made} == set(DASHBOARDS) == {"agentd", "host", "robots"}
    for file, text in made.items():
        assert (ROOT / file).read_text() == text, f"{file} is stale: run `make docs`"


def test_every_metric_is_documented():
    """Dashboards, alerts and recordings ask for nothing that docs/metrics.md does not list."""
    known = documented()
    asked = [*queries(), *((rule.get("alert") or rule["record"], rule["expr"]) for rule in every_rule())]
    assert len(asked) > 150
    unknown = [
        f"{where}: {name}"
        for where, expression in asked
        for name, _ in selectors(expression)
        if name not in OF_PROMETHEUS and not known.fullmatch(name)
    ]
    assert unknown == []
    used = {name for _, expression in asked for name, _ in selectors(expression)}
    assert set(LACKING) | set(QUIET) <= used, "an exception that nothing needs"


def every_rule():
    """Return alerts and recordings."""
    return [*(rule for rules in ALERTS.values() for rule in rules), *RECORDED]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_can_be_read(name):
    """Each panel has a title of its own, a unit, a description and a place that no other has; numbers are unique."""
    shown = panels(DASHBOARDS[name])
    taken = set()
    for panel in shown:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    assert len({panel["title"] for panel in shown}) == len(shown)
    numbers = [panel["id"] for panel in DASHBOARDS[name]["panels"]]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("rule", [rule for rules in ALERTS.values() for rule in rules], ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule):
    """Each alert has a severity, a summary in one line, and a description; what these name, the alert's series has."""
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert len(rule["annotations"]["summary"]) < 120
    assert rule["annotations"]["description"].endswith(".")
    said = " ".join(rule["annotations"].values())
    [unit] = [test for file in UNITS.glob("*.yml") for test in units(file) if test["name"] == rule["alert"]]
    [fired] = unit["promql_expr_test"][1]["exp_samples"]
    labels = set(re.findall(r'(\w+)="', fired["labels"]))
    assert set(re.findall(r"\$labels\.(\w+)", said)) <= labels


def units(file):
    """Return the unit tests of a file."""
    return yaml.safe_load(file.read_text())["tests"]


def promtool(server_binary, *arguments):
    """Run promtool, and fail with what it says where it does."""
    command = [server_binary("promtool"), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


def test_rules_are_valid(server_binary):
    """Promtool accepts both files of rules, and the example of a configuration."""
    promtool(server_binary, "check", "rules", RULES / "alerts.yml", RULES / "recording.yml")
    promtool(server_binary, "check", "config", "--syntax-only", RULES / "scrape.yml")


@pytest.mark.parametrize("group", ALERTS)
def test_alerts_fire_when_they_should(server_binary, group):
    """Each alert fires for the series that is bad, not for the one beside it, and not before its time."""
    assert [test["name"] for test in units(UNITS / f"{group}.yml")] == [rule["alert"] for rule in ALERTS[group]]
    promtool(server_binary, "test", "rules", UNITS / f"{group}.yml")


AGENT = """
memory_limit = "4GiB"
[web]
tokens_file = "{folder}/tokens.toml"
[collectors.robots]
ping_every = "2s"
[collectors.missions]
url = "redis://127.0.0.1:{redis}/0"
streams = ["missions"]
[exporters.textfile]
path = "{folder}/metrics.prom"
interval = "2s"
[sinks.missions]
plugin = "redis"
url = "redis://127.0.0.1:{redis}/0"
stream = "missions"
events = ["mission.*"]
[sinks.lines]
plugin = "file"
path = "{folder}/events.jsonl"
"""

HEAVY = '''
import time
from agentd.plugin import Collector, Config, hookimpl

class Heavy(Collector[Config]):
    """Holds up everything else for a moment."""

    name = "heavy"
    blocking = False

    def collect(self):
        time.sleep(0.12)
        return []

@hookimpl
def agentd_collectors():
    return [Heavy]
'''

PROMETHEUS = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ["{folder}/alerts.yml", "{folder}/recording.yml"]
scrape_configs:
  - job_name: agentd
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""

ROBOT = {
    "battery_level": 250,
    "note": "left out",
    "safetyState": {"eStop": "MANUAL"},
    "errors": [{"errorType": "gripper", "errorLevel": "FATAL"}, {"errorType": "dust", "errorLevel": "WARNING"}],
}
"""What a robot tells that has everything that simulated ones do not: errors, an emergency stop, and nonsense."""

CHATTY = {f"field_{number}": number for number in range(300)}
"""More numbers than a robot may have series."""


class Watched:
    """A Prometheus that scrapes an agent with robots, missions and sinks."""

    def __init__(self, server, agent):
        self.server, self.agent = server, agent

    def query(self, expression):
        """Return the series that an expression gives now. Fails where Prometheus does not understand it."""
        answer = json.loads(self.server.get(f"/api/v1/query?query={quote(expression)}").text)
        assert answer["status"] == "success", f"{expression}: {answer}"
        return answer["data"]["result"]

    def lacks(self, expression):
        """Say whether it asks for something that may be absent, and is."""
        absent = [name for name, _ in selectors(expression) if name in LACKING]
        return any(not self.query(f"count({name})") for name in absent)

    def eventually(self, asked):
        """Return those of some expressions that stay without data."""
        open_ = list(asked)

        def done():
            open_[:] = [each for each in open_ if not self.query(each[1])]
            return not open_ or all(self.lacks(each[1]) for each in open_)

        self.server.until(done)
        return [each for each in open_ if not self.lacks(each[1])]


@pytest.fixture(scope="module")
def watched(server_binary, standing, unused_ports, tmp_path_factory):
    """A Prometheus with the rules, an agent with a simulated fleet, and missions on their way through Redis."""
    pytest.importorskip("redis", reason="the extra redis is not installed")
    prometheus, redis, folder = server_binary("prometheus"), server_binary("redis-server"), tmp_path_factory.mktemp("p")
    port, at = unused_ports(2)
    command = [redis, "--port", str(at), "--bind", "127.0.0.1", "--save", ""]
    (folder / "redis").mkdir()
    standing.server(command, at, folder / "redis", {}, ready=None)
    (folder / "tokens.toml").write_text("")
    (folder / "tokens.toml").chmod(0o600)
    agent = standing.agent(AGENT.format(folder=folder, redis=at), plugins={"heavy": HEAVY})
    (folder / "fleet").mkdir()
    fleet = [sys.executable, "-m", "agentd", "simulate", "--robots", "10", "--seed", "7", "--url", agent.url]
    standing.server(fleet, agent.port, folder / "fleet", agent.environment, ready=None)
    for robot, metrics in (("agv-1", ROBOT), ("agv-2", CHATTY)):
        path = f"/api/telemetry/robots/{robot}/metrics"
        assert agent.get(path, method="POST", body=json.dumps(metrics).encode()).status == 200
    late = {"timestamp": 1e9, "clock": 1e9 + 3600, "metrics": {"battery_level": 50}}
    assert agent.get("/api/telemetry/robots/agv-1/metrics", method="POST", body=json.dumps(late).encode()).status == 200
    for name in ("alerts.yml", "recording.yml"):
        (folder / name).write_text((RULES / name).read_text().replace("interval: 1m", "interval: 1s"))
    (folder / "prometheus.yml").write_text(PROMETHEUS.format(folder=folder, port=agent.port))
    command = [
        prometheus,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    server = standing.server(command, port, folder, {"HOME": str(folder)}, ready="/-/ready")
    for number in range(6):
        for status in ("started", "failed" if number % 2 else "completed"):
            event = {"type": f"mission.{status}", "payload": {"mission_id": f"m-{number}"}}
            assert agent.get("/api/v1/events", method="POST", body=json.dumps(event).encode()).status == 201
    return Watched(server, agent)


def filled(expression):
    """Return a query of a dashboard as Grafana asks it when everything is chosen."""
    for label in ("job", "instance", "robot"):
        expression = expression.replace(f"${label}", ".*")
    return expression.replace("$__rate_interval", "15s")


def test_every_panel_has_data(watched):
    """Each query of each panel is understood and has an answer, but for what is absent for a reason."""
    asked = [(where, filled(expression)) for where, expression in queries()]
    assert [expression for _, expression in asked if "$" in expression] == []
    told = [
        (where, expression)
        for where, expression in asked
        if not ("> 0" in expression and any(name in QUIET for name, _ in selectors(expression)))
    ]
    assert len(asked) - len(told) == len(QUIET)
    assert watched.eventually(told) == []
    for _, expression in asked:
        watched.query(expression)


def test_every_variable_has_values(watched):
    """Whatever may be chosen above a dashboard has something to choose from."""
    for dashboard in DASHBOARDS.values():
        chosen = [each for each in dashboard["templating"]["list"] if each["type"] == "query"]
        assert [each["name"] for each in chosen][:2] == ["job", "instance"]
        for variable in chosen:
            metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", filled(variable["query"]["query"])).groups()
            series = watched.query(f"group by ({label}) ({metric})")
            assert any(each["metric"].get(label) for each in series), variable


def test_every_rule_has_data(watched):
    """Whatever a rule asks for is there, each recording has series, and Prometheus evaluates all without an error."""
    asked = {
        (rule["alert"], matched)
        for rules in ALERTS.values()
        for rule in rules
        for _, matched in selectors(rule["expr"])
    }
    assert watched.eventually(sorted(asked)) == []
    assert watched.eventually([(rule["record"], rule["expr"]) for rule in RECORDED]) == []
    told = [(rule["record"], rule["record"]) for rule in RECORDED if not watched.lacks(rule["expr"])]
    assert watched.eventually(told) == []
    groups = json.loads(watched.server.get("/api/v1/rules").text)["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(every_rule())
    assert [rule["name"] for rule in rules if rule["health"] == "err" or rule.get("lastError")] == []
