"""Writes the files that follow from the code (`make docs`): the interface for plugins, the hooks, the metrics, the
fields of robots, the schema of events, etc/agentd.toml with its schema, and the man pages.
"""

import inspect
import json
import runpy
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from agentd.cli.config import entries
from agentd.cli.declarations import own
from agentd.cli.plugins import summary
from agentd.config.describe import default_file, schema
from agentd.config.describe.options import field_docs
from agentd.discovery import KINDS
from agentd.events.envelope import LONGEST_NAME, TYPE, Event
from agentd.metrics.family import Metric
from agentd.metrics.units import unit
from agentd.plugin.declared import declared_metrics
from agentd.registry import Registry
from agentd_plugins.collectors.robots import bits, derived, lists, signals, vocabulary

ROOT = Path(__file__).parent.parent


def pages() -> dict[str, str]:
    """Return the text of each generated file by its path."""
    registry = Registry()
    manual = runpy.run_path(str(ROOT / "docs" / "manual.py"))["pages"]()
    interface = runpy.run_path(str(ROOT / "docs" / "interface.py"))
    return {
        "docs/api.md": interface["page"](),
        f"tests/fixtures/api/{interface['name_of_file']()}": interface["kept"](),
        "docs/hooks.md": runpy.run_path(str(ROOT / "docs" / "hooks.py"))["page"](),
        "docs/metrics.md": metrics_page(registry),
        "docs/fields.md": fields_page(),
        "docs/event.schema.json": json.dumps(event_schema(), indent=2) + "\n",
        "etc/agentd.toml": default_file(entries(registry)),
        "etc/agentd.schema.json": json.dumps(schema(entries(registry)), indent=1) + "\n",
        **{f"docs/man/{name}": text for name, text in manual.items()},
    }


def fields_page() -> str:
    """Return the page of the fields that robots send."""
    lines = [
        "# Fields of robots",
        "",
        "Made by `docs/generate.py` from the vocabulary of the collector `robots`. What the fields that robots send",
        "mean; `*` is any name, and becomes the label. Capitals do not count. Also each metric's own name is",
        "understood, with and without `robot_`.",
        "",
        "| metric | unit | fields | multiplied by, or what values mean | not known |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, labels, scale, meant, fields in vocabulary.SAYINGS:
        signal = signals.SIGNALS[name]
        given = {label: value for label, value in zip(signal.metric.labels[1:], labels, strict=False) if value}
        shown = signal.name + labels_of(given)
        spelled = ", ".join(f"`{field}`" for field in fields.split())
        special = meant if isinstance(meant, Mapping) else dict.fromkeys(meant)
        unknown = ", ".join(f"{value:.10g}" for value, what in special.items() if what is None)
        means = ", ".join(f"{value:g} is {what:g}" for value, what in special.items() if what is not None)
        factor = means if scale == 1 else f"{scale:.10g}"
        lines.append(f"| `{shown}` | {signal.unit} | {spelled} | {factor} | {unknown} |")
    lines += ["", "What follows from other values, where a robot does not tell it itself:", ""]
    lines += ["| metric | from |", "| --- | --- |"]
    lines += [f"| `{metric}` | {source} |" for metric, source in (*derived.DERIVED, *bits.BITS)]
    lines += ["", f"Sensors of MAVLink: {', '.join(f'`{name}`' for name in bits.SENSORS)}."]
    lines += ["", f"Lists that are understood: {', '.join(f'`{field}`' for field in sorted(lists.FIELDS))}."]
    texts = ", ".join(f"`{field}`" for field in vocabulary.TEXTS)
    lines += ["", f"Texts that become the value of a label: {texts}.", ""]
    terms = ", ".join(f"`energy.{term}`" for term in signals.ENERGY_TERMS)
    lines += [f"Terms of an abstract energy, which are no joules and become `agentd_energy_term_value`: {terms}.", ""]
    return "\n".join(lines)


def labels_of(given: dict[str, str]) -> str:
    """Return labels as Prometheus writes them."""
    pairs = ", ".join(f'{label}="{value}"' for label, value in given.items())
    return f"{{{pairs}}}" if pairs else ""


def event_schema() -> dict[str, object]:
    """Return the JSON Schema of an event as somebody may send it: what the type says, and what is checked beside it."""
    schema = msgspec.json.schema(Event)["$defs"]["Event"]
    for name, text in field_docs(Event).items():
        schema["properties"][name]["description"] = text.replace("``", "`")
    schema["description"] = schema["description"].replace("``", "`")
    schema["properties"]["type"]["pattern"] = f"^{TYPE.pattern}$"
    schema["properties"]["timestamp"]["minimum"] = 0
    schema["properties"]["timestamp"]["exclusiveMaximum"] = 1e11
    for name in ("id", "type", "source"):
        schema["properties"][name]["maxLength"] = LONGEST_NAME
    schema["properties"]["target"]["anyOf"][0]["maxLength"] = LONGEST_NAME
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def metrics_page(registry: Registry) -> str:
    """Return the reference of all metrics."""
    lines = [
        "# Metrics",
        "",
        "Made from the plugins by `make docs`; do not edit. A `*` in a name stands for what the kernel names;",
        "*unknown* is what the text format calls untyped. Metrics of the kernel are named, typed and labelled as in",
        "node_exporter. Under each heading stands where the numbers come from: files of the kernel, or its calls.",
    ]
    for kind in KINDS:
        for name in registry.names(kind):
            plugin = registry.plugin_class(kind, name)
            if metrics := declared_metrics(plugin):
                about = inspect.getdoc(sys.modules[plugin.__module__]) or ""
                first = " ".join(about.split("\n\n")[0].split())
                lines += ["", f"## {kind}.{name}", "", summary(plugin), "", f"*{first}*", "", *table(metrics)]
    lines += [
        "",
        "## The agent itself",
        "",
        "What agentd tells about itself, its collectors, its journal and its sinks.",
        "",
        *table(own()),
    ]
    return "\n".join(lines) + "\n"


def table(metrics: Iterable[Metric]) -> Iterator[str]:
    """Yield a table of metrics."""
    yield "| name | type | unit | labels | what it tells |"
    yield "| --- | --- | --- | --- | --- |"
    for metric in metrics:
        help_ = metric.help.replace("{}", "*").replace("|", "\\|")
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{metric.name}` | {metric.kind} | {metric.unit or unit(metric.name)} | {labels} | {help_} |"


if __name__ == "__main__":
    for file, text in pages().items():
        (ROOT / file).write_text(text)
