"""The API of events: what happened, what happens, what somebody else has to say, and how the sinks are."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import msgspec
from aiohttp import web

from agentd.events.envelope import LONGEST_NAME, Event, EventError, Record, decode
from agentd.events.flow import Flow
from agentd.events.wanted import wants
from agentd.options import Duration
from agentd.plugin import NotDurable
from agentd.routes import Principal, Route, Scope
from agentd.web import answers
from agentd.web.connections import SENDING

PAGE, MOST = 100, 1000
"""Events in an answer: by default, and at most."""

LOOK = 20_000
"""Events that are looked at for one answer; it says where the next has to go on."""

BATCH = 1000
"""Events that may be posted at once."""

COMMENT_EVERY = 15.0
"""Seconds of silence after which a stream gets a comment, so that nobody on the way takes it for dead."""

RETRY_AFTER = "5"
"""Seconds after which to come again where nothing can be written down."""

POSTED = "api"
"""The source of an event whose sender names none."""

JSON = "application/json"


class Refused(Exception):
    """A request that cannot be answered as it is; the text says what would be right."""

    status = 400


class Missing(Refused):
    """A request for something that there is not."""

    status = 404


def routes(flow: Flow) -> list[Route]:
    """Return the routes of events and sinks."""
    events = _Events(flow)
    sinks = _Sinks(flow)
    read, write, admin = Scope.EVENTS_READ, Scope.EVENTS_WRITE, Scope.ADMIN
    return [
        Route(
            *("GET", "/api/v1/events", _told(events.find), read, "the last events, the newest first"),
            tags=("events",),
            parameters=answers.WHICH,
            answers=answers.FOUND,
        ),
        Route(
            *("GET", "/api/v1/events/stream", _told(events.stream), read, "events as they happen (server-sent events)"),
            description=answers.STREAM,
            tags=("events",),
            parameters=answers.FROM,
            answers=answers.STREAMED,
        ),
        Route(
            *("POST", "/api/v1/events", _told(events.take), write, "one event, or a list of them"),
            tags=("events",),
            body=answers.POSTED,
            answers=answers.TAKEN,
        ),
        Route(
            *("GET", "/api/v1/sinks", _told(sinks.show), admin, "how the sinks are"),
            tags=("sinks",),
            answers=answers.SINKS,
        ),
        Route(
            *("GET", "/api/v1/sinks/{name}/dead", _told(sinks.dead), admin, "events that a sink's receiver refused"),
            tags=("sinks",),
            parameters=answers.LETTERS_OF_SINK,
            answers=answers.LETTERS,
        ),
        Route(
            *("POST", "/api/v1/sinks/{name}/replay", _told(sinks.replay), admin, "deliver once more"),
            tags=("sinks",),
            parameters=answers.REPLAY_OF_SINK,
            answers=answers.REPLAYING,
        ),
        Route(
            *("POST", "/api/v1/sinks/{name}/skip", _told(sinks.skip), admin, "give up what waits"),
            tags=("sinks",),
            parameters=answers.OF_SINK,
            answers=answers.SKIPPED,
        ),
    ]


class _Events:
    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    async def find(self, request: web.BaseRequest) -> web.StreamResponse:
        query = _Query(request.query)
        wanted, journal = query.wanted(), self._flow.journal
        since, until, limit = query.time("since"), query.time("until"), query.limit()
        before: int | None = query.number("before", 0, 1 << 62) or None
        query.end()
        records: list[Record] = []
        lowest = (before or journal.last + 1) - LOOK
        while len(records) < limit:
            found = await journal.search(before, wanted=wanted, events=limit - len(records))
            if found.reached == before or (before is None and not found.records and found.reached >= 1 << 62):
                before = None  # this was all
                break
            before = found.reached
            records += [record for record in found.records if _within(record, since, until)]
            if since is not None and found.written < since:
                before = None  # what was written down before them is older still; their own time may be any
                break
            if before <= max(1, lowest):
                break
        following = {"before": before} if before is not None and before > 1 else None
        body = b'{"events":[%b],"next":%b}' % (
            b",".join(record.json for record in records),
            msgspec.json.encode(following and following["before"]),
        )
        return web.Response(body=body, content_type=JSON)

    async def stream(self, request: web.BaseRequest) -> web.StreamResponse:
        query = _Query(request.query)
        wanted, journal = query.wanted(), self._flow.journal
        start: str | None = request.headers.get("Last-Event-ID") or request.query.get("after")
        query.known("after")
        query.end()
        if start is not None and not re.fullmatch("[0-9]{1,18}", start):
            raise Refused(f"Last-Event-ID: expected the number of an event; found {start[:40]!r}")
        at = journal.last if start is None else int(start)
        if at > journal.last:  # a number of another journal: this one is new to whoever asks
            at = 0
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        try:
            await _send(response, b": the stream begins\n\n")
            while True:
                found = await journal.read(at, wanted=wanted)
                if found.records:
                    await _send(response, b"".join(map(_sse, found.records)))
                if found.reached > at:
                    at = found.reached
                    continue
                try:
                    await asyncio.wait_for(journal.wait(at), COMMENT_EVERY)
                except TimeoutError:
                    await _send(response, b":\n\n")
        except (ConnectionError, TimeoutError):  # gone, or does not read: it may come again with the last number
            if request.transport is not None:
                request.transport.abort()
        return response

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        _Query(request.query).end()
        try:
            async with asyncio.timeout(SENDING):
                body = await request.read()
        except web.RequestPayloadError as error:
            raise Refused(f"the body cannot be read: {' '.join(str(error).split())}") from None
        events = list(posted(body))
        for event in events:
            event.source = event.source or POSTED
        try:
            taken = await self._flow.bus.commit(events)
        except NotDurable as error:
            return _error(503, f"nothing can be written down now: {error}", {"Retry-After": RETRY_AFTER})
        except EventError as error:
            raise Refused(str(error)) from None
        return web.Response(status=201, body=msgspec.json.encode({"ids": [e.id for e in taken]}), content_type=JSON)


class _Sinks:
    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    async def show(self, request: web.BaseRequest) -> web.StreamResponse:
        _Query(request.query).end()
        return _answer(self._flow.sinks())

    async def dead(self, request: web.BaseRequest) -> web.StreamResponse:
        query = _Query(request.query)
        after, limit = query.number("after", 0, 1 << 62), query.limit()
        query.end()
        letters = await self._flow.journal.dead(self._named(request), after, limit)
        return _answer(
            [
                {
                    "number": each.number,
                    "time": each.time,
                    "reason": each.reason,
                    "event": msgspec.Raw(each.record.json),
                }
                for each in letters
            ]
        )

    async def replay(self, request: web.BaseRequest) -> web.StreamResponse:
        query = _Query(request.query)
        after = query.number("after", -1, 1 << 62)
        query.end()
        delivery = self._flow.deliveries[self._named(request)]
        if after >= 0:
            delivery.rewind(after)
        else:
            delivery.replay()
        return _answer({"replaying": "events" if after >= 0 else "dead letters"})

    async def skip(self, request: web.BaseRequest) -> web.StreamResponse:
        _Query(request.query).end()
        return _answer({"skipped": await self._flow.deliveries[self._named(request)].skip()})

    def _named(self, request: web.BaseRequest) -> str:
        name = f"sinks.{request['name'].removeprefix('sinks.')}"
        if name not in self._flow.deliveries:
            known = ", ".join(self._flow.deliveries) or "none"
            raise Missing(f"there is no sink {name[:100]}; there are: {known}")
        return name


class _Query:
    """The parameters of a request. Unknown ones are refused: a misspelt filter would let everything pass."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = parameters
        self._known: set[str] = set()

    def known(self, name: str) -> str:
        self._known.add(name)
        return self._parameters.get(name, "")

    def wanted(self) -> Callable[[str, str], bool] | None:
        return wants(self._patterns("type"), self._patterns("source"))

    def _patterns(self, name: str) -> list[str]:
        patterns = self.known(name).split(",") if self.known(name) else ["*"]
        for pattern in patterns:
            if len(pattern) > LONGEST_NAME:  # it takes more than its length in time to understand one
                raise Refused(f"{name}: expected at most {LONGEST_NAME} characters; found {pattern[:40]!r}")
        return patterns

    def limit(self) -> int:
        limit = self.number("limit", PAGE, MOST)
        if not limit:
            raise Refused("limit: expected at least 1")
        return limit

    def number(self, name: str, default: int, most: int) -> int:
        text = self.known(name)
        if name not in self._parameters:
            return default
        if not re.fullmatch("[0-9]{1,18}", text):
            raise Refused(f"{name}: expected a whole number; found {text[:40]!r}")
        return min(int(text), most)

    def time(self, name: str) -> float | None:
        text = self.known(name)
        if not text:
            return None
        if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text):
            return float(text)
        try:
            return time.time() - Duration.parse(text)
        except ValueError:
            raise Refused(
                f'{name}: expected seconds since 1970, or how long ago, such as "10m"; found {text[:40]!r}'
            ) from None

    def end(self) -> None:
        for name in self._parameters:
            if name not in self._known:
                raise Refused(f"{name[:40]}: no such parameter; there are {', '.join(sorted(self._known)) or 'none'}")


