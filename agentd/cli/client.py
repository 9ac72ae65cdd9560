"""How the command line asks the agent that runs on this machine: HTTP over its Unix socket."""

import http.client
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import click
import msgspec

from agentd.directories import socket_candidates

TIMEOUT = 10.0
"""Seconds that the agent may take to answer, or be silent in between."""


class Failure(click.ClickException):
    """Ends the command with one line and its exit status where it is not caught."""

    def show(self, file: object = None) -> None:
        """Print the line as all errors of the command line are printed."""
        click.echo(f"agentd: {self.message}", err=True)


class NoAgentError(Failure):
    """No agent answers."""

    exit_code = 2


class RefusedError(Failure):
    """The agent answers that it cannot do what it was asked for; the text is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Connection(http.client.HTTPConnection):
    def __init__(self, file: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._file = file

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._file))


def begin(
    path: str,
    *,
    query: Mapping[str, object] | None = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    method: str | None = None,
    timeout: float = TIMEOUT,
) -> http.client.HTTPResponse:
    """Ask the agent, and return its answer before its body was read. Parameters that are empty are left out.

    Raises ``NoAgentError``, and ``RefusedError`` for a status that is no success.
    """
    connection = _connected(timeout)
    given = {name: value for name, value in (query or {}).items() if value not in (None, "")}
    target = f"{path}?{urlencode(given)}" if given else path
    try:
        verb = method or ("GET" if body is None else "POST")
        connection.request(verb, target, body, {"Connection": "close", **(headers or {})})
        answer = connection.getresponse()
        if answer.status >= 300:
            raise RefusedError(answer.status, _reason(answer))
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise NoAgentError(f"the agent does not answer: {error or type(error).__name__}") from error
    return answer


def ask(
    path: str, *, query: Mapping[str, object] | None = None, body: bytes | None = None, method: str | None = None
) -> bytes:
    """Ask the agent, and return what it answers. Raises as ``begin`` does."""
    with begin(path, query=query, body=body, method=method) as answer:
        try:
            return answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NoAgentError(f"the agent does not end its answer: {error or type(error).__name__}") from error


def _connected(timeout: float) -> _Connection:
    """Return a connection to the first place where somebody listens."""
    files = socket_candidates()
    for file in files:
        connection = _Connection(file, timeout)
        try:
            connection.connect()
        except OSError:
            connection.close()
        else:
            return connection
    raise NoAgentError(
        f"no agent answers at {', '.join(map(str, files))}. Is it running, with the same STATE_DIRECTORY and "
        "RUNTIME_DIRECTORY, and may you open its socket?"
    )


def _reason(answer: http.client.HTTPResponse) -> str:
    """Return what the agent says of its refusal: the API says it as JSON, all else in a line."""
    body = answer.read()
    try:
        return msgspec.json.decode(body, type=dict[str, str])["error"]
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        return body.decode(errors="replace").strip() or f"{answer.status} {answer.reason}"
