"""The planning process: `python -m mvista_executor.planning_main <its end of a socket pair>`.

It ends when the other end of its socket does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection

from mvista_core.arm import ArmModel
from mvista_core.errors import MvistaError
from mvista_core.executor_settings import ExecutorSettings
from mvista_executor.planning_process import Answer, Question, planning_failed
from mvista_executor.successor import make_successor

NICENESS = -10
"""Ordinary scheduling, ahead of others where the system allows it: a plan is waited for."""


def answered(question: Question, arm: ArmModel, settings: ExecutorSettings) -> Answer:
    """The plan, or why there is none, whatever happens."""
    try:
        found = make_successor(
            question.trajectory, question.standing, arm, settings, question.tolerances
        )
        return Answer(question.number, found)
    except MvistaError as error:
        return Answer(question.number, error)
    except Exception as error:
        trace = "".join(traceback.format_exception(error))
        return Answer(question.number, planning_failed(repr(error)), trace)


def main() -> int:
    """Answer until the other end is closed."""
    # A terminal's Ctrl-C reaches this process too: the executor, which stops the arm, ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    pipe = Connection(int(sys.argv[1]))
    with contextlib.suppress(EOFError, OSError):
        arm, settings = pipe.recv()
        while True:
            pipe.send(answered(pipe.recv(), arm, settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
