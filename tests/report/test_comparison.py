"""The comparison: the file of claims and its errors, and what is shown beside each claim."""

import csv
import io
import math
from pathlib import Path

import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from scripts.common.cli import BadInput
from scripts.common.wilson import wilson
from scripts.report.tables import comparison
from scripts.report.tables.claims import read_claims
from scripts.report.tables.comparison import difference_bounds
from tests.report.conftest import squeezed

CLAIMS = Path(__file__).parents[2] / "paper" / "claims.yaml"
FORMS = ("csv", "md", "tex")

HEAD = """
experiments: {titles: Titles, tutor: "Word problems & dialogues"}
notes: {leak: "Train knows the test's titles.", ours: Our own problems.}
figures:
"""
ACCURACY = """
  - experiment: titles
    figure: Accuracy
    ours: {figure: preference_accuracy}
    show: percent
    compare: interval
    beside: {no model: lookup, split by idea: "{trial}-by-idea"}
    notes: [leak]
    claims:
      - {trial: titles-1, claimed: ~74 %, value: 0.74, successes: 84, n: 114, notebook: none}
"""
BLEU = """
  - experiment: tutor
    figure: BLEU
    ours: {figure: bleu, set: problems}
    show: number
    decimals: 4
    compare: difference
    notes: [ours]
    claims:
      - {trial: sft_1, claimed: "0.1076", value: 0.1076, notebook: "0.1076"}
      - {trial: base, claimed: ~0.1, value: 0.1, notebook: null}
"""


def figure_of(ours: str, claim: str, experiment: str = "tutor", more: str = "show: number") -> str:
    """Return a figure with one claim."""
    return f"""
  - experiment: {experiment}
    figure: "Figure of {ours}"
    ours: {{{ours}}}
    {more}
    compare: interval
    claims: [{{{claim}}}]
"""


def entries(*texts: str) -> str:
    """Return a file of claims without notes."""
    return HEAD.replace("notes", "notes: {}\n# notes") + "".join(texts)


@pytest.fixture
def compared(results, tmp_path):
    """Return a function that compares a file of claims with the small results folder."""

    def compare(text: str) -> tuple[list[dict[str, str]], dict[str, str]]:
        claims = tmp_path / "claims.yaml"
        claims.write_text(text, encoding="utf-8")
        paths = [tmp_path / f"comparison.{form}" for form in FORMS]
        arguments = [*results.arguments(*paths), "--claims", str(claims)]
        assert comparison.main(arguments) == 0
        texts = {path.suffix[1:]: path.read_text(encoding="utf-8") for path in paths}
        return list(csv.DictReader(io.StringIO(texts["csv"]))), texts

    return compare


# ------------------------------------------------------------------------------------ its contents


def test_a_claim_stands_beside_ours_the_lookup_and_other_protocols(compared):
    rows, texts = compared(HEAD + ACCURACY + BLEU)
    ours, lookup, by_idea = rows[:3]
    assert [row["protocol"] for row in rows[:3]] == ["as published", "no model", "split by idea"]
    assert [row["our_trial"] for row in rows[:3]] == ["titles-1", "lookup", "titles-1-by-idea"]
    assert [row["ours"] for row in rows[:3]] == ["0.75", "0.71875", ""]
    assert (ours["claimed"], ours["claimed_value"], ours["claimed_n"]) == ("~74 %", "0.74", "114")
    assert (ours["ours_n"], ours["ours_groups"]) == ("114", "38")
    assert (ours["ours_wilson_low"], ours["ours_group_bootstrap_high"]) == ("0.6875", "0.875")
    assert (ours["inside"], lookup["inside"], by_idea["inside"]) == ("true", "", "")
    assert float(ours["difference"]) == pytest.approx(0.01)
    line = next(line for line in texts["md"].splitlines() if "titles-1" in line)
    assert [cell.strip() for cell in line.split("|")][3:-1] == [
        "titles-1", r"\~74 % [64.9 %, 80.9 %]", "none", "as published", "75.0 %",
        "[62.5 %, 87.5 %]", "114", "yes", "+1.0 points", "1",
    ]  # fmt: skip
    assert "- 1: Train knows the test's titles.\n" in texts["md"]


def test_figures_of_a_set_and_of_the_base(compared):
    rows, texts = compared(HEAD + ACCURACY + BLEU)
    trial, base = rows[3:]
    assert (trial["ours"], base["ours"]) == ("0.1176", "0.0721")
    assert (trial["our_trial"], base["our_trial"]) == ("sft_1", "base")
    assert trial["inside"] == base["inside"] == ""
    assert float(trial["difference"]) == pytest.approx(0.01)
    assert "| 0.1176 |" in texts["md"]
    assert "| +0.0100 |" in " ".join(texts["md"].split())


