"""An agent that has less memory than it needs gives up what it can do without, and nothing else."""

import json
import signal

import aiohttp
import pytest

# Looks often, so that nobody has to wait: a plugin may reach anything in its process.
HASTY = """
from agentd import memory
from agentd.metrics import selfmetrics
from agentd.plugin import Collector, Config, Family, hookimpl

memory.SETTLE, selfmetrics.LAG_EVERY = 0.05, 0.05


class Hasty(Collector[Config]):
    name = "hasty"
    blocking = False

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.asked = []

    def shed(self, pressure):
        self.asked.append(pressure.name)
        raise RuntimeError(f"asked {' '.join(dict.fromkeys(self.asked))}")

    def collect(self):
        return [Family.gauge("hasty", "How often.", float(len(self.asked)))]


@hookimpl
def agentd_collectors():
    return [Hasty]
"""


def configured(agent, before, limit):
    """Write another limit into the agent's configuration, and have it read."""
    file = agent.folder / "agentd.toml"
    file.write_text(file.read_text().replace(before, limit))
    agent.send(signal.SIGHUP)


async def test_above_the_limit_all_steps_are_taken_and_below_it_all_comes_back(start_agent):
    """Caches go, readers of the stream hear why and are let go, robots that are not known are turned away, plugins are
    asked; the host is told of as ever, and when the limit is lifted all is as it was.
    """
    agent = start_agent('memory_limit = "1TiB"\n[collectors.robots]', plugins={"hasty": HASTY})
    assert agent.get("/metrics").value("agentd_memory_limit_bytes") == 1 << 40
    stream = f"{agent.url}/api/v1/events/stream"
    robots = f"{agent.url}/api/telemetry"
    post = {"data": json.dumps({"metrics": {"speed": 1.0}}), "headers": {"Content-Type": "application/json"}}
    async with aiohttp.ClientSession() as session, session.get(stream) as reader:
        async with session.post(f"{robots}/robots/known/metrics", **post) as answer:
            assert answer.status == 200
        configured(agent, "1TiB", "32MiB")
        heard = (await reader.read()).decode()  # to its end
        assert '"step":"caches"' in heard
        assert '"step":"streams"' in heard

        agent.until(lambda: agent.get("/metrics").value("agentd_memory_shed_total", step="intake"))
        answer = agent.get("/metrics")
        assert answer.value("agentd_memory_limit_bytes") == 32 << 20
        assert answer.value("node_load1") is not None
        assert answer.value("hasty") >= 3
        async with session.get(stream) as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (503, "60")
        async with session.post(f"{robots}/robots/new/metrics", **post) as refused:
            assert refused.status == 503
            assert "as memory allows" in await refused.text()
        async with session.post(f"{robots}/robots/known/metrics", **post) as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.WSServerHandshakeError) as turned_away:
            await session.ws_connect(f"{robots}/ws/new")
        assert turned_away.value.status == 503
        status = json.loads(agent.get("/api/v1/status").body)
        assert status["memory_pressure"] == "intake"

        configured(agent, "32MiB", "0B")
        agent.until(lambda: json.loads(agent.get("/api/v1/status").body)["memory_pressure"] == "none")
        async with session.post(f"{robots}/robots/new/metrics", **post) as answer:
            assert answer.status == 200
        async with session.get(stream) as again:
            assert again.status == 200

    def told(type):
        return json.loads(agent.get(f"/api/v1/events?type={type}&limit=1000").body)["events"]

    agent.until(lambda: told("agent.memory_recovered"))
    shed = told("agent.memory_shed")
    assert {event["payload"]["step"] for event in shed} == {"caches", "streams", "intake"}
    assert {event["payload"]["limit_bytes"] for event in shed} == {32 << 20}
    assert "collectors.hasty gives nothing up: RuntimeError: asked CACHES STREAMS INTAKE" in agent.log()


def test_a_limit_that_is_a_slip_is_refused(command, tmp_path):
    """No agent can run in some kilobytes; none at all is said as such."""
    for text, status in (("64KiB", 1), ("0B", 0), ("200MiB", 0)):
        (tmp_path / "a.toml").write_text(f'[agent]\nmemory_limit = "{text}"\n')
        done = command("check", "--config", str(tmp_path / "a.toml"))
        assert (done.returncode != 0) == bool(status), done.stderr
        assert ("memory_limit must be at least 32MiB" in done.stderr) == bool(status)
