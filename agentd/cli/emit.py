"""``agentd emit``."""

import re
import sys
import time
from typing import Any

import click
import msgspec

from agentd.cli import common, fail
from agentd.cli.client import NoAgentError, RefusedError, ask

LATER = 75
"""Exit status where nothing can be written down now: EX_TEMPFAIL of sysexits.h."""

AGAIN = 0.5
"""Seconds after which that is tried again."""


@click.command("emit")
@click.argument("type_", metavar="TYPE")
@click.argument("values", metavar="[KEY=VALUE | KEY:=JSON]...", nargs=-1)
@click.option("--source", default="cli", show_default=True, help="Who says so.")
@click.option("--target", help="Whom it is about or meant for.")
@click.option("--payload", metavar="JSON", help="The payload as an object, or - to read that; values are put into it.")
@click.option("--wait", metavar="DURATION", default="0s", show_default=True, help="How long to try where it cannot be.")
@common
def command(
    *,
    type_: str,
    values: tuple[str, ...],
    source: str,
    target: str | None,
    payload: str | None,
    wait: str,
    **_options: object,
) -> None:
    """Say that something happened: an event of TYPE, `backup.finished` say, and print its id when it is on disk.

    KEY=VALUE puts a text into the payload, KEY:=JSON a number, a list or what else JSON has; a dot in KEY leads into an
    object. Ends with 1 where the agent refuses the event, with 75 where nothing can be written down now, and with 2
    where no agent answers.
    """
    from agentd.events.envelope import Event, new_id

    now = time.time()
    # With an id from the beginning, an event that is sent again because the answer was lost is known to be the same.
    event = Event(
        id=new_id(now), type=type_, source=source, target=target, timestamp=now, payload=content(payload, values)
    )
    try:
        body = msgspec.json.encode(event)
    except UnicodeEncodeError:
        raise click.UsageError("expected UTF-8") from None
    ids = msgspec.json.decode(_sent(body, time.monotonic() + _seconds(wait)), type=dict[str, list[str]])["ids"]
    if not ids:
        fail("a plugin of the agent has dropped the event")
    click.echo(ids[0])


def content(payload: str | None, values: tuple[str, ...]) -> dict[str, Any]:
    """Return the payload that a command line means. Raises ``click.UsageError``."""
    if payload == "-":
        payload = sys.stdin.read()
    result = _json("--payload", payload, dict[str, Any]) if payload is not None else {}
    given = set()
    for text in values:
        parts = re.fullmatch(r"([^=]+?)(:?=)(.*)", text, re.DOTALL)
        if parts is None:
            raise click.UsageError(f"expected KEY=VALUE or KEY:=JSON; found {text!r}")
        key, operator, value = parts.groups()
        if key in given:
            raise click.UsageError(f"{key} is given twice")
        given.add(key)
        _put(result, key, _json(key, value) if operator == ":=" else value)
    return result


def _put(place: dict[str, Any], key: str, value: Any) -> None:
    *path, name = key.split(".")
    for step in path:
        place = place.setdefault(step, {})
        if not isinstance(place, dict):
            raise click.UsageError(f"{key}: {step} is no object")
    place[name] = value


def _json(what: str, text: str, type_: Any = Any) -> Any:
    try:
        return msgspec.json.decode(text, type=type_)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise click.UsageError(f"{what}: expected {'JSON' if type_ is Any else 'an object as JSON'}: {error}") from None


def _seconds(text: str) -> float:
    from agentd.options import Duration

    try:
        return Duration.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--wait") from None


def _sent(body: bytes, end: float) -> bytes:
    """Post an event, and again until then where it cannot be taken; return what the agent answers."""
    while True:
        try:
            return ask("/api/v1/events", body=body)
        except (NoAgentError, RefusedError) as error:
            if isinstance(error, RefusedError) and error.status != 503:
                raise
            left = end - time.monotonic()
            if left <= 0:
                if isinstance(error, RefusedError):
                    fail(error.message, LATER)
                raise
            time.sleep(min(AGAIN, left))