def posted(body: bytes) -> Iterator[Event]:
    """Yield the events in the body of a request: an object, or a list of them. Raises ``Refused``."""
    if not body.lstrip().startswith(b"["):
        try:
            yield decode(body)
        except EventError as error:
            raise Refused(str(error)) from None
        return
    try:
        parts = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"expected a list of events as JSON: {error}") from None
    if len(parts) > BATCH:
        raise Refused(f"expected at most {BATCH} events at once; found {len(parts)}")
    for place, part in enumerate(parts):
        try:
            yield decode(bytes(part))
        except EventError as error:
            raise Refused(f"event {place}: {error}") from None


def _within(record: Record, since: float | None, until: float | None) -> bool:
    if since is None and until is None:
        return True
    if not record.sound:
        return False
    timestamp = record.event.timestamp
    return (since is None or timestamp >= since) and (until is None or timestamp <= until)


def _sse(record: Record) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (record.seq, record.type.encode(), record.json)


async def _send(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(SENDING):
        await response.write(data)


def _told(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[[web.BaseRequest, Principal], Awaitable[web.StreamResponse]]:
    async def answer(request: web.BaseRequest, _principal: Principal) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as error:
            return _error(error.status, str(error))
        except web.HTTPRequestEntityTooLarge:
            return _error(413, f"at most {request._client_max_size >> 10} KiB at once")  # noqa: SLF001  # no other way

    return answer


def _answer(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type=JSON)


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode({"error": text}), content_type=JSON, headers=dict(headers or {})
    )