@pytest.mark.parametrize(
    ("value", "inside"), [(0.7, "true"), (0.625, "true"), (0.62, "false"), (0.9, "false")]
)
def test_a_claim_lies_in_our_interval_or_not(compared, value, inside):
    claim = f'trial: titles-1, claimed: "x", value: {value}, notebook: none'
    ((row), *_), texts = compared(
        entries(figure_of("figure: preference_accuracy", claim, "titles"))
    )
    assert row["inside"] == inside
    assert f"| {'yes' if inside == 'true' else 'no'} " in texts["md"]


def test_a_claims_own_error_counts(compared):
    """Ours is 0.75 [0.625, 0.875]: 0.6 is outside, but not significantly different at 20 items."""
    claim = 'trial: titles-1, claimed: "x", value: 0.6, notebook: none'
    figure = figure_of("figure: preference_accuracy", claim, "titles", "show: percent")
    (row,), _ = compared(entries(figure))
    assert (row["inside"], row["claimed_low"]) == ("false", "")
    (row,), texts = compared(entries(figure.replace("value: 0.6", "value: 0.6, n: 114")))
    low, high = wilson(0.6 * 114, 114)
    assert (float(row["claimed_low"]), float(row["claimed_high"])) == pytest.approx((low, high))
    assert row["inside"] == "true"
    assert "| yes |" in squeezed(texts["md"])
    (row,), _ = compared(entries(figure.replace("value: 0.6", "value: 0.55, n: 114")))
    assert row["inside"] == "false"


@pytest.mark.parametrize("counts", [(84, 114, 70, 114), (9, 10, 3, 10), (5, 40, 30, 60)])
def test_the_bounds_of_two_shares_are_newcombes(counts):
    ours, n, claimed, m = counts
    found = difference_bounds(ours / n, wilson(ours, n), claimed / m, wilson(claimed, m))
    other = confint_proportions_2indep(ours, n, claimed, m, method="newcomb", compare="diff")
    assert found == pytest.approx(other, abs=1e-9)


def test_a_claim_of_other_items_or_another_protocol_is_not_in_or_out(compared):
    other = ACCURACY.replace("successes: 84, n: 114", "n: 100")
    rows, texts = compared(HEAD.replace(", ours: Our own problems.", "") + other)
    lines = [line for line in squeezed(texts["md"]).splitlines() if line.startswith("| ")][1:]
    assert ["other items" in line for line in lines] == [True, False, False]
    assert ["other protocol" in line for line in lines] == [False, True, False]
    assert [row["inside"] for row in rows] == ["", "", ""]


def test_below_stands_which_differences_hold(compared):
    _, texts = compared(HEAD + ACCURACY + BLEU)
    assert (
        "- Word problems & dialogues: Held-out loss below the base: sft\\_1. Among the trials of a "
        "method, sft\\_1 is not told from sft\\_2 in Held-out loss (SFT).\n"
    ) in texts["md"]
    assert "Titles, 100 % of #1 {ideas}: " not in texts["md"].split("- Claim inside")[1]


def test_wilsons_interval_serves_where_there_is_no_other(compared):
    claim = "trial: sft_1, claimed: half, value: 0.63, notebook: none"
    (row,), texts = compared(entries(figure_of("figure: exact_match, set: problems", claim)))
    assert row["inside"] == "false"
    assert "[0.4, 0.6]" in texts["md"]


def test_a_figure_without_an_interval_has_no_claim_inside(compared):
    claim = "trial: titles-1, claimed: 0.7 or so, value: 0.7, notebook: none"
    (row,), _ = compared(entries(figure_of("training: train_loss", claim, "titles")))
    assert (row["ours"], row["inside"]) == ("0.71414", "")


def test_a_claim_without_a_value_has_nothing_to_compare(compared):
    claim = 'trial: titles-1, claimed: null, notebook: "58 %"'
    (row,), texts = compared(
        entries(figure_of("figure: preference_accuracy", claim, "titles", "show: percent"))
    )
    assert (row["claimed"], row["notebook"], row["inside"], row["difference"]) == (
        "", "58 %", "", "",
    )  # fmt: skip
    assert "| – |" in " ".join(texts["md"].split())


