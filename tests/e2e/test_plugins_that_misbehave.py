"""Plugins that raise, hang, lie or cannot be loaded take nothing else down, and are named."""

import json

import pytest

HEAD = """
import asyncio, itertools, sys, time
from agentd.plugin import Collector, Config, Exporter, Family, NoData, Route, Scope, hookimpl

"""


def collector(name, body, more=""):
    """Return the source of a collector with this ``collect``, and more methods."""
    lines = "\n        ".join(body.strip().splitlines())
    return f'''{HEAD}
class Plugin(Collector[Config]):
    """A plugin for a test."""

    name = "{name}"

    def collect(self):
        {lines}
{more}
@hookimpl
def agentd_collectors():
    return [Plugin]
'''


def assert_rest_is_served(answer):
    """Fail where a collector of the host is missing in an answer, or an exposition is not valid."""
    assert answer.status == 200
    assert answer.value("node_load1") is not None
    bundled = ("cpu", "loadavg", "meminfo", "netdev", "stat", "time", "uname", "vmstat")
    assert {name: answer.value("node_scrape_collector_success", collector=name) for name in bundled} == dict.fromkeys(
        bundled, 1.0
    )


FAILING = {
    "raises": collector("raises", "raise RuntimeError('no such luck')"),
    "raises_later": collector("raises_later", "yield Family.gauge('half', 'Half.', 1.0)\nraise KeyError('other half')"),
    "exits": collector("exits", "sys.exit(3)"),
    "stops_iteration": collector("stops_iteration", "raise StopIteration"),
    "cancels": collector("cancels", "raise asyncio.CancelledError"),
    "returns_none": collector("returns_none", "return None"),
    "returns_a_number": collector("returns_a_number", "return 42"),
    "recurses": collector("recurses", "return self.collect()"),
    "bad_error": collector(
        "bad_error",
        "class Bad(Exception):\n    def __str__(self):\n        raise ValueError('not even this')\nraise Bad()",
    ),
    "async_raises": collector(
        "async_raises", "pass", "    async def collect(self):\n        raise RuntimeError('late')\n"
    ),
    "async_exits": collector("async_exits", "pass", "    async def collect(self):\n        sys.exit(3)\n"),
    "async_cancels": collector(
        "async_cancels", "pass", "    async def collect(self):\n        raise asyncio.CancelledError\n"
    ),
}


@pytest.mark.parametrize("isolation", ["thread", "inline"])
def test_collectors_that_fail(start_agent, isolation):
    """A collector that raises whatever it may raise fails alone: the scrape says so, and the log, once."""
    config = "".join(f"[collectors.{name}]\nisolation = '{isolation}'\n" for name in FAILING)
    agent = start_agent(config, plugins=FAILING)
    for _ in range(3):
        answer = agent.get("/metrics")
        assert_rest_is_served(answer)
        for name in FAILING:
            assert answer.value("node_scrape_collector_success", collector=name) == 0, name
            assert answer.value("agentd_collector_success", plugin=f"collectors.{name}") == 0, name
            assert answer.value("agentd_plugin_up", plugin=f"collectors.{name}") == 1, name
    assert answer.value("half") is None
    log = agent.log()
    assert {name: log.count(f" collectors.{name}: ") for name in FAILING} == dict.fromkeys(FAILING, 1)
    assert "Traceback" not in log
    assert "no such luck" in log


HANGING = {
    "hangs": collector("hangs", "time.sleep(3600)"),
    "waits": collector("waits", "pass", "    async def collect(self):\n        await asyncio.Event().wait()\n"),
    "does_not_let_go": collector(
        "does_not_let_go",
        "pass",
        """    async def collect(self):
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass
""",
    ),
    "never_ends": collector(
        "never_ends", "while True:\n    yield Family.gauge('endless', 'Empty.', {}, ('a',))\n    time.sleep(0.01)"
    ),
}


def test_collectors_that_hang(start_agent):
    """Collectors that hang are given up after their timeout; each is named once, and the others are not held up."""
    config = "".join(f"[collectors.{name}]\ntimeout = '300ms'\n" for name in HANGING)
    agent = start_agent(config, plugins=HANGING)
    for _ in range(3):
        answer = agent.get("/metrics", {"X-Prometheus-Scrape-Timeout-Seconds": "5"})
        assert_rest_is_served(answer)
        for name in HANGING:
            assert answer.value("node_scrape_collector_success", collector=name) == 0, name
            assert answer.value("agentd_collector_timeouts_total", plugin=f"collectors.{name}") >= 1, name
    assert {name: agent.log().count(f" collectors.{name}: ") for name in HANGING} == dict.fromkeys(HANGING, 1)
    assert agent.stop() == 0


