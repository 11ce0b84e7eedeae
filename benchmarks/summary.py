"""Turn measurements into table entries: medians, ratios by turn, and checks."""

from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

from benchmarks.cases import CACHED, OWN, TRL, Case
from benchmarks.needed import NOTHING, Tree, Weights, backward_flops, forward_flops

Part = dict[str, Any]
Turns = dict[str, list[Part]]
"""The measurements of each contestant, one per turn."""

Done = tuple[Case, Turns]

TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2}
"""How far two losses may be apart, over max(1, |loss|), by precision."""
EPOCH = 64
"""Whole steps of 16 in an epoch of the 1,026 titles pairs."""


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of some values."""

    median: float
    low: float
    high: float
    count: int


def spread(values: list[float]) -> Spread:
    """Return the spread of values."""
    return Spread(median(values), min(values), max(values), len(values))


def own(case: Case) -> str:
    """Return the contestant that the others are compared with."""
    return next(name for name in case.contestants if name.startswith(OWN))


def ratios(numerators: list[float], denominators: list[float]) -> Spread:
    """Return the spread of the ratios within each turn."""
    return spread([a / b for a, b in zip(numerators, denominators, strict=True)])


def seconds_key(case: Case) -> str:
    """Return which seconds count: CPU time, or wall time if a GPU does the work."""
    return "wall" if case.gpu else "cpu"


def needed_of(case: Case, turns: Turns) -> list[Part]:
    """Return the least work of each step, from a contestant with the shared batches."""
    found = [turns[name][0] for name in turns if compared(name)]
    return next(metrics["needed"] for metrics in found if metrics.get("needed"))


def compared(contestant: str) -> bool:
    """Return True if a contestant's steps hold the same rows as the others'; TRL's packs do not."""
    return not contestant.endswith(", packed")


def step_seconds(case: Case, contestant: str, turns: Turns) -> list[float]:
    """Return seconds per step, by turn; scaled to the same tokens if the rows differ."""
    key = seconds_key(case)
    found = [metrics["step_seconds"][key] for metrics in turns[contestant]]
    if compared(contestant):
        return found
    usual = _timed_tokens(needed_of(case, turns))
    return [
        seconds * usual / _timed_tokens(metrics["needed"])
        for seconds, metrics in zip(found, turns[contestant], strict=True)
    ]


def _timed_tokens(needed: list[Part]) -> float:
    return sum(step["tokens"] for step in needed[1:]) / len(needed[1:])


def steps_alike(case: Case, contestant: str, turns: Turns) -> float:
    """Return how many of the timed steps have as many tokens as all steps of a run."""
    alone = not compared(contestant)
    needed = turns[contestant][0]["needed"] if alone else needed_of(case, turns)
    return sum(step["tokens"] for step in needed) / _timed_tokens(needed)


def reference_seconds(case: Case, contestant: str, turns: Turns) -> list[float]:
    """Return the reference pass's seconds for the rows of a timed step, by turn.

    They are 0 if the reference runs inside steps.
    """
    key, steps = seconds_key(case), steps_alike(case, contestant, turns)
    return [
        (metrics["reference_seconds"] or {key: 0})[key] / steps for metrics in turns[contestant]
    ]


def startup_seconds(case: Case, contestant: str, turns: Turns) -> list[float]:
    """Return CPU seconds outside steps and reference pass, by turn."""
    steps = steps_alike(case, contestant, turns)
    return [
        metrics["process_seconds"]["cpu"]
        - steps * metrics["step_seconds"]["cpu"]
        - (metrics["reference_seconds"] or {"cpu": 0})["cpu"]
        for metrics in turns[contestant]
    ]


def whole(steps: list[float], reference: list[float]) -> list[float]:
    """Return seconds per step including the reference pass."""
    return [a + b for a, b in zip(steps, reference, strict=True)]


def fewest(needed: list[Part], name: str = "tree") -> Tree:
    """Return the summed size of the prefix trees of all steps."""
    return sum((Tree(*step[name]) for step in needed), NOTHING)


def step_flops(weights: Weights, needed: list[Part], reference: bool) -> float:
    """Return the FLOPs that a step needs, with the reference's forward pass if there is one."""
    size, predicted = fewest(needed), sum(step["predicted"] for step in needed)
    total = forward_flops(weights, size, predicted) + backward_flops(weights, size, predicted)
    if reference:
        total += forward_flops(weights, size, predicted, adapted=False)
    return total / len(needed)


