"""``agentd events``."""

import os
import select
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.client import HTTPException, HTTPResponse

import click
import msgspec

from agentd.cli import common
from agentd.cli.client import NoAgentError, ask, begin
from agentd.status import Status

FOUND, FOLLOWED = 100, 10
"""Events that are shown where nobody says how many: of what was, and before what comes."""

PAGE = 1000
"""Events that are asked for at once."""

SILENT = 45.0
"""Seconds of silence after which a stream counts as lost: the agent says something every 15."""

AGAIN = 0.5
"""Seconds after which an agent that has gone is looked for again."""


class _Page(msgspec.Struct):
    events: list[msgspec.Raw]
    next: int | None = None


class _Meta(msgspec.Struct):
    seq: int


class _Numbered(msgspec.Struct):
    meta: _Meta


@click.command("events")
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--type", "types", metavar="GLOB", multiple=True, help="Such types only, `mission.*` say; repeatable.")
@click.option("--source", "sources", metavar="GLOB", multiple=True, help="Such sources only; repeatable.")
@click.option("--since", metavar="AGO", default="", help='How long ago at most, "10m" say, or seconds since 1970.')
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(0),
    help=f"The last N; left out: all with --since, {FOLLOWED} with --follow, {FOUND} otherwise.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole envelopes, one a line.")
@common
def command(
    *,
    follow: bool,
    types: tuple[str, ...],
    sources: tuple[str, ...],
    since: str,
    limit: int | None,
    as_json: bool,
    **_options: object,
) -> None:
    """Show what has happened, the oldest first, as the agent on this machine has it in its journal.

    With --follow, an agent that is restarted is waited for, and nothing is missed or shown twice. Ends with 2 where no
    agent answers.
    """
    wanted = {"type": ",".join(types), "source": ",".join(sources)}
    if limit is None and not since:
        limit = FOLLOWED if follow else FOUND
    show = _show_json if as_json else _lines()
    if not follow:
        show(find({**wanted, "since": since}, limit))
        return
    try:
        _leave_with_reader()
        agent = _status()
        # What the journal has at last: up to there events are looked up, from there on they are streamed.
        newest = find({}, 1)
        after = msgspec.json.decode(newest[0], type=_Numbered).meta.seq if newest else 0
        show(find({**wanted, "since": since}, limit, before=after + 1))
        for data in followed(wanted, after, agent):
            show([data])
    except KeyboardInterrupt:
        raise SystemExit(0) from None  # there is no other end


def find(query: Mapping[str, object], limit: int | None, *, before: int | None = None) -> list[bytes]:
    """Return the envelopes of the last events, the oldest first; all of them where there is no limit."""
    found: list[bytes] = []
    while limit is None or len(found) < limit:
        number = PAGE if limit is None else min(PAGE, limit - len(found))
        page = msgspec.json.decode(
            ask("/api/v1/events", query={**query, "limit": number, "before": before}), type=_Page
        )
        found += map(bytes, page.events)
        before = page.next
        if not before:
            break
    return found[::-1]


def followed(query: Mapping[str, object], after: int, agent: Status) -> Iterator[bytes]:
    """Yield the envelopes of what happens behind a number, for ever; an agent that has gone is waited for."""
    lost = False
    while True:
        try:
            if lost:
                before, agent = agent, _status()
                if _anew(before, agent, after):
                    after = 0
            headers = {"Last-Event-ID": str(after)}
            with begin("/api/v1/events/stream", query=query, headers=headers, timeout=SILENT) as answer:
                lost = False
                for seq, data in _messages(answer):
                    after = seq
                    yield data
        except (NoAgentError, OSError, HTTPException):
            pass
        if not lost:
            click.echo("agentd: the agent has gone; waiting until it is back", err=True)
        lost = True
        time.sleep(AGAIN)


def _status() -> Status:
    return msgspec.json.decode(ask("/api/v1/status"), type=Status)


def _anew(before: Status, now: Status, after: int) -> bool:
    """Say whether an agent that is back numbers its events anew, as one does that has its journal in memory."""
    journal = now.journal
    if journal is None:
        return False
    in_memory = not journal.durable and not journal.error
    return journal.last < after or (in_memory and now.started_at != before.started_at)


def _messages(answer: HTTPResponse) -> Iterator[tuple[int, bytes]]:
    """Yield number and envelope of each server-sent event."""
    rest = b""
    while chunk := answer.read1(1 << 16):
        *whole, rest = (rest + chunk).split(b"\n\n")
        for message in whole:
            fields = dict(line.split(b": ", 1) for line in message.split(b"\n") if line[:1] not in (b"", b":"))
            if fields:
                yield int(fields[b"id"]), fields[b"data"]


def _show_json(envelopes: Iterable[bytes]) -> None:
    text = b"".join(b"%b\n" % envelope for envelope in envelopes)
    if text:
        click.echo(text, nl=False)


def _lines() -> Callable[[Iterable[bytes]], None]:
    from agentd.cli.lines import Lines
    from agentd.events.envelope import Event

    lines = Lines()
    decode = msgspec.json.Decoder(Event).decode

    def show(envelopes: Iterable[bytes]) -> None:
        events = [decode(envelope) for envelope in envelopes]
        for event in events:
            lines.measure(event)
        text = "".join(f"{lines.line(event)}\n" for event in events)
        if text:
            click.echo(text, nl=False)

    return show


def _leave_with_reader() -> None:
    """Have the process end when nobody reads its output any more: until there is an event it would not notice."""

    def watch() -> None:
        poll = select.poll()
        poll.register(1, 0)
        poll.poll()
        os._exit(1)

    if stat.S_ISFIFO(os.fstat(1).st_mode):
        threading.Thread(target=watch, daemon=True).start()
