"""Medians, ratios and verdicts, from measurements whose answers are plain."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import fast_path, rendering, summary
from benchmarks.cases import CACHED, CASES, NEWER, OWN, TRL, Case
from benchmarks.ledger import Ledger
from benchmarks.needed import Weights

DPO = next(case for case in CASES if case.task == "preferences" and not case.real)
SFT = next(case for case in CASES if case.task == "demonstrations" and not case.real)
REAL = {case.letter: case for case in CASES if case.real}
NEEDED = {"rows": 2, "tokens": 40, "tree": [10, 55], "tree_of_pairs": [15, 60], "predicted": 8}


def metrics(step: float, reference: float | None = None, **more: Any) -> dict[str, Any]:
    return {
        "steps": 5,
        "step_seconds": {"cpu": step, "wall": 100.0},
        "reference_seconds": reference and {"cpu": reference, "wall": 100.0},
        "process_seconds": {"cpu": 50.0},
        "needed": [NEEDED] * 5,
        "peak_mb": 100.0,
        "losses": [0.69, 0.68],
        "matmul_flops": 100.0,
        **more,
    }


def test_ratios_are_taken_within_a_turn() -> None:
    found = summary.ratios([8.0, 30.0, 6.0], [2.0, 10.0, 1.0])
    assert (found.median, found.low, found.high, found.count) == (4.0, 3.0, 6.0, 3)


def test_a_reference_pass_is_shared_by_the_steps_of_its_rows() -> None:
    turns = {TRL: [metrics(8.0)], OWN: [metrics(2.0, 10.0)]}
    assert summary.reference_seconds(DPO, OWN, turns) == [2.0]
    assert summary.reference_seconds(DPO, TRL, turns) == [0.0]
    assert summary.startup_seconds(DPO, OWN, turns) == [50.0 - 5 * 2.0 - 10.0]


def test_a_step_has_its_own_share_of_what_is_done_for_all_rows() -> None:
    """The timed step has 120 of 160 tokens."""
    uneven = {"needed": [NEEDED, NEEDED | {"tokens": 120}]}
    turns = {TRL: [metrics(9.0, **uneven)], OWN: [metrics(3.0, 8.0, **uneven)]}
    assert summary.reference_seconds(DPO, OWN, turns) == [6.0]
    assert summary.startup_seconds(DPO, TRL, turns) == [50.0 - 9.0 * 160 / 120]


def test_packs_are_scaled_to_as_many_tokens() -> None:
    packed = [NEEDED] + [NEEDED | {"tokens": 80}] * 4
    turns = {name: [metrics(3.0)] for name in SFT.contestants}
    turns[f"{TRL}, packed"] = [metrics(5.0, needed=packed, losses=[9.0])]
    assert summary.step_seconds(SFT, f"{TRL}, packed", turns) == [2.5]
    assert summary.step_seconds(SFT, OWN, turns) == [3.0]
    assert summary.same_losses(SFT, turns)


def test_another_loss_is_found_in_any_turn() -> None:
    turns = {name: [metrics(1.0), metrics(1.0)] for name in DPO.contestants}
    assert summary.loss_difference(DPO, turns) == 0
    turns[TRL][1]["losses"] = [0.69, 0.68 + 2e-5]
    assert summary.loss_difference(DPO, turns) == pytest.approx(2e-5)
    assert not summary.same_losses(DPO, turns)
    assert summary.same_losses(replace(DPO, precision="bfloat16"), turns)
    turns[TRL][1]["losses"] = [0.69, 0.71]
    assert not summary.same_losses(replace(DPO, precision="bfloat16"), turns)


def test_no_more_is_asked_than_the_others_agree_in() -> None:
    """Here TRL's own contestants are 0.03 apart, and prefmake lies between them."""
    case = replace(DPO, precision="bfloat16")
    first = next(name for name in DPO.contestants if name != OWN)
    turns = {name: [metrics(1.0)] for name in DPO.contestants}
    turns[first] = [metrics(1.0, losses=[0.69, 0.68 + 0.03])]
    assert summary.others_difference(case, turns) == pytest.approx(0.03)
    assert summary.same_losses(case, turns)
    turns[OWN] = [metrics(1.0, losses=[0.69, 0.68 - 0.01])]
    assert not summary.same_losses(case, turns)


def test_a_share_of_the_peak_is_of_what_was_needed() -> None:
    weights = Weights(frozen=3, adapter=0, head=0, attention=0)
    flops = summary.step_flops(weights, [NEEDED] * 5, reference=True)
    assert flops == 3 * 2 * 3 * 10
    assert summary.peak_share(flops, [3.6], [metrics(3.6)]).median == pytest.approx(0.5)