RUBBISH = collector(
    "rubbish",
    """
yield 42
yield None
yield "node_load1 1"
yield Family.gauge("bad-name", "Bad.", 1.0)
yield Family.gauge("", "Nameless.", 1.0)
yield Family.gauge("bad_label", "Bad.", {("x",): 1.0}, ("no-label",))
yield Family.gauge("reserved_label", "Bad.", {("x",): 1.0}, ("__name__",))
yield Family("bad_kind", "nonsense", "Bad.", (), {(): 1.0})
yield Family("bad_help", "gauge", None, (), {(): 1.0})
yield Family("bad_samples", "gauge", "Bad.", (), None)
values = {"text": "1", "none": None, "list": [], "good": 1, "huge": 10**400}
yield Family.gauge("bad_values", "Some are good.", values, ("a",))
yield Family.gauge("bad_keys", "Some are good.", {("one", "two"): 1.0, ("good",): 1.0, (3,): 1.0, 4: 1.0}, ("a",))
yield Family.gauge("odd_values", "All are good.", {"nan": float("nan"), "inf": float("inf")}, ("a",))
labels = (b"\\xff\\xfe", "\\udcff\\udcff\\udcff", 'a"b\\\\c\\nd', "", "\\x00")
yield Family.gauge("odd_labels", "All are good.", {(text,): float(n) for n, text in enumerate(labels)}, ("a",))
yield Family.gauge("odd_help", 'with "quotes", \\\\ and \\n lines \\udcff', 1.0)
""",
)


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
def test_collector_that_returns_rubbish(start_agent, accept):
    """What would make the output invalid is left out, counted and named; what is good beside it stays."""
    agent = start_agent(plugins={"rubbish": RUBBISH})
    for _ in range(3):
        assert agent.get("/metrics", {"Accept": accept}).status == 200
    answer = agent.get("/metrics")
    assert_rest_is_served(answer)
    assert answer.value("node_scrape_collector_success", collector="rubbish") == 1
    assert {name for name, _ in answer.samples if name.startswith(("bad", "odd", "reserved"))} == {
        "bad_values",
        "bad_keys",
        "odd_values",
        "odd_labels",
        "odd_help",
    }
    assert answer.value("bad_values", a="good") == 1
    assert answer.value("bad_keys", a="good") == 1
    assert answer.value("odd_values", a="inf") == float("inf")
    assert answer.value("odd_labels", a='a"b\\c\nd') == 2
    assert answer.value("odd_labels", a="\x00") == 4
    counted = {
        dict(labels)["reason"]: value
        for (name, labels), value in answer.samples.items()
        if name == "agentd_collector_rejected_total"
    }
    assert sum(counted.values()) >= 4 * 14
    assert agent.log().count("bad-name") == 1


def test_collector_with_a_million_series(start_agent):
    """A collector is cut off at its max_series; that is named and counted, and the rest is there."""
    many = collector("many", "return [Family.gauge('many', 'Many.', {str(n): 1.0 for n in range(1_000_000)}, ('n',))]")
    endless = collector("endless", "return (Family.gauge(f'endless{n}', 'Endless.', 1.0) for n in itertools.count())")
    agent = start_agent(
        "[collectors.many]\nmax_series = 100\ntimeout = '1m'\n[collectors.endless]\ntimeout = '1m'",
        plugins={"many": many, "endless": endless},
    )
    answer = agent.get("/metrics", {"X-Prometheus-Scrape-Timeout-Seconds": "60"})
    assert_rest_is_served(answer)
    assert len([name for name, _ in answer.samples if name == "many"]) == 100
    assert len([name for name, _ in answer.samples if name.startswith("endless")]) == 20_000
    for name, most in (("many", 100), ("endless", 20_000)):
        plugin = f"collectors.{name}"
        assert answer.value("agentd_collector_series", plugin=plugin) == most
        assert answer.value("agentd_collector_rejected_total", plugin=plugin, reason="max_series") >= 1
        assert agent.log().count(f"{plugin}: left out (max_series)") == 1


def test_two_collectors_with_one_name_for_two_things(start_agent):
    """Where two plugins disagree about a name the first wins, and the other's is left out, named once and counted."""
    plugins = {
        "first": collector("first", "return [Family.gauge('claimed', 'A gauge.', 1.0)]"),
        "second": collector("second", "return [Family.counter('claimed', 'A counter.', 2.0)]"),
    }
    agent = start_agent(plugins=plugins)
    for _ in range(3):
        answer = agent.get("/metrics")
    assert_rest_is_served(answer)
    assert answer.value("claimed") == 1
    assert "# TYPE claimed gauge" in answer.text
    assert answer.value("agentd_collector_rejected_total", plugin="collectors.second", reason="conflict") >= 3
    assert agent.log().count("collectors.second: left out (conflict): claimed") == 1


