"""``agentd check``."""

from pathlib import Path

import click

from agentd.cli import common, fail
from agentd.cli.loading import load
from agentd.config import ConfigError, read_tokens
from agentd.registry import PluginError


@click.command("check")
@click.option("--probe", is_flag=True, help="Also try each sink, and whoever plugins ask, without changing anything.")
@common
def command(config_file: str | None, *, probe: bool, **options: object) -> None:
    """Check the configuration and print every error. Ends with status 1 where there is one.

    With --probe it also connects, as the user who calls it, to what sinks and collectors need, with their credentials.
    """
    settings, registry = load(config_file, options, status=1, log_level="warning")
    broken = list(registry.broken_files.items())
    for instance in settings.instances:
        try:
            registry.plugin_class(instance.kind, instance.plugin)
        except PluginError as error:
            broken.append((instance.key, str(error)))
    for name, why in broken:
        click.echo(f"{name}: cannot be loaded: {why}", err=True)
    if broken:
        fail(f"{len(broken)} of the plugins cannot be loaded; the agent would run without them")
    if settings.web.tokens_file is not None:
        try:
            read_tokens(Path(settings.web.tokens_file))
        except ConfigError as error:
            click.echo(str(error), err=True)
            fail("the file of tokens cannot be used")
    if settings.web.tls is not None:
        from agentd.web.tls import TlsError
        from agentd.web.tls import load as load_certificates

        try:
            load_certificates(settings.web.tls)
        except TlsError as error:
            fail(f"the certificates cannot be used: {error}")
    if probe:
        from agentd.cli.probe import probe as try_all

        if not try_all(settings, registry):
            fail("not everything answers as it should")
    files = ", ".join(map(str, settings.document.files)) or "no file: the defaults"
    click.echo(f"ok: {len(settings.instances)} plugins from {files}")
