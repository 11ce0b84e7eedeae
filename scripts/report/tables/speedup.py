"""How many times as fast one backend's steps are as another's."""

from dataclasses import dataclass
from statistics import mean
from typing import Any

from scripts.report.notes import said_once
from scripts.report.text import missing

ALIKE = ("optimizer", "device")
"""What must be the same in all runs, else the factor is not the backend's alone."""


@dataclass(frozen=True)
class Speedup:
    """Runs of two trials, meant to differ in the backend alone: rows of the frame `runs`."""

    fast: list[dict[str, Any]]
    slow: list[dict[str, Any]]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """All of them."""
        return [*self.fast, *self.slow]

    @property
    def factor(self) -> float:
        """Mean seconds a step of the slow runs by those of the fast ones."""
        slow, fast = (mean(map(self._seconds, runs)) for runs in (self.slow, self.fast))
        return slow / fast

    @property
    def timed(self) -> bool:
        """Whether every run has the seconds of its steps once it is warm."""
        return not any(missing(run["step_seconds"]) for run in self.runs)

    def _seconds(self, run: dict[str, Any]) -> float:
        return run["step_seconds"] if self.timed else run["seconds"] / run["steps"]

    @property
    def unlike(self) -> list[str]:
        """In what the runs differ beside the backend."""
        return [key for key in ALIKE if len({run[key] for run in self.runs}) > 1]

    @property
    def note(self) -> str:
        """Which seconds these are, on what they were taken, and what they do not show."""
        parts = [
            "median seconds of a step after the first two"
            if self.timed
            else "seconds of the whole run by its steps, including the first ones and all that is "
            "compiled in them"
        ]
        for key in ALIKE:
            found = said_once((run["model"], run[key]) for run in self.runs)
            parts.append(f"{key.capitalize()}: {found}")
        if self.unlike:
            parts.append(
                f"The runs differ in {' and '.join(self.unlike)}, so that this is no factor of the "
                "backend alone"
            )
        return ". ".join(parts)