class TestBounds:
    def titles(self, own: float, memory: float = 90.0) -> summary.Done:
        """Return the real titles: references of 1 second a step, beside a step of 12 and one of 8
        without its reference."""
        turns = {TRL: [metrics(12.0)], f"{TRL}, precomputed": [metrics(8.0, 10.0)],
                 OWN: [metrics(own, 5.0, peak_mb=memory)]}  # fmt: skip
        return REAL["a"], turns

    def test_epochs_share_a_reference_pass(self) -> None:
        (bound,) = summary.bounds([self.titles(own=2.0)])
        assert (bound.contestant, bound.wanted) == (TRL, 5)
        assert bound.found == pytest.approx(12 / (2 + 1 / 3))
        assert bound.missed == []

    @pytest.mark.parametrize(("own", "memory", "verdict"), [
        (2.0, 100.0, "met"), (2.2, 90.0, "**missed** (time)"), (2.0, 100.5, "**missed** (memory)")
    ])  # fmt: skip
    def test_a_bound_is_missed_by_time_or_by_memory(
        self, own: float, memory: float, verdict: str
    ) -> None:
        *_, table = rendering._bounds([self.titles(own, memory)])
        titles, newer = (
            line for line in table.splitlines() if REAL["a"].name in line and "five" not in line
        )
        assert titles.endswith(f"| {verdict} |")
        assert newer.endswith("| not measured |")

    def test_a_sweep_is_continued_with_the_steps_of_its_trials(self) -> None:
        def sweep(seconds: float) -> list[dict[str, Any]]:
            return [metrics(0) | {"process_seconds": {"cpu": seconds}, "steps": [2] * 5}]

        turns = {TRL: sweep(400.0), CACHED: sweep(300.0), OWN: sweep(100.0)}
        done = [self.titles(own=2.0), (REAL["d"], turns)]
        further = 64 - 2
        taken = {
            TRL: 400 + further * 5 * 12,
            CACHED: 300 + further * (5 * 8 + 2),
            OWN: 100 + further * (5 * 2 + 1),
        }
        for name, seconds in taken.items():
            assert summary.epoch_seconds(REAL["d"], name, turns, done) == [seconds]
        found = {bound.contestant: bound for bound in summary.bounds(done[1:] + done[:1])[:2]}
        assert found[TRL].found == pytest.approx(taken[TRL] / taken[OWN])
        assert found[CACHED].found == pytest.approx(taken[CACHED] / taken[OWN])
        assert (found[TRL].wanted, found[CACHED].wanted) == (5, 3)
        assert not summary.bounds(done[1:])


class TestLedger:
    def ledger(self, tmp_path: Path, **under: str) -> Ledger:
        conditions = {"machine": {"device": "one"}, "code": "a", "measuring": "a"}
        return Ledger(tmp_path / "kept.json", conditions | under)

    def test_it_resumes_where_it_was(self, tmp_path: Path) -> None:
        self.ledger(tmp_path).keep(DPO, TRL, 0, {"steps": 5})
        again = self.ledger(tmp_path)
        assert again.find(DPO, TRL, 0) == {"steps": 5}
        assert again.find(DPO, TRL, 1) is None
        assert again.find(DPO, OWN, 0) is None
        assert len(again.dates(DPO)) == 1

    def test_what_held_under_other_conditions_is_not_used(self, tmp_path: Path) -> None:
        for name in (TRL, OWN):
            self.ledger(tmp_path).keep(DPO, name, 0, {"steps": 5})
        assert self.ledger(tmp_path, measuring="b").find(DPO, TRL, 0) is None
        assert self.ledger(tmp_path).find(replace(DPO, steps=9), TRL, 0) is None
        assert self.ledger(tmp_path, code="b").find(DPO, OWN, 0) is None

    def test_trls_seconds_do_not_depend_on_this_projects_training(self, tmp_path: Path) -> None:
        self.ledger(tmp_path).keep(DPO, f"{TRL}, precomputed", 0, {"steps": 5})
        assert self.ledger(tmp_path, code="b").find(DPO, f"{TRL}, precomputed", 0)

    def test_what_is_compared_may_change(self, tmp_path: Path) -> None:
        self.ledger(tmp_path).keep(DPO, TRL, 0, {"steps": 5})
        other = replace(DPO, contestants=(TRL, "another"), bounds=((TRL, 9),), letter="z")
        assert self.ledger(tmp_path).find(other, TRL, 0)

    def test_a_new_measurement_takes_an_old_ones_place(self, tmp_path: Path) -> None:
        self.ledger(tmp_path).keep(DPO, OWN, 0, {"steps": 5})
        newer = self.ledger(tmp_path, code="b")
        newer.keep(DPO, OWN, 0, {"steps": 6})
        assert [entry["figures"] for entry in newer.kept] == [{"steps": 6}]

    def test_a_page_has_the_turns_that_were_made_alike(self, tmp_path: Path) -> None:
        old = self.ledger(tmp_path)
        for turn in range(2):
            old.keep(DPO, OWN, turn, {"steps": turn})
            old.keep(DPO, TRL, turn, {"steps": turn})
        newer = self.ledger(tmp_path, code="b")
        assert newer.shown(DPO, OWN) == [{"steps": 0}, {"steps": 1}]
        assert newer.is_older(DPO)
        assert self.ledger(tmp_path, machine="another").shown(DPO, OWN) == []
        newer.keep(DPO, OWN, 0, {"steps": 7})
        assert newer.shown(DPO, OWN) == [{"steps": 7}]
        assert not newer.is_older(DPO)
        ((case, turns),) = fast_path.measured(CASES, newer)
        assert case.contestants == (TRL, OWN)
        assert turns == {TRL: [{"steps": 0}], OWN: [{"steps": 7}]}

    def test_without_this_project_nothing_is_compared(self, tmp_path: Path) -> None:
        ledger = self.ledger(tmp_path)
        ledger.keep(REAL["a"], TRL, 0, {})
        ledger.keep(REAL["a"], NEWER, 0, {})
        assert fast_path.measured(CASES, ledger) == []


def test_cases_have_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(isinstance(case, Case) and summary.own(case) for case in CASES)
