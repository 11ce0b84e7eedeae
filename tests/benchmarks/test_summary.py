"""Medians, ratios and verdicts, from measurements whose answers are plain."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import summary
from benchmarks.cases import CASES, Case
from benchmarks.ledger import Ledger
from benchmarks.needed import Weights

DPO = next(case for case in CASES if case.task == "preferences")
SFT = next(case for case in CASES if case.task == "demonstrations")
NEEDED = {"rows": 2, "tokens": 40, "tree": [10, 55], "tree_of_pairs": [15, 60], "predicted": 8}


def metrics(step: float, reference: float | None = None, **more: Any) -> dict[str, Any]:
    return {
        "steps": 5,
        "step_seconds": {"cpu": step, "wall": 100.0},
        "reference_seconds": reference and {"cpu": reference, "wall": 100.0},
        "process_seconds": {"cpu": 50.0},
        "needed": [NEEDED] * 5,
        "losses": [0.69, 0.68],
        "matmul_flops": 100.0,
        **more,
    }


def test_ratios_are_taken_within_a_turn() -> None:
    found = summary.ratios([8.0, 30.0, 6.0], [2.0, 10.0, 1.0])
    assert (found.median, found.low, found.high, found.count) == (4.0, 3.0, 6.0, 3)


def test_a_reference_pass_is_shared_by_the_steps_of_its_rows() -> None:
    turns = {"TRL": [metrics(8.0)], "prefmake": [metrics(2.0, 10.0)]}
    assert summary.reference_seconds(DPO, "prefmake", turns) == [2.0]
    assert summary.reference_seconds(DPO, "TRL", turns) == [0.0]
    assert summary.startup_seconds(DPO, "prefmake", turns) == [50.0 - 5 * 2.0 - 10.0]


def test_packs_are_scaled_to_as_many_tokens() -> None:
    packed = [NEEDED] + [NEEDED | {"tokens": 80}] * 4
    turns = {name: [metrics(3.0)] for name in SFT.contestants}
    turns["TRL, packed"] = [metrics(5.0, needed=packed, losses=[9.0])]
    assert summary.step_seconds(SFT, "TRL, packed", turns) == [2.5]
    assert summary.step_seconds(SFT, "prefmake", turns) == [3.0]
    assert summary.same_losses(SFT, turns)


def test_another_loss_is_found_in_any_turn() -> None:
    turns = {name: [metrics(1.0), metrics(1.0)] for name in DPO.contestants}
    assert summary.loss_difference(DPO, turns) == 0
    turns["TRL"][1]["losses"] = [0.69, 0.68 + 2e-5]
    assert summary.loss_difference(DPO, turns) == pytest.approx(2e-5)
    assert not summary.same_losses(DPO, turns)


def test_a_share_of_the_peak_is_of_what_was_needed() -> None:
    weights = Weights(frozen=3, adapter=0, head=0, attention=0)
    flops = summary.step_flops(weights, [NEEDED] * 5, reference=True)
    assert flops == 3 * 2 * 3 * 10
    assert summary.peak_share(flops, [3.6], [metrics(3.6)]).median == pytest.approx(0.5)


class TestLedger:
    def ledger(self, tmp_path: Path, code: str = "a") -> Ledger:
        return Ledger(tmp_path / "kept.json", {"machine": {"device": "one"}, "code": code})

    def test_it_goes_on_where_it_was(self, tmp_path: Path) -> None:
        self.ledger(tmp_path).keep(DPO, "TRL", 0, {"steps": 5})
        again = self.ledger(tmp_path)
        assert again.find(DPO, "TRL", 0) == {"steps": 5}
        assert again.find(DPO, "TRL", 1) is None
        assert again.find(DPO, "prefmake", 0) is None
        assert len(again.dates([DPO])) == 1

    def test_what_held_under_other_conditions_is_not_used(self, tmp_path: Path) -> None:
        self.ledger(tmp_path).keep(DPO, "TRL", 0, {"steps": 5})
        assert self.ledger(tmp_path, code="b").find(DPO, "TRL", 0) is None
        assert self.ledger(tmp_path).find(replace(DPO, steps=9), "TRL", 0) is None

    def test_a_new_measurement_takes_an_old_ones_place(self, tmp_path: Path) -> None:
        self.ledger(tmp_path).keep(DPO, "TRL", 0, {"steps": 5})
        newer = self.ledger(tmp_path, code="b")
        newer.keep(DPO, "TRL", 0, {"steps": 6})
        assert [entry["figures"] for entry in newer.kept] == [{"steps": 6}]


def test_cases_have_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(isinstance(case, Case) and summary.own(case) for case in CASES)