def test_two_collectors_with_one_series(start_agent):
    """Where two plugins tell the same series the first's is shown, and both show what the other has not."""
    plugins = {
        "first": collector("first", "return [Family.gauge('shared', 'Both.', {'a': 1.0, 'b': 1.0}, ('x',))]"),
        "second": collector("second", "return [Family.gauge('shared', 'Both.', {'b': 2.0, 'c': 2.0}, ('x',))]"),
        "third": collector("third", "return 2 * [Family.gauge('node_load1', 'Not mine.', 99.0)]"),
    }
    agent = start_agent(plugins=plugins)
    for _ in range(3):
        answer = agent.get("/metrics")
    assert_rest_is_served(answer)
    assert [answer.value("shared", x=label) for label in "abc"] == [1, 1, 2]
    assert answer.value("agentd_collector_rejected_total", plugin="collectors.second", reason="duplicate") >= 3
    assert answer.value("node_load1") != 99
    log = agent.log()
    assert log.count("collectors.second: left out (duplicate): shared") == 1
    assert "label values ('b',) were there already (came first from collectors.first)" in log
    assert "collectors.third: left out (duplicate): node_load1" in log
    assert "label values () were there already (came first from collectors.loadavg)" in log


BROKEN = {
    "import_error": "import no_such_module_anywhere",
    "syntax_error": "def broken(:\n",
    "exits_at_import": "import sys\nsys.exit(0)",
    "raises_at_import": "raise RuntimeError('not today')",
    "misspelt_hook": f"{HEAD}@hookimpl\ndef agentd_colectors():\n    return []\n",
    "bad_hook": f"{HEAD}@hookimpl\ndef agentd_collectors():\n    return [42]\n",
    "bad_arguments": f"{HEAD}@hookimpl\ndef agentd_collectors(surprise):\n    return []\n",
    "raising_hook": f"{HEAD}@hookimpl\ndef agentd_collectors():\n    raise OSError('no hook today')\n",
    "nameless": f"{HEAD}class A(Collector[Config]):\n    pass\n@hookimpl\ndef agentd_collectors():\n    return [A]\n",
    "not_text": "\udcff\udcfe",
}


def test_plugins_that_cannot_be_loaded(start_agent):
    """A file that cannot be loaded is down, and named once with the reason; everything else runs."""
    plugins = {name: source for name, source in BROKEN.items() if name != "not_text"}
    agent = start_agent(plugins={**plugins, "good": collector("good", "return [Family.gauge('good', 'Good.', 1.0)]")})
    answer = agent.get("/metrics")
    assert_rest_is_served(answer)
    assert answer.value("good") == 1
    for name in plugins:
        assert answer.value("agentd_plugin_up", plugin=f"plugin_dirs.{name}") == 0, name
        assert agent.log().count(f"{name}.py cannot be loaded") == 1, name
    assert "no_such_module_anywhere" in agent.log()
    assert "agentd_colectors" in agent.log()
    assert "Traceback" not in agent.log()


def down(name, more):
    """Return the source of a collector that is good but for this method."""
    return collector(name, f"return [Family.gauge('of_{name}', 'Unreachable.', 1.0)]", more)


DOWN = {
    "start_raises": down("start_raises", "    async def start(self):\n        raise OSError('the port is on fire')\n"),
    "start_exits": down("start_exits", "    async def start(self):\n        sys.exit(0)\n"),
    "start_cancels": down("start_cancels", "    async def start(self):\n        raise asyncio.CancelledError\n"),
    "init_raises": down("init_raises", "    def __init__(self, *arguments):\n        raise ValueError('not built')\n"),
    "init_exits": down("init_exits", "    def __init__(self, *arguments):\n        sys.exit(1)\n"),
    "routes_raise": down("routes_raise", "    def routes(self):\n        raise ValueError('no way')\n"),
    "routes_are_none": down("routes_are_none", "    def routes(self):\n        return [42]\n"),
    "route_is_taken": down(
        "route_is_taken", "    def routes(self):\n        return [Route('GET', '/livez', None, None)]\n"
    ),
}


def test_plugins_that_do_not_start(start_agent):
    """A plugin that cannot be built, started or reached is down, and named once; everything else runs."""
    agent = start_agent(plugins=DOWN)
    answer = agent.get("/metrics")
    assert_rest_is_served(answer)
    assert agent.get("/livez").text == "ok\n"
    up = {name: answer.value("agentd_plugin_up", plugin=f"collectors.{name}") for name in DOWN}
    assert up == dict.fromkeys(DOWN, 0.0)
    log = agent.log()
    assert {name: log.count(f"collectors.{name} cannot ") for name in DOWN} == dict.fromkeys(DOWN, 1)
    assert "the port is on fire" in log
    status = {plugin["plugin"]: plugin for plugin in json.loads(agent.get("/api/v1/status").text)["plugins"]}
    assert "the port is on fire" in status["collectors.start_raises"]["error"]
    assert agent.stop() == 0


