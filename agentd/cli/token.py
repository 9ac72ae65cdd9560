"""``agentd token``."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec

from agentd.cli import common, fail
from agentd.cli.loading import CONFIGURATION, refuse
from agentd.config import ConfigError, Token, WebSettings, core, find, read, suggest
from agentd.config.tokenfile import TokenFileError, locked, new_token, put, table_of, tokens_of
from agentd.options import Duration, Secret
from agentd.routes import Scope


def _moment(_context: click.Context, _option: click.Parameter, value: str | None) -> datetime | None:
    """Return a point of time with its zone, or a length of time from now on, as a point in whole seconds."""
    if value is None:
        return None
    try:
        moment = datetime.now(UTC) + timedelta(seconds=Duration.parse(value))
    except (ValueError, OverflowError):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise click.BadParameter(f'expected "90d", or 2030-01-31T12:00:00Z; found {value!r}') from None
        moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    if moment <= datetime.now(UTC):
        raise click.BadParameter(f"{value} is over")
    return moment.astimezone(UTC).replace(microsecond=0)


def _length(_context: click.Context, _option: click.Parameter, value: str) -> timedelta:
    """Return a length of time."""
    try:
        return timedelta(seconds=Duration.parse("0s" if value == "0" else value))
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(str(error)) from None


FILE = click.option("--file", type=click.Path(path_type=Path), help="The file of tokens, instead of [web] tokens_file.")
EXPIRES = click.option(
    "--expires", callback=_moment, metavar="WHEN", help="When it ends: 90d, or 2030-01-31T12:00:00Z."
)


@click.group("token")
@common
def command(**_options: object) -> None:
    """Make, list, replace and revoke tokens, in the file that [web] tokens_file names.

    A running agent goes by it within a second. The file has no token, only hashes: each is shown once, when it is made.
    """


@command.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice([str(scope) for scope in Scope]), help="May repeat."
)
@click.option("--robot", "robots", multiple=True, metavar="PATTERN", help="Robots that it may write as.")
@EXPIRES
@FILE
@common
def create(
    name: str,
    scopes: tuple[str, ...],
    robots: tuple[str, ...],
    expires: datetime | None,
    file: Path | None,
    **options: Any,
) -> None:
    """Make a token and print it, alone, on standard output.

    Without --scope it may write as robots (robots:write): as those that --robot names, or as the one of its own name.
    """
    web, path = _place(file, options)
    chosen = [Scope(scope) for scope in scopes] or [Scope.ROBOTS_WRITE]
    if Scope.ROBOTS_WRITE in chosen and not robots and not scopes:
        robots = (name,)
    token, digest = new_token()
    made = Token(sha256=Secret(digest), scopes=chosen, robots=list(robots), expires=expires)
    with _reported(), locked(path):
        if name in tokens_of(path):
            raise TokenFileError(f"there is a token of the name {name} already: rotate it, or revoke it first")
        if name in web.tokens:
            raise TokenFileError(f"there is a token of the name {name} in the configuration: take another name")
        put(path, name, table_of(made))
    _show(token, f"{name}: {_told(made)}")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@FILE
@common
def list_(file: Path | None, *, as_json: bool, **options: Any) -> None:
    """List the tokens, those of the configuration too: names and rights, and nothing of the tokens themselves."""
    web, path = _place(file, options, needed=False)
    with _reported():
        filed = {} if path is None else tokens_of(path)
    rows = [_row(name, token, "configuration") for name, token in web.tokens.items()]
    rows += [_row(name, token, str(path)) for name, token in filed.items()]
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(rows), indent=2))
        return
    if not rows:
        click.echo("there is no token")
        return
    shown = [("name", "scopes", "robots", "expires", "replaced ones", "where")]
    for row in rows:
        ends = "never" if row["expires"] is None else f"{row['expires']}{' EXPIRED' if row['expired'] else ''}"
        before = ", ".join(f"until {each}" for each in row["previous"])
        shown.append((row["name"], ",".join(row["scopes"]), ",".join(row["robots"]), ends, before, row["where"]))
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for cells in shown:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


@command.command()
@click.argument("name")
@click.option(
    "--overlap",
    callback=_length,
    metavar="LENGTH",
    default="24h",
    show_default=True,
    help="How long the one before still goes.",
)
@EXPIRES
@FILE
@common
def rotate(name: str, overlap: timedelta, expires: datetime | None, file: Path | None, **options: Any) -> None:
    """Make a new token in the place of one, with its rights, and print it. The one before goes on for a while."""
    web, path = _place(file, options)
    now = datetime.now(UTC).replace(microsecond=0)
    token, digest = new_token()
    with _reported(), locked(path):
        old = _named(name, path, web)
        ends = old.expires if expires is None else expires
        if ends is not None and ends <= now:
            raise TokenFileError(f"{name} has expired: say with --expires when the new one is to")
        before = [
            (each.hex(), now + overlap if end is None else min(end, now + overlap)) for each, end in old.digests()
        ]
        going = [(hexadecimal, end) for hexadecimal, end in before if end > now]
        new = Token(sha256=Secret(digest), scopes=old.scopes, robots=old.robots, expires=ends)
        put(path, name, table_of(new, previous=going))
    until = f"; the one before goes until {max(end for _, end in going)}" if going else "; the one before is over"
    _show(token, f"{name}: {_told(new)}{until}")


@command.command()
@click.argument("name")
@FILE
@common
def revoke(name: str, file: Path | None, **options: Any) -> None:
    """End a token, and those before it that still go, within a second."""
    web, path = _place(file, options)
    with _reported(), locked(path):
        _named(name, path, web)
        put(path, name, None)
    click.echo(f"{name} is revoked", err=True)


class _reported:  # noqa: N801  # it reads as a statement
    """Ends the command with one line where the file cannot be read or changed."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Print what went wrong."""
        if isinstance(error, TokenFileError):
            fail(str(error))


