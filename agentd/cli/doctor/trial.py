"""Collectors tried once with the rights of the agent's user, for a doctor who has no running agent to ask."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import select
import signal
import time
from typing import TYPE_CHECKING

import msgspec

from agentd.cli.doctor.facts import Trial, User
from agentd.discovery import BUNDLED
from agentd.errors import described

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentd.config import Instance, Settings
    from agentd.registry import Registry

WITHIN = 10.0
"""Seconds that the collection may take; then whatever hangs is left out."""

LONGEST = 20.0
"""Seconds until the whole trial is given up."""


def trial(settings: Settings, registry: Registry, user: User) -> Trial:
    """Return what collectors say that are tried once.

    Only bundled ones are, and none that has a place in a stream: to look must change nothing.
    """
    wanted: list[Instance] = []
    left_out: list[Instance] = []
    for instance in settings.instances:
        if instance.kind == "collectors":
            cls = registry.code(instance.kind, instance.plugin)
            bundled = registry.origin(instance.kind, instance.plugin) == BUNDLED
            tried = cls is not None and bundled and not getattr(cls, "exclusive", True)
            (wanted if tried else left_out).append(instance)
    answer = asked(settings, registry, wanted, user)
    return msgspec.structs.replace(answer, left_out=tuple(each.key for each in left_out))


def asked(settings: Settings, registry: Registry, wanted: Sequence[Instance], user: User) -> Trial:
    """Return what these say in a process of their own, which may do what this user may."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            os.write(writing, msgspec.json.encode(as_user(settings, registry, wanted, user)))
        finally:
            os._exit(0)
    os.close(writing)
    told, end = b"", time.monotonic() + LONGEST
    with open(reading, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0] and (more := pipe.read(65536)):
            told += more
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)  # it has said all that it has to say
    os.waitpid(child, 0)
    try:
        return msgspec.json.decode(told, type=Trial)
    except msgspec.MsgspecError:
        return Trial(error="they gave no answer")


def as_user(settings: Settings, registry: Registry, wanted: Sequence[Instance], user: User) -> Trial:
    """Become a user, and try."""
    from agentd.cli.once import once  # with all that it needs: a user of fewer rights may not read those files

    logging.disable()
    try:
        if os.geteuid() == 0 and user.uid != 0:
            os.setgroups(list(user.groups))
            os.setgid(pwd.getpwuid(user.uid).pw_gid)
            os.setuid(user.uid)  # which takes all capabilities away
        _, runnings = asyncio.run(once(settings, registry, wanted, WITHIN))
    except Exception as error:  # noqa: BLE001  # nothing of the trial may end the doctor
        return Trial(error=described(error))
    lasts = [(each.instance.key, each.error, each.slot and each.slot.last) for each in runnings]
    return Trial(
        tried=len(runnings),
        refused={key: last.error for key, _, last in lasts if last and last.refused},
        failed={
            key: error or (last.error if last else "no answer")
            for key, error, last in lasts
            if error or not last or last.status in ("failed", "timed out")
        },
    )
