"""How many times as fast one backend's steps are as another's."""

from dataclasses import dataclass
from statistics import mean

from scripts.report.columns import said_once
from scripts.report.read import Subject

ALIKE = ("optimizer", "device")
"""What must be the same in all runs, else the factor is not the backend's alone."""


@dataclass(frozen=True)
class Speedup:
    """Runs of two trials, one a seed, that are meant to differ in the backend alone."""

    fast: list[Subject]
    slow: list[Subject]

    @property
    def runs(self) -> list[Subject]:
        return [*self.fast, *self.slow]

    @property
    def factor(self) -> float:
        """Mean seconds a step of the slow runs by those of the fast ones."""
        slow, fast = (mean(map(self._seconds, runs)) for runs in (self.slow, self.fast))
        return slow / fast

    @property
    def timed(self) -> bool:
        """Whether every run has the seconds of its steps once it is warm."""
        return all(run.outcome("step_seconds") is not None for run in self.runs)

    def _seconds(self, run: Subject) -> float:
        if self.timed:
            return run.outcome("step_seconds")
        return run.outcome("seconds") / run.outcome("steps")

    @property
    def unlike(self) -> list[str]:
        """In what the runs differ beside the backend."""
        return [key for key in ALIKE if len({run.outcome(key) for run in self.runs}) > 1]

    @property
    def note(self) -> str:
        """Which seconds these are, on what they were taken, and what they do not show."""
        parts = [
            "median seconds of a step after the first two"
            if self.timed
            else "seconds of the whole run by its steps, the first ones and all that is compiled "
            "in them included"
        ]
        for key in ALIKE:
            found = said_once([(run.name, run.outcome(key)) for run in self.runs])
            parts.append(f"{key.capitalize()}: {found}")
        if self.unlike:
            parts.append(
                f"The runs differ in {' and '.join(self.unlike)}, so that this is no factor of the "
                "backend alone"
            )
        return ". ".join(parts)