def peak_share(flops: float, seconds: list[float], turns: list[Part]) -> Spread:
    """Return needed FLOPs per second over those of a matrix product, by turn."""
    return spread(
        [
            flops / taken / metrics["matmul_flops"]
            for taken, metrics in zip(seconds, turns, strict=True)
        ]
    )


def loss_difference(case: Case, turns: Turns) -> float:
    """Return the largest difference of losses or log-probs, over max(1, |loss|)."""
    expected = turns[own(case)][0]["losses"]
    names = filter(compared, case.contestants)
    return max(_apart(it["losses"], expected) for name in names for it in turns[name])


def others_difference(case: Case, turns: Turns) -> float:
    """Return the largest difference between the other contestants, in their first turns."""
    names = [name for name in case.contestants if compared(name) and name != own(case)]
    both = combinations([turns[name][0]["losses"] for name in names], 2)
    return max((_apart(*pair) for pair in both), default=0.0)


def _apart(losses: list[float], others: list[float]) -> float:
    both = zip(losses, others, strict=True)
    return max(abs(loss - other) / max(1, abs(loss)) for loss, other in both)


def same_losses(case: Case, turns: Turns) -> bool:
    """Return True if the contestants' losses agree; those of a sweep are not compared.

    They do if they are no farther apart than their precision rounds, of which another measure is
    how far the other contestants are from each other: TRL's versions, with the reference's
    log-probs made in other batches than the policy's or not.
    """
    if case.task == "sweep":
        return True
    tolerance = max(TOLERANCES[case.precision], others_difference(case, turns))
    return loss_difference(case, turns) <= tolerance


# ---------------------------------------------------------------------------------------- bounds


@dataclass(frozen=True)
class Bound:
    """How many times faster than a contestant prefmake has to be and is, and the memory of both."""

    case: str
    contestant: str
    wanted: float
    found: float
    peak_mb: float
    own_peak_mb: float

    @property
    def missed(self) -> list[str]:
        """Return what it is missed by: time, memory, or nothing."""
        slow, large = self.found < self.wanted, self.own_peak_mb > self.peak_mb
        return ["time"] * slow + ["memory"] * large


def bounds(done: list[Done]) -> list[Bound]:
    """Return the bounds of all cases on contestants that were measured."""
    found = []
    for case, turns in done:
        peaks = {name: median(it["peak_mb"] for it in turns[name]) for name in turns}
        for name, wanted in case.bounds:
            if name not in turns:
                continue
            theirs, ours = (trial_seconds(case, it, turns, done) for it in (name, own(case)))
            if theirs and ours:
                times = ratios(theirs, ours).median
                found.append(Bound(case.name, name, wanted, times, peaks[name], peaks[own(case)]))
    return found


def trial_seconds(case: Case, contestant: str, turns: Turns, done: list[Done]) -> list[float]:
    """Return the seconds that a bound is about, by turn.

    Those of a step and of its rows' share of the reference pass, which all epochs of the published
    trial use; for a sweep those of all trials with an epoch each.
    """
    if case.task == "sweep":
        return epoch_seconds(case, contestant, turns, done)
    reference = reference_seconds(case, contestant, turns)
    steps = step_seconds(case, contestant, turns)
    return whole(steps, [seconds / case.epochs for seconds in reference])


def epoch_seconds(case: Case, contestant: str, turns: Turns, done: list[Done]) -> list[float]:
    """Return a sweep's seconds if each trial took an epoch: those measured, and the further steps
    and their rows' reference pass, once, as measured on the same rows alone.

    Nothing is returned if that was not measured.
    """
    alone = {TRL: TRL, CACHED: f"{TRL}, precomputed", OWN: OWN}[contestant]
    same = (case.shape, case.corpus, case.batch, case.accumulation)
    for other, found in done:
        its = (other.shape, other.corpus, other.batch, other.accumulation)
        if other.task == "preferences" and its == same and alone in found:
            further = EPOCH - case.steps
            step = median(step_seconds(other, alone, found))
            reference = median(reference_seconds(other, alone, found))
            return [
                metrics["process_seconds"]["cpu"]
                + further * (len(metrics["steps"]) * step + reference)
                for metrics in turns[contestant]
            ]
    return []
