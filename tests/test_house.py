"""The borders of the house: who may import whom, and how big a room may be."""

import ast
import importlib.util
from graphlib import TopologicalSorter
from pathlib import Path

FLOORS = (
    ("agentd.__main__",),
    ("agentd.cli",),
    ("agentd.testing",),
    ("agentd.daemon",),
    ("agentd.client",),
    ("agentd.reload",),
    ("agentd.roster",),
    ("agentd.instances",),
    ("agentd.registry", "agentd.web"),
    ("agentd.isolation",),
    ("agentd.changes",),
    ("agentd.events.metrics",),
    ("agentd.events.flow",),
    ("agentd.events.bus", "agentd.events.delivery"),
    ("agentd.events.attempts", "agentd.events.dead"),
    ("agentd.store", "agentd.events.wanted", "agentd.events.bounded"),
    ("agentd.hookspecs", "agentd.config", "agentd.discovery", "agentd.metrics.outlet"),
    ("agentd.metrics.gather", "agentd.metrics.selfmetrics"),
    ("agentd.metrics.slot", "agentd.metrics.pushing"),
    ("agentd.metrics.spending", "agentd.metrics.undeclared"),
    ("agentd.plugin", "agentd.metrics.admission", "agentd.metrics.exposition", "agentd.metrics.process"),
    ("agentd.context", "agentd.pauses"),
    (
        "agentd.memory",
        "agentd.metrics.assembly",
        "agentd.metrics.client",
        "agentd.metrics.rules",
        "agentd.metrics.frame",
        "agentd.metrics.recent",
    ),
    (
        "agentd.metrics.family",
        "agentd.metrics.workers",
        "agentd.events.envelope",
        "agentd.events.condense",
        "agentd.resilience",
        "agentd.resting",
        "agentd.timesync",
        "agentd.options",
        "agentd.secrecy",
        "agentd.host",
        "agentd.routes",
        "agentd.status",
    ),
    (
        "agentd.errors",
        "agentd.folding",
        "agentd.logs",
        "agentd.journald",
        "agentd.systemd",
        "agentd.directories",
        "agentd.ending",
        "agentd.leaving",
        "agentd.metrics",
        "agentd.events",
        "agentd",
    ),
)
"""From the top down. A module belongs to the longest of these names that it begins with."""

LINES = 350
"""Lines of a module of the core at most; 300 is what one aims at."""


LARGER = {"agentd.isolation.child": 1150}
"""One file by promise: it is all that another interpreter needs, the stand-in for ``agentd.plugin`` included."""


def modules(package):
    """Return the files of an installed package by the names of their modules."""
    (folder,) = importlib.util.find_spec(package).submodule_search_locations
    found = {}
    for file in Path(folder).rglob("*.py"):
        parts = file.relative_to(Path(folder).parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(file, *, everything=False):
    """Yield what a file imports when it is imported itself, or all that it ever does, type checking left out."""
    tree = ast.parse(file.read_text())
    checked = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree) if everything else tree.body:
        if id(node) in checked:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def floor(module):
    """Return how many floors down from the top a module is."""
    level, _ = max(
        ((level, name) for level, names in enumerate(FLOORS) for name in names if f"{module}.".startswith(f"{name}.")),
        key=lambda pair: len(pair[1]),
    )
    return level


def test_imports_go_down():
    """No module imports one from a floor above its own, not even within a function."""
    known = modules("agentd")
    upward = [
        f"{module} imports {imported}"
        for module, file in known.items()
        for imported in imports(file, everything=True)
        if imported in known and floor(imported) < floor(module)
    ]
    assert upward == []


def test_there_is_no_circle():
    """No module imports itself by way of others."""
    known = modules("agentd")
    graph = {
        module: {name for name in imports(file) if name in known and name != module} for module, file in known.items()
    }
    for module, found in graph.items():  # importing from a package is no need of the package's other modules
        graph[module] = {name for name in found if not any(other.startswith(f"{name}.") for other in found)}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(known)


def test_plugins_see_the_plugin_interface_alone():
    """Bundled plugins import agentd.plugin, each other's shared readers, libraries, and nothing else of agentd."""
    for module, file in modules("agentd_plugins").items():
        for imported in imports(file, everything=True):
            if imported.split(".")[0] == "agentd":
                assert imported == "agentd" or imported.startswith("agentd.plugin"), f"{module} imports {imported}"


def test_no_bundled_collector_imports_another():
    """What collectors share is in modules or packages whose names begin with an underscore."""
    known = {module for module in modules("agentd_plugins") if "._" not in module}
    for module, file in modules("agentd_plugins").items():
        found = {name for name in imports(file, everything=True) if name in known and name.count(".") > 1}
        packages = {name for name in found if any(other.startswith(f"{name}.") for other in modules("agentd_plugins"))}
        own = {name for name in found if name.split(".")[:3] == module.split(".")[:3]}  # one that is a package
        own = set() if module.startswith("agentd_plugins.collectors.host.") else own
        assert found <= packages | own, f"{module} imports {found - packages - own}"


def test_the_core_knows_no_plugin():
    """Nothing in agentd imports a bundled plugin but for lists: what is on by default, and whose a path is."""
    for module, file in modules("agentd").items():
        for imported in imports(file, everything=True):
            if imported.startswith("agentd_plugins"):
                assert (module, imported) in {
                    ("agentd.registry", "agentd_plugins"),
                    ("agentd.registry", "agentd_plugins.defaults"),
                    ("agentd.registry", "agentd_plugins.PATHS"),
                }


def test_only_the_configuration_reads_toml():
    """Nothing but the configuration reads TOML."""
    users = {module for module, file in modules("agentd").items() if "tomli" in set(imports(file, everything=True))}
    assert users
    assert all(user.startswith("agentd.config") for user in users)


def test_rooms_stay_small():
    """No module has outgrown what one can read at a sitting."""
    for module, file in modules("agentd").items():
        assert len(file.read_text().splitlines()) <= LARGER.get(module, LINES), module


def test_the_name_of_a_plugin_is_that_of_its_file():
    """Each bundled plugin has the name of its file, by which it is found without being imported."""
    from agentd.discovery import bundled
    from agentd.registry import Registry

    registry = Registry()
    for found in bundled():
        assert registry.plugin_class(found.kind, found.name).name == found.name
