"""What Prometheus scrapes: /metrics in the text format 0.0.4 or OpenMetrics 1.0, and a landing page at /."""

from collections import Counter
from collections.abc import Iterable
from html import escape

from aiohttp import web

from agentd.plugin import (
    Answer,
    Config,
    Exporter,
    Family,
    Layout,
    Parameter,
    Principal,
    Route,
    Scope,
    UnknownCollectorError,
    counter,
    gauge,
    hookimpl,
)

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
DEADLINE = 10.0
"""Seconds a scrape may take where it does not say so itself: Prometheus's default timeout."""


PARAMETERS = (
    Parameter("collect[]", list[str], "Collectors that are asked; left out, all. Not together with `exclude[]`."),
    Parameter("exclude[]", list[str], "Collectors that are not asked."),
    Parameter("X-Prometheus-Scrape-Timeout-Seconds", str, "How long the scrape may take, in seconds.", "header"),
)
ANSWERS = (
    Answer(200, "The metrics, in the format that the header Accept prefers.", str, "text/plain"),
    Answer(200, "The metrics, in the format that the header Accept prefers.", str, "application/openmetrics-text"),
    Answer(400, "No collector of that name is enabled, or both parameters were there.", str, "text/plain"),
    Answer(
        503,
        "As many scrapes as may be are being answered; the header Retry-After says when to come again.",
        str,
        "text/plain",
    ),
)

REMEMBERED = 32
"""Combinations of Accept headers of which is remembered what they come to."""


class PrometheusConfig(Config):
    """Options of the Prometheus exporter."""

    path: str = "/metrics"
    """Path at which the metrics are found."""
    max_requests: int = 40
    """Scrapes that are answered at once; further ones get a 503. 0: no limit."""

    def __post_init__(self) -> None:
        wrong = []
        if not self.path.startswith("/") or "{" in self.path or self.path == "/":
            wrong.append(f'path must begin with "/" and name a page, such as "/metrics"; found "{self.path}"')
        if self.path in ("/livez", "/readyz") or self.path.startswith("/api/"):
            wrong.append(f"path is {self.path}, which the agent itself answers")
        if self.max_requests < 0:
            wrong.append(f"max_requests must be 0 or more, found {self.max_requests}")
        if wrong:
            raise ValueError("; ".join(wrong))


