"""``agentd completion``."""

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a script that completes agentd's commands and options; for bash: source <(agentd completion bash)."""
    from click.shell_completion import get_completion_class

    from agentd.cli import group

    complete = get_completion_class(shell)
    if complete is not None:
        click.echo(complete(group, {}, "agentd", "_AGENTD_COMPLETE").source())