def test_a_ratio_of_two_keys(compared):
    claim = 'trial: sft_1, claimed: "1.57 %", value: 0.0157, notebook: none'
    text = "training: trainable_parameters, over: total_parameters"
    (row,), texts = compared(entries(figure_of(text, claim, more="show: percent")))
    assert float(row["ours"]) == 0.05
    assert "| 5.0 % |" in " ".join(texts["md"].split())
    assert "+3.4 points" in texts["md"]


SPEEDUP = figure_of(
    "speedup: fast, over: slow", "trial: titles-1, claimed: 2x, value: 2, notebook: none", "titles",
    "protocol: 20 steps each\n    show: factor",
)  # fmt: skip


def race(results, **slow) -> None:
    """Add two trials whose steps are compared; `slow` changes what the second one reports."""
    fast = {"seconds": 50.0, "steps": 20, "step_seconds": 0.5}
    results.trial("fast", "dpo", {}, outcome=fast)
    results.trial("slow", "dpo", {}, outcome=fast | {"step_seconds": 2.0} | slow)


def test_a_speedup_is_that_of_steps_after_the_first_two(results, compared):
    race(results)
    (row,), texts = compared(entries(SPEEDUP))
    assert float(row["ours"]) == 4.0
    assert (row["our_trial"], row["protocol"]) == ("fast / slow", "20 steps each")
    assert "4.0×" in texts["md"]
    assert (
        "of speedup: fast, over: slow: median seconds of a step after the first two. Optimizer: "
        "torch.optim.adamw.AdamW. Device: cuda:0.\n"
    ) in texts["md"]
    assert "The runs differ" not in texts["md"]
    results.plan[0]["trials"]["dpo"].remove("slow/seed-0")
    (row,), texts = compared(entries(SPEEDUP))
    assert row["ours"] == ""
    assert "median" not in texts["md"]


def test_a_speedup_of_short_runs_is_that_of_whole_runs(results, compared):
    """Both use seconds of the whole run: (30 / 2) / (50 / 20)."""
    race(results, step_seconds=None, seconds=30.0, steps=2)
    (row,), texts = compared(entries(SPEEDUP))
    assert float(row["ours"]) == 6.0
    assert "seconds of the whole run by its steps" in texts["md"]


def test_a_speedup_is_the_mean_over_seeds(results, compared):
    race(results)
    results.trial("slow", "dpo", {}, seed=1, outcome={"step_seconds": 3.0})
    (row,), _ = compared(entries(SPEEDUP))
    assert float(row["ours"]) == 5.0


@pytest.mark.parametrize(
    ("slow", "protocol", "said"),
    [
        (
            {"optimizer": "a.B"},
            "20 steps each, another optimizer",
            "Optimizer: torch.optim.adamw.AdamW (fast); a.B (slow). Device: cuda:0. The runs "
            "differ in optimizer, so that this is no factor of the backend alone.\n",
        ),
        (
            {"optimizer": "a.B", "device": "cpu"},
            "20 steps each, another optimizer, another device",
            "Device: cuda:0 (fast); cpu (slow). The runs differ in optimizer and device, so",
        ),
    ],
)
def test_a_speedup_of_unlike_runs_is_marked(results, compared, slow, protocol, said):
    race(results, **slow)
    (row,), texts = compared(entries(SPEEDUP))
    assert (row["ours"], row["protocol"]) == ("4.0", protocol)
    assert f"| {protocol} " in texts["md"]
    assert said in texts["md"]


def test_what_others_show_is_not_taken_for_the_authors(compared):
    claim = 'trial: sft_1, claimed: x, notebook: null, other_notebooks: "Qwen3-14B: 387"'
    (row,), texts = compared(entries(figure_of("training: steps", claim)))
    assert (row["notebook"], row["other_notebooks"]) == ("", "Qwen3-14B: 387")
    assert "| – (other notebooks, Qwen3-14B: 387) |" in texts["md"]


def test_a_count_that_is_met_differs_by_nothing(compared):
    claim = 'trial: sft_1, claimed: "1,914,880", value: 1914880, notebook: none'
    _, texts = compared(
        entries(figure_of("training: trainable_parameters", claim, more="show: count"))
    )
    assert "| 1,914,880 | – | – | – | 0 |" in " ".join(texts["md"].split())


