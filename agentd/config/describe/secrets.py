"""Where the secrets of a configuration are, and texts without them."""

import re
from collections.abc import Callable, Iterator

from agentd import secrecy
from agentd.config.problems import Path
from agentd.config.settings import SECTIONS, Settings
from agentd.config.spelling import without_passwords
from agentd.options import Secret

_CREDENTIAL = re.compile(r"((?:Bearer|Basic) )[A-Za-z0-9+/=._~-]+")


def secrets(settings: Settings) -> Iterator[tuple[Path, Secret]]:
    """Yield each secret that is set, with the keys that lead to it."""
    for name in SECTIONS:
        yield from secrecy.secrets(getattr(settings, name), (name,))
    for instance in settings.instances:
        for struct in (instance.keys, instance.config):
            yield from secrecy.secrets(struct, (instance.kind, instance.name))


def hiding(settings: Settings) -> Callable[[str], str]:
    """Return what makes ``***`` of every secret in a text, of passwords in URLs, and of credentials in headers.

    Nothing that agentd writes should have any. This is for what somebody gives away: the last look before that.
    """
    hide = secrecy.hiding(secret for _, secret in secrets(settings))
    return lambda text: _CREDENTIAL.sub(r"\1***", without_passwords(hide(text)))
