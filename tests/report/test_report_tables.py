"""The tables: their numbers, their words, and the three forms in which they are written."""

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from scripts.common.cli import BadInput
from scripts.report import dpo, sft, summary
from scripts.report import results as long_form
from scripts.report.render import (
    Column,
    Table,
    change,
    csv_text,
    decimals,
    latex,
    latex_text,
    markdown_text,
    power,
    shown,
)

TABLES = [dpo, long_form, sft, summary]
FORMS = ("csv", "md", "tex")


def written(module: ModuleType, made, folder: Path) -> dict[str, str]:
    """Runs a table's command line and returns its three texts."""
    paths = [folder / f"table.{form}" for form in FORMS]
    assert module.main(made.arguments(*paths)) == 0
    return {path.suffix[1:]: path.read_text(encoding="utf-8") for path in paths}


def records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --------------------------------------------------------------------------------------- numbers


def test_sft_holds_the_base_and_then_its_trials(results, tmp_path):
    rows = records(written(sft, results, tmp_path)["csv"])
    assert [row["trial"] for row in rows] == ["tiny_llama", "sft_1", "sft_2"]
    base, first, second = rows
    assert (base["method"], first["method"]) == ("base", "sft")
    assert base["held_out_loss"] == "2.5"
    assert base["r"] == base["train_loss"] == base["seconds"] == base["seed"] == ""
    assert first["target_modules"] == "q_proj v_proj"
    assert first["effective_batch"] == "8"
    assert first["learning_rate"] == "0.0002"
    assert first["train_loss"] == "0.71414"
    assert first["trainable_parameters"] == "1914880"
    assert first["held_out_loss_group_bootstrap_low"] == "1.15"
    assert first["held_out_loss_n"] == "120"
    assert first["exact_match_wilson_high"] == "0.62"
    assert first["exact_match_group_bootstrap_low"] == ""
    assert (second["num_train_epochs"], second["max_steps"]) == ("3", "-1")


def test_sft_shows_the_length_in_its_own_unit(results, tmp_path):
    text = written(sft, results, tmp_path)["md"]
    assert "150 steps" in text
    assert "3 epochs" in text


def test_dpo_holds_intervals_and_what_moved(results, tmp_path):
    texts = written(dpo, results, tmp_path)
    fell, rose, unmeasured = records(texts["csv"])
    assert fell["start"] == "trials/sft_1/seed-0"
    assert rose["start"] == "base"
    assert fell["chosen_logp_change"] == "-1.5"
    assert fell["rejected_logp_change"] == "-10.25"
    assert (fell["chosen_fell"], rose["chosen_fell"]) == ("true", "false")
    assert unmeasured["chosen_fell"] == unmeasured["margin"] == ""
    assert fell["preference_accuracy_wilson_low"] == "0.75"
    assert fell["preference_accuracy_group_bootstrap_high"] == "0.9375"
    assert (fell["preference_accuracy_n"], fell["preference_accuracy_groups"]) == ("114", "38")
    assert " −1.50 ↓ |" in texts["md"]
    assert " +1.00 |" in texts["md"]
    assert "0.81 [0.75, 0.88] | [0.69, 0.94]" in texts["md"]


def test_dpo_names_a_smoothed_objective(empty_results, figures, tmp_path):
    trainer = {"learning_rate": 1e-4, "max_steps": 5, "beta": 0.3}
    robust = {"trainer": trainer | {"loss_type": "robust", "label_smoothing": 0.1}}
    empty_results.trial("dpo-1", "dpo", figures["preferred"](), setting=robust)
    texts = written(dpo, empty_results, tmp_path)
    assert "robust, smoothed 0.1" in texts["md"]
    (row,) = records(texts["csv"])
    assert (row["loss_type"], row["label_smoothing"], row["beta"]) == ("robust", "0.1", "0.3")