def test_seeds_are_one_line_with_their_mean(results, figures, compared):
    results.trial("titles-1", "dpo", figures["preferred"](0.5), "titles",
                  "Titles, 100 % of #1 {ideas}", seed=7)  # fmt: skip
    rows, texts = compared(entries(ACCURACY.replace("    notes: [leak]\n", "")))
    assert [(row["protocol"], row["seeds"], row["ours"]) for row in rows] == [
        ("as published", "2", "0.625"), ("no model", "", "0.71875"), ("split by idea", "", ""),
    ]  # fmt: skip
    assert float(rows[0]["ours_sd"]) == pytest.approx(0.25 / 2**0.5)
    assert "| as published, 2 seeds |" in texts["md"]
    assert "| 62.5 % ± 17.7 % |" in texts["md"]
    assert texts["md"].count("titles-1") == 1


def test_a_trial_that_is_not_planned_is_a_dash(results, compared):
    results.plan.clear()
    rows, texts = compared(HEAD + ACCURACY + BLEU)
    assert [row["ours"] for row in rows] == [""] * 5
    assert "0.00" not in texts["md"]
    assert "64.9" in texts["md"]


@pytest.mark.parametrize(
    ("ours", "trial", "message"),
    [
        ("figure: bleu, set: others", "sft_1", r"trials/sft_1: has no bleu on the prompts"),
        ("figure: margin", "sft_1", r"trials/sft_1: has no margin, which a claim is"),
        ("training: hours", "sft_1", r"trials/sft_1: has no hours"),
        ("training: steps", "base", r"bases/tutor: has no steps"),
        ("figure: bleu", "sft_1", r"has no bleu, which"),
    ],
)
def test_a_planned_trial_without_the_figure_is_an_error(compared, tmp_path, ours, trial, message):
    claim = f"trial: {trial}, claimed: x, notebook: none"
    with pytest.raises(BadInput, match=message):
        compared(entries(figure_of(ours, claim)))
    assert not list(tmp_path.glob("comparison.*"))


