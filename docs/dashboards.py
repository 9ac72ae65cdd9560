"""Writes the dashboards for Grafana, etc/grafana/*.json, from docs/dashboards/*.toml (`make docs`).

In an expression ``@`` stands for what is chosen above the dashboard, ``[rate]`` for the shortest time over which
Grafana can tell a rate, and a name of the table ``words`` for its text.
"""

import json
import math
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

Json = dict[str, Any]

SOURCE = {"type": "prometheus", "uid": "${datasource}"}

LIMITS: dict[str, list[list[Any]]] = {
    "plain": [[-math.inf, "text"]],
    "busy": [[-math.inf, "green"], [0.8, "orange"], [0.9, "red"]],
    "low": [[-math.inf, "red"], [0.1, "orange"], [0.2, "green"]],
    "none": [[-math.inf, "green"], [1, "red"]],
    "all": [[-math.inf, "red"], [1, "green"]],
}
"""From which value on which colour is shown: by what is good, or what the value is."""

KINDS = {"number": "stat", "lines": "timeseries", "bars": "bargauge", "states": "state-timeline", "table": "table"}
"""What Grafana calls a kind of panel."""

SIZES = {"number": (4, 4), "table": (24, 7)}
"""Columns and rows of Grafana's grid that a panel takes, of 24 columns; others take a third of the width."""

LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}

OPTIONS: dict[str, Json] = {
    "number": {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "textMode": "value",
        "reduceOptions": LAST,
    },
    "lines": {
        "legend": {"showLegend": True, "displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "bars": {
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
        "reduceOptions": LAST,
    },
    "states": {
        "mergeValues": True,
        "showValue": "never",
        "alignValue": "left",
        "rowHeight": 0.8,
        "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "single", "sort": "none"},
    },
    "table": {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}},
}


def steps(limits: str | list[list[Any]]) -> Json:
    """Return thresholds, which are named or listed. JSON has no infinity: Grafana's first step has no value."""
    listed = LIMITS[limits] if isinstance(limits, str) else limits
    return {
        "mode": "absolute",
        "steps": [{"color": color, "value": None if value == -math.inf else value} for value, color in listed],
    }


def panel(told: Json) -> Json:
    """Return a panel without a number and a place."""
    kind = told["kind"]
    width, height = SIZES.get(kind, (8, 7))
    queries = [column[2:3] for column in told["columns"]] if kind == "table" else told["queries"]
    made: Json = {
        "type": KINDS[kind],
        "title": told["title"],
        "description": " ".join(told["about"].split()),
        "datasource": SOURCE,
        "gridPos": {"w": told.get("width", width), "h": told.get("height", height)},
        "targets": [target(kind, number, *query) for number, query in enumerate(queries)],
        "fieldConfig": {"defaults": fields(told), "overrides": []},
        "options": OPTIONS[kind],
    }
    if kind == "table":
        made["fieldConfig"]["overrides"] = [override(*column) for column in told["columns"]]
        made["transformations"] = transformations(told["key"], [column[0] for column in told["columns"]])
    return made


def letter(number: int) -> str:
    """Return the name of a panel's query."""
    return chr(ord("A") + number)


def target(kind: str, number: int, expression: str, legend: str = "") -> Json:
    """Return a query: of a moment where a panel shows no course of time."""
    moment = kind not in ("lines", "states")
    return {
        "refId": letter(number),
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": " ".join(expression.split()),
        "legendFormat": legend,
        "instant": moment,
        "range": not moment,
        "format": "table" if kind == "table" else "time_series",
    }