def test_summary_goes_from_base_to_sft_to_dpo_in_every_experiment(results, tmp_path):
    rows = records(written(summary, results, tmp_path)["csv"])
    assert [row["method"] for row in rows] == ["base", "sft", "sft", "dpo", "base", "dpo", "dpo"]
    assert [row["bleu"] for row in rows] == ["0.0721", "0.1176", "0.1075", "0.1", "", "", ""]
    assert rows[0]["generated_tokens"] == "41.25"
    assert [row["preference_accuracy"] for row in rows[:4]] == ["", "", "", "0.8125"]
    assert rows[5]["preference_accuracy"] == "0.75"


def test_results_has_a_line_for_each_figure_and_interval(results, tmp_path):
    rows = records(written(long_form, results, tmp_path)["csv"])
    first = [row for row in rows if row["trial"] == "dpo_1"]
    assert [(row["figure"], row["interval_method"]) for row in first] == [
        ("train_loss", ""),
        ("preference_loss", "group bootstrap"),
        ("preference_accuracy", "wilson"),
        ("preference_accuracy", "group bootstrap"),
        ("margin", "group bootstrap"),
    ]
    assert [row["value"] for row in first] == ["0.71414", "0.5612", "0.8125", "0.8125", "1.85"]
    assert (first[1]["interval_low"], first[1]["interval_high"]) == ("0.5", "0.625")
    assert (first[1]["n"], first[1]["groups"], first[1]["unit"]) == ("114", "38", "nats")


def test_a_trial_without_figures_keeps_its_lines(results, tmp_path):
    texts = written(long_form, results, tmp_path)
    rows = [row for row in records(texts["csv"]) if row["trial"] == "titles-2"]
    assert [row["figure"] for row in rows] == [
        "train_loss", "preference_loss", "preference_accuracy", "margin",
    ]  # fmt: skip
    assert [row["value"] for row in rows[1:]] == ["", "", ""]


def test_seeds_are_rows(empty_results, figures, tmp_path):
    for seed in (0, 7):
        empty_results.trial("sft-1", "sft", figures["generated"](1.0, 0.1, 0.5), seed=seed)
    texts = written(sft, empty_results, tmp_path)
    assert [row["seed"] for row in records(texts["csv"])] == ["0", "7"]
    assert "- One row a seed: 0, 7." in texts["md"]


def test_a_note_gives_definition_and_sizes(results, tmp_path):
    text = written(sft, results, tmp_path)["md"]
    assert (
        "- Exact match: share of greedy answers whose last number is the expected one; n = 57.\n"
    ) in text
    assert "; n = 120 in 12 groups." in text


def test_a_note_says_nothing_of_groups_of_one(empty_results, figures, tmp_path):
    alone = figures["generated"](1.0, 0.1, 0.5)
    alone["bleu"]["groups"] = alone["bleu"]["n"]
    empty_results.trial("sft-1", "sft", alone)
    assert "no smoothing; n = 57.\n" in written(sft, empty_results, tmp_path)["md"]


def test_a_note_names_experiments_where_sizes_differ(results, figures, tmp_path):
    other = {"experiment": "other", "title": "Other"}
    smaller = figures["generated"](1.0, 0.1, 0.5)
    smaller["bleu"]["n"] = 20
    results.trial("sft-9", "sft", smaller, **other)
    text = written(sft, results, tmp_path)["md"]
    assert "- BLEU: corpus BLEU-4, 13a, no smoothing; n = 57 (tutor); n = 20 (other).\n" in text


@pytest.mark.parametrize("module", TABLES, ids=lambda module: module.__name__)
def test_a_missing_figure_is_a_dash_and_never_zero(module, empty_results, figures, tmp_path):
    empty_results.base("tutor", "Tutor", {})
    empty_results.trial("sft-1", "sft", {})
    empty_results.trial("dpo-1", "dpo", {"generated_tokens": figures["generated"](1, 1, 1)["bleu"]})
    texts = written(module, empty_results, tmp_path)
    assert "| – |" in re.sub(" +", " ", texts["md"])
    assert "0.00" not in texts["md"]
    assert "& -- &" in texts["tex"]
    assert ",," in texts["csv"]


