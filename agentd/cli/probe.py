"""What ``agentd check --probe`` does: each plugin that talks to somebody tries whether they are there."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

import click

from agentd import ending, instances
from agentd.cli import LEAVE_WITHIN
from agentd.config import Instance, Settings
from agentd.errors import text_of
from agentd.host import Host
from agentd.instances import Running
from agentd.plugin import Context, Plugin, Sink
from agentd.registry import Registry

WITHIN = 20.0
"""Seconds that one may take."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a try."""

    plugin: str
    found: str = ""
    wrong: str = ""


def probe(settings: Settings, registry: Registry) -> bool:
    """Try all at once, print a line for each, and say whether all is well."""
    from agentd.cli.lines import escaped

    with asyncio.Runner() as runner:
        answers = runner.run(tried(settings, registry))
        timer = ending.within(LEAVE_WITHIN, 1)  # a plugin may have left behind what does not end
    timer.cancel()
    for answer in answers:
        text = f"WRONG: {answer.wrong}" if answer.wrong else answer.found
        click.echo(f"{answer.plugin}: {escaped(text)}", err=bool(answer.wrong))
    return not any(answer.wrong for answer in answers)


async def tried(settings: Settings, registry: Registry) -> list[Answer]:
    """Return what became of each sink, and of every other plugin that can be tried."""
    host = Host(settings.host)

    def context(instance: Instance) -> Context:
        return Context(name=instance.key, host=host, labels=settings.agent.labels)

    wanted = [one for one in settings.instances if _can_be_tried(registry.code(one.kind, one.plugin))]
    return await asyncio.gather(*map(_try, instances.build(wanted, registry, context)))


def _can_be_tried(cls: object) -> bool:
    return isinstance(cls, type) and (
        issubclass(cls, Sink) or (issubclass(cls, Plugin) and cls.probe is not Plugin.probe)
    )


async def _try(running: Running) -> Answer:
    key, plugin = running.instance.key, running.plugin
    if plugin is None:
        return Answer(key, wrong=running.error)
    try:
        async with asyncio.timeout(WITHIN):
            return Answer(key, str(await plugin.probe()))
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's failure is its own
        return Answer(key, wrong=_said(error) or f"no answer within {WITHIN:g} s")
    finally:
        await _stop(plugin)


async def _stop(plugin: Plugin[Any]) -> None:
    with contextlib.suppress(Exception, SystemExit):
        async with asyncio.timeout(LEAVE_WITHIN):
            await plugin.stop()


def _said(error: BaseException) -> str:
    """Return what an error says: with its type where its text alone may say too little, as that of a KeyError does."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if isinstance(error, (LookupError, TypeError, AttributeError)) else text
