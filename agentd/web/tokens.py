"""Who shows which token. Those of a file are read again when it changes: they come and go without a restart."""

import hmac
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from itertools import compress, repeat
from pathlib import Path
from typing import NamedTuple

from agentd.config import ConfigError, Token, WebSettings, read_tokens
from agentd.errors import text_of
from agentd.metrics.family import counter, gauge
from agentd.metrics.frame import Frame, Layout
from agentd.routes import Principal

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at whether the file has changed."""


class _Known(NamedTuple):
    digests: tuple[bytes, ...]
    principals: tuple[Principal, ...]


_NONE = _Known((), ())


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
        self.file = file
        """The file with more of them; None where there is none."""
        self.error = ""
        """Why the file could not be used when it was last read; empty where it could."""
        self._now = now
        self._lock = threading.Lock()
        self._configured = self._known = _known(tokens or {})
        self._filed = _NONE
        self._stamp: object = None
        self._failures = 0
        self._refused = 0
        metrics = (self.known, self.refused, self.failures, self.successful)
        self._layouts = tuple(Layout(metric(0.0) for metric in metrics[:count]) for count in (2, 4))

    @classmethod
    def of(cls, settings: WebSettings) -> "Tokens":
        """Return the tokens of the settings; those of the file are there after the first look."""
        return cls(settings.tokens, Path(settings.tokens_file) if settings.tokens_file else None)

    def replace(self, tokens: Mapping[str, Token], file: str | None) -> None:
        """Go by other tokens, and maybe another file, from now on. To be called in a thread: it waits for the disk."""
        path = Path(file) if file else None
        with self._lock:
            if path != self.file:
                self.file, self._stamp, self.error = path, None, ""
                self._take(_known(tokens), _NONE if path is None else self._read(path, _known(tokens), _NONE))
            else:
                self._take(_known(tokens), self._filed)

    def authenticate(self, token: str) -> Principal | None:
        """Return who shows this token; None where nobody has it, or it has expired, which is counted."""
        found = self.find(token)
        if found is None:
            self.refuse()
        return found

    def find(self, token: str) -> Principal | None:
        """Return whose token this is; None where nobody has it, or it has expired.

        How long that takes tells nothing of the tokens that there are: all are looked at, whichever it is.
        """
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()  # headers may hold what is no text
        digests, principals = self._known
        for found in list(compress(principals, map(hmac.compare_digest, digests, repeat(digest)))):
            if found.expires is None or found.expires > self._now():
                return found
        return None

    def bearer(self, headers: Sequence[str]) -> Principal | None:
        """Return who shows these headers ``Authorization``: one ``Bearer TOKEN``, and nothing else, is anybody."""
        scheme, _, token = (headers[0] if len(headers) == 1 else "").partition(" ")
        return self.authenticate(token.strip(" ") if scheme.lower() == "bearer" else "")

    def refuse(self) -> None:
        """Count a credential that is nobody's, or has expired."""
        self._refused += 1

    def look(self) -> None:
        """Read the file where it has changed. One that cannot be used leaves the tokens that there were; it is logged
        once. To be called in a thread: it waits for the disk.
        """
        with self._lock:
            if self.file is not None:
                self._take(self._configured, self._read(self.file, self._configured, self._filed))

    def families(self) -> Frame:
        """Return what is told about them: of the file only where there is one."""
        values = [float(len(self._known.digests)), float(self._refused)]
        if self.file is None:
            return self._layouts[0].fill(values)
        return self._layouts[1].fill([*values, float(self._failures), float(not self.error)])

    def _take(self, configured: "_Known", filed: "_Known") -> None:
        if configured is not self._configured or filed is not self._filed:
            self._configured, self._filed = configured, filed
            self._known = _Known(configured.digests + filed.digests, configured.principals + filed.principals)

    def _read(self, file: Path, configured: "_Known", before: "_Known") -> "_Known":
        """Return the tokens of the file; those before where it has not changed, or cannot be used."""
        stamp, error = _stamp(file)
        if stamp == self._stamp:
            return before
        self._stamp = stamp
        try:
            if error is not None:
                raise error
            known = _known(read_tokens(file))
            for digest, principal in zip(*known, strict=True):
                if digest in configured.digests:
                    raise ValueError(f"{file}: {principal.name}: its token is in the configuration, too")
        except ConfigError as problem:
            self._failed("; ".join(map(str, problem.problems)))
        except Exception as problem:  # noqa: BLE001  # whatever is wrong with the file, those who have a token keep it
            self._failed(text_of(problem))
        else:
            log.info("%d tokens read from %s", len(known.digests), file)
            self.error = ""
            return known
        return before

    def _failed(self, why: str) -> None:
        self._failures += 1
        if why != self.error:
            log.error("cannot use the file of tokens, those known before still count: %s", why)
        self.error = why


def _known(tokens: Mapping[str, Token]) -> _Known:
    digests: list[bytes] = []
    principals = []
    for name, token in tokens.items():
        for digest, expires in token.digests():
            digests.append(digest)
            ends = None if expires is None else expires.timestamp()
            principals.append(Principal(name, frozenset(token.scopes), tuple(token.robots), ends))
    return _Known(tuple(digests), tuple(principals))


def _stamp(file: Path) -> tuple[object, OSError | None]:
    """Return what differs where a file has changed, and why it cannot be looked at where it cannot."""
    try:
        status = os.stat(file)
    except OSError as error:
        return error.errno, error
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino), None
