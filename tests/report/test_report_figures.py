"""The figures: every plan makes one, with the same bytes each time and the required text."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import write_json
from scripts.report import figure_command
from scripts.report.headline import leading
from scripts.report.results import Results, parse_states
from scripts.report.style import DISTINCT, LOOKS, canvas, looks, row_legend, save, use_style
from tests.conftest import ROOT, contents, no_file_grows
from tests.report.conftest import LORA, OBJECTIVE, PAIRS, TRAINER, paired

FIGURES = (
    "accuracy", "before_after", "curves", "forest", "length", "power", "quality", "reliability",
    "sensitivity",
)  # fmt: skip
READS = {
    "curves": "trials/titles-1/seed-0/history.jsonl",
    "forest": "comparisons/titles.json",
    "length": "trials/titles-1/seed-0/items.parquet",
    "power": "comparisons/titles.json",
    "reliability": "trials/titles-1/seed-0/items.parquet",
}
"""Files that only this figure reads."""
FORMS = ("pdf", "png", "md")
EVERY = """
import json, sys
from importlib import import_module
for name, words in json.load(sys.stdin).items():
    assert import_module(f"scripts.report.figures.{name}").main(words) == 0, name
"""
"""Make all figures in one process: alone, each would spend its time on imports."""
by_name = pytest.mark.parametrize("name", FIGURES)


def module(name: str):
    return import_module(f"scripts.report.figures.{name}")


def drawn(name: str, made, states: dict[str, Any] | None = None):
    """Return the figure of a results folder, not yet saved."""
    use_style()
    found = Results(made.root, made.plan, parse_states(json.dumps(states or {})))
    return module(name).draw(module(name).frame(found))


def written_in(figure) -> str:
    """Return all text in a figure."""
    from matplotlib.text import Text

    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def outputs(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}.{form}" for form in FORMS]


def assert_written(name: str, made, folder: Path) -> str:
    pdf, png, caption = outputs(folder, name)
    assert module(name).main(made.arguments(pdf, png, caption)) == 0
    assert pdf.read_bytes().startswith(b"%PDF-")
    assert png.read_bytes().startswith(b"\x89PNG")
    return caption.read_text(encoding="utf-8")


@by_name
def test_no_trial_or_one(name, empty_results, figures, tmp_path):
    assert_written(name, empty_results, tmp_path)
    empty_results.base("tutor", "Tutor", {})
    empty_results.trial("bare", "dpo", {}, title="Tutor", history=[])
    assert_written(name, empty_results, tmp_path)
    for method in ("sft", "dpo"):
        made = figures["generated"](1.0, 0.1, 0.5) | figures["preferred"]()
        empty_results.trial(f"only-{method}", method, made, experiment="one", title="One")
    assert_written(name, empty_results, tmp_path)


@by_name
def test_many_trials_of_two_seeds(name, empty_results, figures, tmp_path):
    for seed in (0, 1):
        for number in range(12):
            made = figures["generated"](1.0, 0.1, 0.5) | figures["preferred"]()
            empty_results.trial(f"dpo-{number}", "dpo", made, seed=seed, items=PAIRS)
    assert_written(name, empty_results, tmp_path)


@by_name
def test_trials_that_are_not_done(name, results):
    folders = ["trials/sft_2/seed-0", "trials/dpo_1/seed-0", "trials/titles-2/seed-0"]
    write_json(results.root / folders[0] / "work/failed.json", {"reason": "ValueError: no"})
    states = dict(zip(folders, (["failed"], ["running"], ["not run"]), strict=True))
    said = written_in(drawn(name, results, states)).splitlines()
    words = {
        "accuracy": ("running", "not run"),
        "before_after": ("failed", "running"),
        "curves": ("sft_2 (failed)", "dpo_1 (running)", "titles-2 (not run)"),
    }
    assert set(words.get(name, ())) <= set(said)
    nothing = {run: ["not run"] for part in results.plan for runs in part["trials"].values()
               for run in (f"trials/{it}" for it in runs)}  # fmt: skip
    nothing |= {folder: ["not run"] for folder in ("bases/tutor", "bases/titles")}
    nothing["baselines/titles.train.test"] = ["not run"]
    drawn(name, results, nothing)


def test_numbers_of_a_logarithmic_axis_are_not_written_as_formulas(empty_results, figures):
    """Which the style would leave as they are written."""
    for number in range(9):
        setting = {"trainer": TRAINER | OBJECTIVE | {"learning_rate": 10.0 ** (-number - 1)}}
        empty_results.trial(f"d-{number}", "dpo", figures["preferred"](), setting=setting)
    for name in ("sensitivity", "quality", "power"):
        figure = drawn(name, empty_results)
        figure.canvas.draw()
        said = [text.get_text() for it in figure.axes for text in it.get_xticklabels()]
        assert not any("$" in text for text in said)
        assert name != "sensitivity" or any(text.startswith("1e-") for text in said)


def test_a_trial_of_several_seeds_says_which_is_not_done(empty_results):
    for seed in (0, 7):
        empty_results.trial("sft_1", "sft", {}, seed=seed)
    figure = drawn("curves", empty_results, {"trials/sft_1/seed-7": ["running"]})
    assert "sft_1 (seed 7 running)" in written_in(figure).splitlines()


@pytest.mark.all
def test_two_processes_write_the_same_bytes(results, tmp_path):
    processes = []
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        words = {it: results.arguments(*outputs(tmp_path / seed, it)) for it in FIGURES}
        process = subprocess.Popen(
            [sys.executable, "-c", EVERY], cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed},
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append((process, json.dumps(words)))
    for process, words in processes:
        _, said = process.communicate(words, timeout=120)
        assert process.returncode == 0, said
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / seed).iterdir()} for seed in "12"
    )
    assert len(first) == len(FIGURES) * len(FORMS)
    assert [it for it in first if first[it] != second[it]] == []


@by_name
def test_a_missing_file_is_named_and_nothing_written(name, results, tmp_path):
    missing = READS.get(name, "trials/titles-1/metrics.json")
    (results.root / missing).unlink()
    paths = outputs(tmp_path, name)
    with pytest.raises(BadInput, match=rf"{missing}: no such file"):
        module(name).main(results.arguments(*paths))
    assert not any(path.exists() for path in paths)


def test_a_caption_says_what_the_figure_rests_on(results, tmp_path):
    title, _, *notes = assert_written("accuracy", results, tmp_path).splitlines()
    assert title == (
        "**Preference accuracies: a row for each preference trial and lookup, both intervals.**"
    )
    assert all(note.startswith("- ") for note in notes)
    text = "\n".join(notes)
    for part in ("n = 114 in 38 groups", "Wilson: 95 %", "By group: 95 %", "seed 0", "torch 2.13"):
        assert part in text
    assert b"Preference accuracies" in (tmp_path / "accuracy.png").read_bytes()


def test_accuracy_says_what_the_lookup_knows(results):
    figure = drawn("accuracy", results)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[:2] == ["DPO", "lookup"]
    assert "114 of 114 test pairs are judged in train." in figure.get_supxlabel()


@pytest.mark.parametrize("name", ["accuracy", "curves"])
def test_a_mark_is_on_top_with_and_without_a_legend(name, results, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(figure_command, "save", lambda figure, *paths: kept.append(figure))
    # Dollar signs begin no formula, whether they are balanced or not.
    text = r"Rehearsal, $5 and $\frac$: " + "tiny $stand-in models " * 5
    words = results.arguments(*outputs(tmp_path, name)[:2])
    module(name).main(words)
    module(name).main([*words, "--mark", text])
    plain, marked = kept
    assert marked.get_figheight() > plain.get_figheight()
    marked.draw_without_rendering()
    written = marked._suptitle or marked.legends[0].get_title()
    assert written.get_text().split() == text.split()
    box = written.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= marked.bbox.x1
    assert box.y1 <= marked.bbox.y1


@pytest.fixture
def very_many(empty_results, figures):
    """Return a sweep of 75 trials per method, the later the better."""
    tests = []
    for number in range(75):
        name = f"sft_{number}"
        lora = LORA | {"r": 2 ** (number % 5)}
        loss = figures["generated"](2.5 - 0.01 * number, 0.1, 0.5)
        empty_results.trial(name, "sft", loss, setting={"lora": lora})
        accuracy = figures["preferred"](0.5 + 0.005 * number)
        empty_results.trial(f"dpo_{number}", "dpo", accuracy, items=PAIRS, setting={"lora": lora})
        tests.append(paired(name, "tiny_llama", "held_out_loss", method="sft"))
    empty_results.base("tutor", "Word problems & dialogues", figures["generated"](2.6, 0.1, 0.2))
    empty_results.compare("tutor", *tests)
    return empty_results


@pytest.mark.parametrize("name", ["curves", "forest", "length", "quality"])
def test_of_very_many_trials_a_figure_shows_those_that_lead_and_says_so(
    name, very_many, tmp_path, monkeypatch
):
    kept = []
    monkeypatch.setattr(figure_command, "save", lambda figure, *paths: kept.append(figure))
    paths = outputs(tmp_path, name)
    module(name).main(very_many.arguments(*paths))
    said = "of 75 trials the 40 that lead in" in paths[2].read_text(encoding="utf-8")
    assert said == (name != "quality")
    # A PNG of more than 65,536 pixels on a side cannot be written.
    assert kept[0].get_figheight() * 200 < 2**16
    if name == "quality":
        for axes in kept[0].axes:
            labels = [text.get_text() for text in axes.get_legend().get_texts()]
            assert labels == ["one of 75 trials", "Pareto front"]


def test_the_leading_trials_are_the_best_in_the_plans_order(very_many):
    kept, notes = leading(Results(very_many.root, very_many.plan))
    models = kept.models
    for method in ("sft", "dpo"):
        names = list(models.loc[models["method"] == method, "model"])
        assert names == [f"{method}_{number}" for number in range(35, 75)]
    assert "base" in set(models["method"])
    assert "lead in preference accuracy" in notes[1]
    again, nothing = leading(kept)
    assert (len(again.models), nothing) == (len(models), [])


def test_as_many_looks_as_promised_differ():
    names = [str(number) for number in range(DISTINCT)]
    assert len({(look.color, look.dashes) for look in looks(names).values()}) == DISTINCT


def test_a_full_disk_is_named_and_leaves_the_old_figure(tmp_path):
    """matplotlib says something else of it, and PDF and PNG are of one figure."""
    from matplotlib.figure import Figure

    paths = tmp_path / "a.pdf", tmp_path / "a.png"
    for path in paths:
        path.write_bytes(b"old")
    with no_file_grows(beyond=2048), pytest.raises(OSError, match=r"a\.p(df|ng)'$"):
        save(Figure(figsize=(9, 9), facecolor="red"), *paths, "Title")
    assert contents(tmp_path) == {"a.pdf": b"old", "a.png": b"old"}


def test_a_legend_of_every_method_is_no_wider_than_its_figure() -> None:
    use_style()
    figure = canvas(4.0)
    chance = figure.add_subplot().axvline(0.5, label="chance")
    row_legend(figure, LOOKS, chance)
    figure.canvas.draw()
    (legend,) = figure.legends
    assert len(legend.texts) == len(LOOKS) + 3
    assert legend.get_window_extent().x0 >= 0
    assert legend.get_window_extent().x1 <= figure.bbox.x1
