"""Ends the process though something in it hangs where nothing else reaches it.

That may be a thread, a task that refuses to be cancelled, or a plugin that blocks the event loop: Python waits for each
of them for ever before it ends.
"""

import logging
import os
import threading

log = logging.getLogger(__name__)


def within(seconds: float, status: int) -> threading.Timer:
    """End the process with this exit status after so many seconds, if it has not ended by then, nor cancelled this."""
    timer = threading.Timer(seconds, _end, (status,))
    timer.daemon = True
    timer.start()
    return timer


def _end(status: int) -> None:
    log.warning("something does not want to end: it is left behind")
    os._exit(status)
