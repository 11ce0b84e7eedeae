"""The plan as a terminal shows it."""

from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import write_json
from scripts.terminal import plan as show_plan

GIB = 2**30
MEMORY = {"weights": 2 * GIB, "adapter": GIB // 8, "gradients": GIB // 8, "optimizer": GIB // 4,
          "activations": GIB // 2, "logits": GIB, "block": GIB // 2, "overhead": GIB,
          "total": 5 * GIB}  # fmt: skip


def trial(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "seed": 42, "model": "tinyllama", "steps": 1875, "real_tokens": 2_440_000,
        "padded_tokens": 2_960_000, "trainable_parameters": 1_914_880, "memory": MEMORY,
        "fits": True, "hours": 1.5,
    } | more  # fmt: skip


def plan(*trials: dict[str, Any]) -> dict[str, Any]:
    return {
        "gpu": {"name": None, "memory": 24 * GIB},
        "trials": list(trials),
        "totals": {
            "trials": len(trials), "steps": 1875 * len(trials), "real_tokens": 2_440_000,
            "padded_tokens": 2_960_000, "hours": 1.5, "trials_without_hours": 1,
            "download": 29_551_000_000,
            "disk": {"snapshots": 29_551_000_000, "tokens": 10, "adapters": 10,
                     "checkpoints": 10, "total": 29_551_000_030},
        },
        "does_not_fit": [
            {"name": one["name"], "seed": one["seed"], "total": one["memory"]["total"]}
            for one in trials if not one["fits"]
        ],
        "notes": ["A note."],
    }  # fmt: skip


def printed(
    content: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture, monkeypatch: Any
) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    write_json(folder / "plan.json", content)
    assert show_plan.main([str(folder / "plan.json")]) == 0
    return capsys.readouterr().out


def test_trials_shapes_and_totals(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = MEMORY | {"weights": 30 * GIB, "total": 33 * GIB}
    trials = trial("sft-1"), trial("sft-2"), trial("titles", memory=large, fits=False, hours=None)
    out = printed(plan(*trials), tmp_path, capsys, monkeypatch)
    assert "sft-1 42 1 1,875 2.44 M 2.96 M 1,914,880 5.00 1.50" in " ".join(out.split())
    assert "titles 42 2 1,875 2.44 M 2.96 M 1,914,880 33.00 ! –" in " ".join(out.split())
    # Two trials share a shape, so that there are two rows of parts.
    assert out.count("tinyllama") == 2
    assert "1.50 hours; 1 of 3 trials have no probe" in out
    assert "download: 29.6 GB" in out
    assert "does not fit into a GPU of 24.0 GB: titles seed 42 (33.00 GB)" in out
    assert "A note." in out


def test_a_hundred_columns_hold_thirty_trials_of_the_largest_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = dict.fromkeys(MEMORY, 1234 * GIB)
    trials = [trial(f"qwen-dpo-{i:02}", memory=large, hours=1234.5) for i in range(30)]
    out = printed(plan(*trials), tmp_path, capsys, monkeypatch)
    assert "…" not in out
    assert all(f"qwen-dpo-{i:02} " in out for i in range(30))
    assert out.count("tinyllama") == 1


@pytest.mark.parametrize("text", ["{}", "[]", "{"])
def test_what_is_no_plan_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"plan\.json: not"):
        show_plan.main([str(tmp_path / "plan.json")])


def test_no_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        show_plan.main([str(tmp_path / "plan.json")])
