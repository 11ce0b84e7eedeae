"""The table of the differences, its notes, and the sentences made of it."""

import pytest

from scripts.report import differences
from scripts.report.differences import sentences
from scripts.report.read import Comparison
from tests.report.conftest import leader, paired
from tests.report.test_report_tables import records, written


def test_the_table_as_it_should_be(results, tmp_path):
    text = written(differences, results, tmp_path)["md"]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert header == [
        "Experiment", "Figure", "Prompts", "A", "B", "A − B [95 %]", "p", "Holm p", "n", "Groups",
        "Seeds", "Test", "Verdict",
    ]  # fmt: skip
    none, drawn_flips = "no difference shown", "sign flips, drawn"
    assert rows == [
        ["Word problems & dialogues", "Held-out loss", "–", r"sft\_1", r"tiny\_llama",
         "−1.2500 [−1.5000, −1.0000]", r"\<0.0001", "0.0003", "114", "38", "1", drawn_flips,
         "B higher"],
        ["", "", "", r"sft\_1", r"sft\_2", "−0.2500 [−0.5000, 0.1250]", "0.1250", "0.1250", "114",
         "38", "1", drawn_flips, none],
        ["", "Exact match", "problems", r"dpo\_1", r"sft\_1", "−0.050", "0.5000", "1.0000", "57",
         "57", "1", "McNemar, exact", none],
        ["Titles, 100 % of #1 {ideas}", "Policy accuracy", "–", "titles-1", r"tiny\_llama",
         "0.250 [0.125, 0.375]", "0.0123", "0.0246", "114", "38", "1", drawn_flips, "A higher"],
    ]  # fmt: skip


def test_the_csv_has_the_raw_numbers(results, tmp_path):
    first, second, third, last = records(written(differences, results, tmp_path)["csv"])
    assert (first["kind"], first["method"], first["a"], first["b"]) == (
        "base", "sft", "sft_1", "tiny_llama",
    )  # fmt: skip
    assert (first["value_a"], first["value_b"], first["difference"]) == ("1.25", "2.5", "-1.25")
    assert (second["interval_low"], second["interval_high"]) == ("-0.5", "0.125")
    assert float(first["p"]) == 1 / 10_001
    assert (third["interval_low"], third["set"], third["holm_p"]) == ("", "problems", "1.0")
    assert (last["experiment"], last["verdict"], last["seeds_a"]) == ("titles", "A higher", "1")


@pytest.mark.parametrize(
    ("holm", "difference", "verdict"),
    [(0.049, 0.1, "A higher"), (0.049, -0.1, "B higher"), (0.05, 0.1, "no difference shown")],
)
def test_a_verdict_is_that_of_the_corrected_test(results, tmp_path, holm, difference, verdict):
    test = paired("titles-1", "x", "margin", holm=holm, p=0.001, difference=difference)
    results.compare("titles", test)
    assert records(written(differences, results, tmp_path)["csv"])[-1]["verdict"] == verdict


def test_unlike_numbers_of_seeds_are_both_said(results, tmp_path):
    results.compare("titles", paired("titles-1", "x", "margin", seeds=[3, 1]))
    texts = written(differences, results, tmp_path)
    assert "| 3, 1 |" in " ".join(texts["md"].split())
    row = records(texts["csv"])[-1]
    assert (row["seeds_a"], row["seeds_b"]) == ("3", "1")


def test_notes_say_which_pairs_and_what_is_never_compared(results, tmp_path):
    text = written(differences, results, tmp_path)["md"]
    assert "and trials of a method: each with each other.\n" in text
    assert "- Never compared: margin (another beta).\n" in text
    assert "Left out" not in text


def test_sentences_say_which_differences_hold(results):
    results.compare(
        "tutor",
        paired("sft_1", "base", "held_out_loss", difference=-1.0, holm=0.001),
        paired("sft_2", "base", "held_out_loss", difference=-1.0, holm=0.2),
        paired("sft_2", "base", "exact_match", set="problems", difference=0.5, holm=0.001),
        paired("sft_2", "base", "stop_rate", set="problems", difference=0.5, holm=0.001),
        leading=(
            leader("sft_1", "sft_2", "held_out_loss", True, method="sft"),
            leader("a", "b", "preference_accuracy", False),
            leader("a", "b", "stop_rate", True),
        ),
    )
    assert sentences(Comparison(results.root, "tutor", "Tutor")) == (
        "Tutor: Held-out loss below the base: sft_1, not told from the base: sft_2; Exact match "
        "(problems) above the base: sft_2. Among the trials of a method, sft_1 leads apart from "
        "sft_2 in Held-out loss (SFT); a is not told from b in Preference accuracy (DPO)."
    )


def test_many_names_are_counted(results):
    tests = [paired(f"t{place}", "base", "held_out_loss") for place in range(20)]
    results.compare("tutor", *tests)
    text = sentences(Comparison(results.root, "tutor", "Tutor"))
    assert text == ("Tutor: Held-out loss above the base: t0, t1, t2, t3, t4, t5 and 14 more.")


def test_without_tests_there_are_no_sentences(results):
    results.compare("tutor")
    assert sentences(Comparison(results.root, "tutor", "Tutor")) == ""
