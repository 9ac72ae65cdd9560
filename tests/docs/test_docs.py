"""The documents say what is true."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agentd.cli.config import entries
from agentd.cli.declarations import declarations
from agentd.config import wording
from agentd.config.describe import options
from agentd.config.resolve import KEYS
from agentd.config.settings import SECTIONS
from agentd.options import Config
from agentd.registry import Registry

ROOT = Path(__file__).parents[2]


def code(file, language, containing=""):
    """Return the first block of code of a document in this language that holds some text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / file).read_text(), flags=re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if containing in block)


def run(*arguments, folder):
    """Run agentd with state and configuration in a folder of the test's own."""
    environment = {**os.environ, "HOME": str(folder), "STATE_DIRECTORY": str(folder), "RUNTIME_DIRECTORY": str(folder)}
    command = [sys.executable, "-m", "agentd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)


def test_generated_pages_are_fresh():
    """docs/metrics.md, docs/api.md, docs/hooks.md, etc/agentd.toml, the schemas and the man pages are what `make docs`
    would write.
    """
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages = module.pages()
    for file, text in pages.items():
        assert (ROOT / file).read_text() == text, f"{file} is stale: run `make docs`"
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "docs/man").glob("man*/*")} <= pages.keys()


def tables(type_, where):
    """Yield a class of options and those of the tables in it, each with where it is."""
    yield where, type_
    types = [(field.name, field.type) for field in msgspec.structs.fields(type_)]
    for name, each in types:
        for arm in wording.arms(each):
            inner = wording.element(arm) or wording.entry(arm)
            if wording.is_struct(arm):
                yield from tables(wording.bare(arm), f"{where}.{name}")
            elif inner is not None:
                types.append((name, inner))


def undocumented(type_, where):
    """Return the options of a class, and of the tables in it, that have no docstring."""
    found = [(place, option.name, option.doc) for place, table in tables(type_, where) for option in options(table)]
    return [f"{place}.{name}" for place, name, doc in found if not doc.strip()]


def test_every_option_and_every_metric_is_documented():
    """Each plugin, each option of it and of the core, those of tables in them included, and each metric says what it
    means; and what has no docstring would be found.
    """
    registry = Registry()
    for kind, name, doc, type_ in entries(registry):
        assert doc, f"{kind}.{name}"
        assert undocumented(type_, f"{kind}.{name}") == []
    for name, type_ in (*SECTIONS.items(), *KEYS.items()):
        assert undocumented(type_, name) == []
    assert [each.metric.name for each in declarations(registry) if not each.metric.help.strip()] == []

    class Inner(Config):
        silent: int = 1

    class Outer(Config):
        tables: dict[str, list[Inner]] = {}
        """Some."""

    assert undocumented(Outer, "x") == ["x.tables.silent"]


def test_each_unit_stands_in_its_column():
    """A family whose description ends with a unit, or whose numbers are bytes a second, says so in the column, too."""
    rows = [line.split(" | ") for line in (ROOT / "docs/metrics.md").read_text().splitlines() if line.startswith("| `")]
    unit = re.compile(r", in (MiB|MHz|%|percent|°C|mJ|W|amperes|volts|watt-hours|ampere-hours|bytes( a second)?)[. ]")
    telling = [row for row in rows if unit.search(row[4]) or row[4].startswith(("Bytes a second", "Percentage"))]
    assert len(telling) > 60
    assert [row[0] for row in telling if not row[2].strip() and "numa" not in row[0]] == []


def test_the_annotated_configuration_checks(tmp_path):
    """etc/agentd.toml is accepted as it stands."""
    result = run("check", "--config", str(ROOT / "etc" / "agentd.toml"), folder=tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("containing", ["[web]", "for_backup", "action ="])
def test_examples_of_configuration_check(containing, tmp_path):
    """The examples of docs/configuration.md are accepted."""
    text = code("docs/configuration.md", "toml", containing).replace("/etc/agentd/plugins", str(tmp_path))
    (tmp_path / "agentd.toml").write_text(text)
    result = run("check", "--config", str(tmp_path / "agentd.toml"), folder=tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_scrape_configuration_is_valid(server_binary, tmp_path):
    """Prometheus's own tool accepts the scrape configuration of the README."""
    (tmp_path / "prometheus.yml").write_text(code("README.md", "yaml"))
    command = [str(server_binary("promtool")), "check", "config", str(tmp_path / "prometheus.yml")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_relative_link_leads_somewhere():
    """Links between the documents, and from the README, point to files that exist."""
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_link_to_a_heading_leads_to_one():
    """Links into a document, from itself or from another, name a heading that it has."""
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target, anchor in re.findall(r"\]\(([^)#:]*\.md)?#([^)]+)\)", page.read_text()):
            headings = re.findall(r"^#+ (.*)$", (page.parent / target if target else page).read_text(), re.MULTILINE)
            known = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in known, f"{page.name}: {target}#{anchor}"


def test_the_long_run_is_told_as_it_is():
    """What the documents say of `make chaos` is a target, a variable with its default, and a test that there is."""
    page = (ROOT / "docs" / "plugins.md").read_text()
    variable, name = re.search(r'^\$ (\w+)=5 make chaos ARGS="-k (\w+)"$', page, re.MULTILINE).groups()
    run = (ROOT / "tests" / "chaos" / "test_chaos.py").read_text()
    assert re.search(r"^chaos:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    default = re.search(rf'environ.get\("{variable}", "(\d+)"\)', run)[1]
    assert f"({default} times where it is not set)" in page
    assert re.search(rf"^async def {name}\(", run, re.MULTILINE)


def test_the_soak_is_told_as_it_is():
    """What the documents say of `make soak` is a target that the suite leaves out, and a variable with its default."""
    page, makefile = (ROOT / "docs" / "operations.md").read_text(), (ROOT / "Makefile").read_text()
    run = (ROOT / "tests" / "soak" / "test_soak.py").read_text()
    assert "`make soak` runs an agent for half an hour (`AGENTD_SOAK_MINUTES`" in page
    assert 'environ.get("AGENTD_SOAK_MINUTES", "30")' in run
    assert "pytest -m soak" in makefile
    assert all("and not soak" in (ROOT / file).read_text() for file in ("Makefile", ".ci/test-wheel"))


def test_make_is_told_of_both_commands():
    """The README's two commands are targets of the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    for target in ("run", "test"):
        assert f"make {target}" in (ROOT / "README.md").read_text()
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_collector_of_the_host_names_its_source():
    """The first paragraph of a collector's module, which the reference shows, says where its numbers come from."""
    source = re.compile(
        r"/proc|/sys|\w\(\d\w*\)|netlink|ethtool|D-Bus|psutil|os-release|files|NVML|selinuxfs|Redis|WebSocket|"
        r"standard output|prometheus_client"
    )
    registry = Registry()
    for name in registry.names("collectors"):
        module = sys.modules[registry.plugin_class("collectors", name).__module__]
        assert source.search(module.__doc__.split("\n\n")[0]), f"{name} does not say where its numbers come from"
