"""Signals that ask a trainer to stop: it finishes the step under way and writes a checkpoint."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What a cluster sends, as a warning before a time limit too."""
FROM_TERMINALS = (signal.SIGINT, signal.SIGHUP)
"""Ctrl-C, and a terminal that closes; nohup, and shells in the background, have them ignored."""


class Stopped(SystemExit):
    """A trainer stopped because a signal asked it to; its exit code is 128 and the signal."""


class Stop:
    """Whether a trainer has been asked to stop, and whether it has to wait for the next checkpoint.

    Asked again, it goes on waiting: a terminal and whoever passes signals on both send one.
    """

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None
        self.wait = False

    def ask(self, number: int, _: FrameType | None = None) -> None:
        """Takes a signal; stops at once where nothing would be lost."""
        self.requested = signal.Signals(number)
        if not self.wait:
            self.now_if_asked("; nothing had been done since the last checkpoint")

    def now_if_asked(self, where: str) -> None:
        """Raises Stopped, if the trainer was asked to stop, and says where it stands."""
        if self.requested:
            print(f"stopped by {self.requested.name}{where}", file=sys.stderr, flush=True)
            raise Stopped(128 + self.requested)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Yields what has the signals that come in the meantime; only a main thread gets any."""
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