@pytest.mark.parametrize("module", TABLES, ids=lambda module: module.__name__)
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_plan_of_one_method_is_enough(module, method, empty_results, figures, tmp_path):
    empty_results.trial("only", method, figures["generated"](1.0, 0.1, 0.5))
    texts = written(module, empty_results, tmp_path)
    assert texts["csv"].startswith("experiment,title,trial,")
    assert "toprule" in texts["tex"]


# ----------------------------------------------------------------------------------------- forms


def shown_table() -> Table:
    """Returns a table with everything that could go wrong in a form."""
    rows = [("a_b & 50 %", 0.5, None), ("a_b & 50 %", -0.25, 1234), ("#2 {x} ~ ^ \\ | *", 0.0, 7)]
    return Table(
        name="golden",
        title="Gold & more",
        columns=(
            Column("Name", lambda row: row[0], ("name",), lambda row: (row[0],), align="l"),
            Column(
                "Change\n[of %]",
                lambda row: shown(row[1], change(2)),
                ("change",),
                lambda row: (row[1],),
            ),
            Column("n", lambda row: shown(row[2], str), ("n", "known"),
                   lambda row: (row[2], row[2] is not None)),
        ),
        rows=rows,
        notes=["Costs $5 < $6."],
    )  # fmt: skip


def test_markdown_as_it_should_be():
    assert markdown_text(shown_table()) == (
        "**Gold & more**\n"
        "\n"
        "| Name                 | Change [of %] |    n |\n"
        "| -------------------- | ------------: | ---: |\n"
        "| a\\_b & 50 %          |         +0.50 |    – |\n"
        "|                      |         −0.25 | 1234 |\n"
        "| #2 {x} \\~ ^ \\\\ \\| \\* |         +0.00 |    7 |\n"
        "\n"
        "- Costs $5 \\< $6.\n"
    )


def test_latex_as_it_should_be():
    assert latex_text(shown_table()) == (
        "% \\usepackage{booktabs,graphicx}\n"
        "\\begin{table}[t]\n"
        "\\centering\n"
        "\\caption{Gold \\& more. Costs \\$5 \\textless{} \\$6.}\n"
        "\\label{tab:golden}\n"
        "\\smallskip\n"
        "\\setlength{\\tabcolsep}{4pt}\n"
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        "\\begin{tabular}{rr}\n"
        "\\toprule\n"
        "\\shortstack[r]{Change\\\\{}[of \\%]} & n \\\\\n"
        "\\midrule\n"
        "\\multicolumn{2}{l}{a\\_b \\& 50 \\%} \\\\\n"
        "+0.50 & -- \\\\\n"
        "$-$0.25 & 1234 \\\\\n"
        "\\midrule\n"
        "\\multicolumn{2}{l}{\\#2 \\{x\\} \\textasciitilde{} \\textasciicircum{} "
        "\\textbackslash{} \\textbar{} *} \\\\\n"
        "+0.00 & 7 \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}}\n"
        "\\end{table}\n"
    )


def test_csv_holds_raw_values():
    assert csv_text(shown_table()) == (
        "name,change,n,known\n"
        "a_b & 50 %,0.5,,false\n"
        "a_b & 50 %,-0.25,1234,true\n"
        "#2 {x} ~ ^ \\ | *,0.0,7,true\n"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(2e-4, "2e-4"), (5e-7, "5e-7"), (4e-3, "4e-3"), (1.5e-5, "1.5e-5")]
)
def test_a_learning_rate_is_a_power(value, text):
    assert power(value) == text


def test_a_number_that_rounds_to_zero_has_no_sign():
    assert decimals(2)(-0.001) == "0.00"
    assert decimals(1)(-1234.56) == "−1,234.6"