def fields(told: Json) -> Json:
    """Return how a panel shows its numbers."""
    made: Json = {"unit": told.get("unit", "none"), "thresholds": steps(told.get("limits", "plain")), "mappings": []}
    made |= {key: told[key] for key in ("min", "max") if key in told}
    if told["kind"] == "lines":
        stack = told.get("stack", False)
        made["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if stack else 10,
            "showPoints": "auto",
            "spanNulls": False,
            "stacking": {"mode": "normal" if stack else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if "limits" in told else "off"},
        }
    if told["kind"] == "states":
        made["thresholds"] = steps("all")
        made["custom"] = {"fillOpacity": 70, "lineWidth": 0}
        said = {"1": {"text": told["good"], "color": "green"}, "0": {"text": told["bad"], "color": "red"}}
        made["mappings"] = [{"type": "value", "options": said}]
    return made


def override(name: str, unit: str, _expression: str, limits: str | list[list[Any]] = "plain") -> Json:
    """Return how a table shows a column."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [
            {"id": "unit", "value": unit},
            {"id": "custom.cellOptions", "value": {"type": "auto" if limits == "plain" else "color-text"}},
            {"id": "thresholds", "value": steps(limits)},
        ],
    }


def transformations(key: str, names: list[str]) -> list[Json]:
    """Return how Grafana makes one table of several queries: a row for each value of the label that they share."""
    values = {f"Value #{letter(number)}": name for number, name in enumerate(names)}
    order = {key: 0} | {value: place for place, value in enumerate(values, 1)}
    organize = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": values}
    return [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]


def placed(rows: Iterable[Json]) -> Iterator[Json]:
    """Yield rows and their panels with numbers and places, from left to right and from top to bottom."""
    down = number = 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": down, "w": 24, "h": 1}
        yield {"id": number, "type": "row", "title": row["title"], "collapsed": False, "gridPos": place, "panels": []}
        down, across, tallest = down + 1, 0, 0
        for each in map(panel, row["panels"]):
            size = each["gridPos"]
            if across + size["w"] > 24:
                down, across, tallest = down + tallest, 0, 0
            number += 1
            yield {"id": number, **each, "gridPos": {"x": across, "y": down, **size}}
            across, tallest = across + size["w"], max(tallest, size["h"])
        down += tallest


def variables(metric: str, labels: list[str]) -> Iterator[Json]:
    """Yield what may be chosen: where the data is, and among the values that each label of a metric has."""
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    for number, label in enumerate(labels):
        query = f"label_values({metric}{{{selected(labels[:number])}}}, {label})"
        yield {
            "name": label,
            "label": label.capitalize(),
            "type": "query",
            "datasource": SOURCE,
            "definition": query,
            "query": {"query": query, "refId": "variable"},
            "refresh": 2,
            "sort": 7,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        }


def selected(labels: list[str]) -> str:
    """Return the selectors of what is chosen."""
    return ", ".join(f'{label}=~"${label}"' for label in labels)


def dashboard(name: str, told: Json) -> Json:
    """Return a dashboard."""
    words = {"@": selected(told["labels"]), "[rate]": "[$__rate_interval]", **told.get("words", {})}
    panels = list(placed(told["rows"]))
    for query in (query for each in panels for query in each.get("targets", ())):
        for word, text in words.items():
            query["expr"] = query["expr"].replace(word, text)
    return {
        "uid": f"agentd-{name}",
        "title": told["title"],
        "description": told["about"],
        "tags": ["agentd"],
        "schemaVersion": 38,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [
            {
                "title": "agentd",
                "type": "dashboards",
                "tags": ["agentd"],
                "icon": "external link",
                "tooltip": "",
                "asDropdown": False,
                "targetBlank": False,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": list(variables(told["metric"], told["labels"]))},
        "panels": panels,
    }


def dashboards() -> dict[str, str]:
    """Return the text of each dashboard by its path."""
    return {
        f"etc/grafana/{file.stem}.json": json.dumps(
            dashboard(file.stem, tomllib.loads(file.read_text())), indent=1, ensure_ascii=False
        )
        + "\n"
        for file in sorted((ROOT / "docs" / "dashboards").glob("*.toml"))
    }


if __name__ == "__main__":
    for file, text in dashboards().items():
        (ROOT / file).write_text(text)
