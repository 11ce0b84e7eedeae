"""The page of a run: what it says, and that it needs nothing else."""

import os
import re
import subprocess
import sys

import pytest

from scripts.common.cli import BadInput
from scripts.report import headline
from scripts.report.page import make
from scripts.report.page.answers import sets_of
from scripts.report.page.findings import sentences
from scripts.report.page.trials import flat, groups_of
from scripts.report.results import Results as Read
from tests.conftest import ROOT
from tests.report.conftest import measured
from tests.report.page.conftest import (
    HOSTILE,
    arguments,
    articles,
    column,
    header,
    run_by_hand,
    write_items,
    write_prompts,
)


def test_every_address_is_in_the_file(path):
    text = re.sub(r'<script type="application/json".*?</script>', "", path.read_text("utf-8"),
                  flags=re.DOTALL)  # fmt: skip
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert addresses
    assert [it[:40] for it in addresses if not it.startswith(("data:", "#"))] == []
    assert "url(" not in text
    assert "@import" not in text


def test_two_processes_write_the_same_bytes(made, path):
    for seed in ("1", "2"):
        out = made.root / f"{seed}.html"
        subprocess.run(
            [sys.executable, "-m", "scripts.report.page.make", *arguments(made, out)],
            cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, check=True,
        )  # fmt: skip
        assert out.read_bytes() == path.read_bytes()


def test_headline_names_the_best_and_how_far_trials_reach(made):
    assert [it.text for it in sentences(Read(made.root, made.plan))] == [
        "Exact match on problems: 0.20 [0.08, 0.32] with the base tiny_llama; "
        "0.39 [0.27, 0.51] with sft-9, the highest of 10 SFT trials (0.30 to 0.39).",
        "Preference accuracy: 0.81 [0.75, 0.88] with dpo-a, the highest of 2 DPO trials "
        "(0.75 to 0.81); 0.72 [0.62, 0.75] by win counts in train, no model.",
    ]


def test_headline_over_seeds_is_a_mean(empty_results):
    for seed, loss in enumerate((1.0, 2.0, 6.0)):
        figures = {"held_out_loss": measured(loss)}
        empty_results.trial("sft-1", "sft", figures, title="Tutor", seed=seed)
    found = sentences(Read(empty_results.root, empty_results.plan))
    assert [it.text for it in found] == [
        "Held-out loss: 3.000 with sft-1, mean of 3 seeds (1.000 to 6.000)."
    ]


def test_trials_that_are_alike_are_not_ranked(empty_results):
    for name in ("sft-1", "sft-2"):
        empty_results.trial(name, "sft", {"held_out_loss": measured(1.0)}, title="Tutor")
    found = sentences(Read(empty_results.root, empty_results.plan))
    assert found[0].text == "Held-out loss: 1.000 with sft-1, as with each of 2 SFT trials."


def test_sets_without_a_known_answer_show_none(results):
    """Titles, say: there is a prompt, but no right answer."""
    made = results
    write_prompts(made)
    for folder in ("bases/tutor", "bases/titles", *(f"trials/{name}/seed-0" for name in (
        "sft_1", "sft_2", "dpo_1", "titles-1", "titles-2"
    ))):  # fmt: skip
        write_items(made, folder, {})
    (found,) = sets_of(Read(made.root, made.plan))
    assert found["models"][0] == {"name": "tiny_llama", "method": "base", "base": True}
    assert found["items"][0]["answers"][0] == ["5", 1, "itself", None]
    # sft_2 and dpo_1 left no answers.
    assert found["items"][0]["answers"][2:] == [None, None]


def test_what_differs_from_the_first_trial(made):
    sft_group, dpo_group = groups_of(Read(made.root, made.plan))
    assert sft_group.differing == ["lora.r"]
    assert [sft_group.value(it, "lora.r") for it in sft_group.trials][:4] == ["2", "4", "8", "2"]
    assert dpo_group.differing == []
    second = sft_group.trials[1]
    assert second.name == "sft-1, seed 0"
    assert (second.settings["lora.r"], sft_group.changed(second)) == ("4", 1)
    assert second.made_with["versions.torch"] == "2.13.0"
    assert second.made_with["layout.ran"] == "shared"
    assert "versions.torch" not in second.outcomes
    assert second.outcomes["train_loss"] == "0.71414"


def test_of_very_many_trials_the_page_has_those_that_lead_and_says_so(made, monkeypatch):
    monkeypatch.setattr(headline, "ROOM", 2)
    text = make.page(Read(made.root, made.plan), [], [], None)
    assert "of 10 trials the 2 that lead in held-out loss" in text
    trials = text[text.index('<section id="trials">') :]
    assert [f"sft-{number}, seed 0" in trials for number in range(10)] == [
        number in (0, 2) for number in range(10)
    ]
    # All of them are counted.
    assert "12 trained models" in text


def test_leaves_by_dotted_names():
    nested = {"a": {"b": None, "c": [1, "x"], "d": True}, "e": 4e-3, "f": "text", "g": 1234567}
    assert flat(nested) == {
        "a.b": "–", "a.c": '[1, "x"]', "a.d": "true", "e": "0.004", "f": "text", "g": "1234567",
    }  # fmt: skip


@pytest.mark.parametrize(
    "missing",
    [
        "tables/dpo.json",
        "tables/dpo.csv",
        "figures/accuracy.png",
        "data/word-problems/test.parquet",
        "trials/sft-0/seed-0/items.parquet",
        "trials/sft-0/seed-0/train.json",
    ],
)
def test_a_missing_file_is_named_and_nothing_written(tmp_path, missing):
    made = run_by_hand(tmp_path / "results")
    (made.root / missing).unlink()
    out = made.root / "report.html"
    with pytest.raises(BadInput, match=rf"{re.escape(missing)}: [Nn]o such file"):
        make.main(arguments(made, out))
    assert not out.exists()


def test_a_figure_that_is_no_png_is_told(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/curves.png").write_bytes(b"%PDF")
    with pytest.raises(BadInput, match=r"curves\.png: not a PNG"):
        make.picture(tmp_path, "curves")


def test_in_a_browser_it_sorts_filters_and_compares_answers(shown):
    """The shortest walk through the page; the other walks are in test_page_browser.py."""
    names = column(shown, "sft", 1)
    header(shown, "sft", "Held-out loss").locator("button").click()
    assert column(shown, "sft", 1)[0] == "sft-2"
    shown.page.locator("#table-sft input").fill("sft-7")
    assert column(shown, "sft", 1) == ["sft-7"]
    assert len(names) == 11
    first = articles(shown).first
    assert first.locator(".prompt").text_content() == HOSTILE
    assert first.locator(".answer").nth(1).locator(".text").text_content() == HOSTILE
    assert shown.page.evaluate("window.hacked") is None
    assert shown.page.locator("h1").text_content() == "Word problems & <i>dialogues</i>"
