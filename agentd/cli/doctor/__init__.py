"""``agentd doctor``: looks at whatever may keep the agent from its work, and says what to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import msgspec

from agentd.cli import common

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentd.cli.doctor.checks import Finding


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@common
def command(config_file: str | None, *, as_json: bool, **options: object) -> None:
    """Look at permissions, the clock, the disk, ports, credentials, versions and limits, and say what to do.

    It looks with the eyes of who calls it at what the agent's user may do; call it as root to have it see everything.
    It works without a running agent as well. Ends with 1 where something is bad.
    """
    findings = found(config_file, options)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(findings), indent=2))
    else:
        click.echo("\n".join(lines(findings)))
    if any(finding.level == "bad" for finding in findings):
        raise SystemExit(1)


def found(config_file: str | None, options: Mapping[str, object]) -> list[Finding]:
    """Return what the doctor finds."""
    from agentd.cli.client import NoAgentError, RefusedError
    from agentd.cli.doctor.checks import examine
    from agentd.cli.doctor.gather import gather
    from agentd.cli.loading import of_agent, overriding, use
    from agentd.cli.status import current
    from agentd.config import ConfigError, find, read
    from agentd.registry import Registry

    try:
        status = current()
    except (NoAgentError, RefusedError) as error:
        document = read(find(config_file))
        said: object = error.message
    else:
        document = read(find(of_agent(config_file, status)))
        said = status
    settings, registry = None, None
    problems: tuple[str, ...] = ()
    try:
        settings, registry = use(document, overriding(options), "error")
    except ConfigError as error:
        problems = tuple(map(str, error.problems))
    return examine(gather(document, settings, problems, registry or Registry(), said))  # type: ignore[arg-type]


def lines(findings: list[Finding]) -> list[str]:
    """Return a line for each finding, what is bad first, and below it what to do."""
    from agentd.cli.lines import escaped, width
    from agentd.cli.screen import folded

    order = {"bad": 0, "warn": 1, "ok": 2}
    shown = []
    for finding in sorted(findings, key=lambda each: order[each.level]):
        shown += folded(escaped(f"{finding.level:4}  {finding.check}: {finding.text}"), width())
        if finding.advice:
            shown += folded(escaped(f"      -> {finding.advice}"), width())
    return shown
