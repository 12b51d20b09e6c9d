"""How the supervisor starts a node: `python -m mvista_bringup.child <parent pid> <module> ...`.

The kernel is asked to end this process when the supervisor dies, however it dies, so that not even
a killed supervisor leaves a node behind (`mvista_core/process.py`).
"""

from __future__ import annotations

import sys

from mvista_core import process, realtime


def main() -> None:
    """Run `<module>.main()` with the remaining arguments."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    realtime.release()  # whoever supervises: a node claims for itself what it needs
    sys.argv = [module, *sys.argv[3:]]
    sys.exit(process.run_module(module, parent))


if __name__ == "__main__":
    main()