def _place(file: Path | None, options: Any, *, needed: bool = True) -> tuple[WebSettings, Any]:
    above = click.get_current_context().parent
    config_file = options.get("config_file") or (above.params.get("config_file") if above is not None else None)
    found = core(read(find(config_file)))
    web = found.web
    if file is None and (wrong := [each for each in found.problems if each.key in ("", "web", "web.tokens_file")]):
        refuse(ConfigError(wrong))
        fail("it is not known which file of tokens is meant: mend the configuration, or say --file", CONFIGURATION)
    if file is None and web.tokens_file is not None:
        file = Path(web.tokens_file)
    if file is None and needed:
        fail('there is no file of tokens: set tokens_file = "/etc/agentd/tokens.toml" in [web], or say --file')
    return web, None if file is None else file.absolute()


def _named(name: str, path: Path, web: WebSettings) -> Token:
    known = tokens_of(path)
    if name in known:
        return known[name]
    if name in web.tokens:
        raise TokenFileError(f"the token of {name} stands in the configuration ([web.tokens.{name}]): change it there")
    raise TokenFileError(f"{path} has no token of the name {name}{suggest(name, known)}")


def _show(token: str, about: str) -> None:
    click.echo(token)
    click.echo(f"{about}. It is not shown again.", err=True)


def _told(token: Token) -> str:
    ends = "" if token.expires is None else f" until {token.expires}"
    robots = f" as {', '.join(token.robots)}" if token.robots else ""
    return f"{', '.join(token.scopes)}{robots}{ends}"


def _row(name: str, token: Token, where: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "name": name,
        "scopes": [str(scope) for scope in token.scopes],
        "robots": token.robots,
        "expires": token.expires,
        "expired": token.expires is not None and token.expires <= now,
        "previous": [each.expires for each in token.previous if each.expires > now],
        "where": where,
    }
