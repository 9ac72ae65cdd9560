"""Calls a sink and comes back in time, whatever the sink does."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from agentd.errors import described
from agentd.plugin import Retry

CANCELLED_WITHIN = 1.0
"""Seconds that a sink gets to end a call that took too long."""


class HangsError(TimeoutError):
    """The call before the last has not ended yet: a sink is never called twice at once."""


class Bounded:
    """Calls one sink. A call that will not be cancelled is left alone, and waited for before the next."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._hanging: asyncio.Task[BaseException | None] | None = None

    async def over(self, within: float) -> None:
        """Wait until a call that was left alone has ended, for so many seconds at most."""
        if self._hanging is not None and not self._hanging.done():
            await asyncio.wait({self._hanging}, timeout=within)

    async def call(self, made: Coroutine[Any, Any, None]) -> None:
        """Await a call of the sink's. Raises what it raises, and ``TimeoutError`` where it takes too long."""
        if self._hanging is not None and not self._hanging.done():
            made.close()
            await asyncio.wait({self._hanging}, timeout=self._seconds)
            raise HangsError("it has not come back from the last call yet")
        self._hanging = None
        task = asyncio.get_running_loop().create_task(guarded(made))
        try:
            await asyncio.wait({task}, timeout=self._seconds)
        finally:
            if not task.done():
                self._hanging = task  # until it has ended: whoever awaits this call may be cancelled here, too
                task.cancel()
        if not task.done():
            await asyncio.wait({task}, timeout=CANCELLED_WITHIN)
            raise TimeoutError(f"no answer within {self._seconds:g} s")
        if task.cancelled():
            raise RuntimeError("it cancelled itself")
        if failure := task.result():
            raise failure


async def guarded(made: Coroutine[Any, Any, None]) -> Exception | None:
    """Return what a plugin raised: a task that raises SystemExit, say, would end the event loop.

    What is no ``Exception`` comes as a ``RuntimeError`` that names it: it would end whoever raises it again.
    """
    try:
        await made
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001  # a plugin's failure is its own
        return error
    except BaseException as error:  # noqa: BLE001  # whatever it is: the agent ends by signals, which are no exceptions
        return RuntimeError(f"it raised {described(error)}")
    return None


def why(error: BaseException) -> str:
    """Return in words why a sink could not do what it was asked for."""
    return str(error) if isinstance(error, Retry | TimeoutError) and str(error) else described(error)