# --------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("show: percent", "show: percents", r":9: figures\[0\]\.show: found 'percents': "),
        ("show: percent", "shows: percent", r"figures\[0\]\.show: is missing"),
        ("    beside:", "    besides: x\n    beside:", r":11: figures\[0\]\.besides: unknown key"),
        ("value: 0.74", "value: high", r":14: figures\[0\]\.claims\[0\]\.value: found 'high'"),
        (", n: 114", "", r"figures\[0\]\.claims\[0\]: successes without n: of how many"),
        ("successes: 84", "successes: 115", r"115 successes of 114"),
        ("claimed: ~74 %", "claimed: null", r"value without claimed"),
        ("notebook: none", "note: none", r"figures\[0\]\.claims\[0\]\.notebook: is missing"),
        ("experiment: titles", "experiment: title", r"found 'title': not under experiments; "
         "allowed: titles, tutor"),
        ("notes: [leak]", "notes: [leaks]", r":14: figures\[0\]\.claims\[0\]: no note is called"),
        ("    notes: [leak]\n", "", r":3: notes\.leak: no claim names it"),
        ("figure: preference_accuracy", "figures: x", r"figures\[0\]\.ours\.figures: unknown key"),
        ("{figure: preference_accuracy}", "{}", r":8: figures\[0\]\.ours: needs exactly one of "
         "figure, training, speedup; found none"),
        ("figure: preference_accuracy", "figure: a, training: b", r"found figure, training"),
        ("figure: preference_accuracy", "training: a, set: b", r"set goes with figure only"),
        ("figure: preference_accuracy", "figure: a, over: b", r"over goes with training and"),
        ("figure: preference_accuracy", "speedup: a", r"speedup needs over"),
        ("claims:", "claims: []\n    # claims:", r"not YAML|found|at least 1"),
        ("trial: titles-1", "trial: titles-1, trial: x", r"the key stands twice"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_file_and_entry(tmp_path, old, new, message):
    text = HEAD + ACCURACY + BLEU
    assert old in text
    path = tmp_path / "claims.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BadInput, match=message) as raised:
        read_claims(path)
    assert str(raised.value).startswith(f"{path}:")
    assert "\n" not in str(raised.value)


def test_a_claim_that_stands_twice_is_a_mistake(tmp_path):
    path = tmp_path / "claims.yaml"
    claim = "trial: sft_1, claimed: x, notebook: none"
    path.write_text(entries(figure_of("training: steps", claim) * 2), encoding="utf-8")
    with pytest.raises(BadInput, match=r"figures\[1\]\.claims\[0\]\.trial: tutor / Figure of "
                       "training: steps / sft_1 stands twice"):  # fmt: skip
        read_claims(path)


@pytest.mark.parametrize("content", [None, "- a", "a: [", ""])
def test_a_file_that_is_none_is_one_line(tmp_path, content):
    path = tmp_path / "claims.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInput, match=r"claims\.yaml:[12]: "):
        read_claims(path)


# ------------------------------------------------------------------------------ the paper's claims

TINYLLAMA = {"q": (2048, 2048), "v": (2048, 256), "gate": (2048, 5632), "down": (5632, 2048)}
QWEN = {
    "q": (5120, 5120), "k": (5120, 1024), "v": (5120, 1024), "o": (5120, 5120),
    "gate": (5120, 13824), "up": (5120, 13824), "down": (13824, 5120),
}  # fmt: skip
RANKS = {
    "titles-dpo": (QWEN, 48, 32, QWEN),
    "sft-1": (TINYLLAMA, 22, 4, TINYLLAMA),
    "sft-2": (TINYLLAMA, 22, 16, "qv"),
    "sft-3": (TINYLLAMA, 22, 8, ("gate", "down")),
    "sft-4": (TINYLLAMA, 22, 4, TINYLLAMA),
    "sft-5": (TINYLLAMA, 22, 2, "qv"),
    "dpo-1": (TINYLLAMA, 22, 4, "qv"),
    "dpo-2": (TINYLLAMA, 22, 4, "qv"),
    "dpo-3": (TINYLLAMA, 22, 4, "qv"),
    "dpo-4": (TINYLLAMA, 22, 8, TINYLLAMA),
    "dpo-5": (TINYLLAMA, 22, 4, "qv"),
}
"""Shapes of the linear layers, number of layers, rank and adapted modules."""


def published(label: str) -> dict[str, float | None]:
    """Return the claimed values by trial of all entries with this label."""
    return {
        claim.trial: claim.value
        for figure in read_claims(CLAIMS).figures
        if figure.figure.startswith(label)
        for claim in figure.claims
    }


def test_published_parameters_are_those_of_the_ranks_and_modules():
    counted = {
        trial: layers * rank * sum(sum(shapes[module]) for module in modules)
        for trial, (shapes, layers, rank, modules) in RANKS.items()
    }
    assert published("Trainable parameters") == counted


def test_published_steps_are_those_of_rows_batches_and_epochs():
    epochs = {"sft-2": 2, "dpo-5": 3}
    windows = {"titles-dpo": math.ceil(1026 / 16)}
    windows |= {f"sft-{number}": 5000 // 8 for number in range(1, 6)}
    windows |= {f"dpo-{number}": 1976 // 8 for number in range(1, 6)}
    usual = {"t": 3, "s": 3, "d": 2}
    assert published("Steps") == {
        trial: count * epochs.get(trial, usual[trial[0]]) for trial, count in windows.items()
    }


def test_published_scores_and_losses():
    assert published("BLEU of SFT") == {
        "sft-1": 0.1176, "sft-2": 0.0720, "sft-3": 0.1075, "sft-4": 0.0947, "sft-5": 0.0821,
    }  # fmt: skip
    assert set(published("BLEU of DPO").values()) == {0.0750}
    losses = published("Train loss of DPO")
    assert losses == {
        "dpo-1": 0.7141, "dpo-2": 0.7100, "dpo-3": 0.8084, "dpo-4": 0.7669, "dpo-5": 0.6952,
    }  # fmt: skip
    assert all(loss > math.log(2) for loss in losses.values())


def test_the_published_accuracy_is_84_of_114():
    (claim,) = next(
        figure.claims
        for figure in read_claims(CLAIMS).figures
        if figure.figure == "Preference accuracy"
    )
    assert (claim.successes, claim.n) == (84, 114)
    assert claim.interval == pytest.approx((0.649, 0.809), abs=5e-4)


def test_every_claim_prints_the_value_that_it_is_compared_as():
    for figure in read_claims(CLAIMS).figures:
        for claim in figure.claims:
            if claim.value is not None:
                number = claim.claimed.lstrip("~").split(" ")[0].replace(",", "").rstrip("x")
                scale = 100 if figure.show == "percent" else 1
                assert float(number) == pytest.approx(scale * claim.value), claim


def test_no_figure_of_others_stands_as_the_authors():
    """All known notebooks of experiment A are by other people."""
    titles = [it for it in read_claims(CLAIMS).figures if it.experiment == "titles"]
    claims = [claim for figure in titles for claim in figure.claims]
    assert {claim.notebook for claim in claims} == {None}
    assert sum(claim.other_notebooks is not None for claim in claims) == 6
