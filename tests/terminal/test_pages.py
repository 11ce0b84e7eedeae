"""Terminal pages, from files that jobs would have written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text
from rich.tree import Tree

from scripts.common.cli import BadInput
from scripts.common.files import write_json
from scripts.terminal import doctor, plan, tables
from scripts.terminal.console import terminal

Row = dict[str, Any]
Printed = Callable[[Callable[..., None], Any], str]

GIB = 2**30


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """Return what a page prints, one space between words."""

    def run(show: Callable[..., None], argument: Any) -> str:
        show(argument)
        return " ".join(capsys.readouterr().out.split())

    return run


# --------------------------------------------------------------------------------------- doctor


def finding(
    check: str, severity: str, count: int = 0, of: int = 9, examples: tuple[str, ...] = ()
) -> Row:
    return {"check": check, "severity": severity, "count": count, "of": of, "split": "test",
            "text": f"what {check} means", "examples": list(examples)}  # fmt: skip


def test_findings_the_worst_first(tmp_path: Path, printed: Printed) -> None:
    findings = [
        finding("empty_rows", "ok"),
        finding("pad_is_eos", "note", 1, 1),
        finding("cut_rows", "ok"),
        finding("cut_rows", "warning", 3, 1200, ("[a]",)),
        finding("leaked_groups", "error", 76, 76, tuple(f"valid-{i}" for i in range(5))),
    ]
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    rows = {"train": 1026, "valid": 0, "test": 114}
    for path, found in zip(files, (findings, findings[:1]), strict=True):
        write_json(path, {"name": path.stem, "rows": rows, "findings": found})
    out = printed(doctor.show, files)
    assert out.startswith("a (train 1,026, test 114): 1 error, 1 warning, 1 note, 2 ok")
    places = [out.index(text) for text in ("76 of 76", "3 of 1,200", "1 of 1 ")]
    assert places == sorted(places)
    assert "leaked groups: what leaked_groups means (valid-0, valid-1, valid-2, …)" in out
    assert "([a], …)" in out
    # A check that found nothing in any split is named in one line.
    assert out.count("what it means") == 1
    assert "ok: empty rows b (train 1,026, test 114): 0 error, 0 warning, 0 note, 1 ok" in out


def test_rows_as_they_are_learned(tmp_path: Path, printed: Printed) -> None:
    texts = [["<user>hi<assistant>", False], ["ho</s>", True], ["<user>…", False]]
    shown = [{"id": "train-0", "of": "completion", "texts": texts}]
    path = tmp_path / "a.json"
    write_json(path, {"name": "a", "rows": {"train": 1}, "findings": [], "shown": shown})
    out = printed(doctor.show, [path])
    assert "train-0, completion; ⟦learned⟧: <user>hi<assistant>⟦ho</s>⟧<user>…" in out


HOSTILE = "\x1b[2J\x1b]0;t\x07 \x9b31m \u202eabc\r [red]b[/] [/x] :cat:"
SHOWN = r"\x1b[2J\x1b]0;t \x9b31m \u202eabc [red]b[/] [/x] :cat:"
"""rich leaves out the bell and the carriage return."""


def test_no_text_reaches_the_terminal_as_a_command(tmp_path: Path, printed: Printed) -> None:
    """Nor as markup."""
    found = [finding(HOSTILE, "note", 1, 1, (HOSTILE,)) | {"text": HOSTILE}]
    path = tmp_path / "a.json"
    write_json(path, {"name": HOSTILE, "rows": {"train": 1}, "findings": found})
    out = printed(doctor.show, [path])
    assert out.isprintable()
    assert out.startswith(f"{SHOWN} (train 1): 0 error, 0 warning, 1 note, 0 ok")
    assert f"({SHOWN})" in out

    def tree(console: Any) -> None:
        branch = Tree(HOSTILE)
        branch.add(Text(HOSTILE))
        console.print(branch)
        console.print(HOSTILE, Path(HOSTILE), sep="\n")

    out = printed(tree, terminal(1000))
    assert out.isprintable()
    assert out.count(SHOWN) == 4


def test_other_files_are_no_findings(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        doctor.show([tmp_path / "none.json"])
    write_json(tmp_path / "other.json", {"name": "x"})
    with pytest.raises(BadInput, match="found no findings"):
        doctor.show([tmp_path / "other.json"])


# ----------------------------------------------------------------------------------------- plan

MEMORY = {"weights": 2 * GIB, "adapter": GIB // 8, "gradients": GIB // 8, "optimizer": GIB // 4,
          "activations": GIB // 2, "logits": GIB, "block": GIB // 2, "overhead": GIB,
          "total": 5 * GIB}  # fmt: skip


def trial(name: str, **more: Any) -> Row:
    return {
        "name": name, "seed": 42, "model": "tinyllama", "steps": 1875, "real_tokens": 2_440_000,
        "padded_tokens": 2_960_000, "trainable_parameters": 1_914_880, "memory": MEMORY,
        "fits": True, "hours": 1.5,
    } | more  # fmt: skip


def estimate(*trials: Row) -> Row:
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


def test_trials_shapes_and_sums(tmp_path: Path, printed: Printed) -> None:
    large = MEMORY | {"weights": 30 * GIB, "total": 33 * GIB}
    trials = trial("sft-1"), trial("sft-2"), trial("titles", memory=large, fits=False, hours=None)
    write_json(tmp_path / "plan.json", estimate(*trials))
    out = printed(plan.show, tmp_path / "plan.json")
    assert "sft-1 42 1 1,875 2.44 M 2.96 M 1,914,880 5.00 1.50" in out
    assert "titles 42 2 1,875 2.44 M 2.96 M 1,914,880 33.00 ! –" in out
    # Two trials share a shape, so that there are two rows of parts.
    assert out.count("tinyllama") == 2
    assert "1.50 hours; 1 of 3 trials have no probe" in out
    assert "download: 29.6 GB" in out
    assert "does not fit into a GPU of 24.0 GB: titles seed 42 (33.00 GB)" in out
    assert out.endswith("A note.")


def test_a_hundred_columns_have_room_for_the_largest_numbers(
    tmp_path: Path, printed: Printed
) -> None:
    large = dict.fromkeys(MEMORY, 1234 * GIB)
    trials = [trial(f"qwen-dpo-{i}", memory=large, hours=1234.5) for i in range(3)]
    write_json(tmp_path / "plan.json", estimate(*trials))
    out = printed(plan.show, tmp_path / "plan.json")
    assert "…" not in out
    assert all(f"qwen-dpo-{i} " in out for i in range(3))


@pytest.mark.parametrize("text", ["{}", "[]", "{", None])
def test_what_is_not_an_estimate_is_one_line(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "plan.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"plan\.json: (not|no such file)"):
        plan.show(tmp_path / "plan.json")


# --------------------------------------------------------------------------------------- tables

HEADER = (
    "experiment,trial,seeds,r,held_out_loss,held_out_loss_n,held_out_loss_wilson_low,"
    "held_out_loss_wilson_high,held_out_loss_group_bootstrap_low,"
    "held_out_loss_group_bootstrap_high,set,exact_match"
)


def test_main_tables_and_where_the_rest_lies(tmp_path: Path, printed: Printed) -> None:
    with pytest.raises(BadInput, match="no tables; a finished run makes them"):
        tables.show(tmp_path)
    (tmp_path / "tables").mkdir()
    rows = (
        HEADER, "e,base,,,0.58,200,,,0.5612,0.5988,problems,0.125",
        "e,base,,,0.58,200,,,0.5612,0.5988,summaries,", "e,sft-1,3,16,0.27,200,,,0.25,0.29,,",
    )  # fmt: skip
    (tmp_path / "tables" / "sft.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "curves.pdf").touch()
    out = printed(tables.show, tmp_path)
    assert "base – – 0.58 [0.56, 0.60] problems 0.12" in out
    assert "sft-1 3 16 0.27 [0.25, 0.29] – –" in out
    # A set of prompts without a score says nothing where another one has it.
    assert "summaries" not in out
    assert "tables/: sft (csv)" in out
    assert "curves (pdf)" in out
    assert "report.html" not in out
    (tmp_path / "report.html").touch()
    assert out + f" {tmp_path / 'report.html'}: all of it in one page, with every answer" == (
        printed(tables.show, tmp_path)
    )


def test_the_mark_of_a_rehearsal_is_the_title(tmp_path: Path, printed: Printed) -> None:
    (tmp_path / "tables").mkdir()
    text = "mark,trial,preference_accuracy\nREHEARSAL,dpo-1,0.5\n"
    (tmp_path / "tables" / "dpo.csv").write_text(text, encoding="utf-8")
    assert "REHEARSAL" in printed(tables.show, tmp_path)
