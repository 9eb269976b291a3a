"""Try in a child process what a damaged file may never end, or crash: then this process is as it was.

The child is a fork, which takes no time to start; where the system has none (Windows), nothing is tried.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from collections.abc import Callable

#: Seconds between looks at the child.
_PAUSE = 0.01


def fate(work: Callable[[], object], seconds: float) -> str:
    """What becomes of ``work`` in a child: empty if it ends, also with an exception, else what happens, in words."""
    if not hasattr(os, "fork"):
        return ""
    child = os.fork()
    if child == 0:
        faulthandler.disable()  # the caller says what happened
        try:
            work()
        except BaseException:  # The caller will meet it again, and says what it is.
            pass
        finally:
            os._exit(0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return f"crashes ({signal.Signals(os.WTERMSIG(status)).name})" if os.WIFSIGNALED(status) else ""
        time.sleep(_PAUSE)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return f"does not end in {seconds:g} seconds"
