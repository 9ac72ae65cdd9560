"""What a plugin raised, in one line for the log and the status."""

import os
import traceback

LONGEST = 500
"""Characters of an error's own text that are shown."""


_OWN = f"{os.path.dirname(__file__)}{os.sep}"  # noqa: PTH120  # as quick as it gets: errors may come often


class ToldError(Exception):
    """An error that another process has told: its text has the type and the place in the code already."""


class AnswerError(TypeError):
    """A plugin returned what nobody can take. The place in agentd at which that was seen helps no author."""


def described(error: BaseException) -> str:
    """Return an error in one line, with the place in the code at which it was raised: the last one outside of Python's
    own library, and of agentd, where there is any.
    """
    if isinstance(error, ToldError | AnswerError):
        return text_of(error)
    found = list(traceback.extract_tb(error.__traceback__))
    frames = [frame for frame in found if not _is_pythons(frame.filename)] or found
    frames = [frame for frame in frames if not frame.filename.startswith(_OWN)] or frames
    where = f" (at {frames[-1].filename}:{frames[-1].lineno})" if frames and not isinstance(error, SyntaxError) else ""
    return f"{type(error).__name__}: {text_of(error)}{where}"


def text_of(error: BaseException) -> str:
    """Return what an error says of itself, on one line. Raises nothing, though its ``__str__`` may."""
    try:
        text = " ".join(str(error).splitlines())
    except Exception as another:  # noqa: BLE001  # a plugin's error may be as broken as the plugin
        return f"<no text: {type(another).__name__} when asked for it>"
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def _is_pythons(file: str) -> bool:
    library = f"{os.path.dirname(os.__file__)}{os.sep}"  # noqa: PTH120  # as quick as it gets: errors may come often
    return file.startswith(("<frozen ", library)) and "-packages" not in file