class Prometheus(Exporter[PrometheusConfig]):
    """Answers scrapes of Prometheus and of all that speak its formats."""

    name = "prometheus"

    requests = counter(
        "promhttp_metric_handler_requests_total", "Scrapes by the status of their answer.", ("code", "plugin")
    )
    in_flight = gauge("promhttp_metric_handler_requests_in_flight", "Scrapes that are being answered now.", ("plugin",))

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)  # type: ignore[arg-type]  # handed on as they came
        self._answered = Counter({"200": 0, "500": 0, "503": 0})
        self._in_flight = 0
        self._layout = Layout()
        self._negotiated: dict[tuple[str, str], tuple[bool, bool]] = {}

    def routes(self) -> Iterable[Route]:
        """Return the routes of the metrics and of the landing page."""
        return [
            Route(
                *("GET", self.config.path, self.scrape, Scope.METRICS_READ, "metrics for Prometheus"),
                tags=("metrics",),
                parameters=PARAMETERS,
                answers=ANSWERS,
                public=True,
            ),
            Route(
                *("GET", "/", self.landing, Scope.METRICS_READ, "where things are"),
                tags=("agent",),
                answers=(Answer(200, "A page for people.", str, "text/html"),),
            ),
        ]

    def about(self) -> Iterable[Family]:
        """Return the counters of scrapes, under the names that Prometheus's own client libraries use."""
        if len(self._answered) + 1 != self._layout.series:
            # Of several instances, those with names of their own are told apart by them.
            name = self.context.name if self.context.name != f"exporters.{self.name}" else None
            codes = self.requests({(code, name): 0.0 for code in self._answered})
            self._layout = Layout([codes, self.in_flight({(name,): 0.0})])
        return self._layout.fill([*map(float, self._answered.values()), float(self._in_flight)])

    async def scrape(self, request: web.BaseRequest, _principal: Principal) -> web.Response:
        """Answer a scrape, unless too many are being answered already."""
        if 0 < self.config.max_requests <= self._in_flight:
            self._answered["503"] += 1
            text = f"{self._in_flight} scrapes are being answered; max_requests is {self.config.max_requests}\n"
            return web.Response(status=503, text=text, headers={"Retry-After": "1"})
        self._in_flight += 1
        status = 500
        try:
            response = await self._scrape(request)
            status = response.status
            return response
        finally:
            self._in_flight -= 1
            self._answered[str(status)] += 1

    async def _scrape(self, request: web.BaseRequest) -> web.Response:
        query = request.query
        only, exclude = query.getall("collect[]", []), query.getall("exclude[]", [])
        if only and exclude:
            return web.Response(status=400, text="collect[] and exclude[] cannot be used together\n")
        try:
            snapshot = await self.gather(
                only=frozenset(only) if only else None,
                exclude=frozenset(exclude),
                deadline=deadline(request.headers.get("X-Prometheus-Scrape-Timeout-Seconds", "")),
            )
        except UnknownCollectorError as error:
            return web.Response(status=400, text=f"collect[]: no collector named {str(error)[:100]} is enabled\n")
        openmetrics, gzip = self._negotiate(
            request.headers.get("Accept", ""), request.headers.get("Accept-Encoding", "")
        )
        body = await self.render(snapshot, format="openmetrics" if openmetrics else "text", gzip=gzip)
        headers = {"Content-Type": OPENMETRICS if openmetrics else TEXT, "Vary": "Accept, Accept-Encoding"}
        if gzip:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    def _negotiate(self, accept: str, accept_encoding: str) -> tuple[bool, bool]:
        # A Prometheus sends the same two headers with every scrape.
        asked = (accept, accept_encoding)
        if asked not in self._negotiated:
            if len(self._negotiated) > REMEMBERED:
                self._negotiated.clear()
            self._negotiated[asked] = prefers_openmetrics(accept), accepts_gzip(accept_encoding)
        return self._negotiated[asked]

    async def landing(self, _request: web.BaseRequest, _principal: Principal) -> web.Response:
        """Show a person where things are."""
        pages = {
            self.config.path: "the metrics, for Prometheus",
            "/livez": "whether the agent answers",
            "/readyz": "whether it is ready to be scraped",
            "/api/v1/status": "its plugins, their last runs and errors (takes the scope admin)",
        }
        told = ((escape(path), text) for path, text in pages.items())
        links = "".join(f'<li><a href=".{path}">{path}</a>: {text}</li>' for path, text in told)
        page = f"<!doctype html><html lang=en><title>agentd</title><h1>agentd</h1><ul>{links}</ul></html>\n"
        return web.Response(text=page, content_type="text/html", charset="utf-8")


def deadline(header: str) -> float:
    """Return after how many seconds a scrape must be answered whose timeout is given in this header's value.

    A tenth of it, at most half a second, is left for the way back.
    """
    try:
        timeout = float(header)
    except ValueError:
        return DEADLINE
    if not 0 < timeout < 3600:
        return DEADLINE
    return timeout - min(0.5, timeout / 10)


def weights(header: str) -> dict[str, float]:
    """Return the alternatives of an Accept header (RFC 9110, 12.4.2) with their weights; a version stays in the name.

    Weights that are no numbers count as 0.
    """
    found: dict[str, float] = {}
    for part in header.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        kept = [name]
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
            elif key == "version":
                kept.append(parameter)
        if name:
            found[";".join(kept)] = weight
    return found


def prefers_openmetrics(header: str) -> bool:
    """Say whether a client asks for OpenMetrics 1.0 and does not like the text format better."""
    accepted = weights(header)
    openmetrics = max(
        accepted.get("application/openmetrics-text;version=1.0.0", 0.0),
        accepted.get("application/openmetrics-text", 0.0),
    )
    text = max(
        (weight for name, weight in accepted.items() if name in ("text/plain", "text/plain;version=0.0.4")), default=0.0
    )
    return openmetrics > 0 and openmetrics >= text


def accepts_gzip(header: str) -> bool:
    """Say whether a client takes gzip."""
    accepted = weights(header)
    return accepted.get("gzip", accepted.get("*", 0.0)) > 0


@hookimpl
def agentd_exporters() -> list[type[Prometheus]]:
    """Register the exporter."""
    return [Prometheus]
