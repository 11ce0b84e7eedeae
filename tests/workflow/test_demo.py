"""The cut-down demo, from corpora to tables and figures, interrupted once."""

import csv
import json
import math
from pathlib import Path

from scripts.common.files import read_json, read_jsonl, read_rows
from scripts.common.signs import said
from tests.workflow.conftest import CUT_DOWN, Project


def test_all_tables_and_figures_are_there(finished: Project) -> None:
    results = finished.folder / "results" / "demo"
    tables = {path.name for path in (results / "tables").iterdir()}
    assert tables == {
        f"{name}.{kind}"
        for name in (
            "sft",
            "dpo",
            "objectives",
            "summary",
            "metrics",
            "seeds",
            "differences",
            "cost",
        )
        for kind in ("csv", "md", "tex", "json", "provenance.json")
    }
    figures = {path.name for path in (results / "figures").iterdir()}
    assert figures == {
        f"{name}.{kind}"
        for name in (
            "curves",
            "accuracy",
            "before_after",
            "sensitivity",
            "reliability",
            "length",
            "quality",
            "forest",
            "power",
        )
        for kind in ("pdf", "png", "md", "provenance.json")
    }


def test_a_second_run_has_nothing_to_do(rerun: Project) -> None:
    assert rerun.jobs(*CUT_DOWN) == []


def test_every_trial_stands_in_its_table(finished: Project) -> None:
    tables = finished.folder / "results" / "demo" / "tables"

    def trials(name: str) -> list[str]:
        with open(tables / f"{name}.csv", encoding="utf-8", newline="") as lines:
            # A model has a row for each set of prompts; each lookup has its own row.
            rows = [(row["experiment"], row["trial"]) for row in csv.DictReader(lines)]
            return [trial for _, trial in dict.fromkeys(rows)]

    assert trials("sft") == ["demo", "sft-r16", "sft-r4"]
    assert trials("dpo") == ["dpo-r8", "lookup", "titles-r16", "lookup"]


def test_preference_trials_begin_at_their_reference(finished: Project) -> None:
    for trial in ("dpo-r8", "titles-r16"):
        folder = finished.folder / "results" / "demo" / "trials" / trial / "seed-0"
        first = read_jsonl(folder / "history.jsonl")[0]
        assert math.isclose(first["loss"], math.log(2), abs_tol=1e-5)
        assert abs(first["rewards/margins"]) < 1e-5


def test_no_trial_went_wrong(finished: Project) -> None:
    results = finished.folder / "results" / "demo"
    assert warnings(results) == {}
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "Signs that a trial went wrong" not in page


def warnings(results: Path) -> dict[str, list[str]]:
    """Return by trial the signs that it went wrong, in training and in evaluation."""
    found = {}
    for folder in (results / "trials").glob("*/seed-*"):
        signs = [
            it
            for name in ("train", "metrics")
            for it in read_json(folder / f"{name}.json")["signs"]
        ]
        if said_of := [said(sign) for sign in signs if not sign["note"]]:
            found[folder.parent.name] = said_of
    return found


def test_every_trial_computes_what_is_shared_once(finished: Project) -> None:
    for trial in ("sft-r16", "dpo-r8", "titles-r16"):
        folder = finished.folder / "results" / "demo" / "trials" / trial / "seed-0"
        layout = read_json(folder / "train.json")["layout"]
        assert (layout["asked"], layout["ran"], layout["reason"]) == ("auto", "shared", None)
        assert layout["processed_tokens"] <= 1.1 * layout["fewest_tokens"]
        assert layout["processed_tokens"] < layout["stock_tokens"]


def test_the_reference_of_the_pairs_is_the_references_file(finished: Project) -> None:
    results = finished.folder / "results" / "demo"
    trial = read_json(results / "trials" / "dpo-r8" / "seed-0" / "trial.json")
    reference = read_rows(results / "references" / trial["reference"] / "test.parquet")
    pairs = read_rows(results / "trials" / "dpo-r8" / "seed-0" / "pairs.parquet")
    assert [row["chosen_logp"] for row in reference] == [
        row["reference_chosen_logp"] for row in pairs
    ]


def test_all_models_of_an_experiment_answer_the_same_prompts(finished: Project) -> None:
    results = finished.folder / "results" / "demo"
    folders = ["bases/tutor", *(f"trials/{t}/seed-0" for t in ("sft-r16", "sft-r4", "dpo-r8"))]
    prompts = {
        tuple(row["prompt"] for row in read_rows(results / folder / "generations.parquet"))
        for folder in folders
    }
    assert len(prompts) == 1
    assert len(prompts.pop()) == 4


def test_answers_are_judged_and_scored_under_the_reference_where_that_is_asked(
    finished: Project,
) -> None:
    folder = finished.folder / "results" / "demo" / "trials" / "titles-r16" / "seed-0"
    answers = read_rows(folder / "generations.parquet")
    scored = {row["set"] for row in answers if row["reference_logp"] is not None}
    assert scored == {"titles-sampled"}
    verdicts = read_rows(folder / "verdicts.parquet")
    titles = [row["id"] for row in answers if row["set"] == "titles"]
    assert [(row["set"], row["id"]) for row in verdicts] == [("titles", name) for name in titles]
    sets = read_json(folder / "metrics.json")["sets"]
    assert "win_rate" in sets["titles"]["metrics"]
    assert "kl" in sets["titles-sampled"]["metrics"]


def test_no_prompt_sits_on_both_sides(finished: Project) -> None:
    data = finished.folder / "results" / "demo" / "data"
    for dataset in ("problems", "dialogues", "titles"):
        groups = [
            {row["group"] for row in read_rows(data / dataset / f"{split}.parquet")}
            for split in ("train", "valid", "test")
        ]
        assert groups[0]
        assert groups[2]
        assert not groups[0] & groups[1]
        assert not groups[0] & groups[2]
        assert not groups[1] & groups[2]


def test_the_adapter_loads_by_itself(finished: Project) -> None:
    """As any PEFT user would load it: config, weights and card come from its folder only."""
    from peft import PeftConfig

    folder = finished.folder / "results" / "demo" / "trials" / "sft-r4" / "seed-0" / "adapter"
    config = PeftConfig.from_pretrained(folder)
    assert config.r == 4
    assert config.base_model_name_or_path == "demo/base"
    assert "# sft-r4, seed 0" in (folder / "README.md").read_text(encoding="utf-8")


def test_nothing_half_done_is_left(finished: Project) -> None:
    results = finished.folder / "results" / "demo"
    assert not list(results.rglob("work"))
    # What Snakemake knows a folder by, and where trained versions are kept, are hidden too.
    known = (".snakemake_timestamp", ".kept")
    assert not [path for path in results.rglob(".*") if path.name not in known]
    assert json.loads((results / "models" / "from-scratch" / "manifest.json").read_text())["files"]
