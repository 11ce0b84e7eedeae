"""Signals that ask a trainer to stop: it finishes its step and writes a checkpoint first."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What a cluster sends, also as a warning before a time limit."""
FROM_TERMINALS = (signal.SIGINT, signal.SIGHUP)
"""Ctrl-C, and a closed terminal. With nohup or `&`, a process starts with them ignored."""


class Stopped(SystemExit):
    """A signal asked the trainer to stop; the exit code is 128 plus the signal's number."""


class Stop:
    """Whether a trainer was asked to stop, and whether it has to write a checkpoint first.

    A second signal changes nothing: a terminal and a parent process may both send one.
    """

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None
        self.wait = False

    def ask(self, number: int, _: FrameType | None = None) -> None:
        """Handle a signal: stop at once if nothing would be lost."""
        self.requested = signal.Signals(number)
        if not self.wait:
            self.now_if_asked("; nothing was done since the last checkpoint")

    def now_if_asked(self, where: str) -> None:
        """Raise Stopped if the trainer was asked to stop, and print where it stopped."""
        if self.requested:
            print(f"stopped by {self.requested.name}{where}", file=sys.stderr, flush=True)
            raise Stopped(128 + self.requested)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Yield the signals that arrive in the block; only a main thread receives any."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    heeded = [it for it in FROM_TERMINALS if signal.getsignal(it) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop.ask) for number in (*SIGNALS, *heeded)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