def test_start_that_hangs_can_be_ended(start_agent):
    """While a plugin does not come to an end of its start, a signal ends the agent all the same."""
    source = down(
        "start_hangs",
        "    async def start(self):\n        print('begins', flush=True)\n        await asyncio.Event().wait()\n",
    )
    agent = start_agent(plugins={"start_hangs": source}, ready=False)
    agent.until(lambda: "begins" in agent.log())
    assert agent.stop() == 0


STOPPING = {
    "stop_raises": down("stop_raises", "    async def stop(self):\n        raise OSError('will not')\n"),
    "stop_hangs": down("stop_hangs", "    async def stop(self):\n        await asyncio.Event().wait()\n"),
    "stop_exits": down("stop_exits", "    async def stop(self):\n        sys.exit(5)\n"),
    "stop_clings": down(
        "stop_clings",
        """    async def stop(self):
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass
""",
    ),
}


def test_plugins_that_do_not_stop(start_agent):
    """Plugins that fail to stop do not keep the agent from ending well."""
    agent = start_agent(plugins=STOPPING)
    assert agent.get("/metrics").value("of_stop_hangs") == 1
    assert agent.stop() == 0
    assert "will not" in agent.log()
    assert "Traceback" not in agent.log()


TALKING = down(
    "talks",
    """    blocking = False
    def about(self):
        raise RuntimeError('speechless')
    def routes(self):
        async def fail(request, principal):
            raise RuntimeError('no answer')
        async def nothing(request, principal):
            return None
        async def leave(request, principal):
            sys.exit(1)
        handlers = {'/fail': fail, '/nothing': nothing, '/leave': leave}
        return [Route('GET', path, handler, None) for path, handler in handlers.items()]
""",
)

HOOKS = f"""{HEAD}
@hookimpl
def agentd_started():
    raise RuntimeError('cannot celebrate')

@hookimpl
def agentd_stopping():
    sys.exit(9)

@hookimpl
def agentd_families(plugin, families):
    if plugin == "collectors.loadavg":
        raise RuntimeError('cannot change')
    return 42 if plugin == "collectors.os" else None
"""


def test_plugins_that_fail_in_what_else_they_do(start_agent):
    """A route, a word about itself or a hook that fails is that plugin's failure alone."""
    agent = start_agent(plugins={"talks": TALKING, "hooks": HOOKS})
    for _ in range(3):
        assert_rest_is_served(agent.get("/metrics"))
        assert [agent.get(path).status for path in ("/fail", "/nothing", "/leave")] == [500] * 3
    log = agent.log()
    assert log.count("speechless") == 1
    assert log.count("cannot celebrate") == 1
    assert log.count("cannot change") == 1
    assert log.count("GET /fail failed: RuntimeError: no answer") == 1
    assert "Traceback" not in log
    assert agent.stop() == 0


def test_what_a_plugin_costs_is_told(start_agent):
    """CPU time is told for each plugin, and whoever holds up the event loop is named in a metric and in the log."""
    sleepy = collector("sleepy", "time.sleep(0.6)\nreturn []", "    blocking = False\n")
    busy = collector("busy", "end = time.thread_time() + 0.2\nwhile time.thread_time() < end: pass\nreturn []")
    agent = start_agent(plugins={"sleepy": sleepy, "busy": busy})
    agent.get("/metrics")
    answer = agent.get("/metrics")
    spent = {
        name: answer.value("agentd_plugin_cpu_seconds_total", plugin=name)
        for name in ("collectors.cpu", "collectors.busy", "exporters.prometheus")
    }
    assert all(spent.values()), spent
    assert spent["collectors.busy"] >= 0.2
    assert answer.value("agentd_plugin_blocked_loop_seconds_total", plugin="collectors.sleepy") >= 0.6
    assert "collectors.sleepy held up everything else for" in agent.log()


def test_collector_that_logs_at_each_scrape(start_agent):
    """What it says each time is written once, and at the end how often it came."""
    chatty = collector("chatty", "self.log.warning('the sensor answered after %.3f s', time.time())\nreturn []")
    agent = start_agent(plugins={"chatty": chatty})
    for _ in range(5):
        assert agent.get("/metrics").status == 200
    assert agent.log().count("the sensor answered") == 1
    assert agent.stop() == 0
    assert agent.log().count("the sensor answered") == 2
    assert "(the same 5 times in " in agent.log()
