"""Tokens: who may do what, as the configuration says, or a file that is read again while the agent runs."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import msgspec

from agentd.config.convert import to_struct
from agentd.config.problems import ConfigError, Problem
from agentd.config.source import Document, read_one
from agentd.config.spelling import found
from agentd.options import Config, Secret
from agentd.routes import Scope

SHORTEST = 16
"""Characters of a token at least: what is shorter can be guessed by trying."""

_HEXADECIMAL = re.compile("[0-9A-Fa-f]{64}")


class Previous(Config, frozen=True):
    """A token that another has replaced, for as long as it still goes."""

    sha256: Secret
    """Its SHA-256 in hexadecimal."""
    expires: Annotated[datetime, msgspec.Meta(tz=True)]
    """When it ends."""

    def __post_init__(self) -> None:
        if not _HEXADECIMAL.fullmatch(self.sha256.reveal()):
            raise ValueError("expected sha256 as 64 hexadecimal digits, such as `printf %s TOKEN | sha256sum` prints")


class Token(Config, frozen=True):
    """What somebody may do who shows a token, as ``Authorization: Bearer TOKEN``."""

    token: Secret | None = None
    """The token itself: at least 16 characters of ASCII without blanks, from ``openssl rand -hex 32`` say."""
    sha256: Secret | None = None
    """In its place, its SHA-256 in hexadecimal: whoever reads the file then has no token."""
    robots: list[str] = []
    """Robots that it may write as: patterns of their ids, in which ``*`` is any text and ``?`` any character."""
    scopes: list[Scope] = msgspec.field(default_factory=lambda: [Scope.ROBOTS_WRITE])
    """What it may do."""
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    """When it ends; left out, never."""
    previous: list[Previous] = []
    """Those that it has replaced and that still go, as ``agentd token rotate`` leaves them: ``sha256`` and
    ``expires`` of each."""

    def __post_init__(self) -> None:
        if (self.token is None) == (self.sha256 is None):
            raise ValueError("expected either token or sha256")
        if self.token is not None and not re.fullmatch(rf"[!-~]{{{SHORTEST},}}", self.token.reveal()):
            raise ValueError(
                f"expected a token of at least {SHORTEST} characters, letters, digits and signs of ASCII without "
                "blanks; `openssl rand -hex 32` makes one"
            )
        if self.sha256 is not None and not _HEXADECIMAL.fullmatch(self.sha256.reveal()):
            raise ValueError("expected sha256 as 64 hexadecimal digits, such as `printf %s TOKEN | sha256sum` prints")

    def digest(self) -> bytes:
        """Return the SHA-256 of the token."""
        if self.sha256 is not None:
            return bytes.fromhex(self.sha256.reveal())
        return sha256((self.token or Secret("")).reveal().encode()).digest()

    def digests(self) -> Iterator[tuple[bytes, datetime | None]]:
        """Yield the SHA-256 of the token, and of those before it that still go, each with when it ends."""
        yield self.digest(), self.expires
        for each in self.previous:
            ends = each.expires if self.expires is None else min(each.expires, self.expires)
            yield bytes.fromhex(each.sha256.reveal()), ends


def read_tokens(path: Path) -> dict[str, Token]:
    """Return the tokens of a file by the names of their principals. Raises ``ConfigError`` with all that is wrong."""
    document = read_one(path)
    problems = list(document.problems)
    tokens: dict[str, Token] = {}
    for name, table in document.values.items():
        if not isinstance(table, Mapping):
            problems.append(document.problem((name,), "expected a table for each principal, [NAME] with its token"))
            continue
        token = to_struct(Token, table, (name,), document, problems)
        if token is not None:
            tokens[name] = token
    problems += doubles(tokens, (), document)
    if problems:
        raise ConfigError(problems)
    return tokens


def doubles(tokens: Mapping[str, Token], path: tuple[str, ...], document: Document) -> Iterator[Problem]:
    """Yield a problem for each token that two principals have: nobody could say which of them asks."""
    owners: dict[bytes, str] = {}
    for name, token in tokens.items():
        others = {owners.setdefault(digest, name) for digest, _ in token.digests()} - {name}
        for other in sorted(others):
            yield document.problem((*path, name), f"the same token as {found(other)}: give each one of its own")
