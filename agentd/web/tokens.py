"""Who shows which token. Those of a file are read again when it changes: they come and go without a restart."""

import asyncio
import contextlib
import hmac
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from itertools import compress, repeat
from pathlib import Path
from typing import Any, NamedTuple

from agentd.config import ConfigError, Token, read_tokens
from agentd.errors import text_of
from agentd.metrics.family import Metric, counter, gauge
from agentd.metrics.frame import Frame, Layout
from agentd.routes import Principal

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at whether the file has changed."""


class _Known(NamedTuple):
    digests: tuple[bytes, ...]
    principals: tuple[Principal, ...]


class Tokens:
    """The tokens of the configuration (``[web.tokens]``), and those of a file."""

    known = gauge("agentd_tokens", "Tokens that are known, those that have expired included.")
    refused = counter("agentd_credentials_refused_total", "Credentials that were shown and are nobody's, or expired.")
    failures = counter("agentd_tokens_file_failures_total", "Times that a changed file of tokens could not be used.")
    successful = gauge(
        "agentd_tokens_file_last_read_successful",
        "Whether the file of tokens could be used when it was last read (1), or those before still count (0).",
    )

    def __init__(
        self,
        tokens: Mapping[str, Token] | None = None,
        file: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.error = ""
        """Why the file could not be used when it was last read; empty where it could."""
        self._file = file
        self._now = now
        self._configured = _known(tokens or {})
        self._known = self._configured
        self._stamp: object = None
        self._failures = 0
        self._refused = 0
        metrics: tuple[Metric, ...] = (self.known, self.refused)
        self._layout = Layout(metric(0.0) for metric in (*metrics, *((self.failures, self.successful) if file else ())))

    def authenticate(self, token: str) -> Principal | None:
        """Return who shows this token; None where nobody has it, or it has expired.

        How long that takes tells nothing of the tokens that there are: all are looked at, whichever it is.
        """
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()  # headers may hold what is no text
        digests, principals = self._known
        for found in list(compress(principals, map(hmac.compare_digest, digests, repeat(digest)))):
            if found.expires is None or found.expires > self._now():
                return found
        self._refused += 1
        return None

    def bearer(self, headers: Sequence[str]) -> Principal | None:
        """Return who shows these headers ``Authorization``: one ``Bearer TOKEN``, and nothing else, is anybody."""
        scheme, _, token = (headers[0] if len(headers) == 1 else "").partition(" ")
        return self.authenticate(token.strip(" ") if scheme.lower() == "bearer" else "")

    def look(self) -> None:
        """Read the file where it has changed. One that cannot be used leaves the tokens that there were; it is logged
        once. To be called in a thread: it waits for the disk.
        """
        if self._file is None:
            return
        stamp, error = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            if error is not None:
                raise error
            known = _known(read_tokens(self._file))
            for digest, principal in zip(*known, strict=True):
                if digest in self._configured.digests:
                    raise ValueError(f"{self._file}: {principal.name}: its token is in the configuration, too")
        except ConfigError as problem:
            self._failed("; ".join(map(str, problem.problems)))
        except Exception as problem:  # noqa: BLE001  # whatever is wrong with the file, those who have a token keep it
            self._failed(text_of(problem))
        else:
            log.info("%d tokens read from %s", len(known.digests), self._file)
            self.error = ""
            configured = self._configured
            self._known = _Known(configured.digests + known.digests, configured.principals + known.principals)

    async def watch(self, in_worker: Callable[..., Any]) -> None:
        """Look every second, until cancelled. Ends at once where there is no file."""
        while self._file is not None:
            await asyncio.sleep(LOOK_EVERY)
            with contextlib.suppress(RuntimeError):  # there can be no further thread now
                await in_worker(self.look)

    def families(self) -> Frame:
        """Return what is told about them: of the file only where there is one."""
        values = [float(len(self._known.digests)), float(self._refused)]
        if self._file is not None:
            values += [float(self._failures), float(not self.error)]
        return self._layout.fill(values)

    def _failed(self, why: str) -> None:
        self._failures += 1
        if why != self.error:
            log.error("cannot use the file of tokens, those known before still count: %s", why)
        self.error = why


def _known(tokens: Mapping[str, Token]) -> _Known:
    principals = (
        Principal(
            name,
            frozenset(token.scopes),
            tuple(token.robots),
            None if token.expires is None else token.expires.timestamp(),
        )
        for name, token in tokens.items()
    )
    return _Known(tuple(token.digest() for token in tokens.values()), tuple(principals))


def _stamp(file: Path) -> tuple[object, OSError | None]:
    """Return what differs where a file has changed, and why it cannot be looked at where it cannot."""
    try:
        status = os.stat(file)
    except OSError as error:
        return error.errno, error
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino), None
