"""How the supervisor starts a node: `python -m mvista_bringup.child <parent pid> <module> ...`.

The kernel is asked to end this process when the supervisor dies, however it dies, so that not even
a killed supervisor leaves a node behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import sys

from mvista_core import realtime

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run `<module>.main()` with the remaining arguments."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return  # the supervisor was gone before the request was made
    realtime.release()  # whoever supervises: a node claims for itself what it needs
    sys.argv = [module, *sys.argv[3:]]
    with contextlib.suppress(KeyboardInterrupt):  # told to stop while importing
        importlib.import_module(module).main()


if __name__ == "__main__":
    main()
