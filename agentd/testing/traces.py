"""Tracebacks as an author needs them: the lines of the test and of the plugin, without those of the kit between them.

The kit's own frames are hidden by ``__tracebackhide__``, which pytest looks up in a module, too, and ``--full-trace``
shows. The frames of others cannot say so of themselves, and are taken out here.
"""

import traceback
from types import FrameType, TracebackType

_BETWEEN = ("agentd", "asyncio", "contextlib", "threading")
"""What calls a plugin, and lies between two of its frames."""


def shorten(error: BaseException) -> None:
    """Take out of an error's traceback what leads to the frames of a plugin, and lies between them.

    An error that the kit raises keeps no frame; one that was raised in agentd's other rooms, with no plugin on the way,
    is a mistake of agentd's, and keeps all.
    """
    frames: list[TracebackType] = []
    here = error.__traceback__
    while here is not None:
        frames.append(here)
        here = here.tb_next
    theirs = [number for number, each in enumerate(frames) if not _between(each.tb_frame)]
    if theirs:
        frames = [frames[number] for number in theirs] + frames[theirs[-1] + 1 :]
    elif frames and _module(frames[-1].tb_frame).startswith("agentd.testing."):
        frames = []
    chain: TracebackType | None = None
    for each in reversed(frames):
        chain = TracebackType(chain, each.tb_frame, each.tb_lasti, each.tb_lineno)
    error.__traceback__ = chain


def stack(frames: list[tuple[FrameType, int]]) -> traceback.StackSummary:
    """Return the frames of a plugin among these, with their lines; all, where none is a plugin's."""
    return traceback.StackSummary.extract([each for each in frames if not _between(each[0])] or frames)


def _between(frame: FrameType) -> bool:
    return _module(frame).partition(".")[0] in _BETWEEN


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