def test_latex_escapes_every_special_character():
    assert latex("_ % & # $ {}") == r"\_ \% \& \# \$ \{\}"


@pytest.mark.parametrize("module", TABLES, ids=lambda module: module.__name__)
def test_latex_is_balanced_and_escaped(module, results, tmp_path):
    text = written(module, results, tmp_path)["tex"]
    assert re.findall(r"\\begin{(\w+)}", text) == ["table", "tabular"]
    assert re.findall(r"\\end{(\w+)}", text) == ["tabular", "table"]
    bare = re.sub(r"\\[{}]", "", text.replace(r"\\", ""))
    assert bare.count("{") == bare.count("}")
    body = text.split("\n", 1)[1].replace("{!}{%\n", "")
    assert not re.search(r"(?<!\\)[%#_]", body)
    assert body.isascii()
    columns = len(re.search(r"\\begin{tabular}{([lr]+)}", text).group(1))
    lines = [line for line in text.splitlines() if line.endswith(r" \\")]
    lines = [line for line in lines if not line.startswith(r"\multicolumn")]
    assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {columns}
    assert not any(line.startswith(("[", "*")) for line in lines)


def test_latex_compiles(results, tmp_path):
    compiler = shutil.which("pdflatex")
    if compiler is None:
        pytest.skip("pdflatex is not installed, so no table was compiled")
    names = [module.__name__.rsplit(".", 1)[1] for module in TABLES]
    for name, module in zip(names, TABLES, strict=True):
        (tmp_path / name).with_suffix(".tex").write_text(
            written(module, results, tmp_path / f"written-{name}")["tex"], encoding="utf-8"
        )
    inputs = "\n".join(rf"\input{{{name}}}" for name in names)
    paper = tmp_path / "paper.tex"
    paper.write_text(
        "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n"
        f"\\begin{{document}}\n{inputs}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [compiler, "-interaction=nonstopmode", "-halt-on-error", paper.name],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


# ---------------------------------------------------------------------------------------- errors


def outputs(folder: Path) -> list[Path]:
    return [folder / f"table.{form}" for form in FORMS]


@pytest.mark.parametrize("name", ["metrics.json", "trial.json", "train.json"])
def test_a_missing_file_is_named_and_nothing_written(name, results, tmp_path):
    missing = results.root / "trials/sft_2/seed-0" / name
    missing.unlink()
    with pytest.raises(BadInput, match=f"^{re.escape(str(missing))}: no such file$"):
        sft.main(results.arguments(*outputs(tmp_path)))
    assert not any(path.exists() for path in outputs(tmp_path))


def test_an_unreadable_file_is_named(results, tmp_path):
    broken = results.root / "trials/sft_1/seed-0/train.json"
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(BadInput, match=f"^{re.escape(str(broken))}: "):
        sft.main(results.arguments(*outputs(tmp_path)))


def test_a_missing_key_is_named_with_its_file(results, tmp_path):
    short = results.root / "trials/sft_1/seed-0/trial.json"
    short.write_text(json.dumps({"lora": {}}), encoding="utf-8")
    with pytest.raises(BadInput, match=r"trial\.json: has no lora\.r$"):
        sft.main(results.arguments(*outputs(tmp_path)))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("[", "not JSON"),
        ("{}", "not a list of experiments"),
        ('[{"title": "a"}]', "experiment 1 needs exactly the keys"),
        (
            '[{"experiment": "a", "title": "a", "base": null, "sft": ["x"], "dpo": []}]',
            "experiment 1: not a trial/seed-0: x",
        ),
    ],
)
def test_a_wrong_plan_is_refused(plan, message, tmp_path, capsys):
    paths = [part for path in outputs(tmp_path) for part in (f"--{path.suffix[1:]}", str(path))]
    with pytest.raises(SystemExit):
        sft.main(["--root", str(tmp_path), "--plan", plan, *paths])
    assert message in capsys.readouterr().err
