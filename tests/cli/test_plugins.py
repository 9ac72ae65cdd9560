"""``agentd plugins pause`` and ``resume``: plugins are found by whatever one calls them."""

import json

import pytest

CONFIG = """
[collectors]
disable = ["uname"]
[collectors.prometheus]
plugin = "loadavg"
"""


@pytest.fixture(scope="module")
def agent(beside, standing):
    """An agent of which two plugins have one name, and the command line beside it."""
    return beside(standing.agent(CONFIG))


@pytest.mark.parametrize("name", ["meminfo", "collectors.meminfo"])
def test_a_plugin_is_found_by_its_name(agent, name):
    """With its kind or without, the only instance of a name is paused, and resumed."""
    done = agent.run("plugins", "pause", name, "--for", "2h")
    assert (done.returncode, done.stdout) == (0, "collectors.meminfo is paused for 2h\n")
    plugins = json.loads(agent.run("status", "--json").stdout)["plugins"]
    assert [plugin["plugin"] for plugin in plugins if plugin["paused_until"]] == ["collectors.meminfo"]
    assert agent.run("plugins", "resume", name).returncode == 0
    plugins = json.loads(agent.run("status", "--json").stdout)["plugins"]
    assert [plugin["plugin"] for plugin in plugins if plugin.get("paused_until")] == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("prometheus", '"prometheus" may be collectors.prometheus or exporters.prometheus'),
        ("memifo", 'no plugin "memifo" is configured. Did you mean "meminfo"?'),
        ("collector.meminfo", 'no plugin "collector.meminfo" is configured. Did you mean "collectors.meminfo"?'),
        ("uname", 'no plugin "uname" is configured; collectors.uname is switched off: '),
        ("//..", 'no plugin "//.." is configured: agentd status lists them'),
    ],
)
@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_plugin_that_is_not_found(agent, command, name, says):
    """The error says what may have been meant, and names no path of the API."""
    done = agent.run("plugins", command, name)
    assert done.returncode == 1
    assert done.stderr.startswith(f"agentd: {says}")
    assert "/api/" not in done.stderr
