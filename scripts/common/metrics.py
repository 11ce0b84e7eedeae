"""The metrics, each declared once: label, unit, definition, direction, and what may be compared.

Whatever needs to know something about a metric looks it up here. Nothing that trains, makes
references, scores or measures imports this module: code digests follow imports, and an edited label
must rerun only what prints it. `python -m scripts.common.metrics > docs/metrics.md` writes the page
of all metrics.

To add a metric: measure it in a module of `scripts/evaluate/`, and declare it here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from scripts.common.cli import BadInput

Comparable = Literal["anything", "same start", "same objective", "never"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric: a measured value with its definition.

    Attributes
    ----------
    name, label
        In files; in tables.
    definition
        What it is, as tables print it below them.
    source
        The paper that defines it, and its address.
    package
        The package that measures it, if not this project's own code.
    higher_is_better
        None where neither direction is better: such a metric describes, and is never ranked.
    comparable
        What two trials must have in common for a paired test of it to mean something. Only in what
        is comparable with "anything" a trial is tested against its base too.
    home
        What it is measured on: the rows of demonstrations, of pairs, or the answers to a set of
        prompts, all in metrics.json; or the training, in the files of a run.
    interval
        How its interval is made: "wilson" for shares, which have a group bootstrap as well.
    mean
        True if it is a mean over items, so that two models can be tested item by item.
    of_lookup
        Its definition for a lookup, which has no model.
    """

    name: str
    label: str
    unit: str
    definition: str
    source: str = ""
    package: str = ""
    higher_is_better: bool | None = None
    comparable: Comparable = "anything"
    home: Literal["demonstrations", "pairs", "answers", "training"]
    interval: Literal["wilson", "group bootstrap", "group jackknife"] | None = "group bootstrap"
    mean: bool = True
    of_lookup: str = ""

    def defined(self, found: Mapping[str, Any], method: str = "") -> str:
        """Return the definition of a value of metrics.json.

        Parameters
        ----------
        found
            The entry; its `detail`, such as a library's settings, completes the definition.
        method
            The model's method, or "base" or "lookup".
        """
        text = self.of_lookup if method == "lookup" and self.of_lookup else self.definition
        return "; ".join(filter(None, (text, found.get("detail"))))


_training = partial(Metric, home="training", comparable="never", interval=None, mean=False)
_demonstrations = partial(Metric, home="demonstrations")
_pairs = partial(Metric, home="pairs")
_answers = partial(Metric, home="answers")

RAFAILOV = "Rafailov et al. 2023, https://arxiv.org/abs/2305.18290"
LI = "Li et al. 2016, https://aclanthology.org/N16-1014"
COBBE = "Cobbe et al. 2021, https://arxiv.org/abs/2110.14168"
SCHULMAN = "Schulman 2020, http://joschu.net/blog/kl-approx.html"

SECTIONS: dict[str, tuple[Metric, ...]] = {
    "Training": (
        _training(
            name="train_loss",
            label="Train loss",
            unit="nats",
            definition="mean loss over the steps of training, of the trial's own objective",
            higher_is_better=False,
        ),
        _training(
            name="eval_loss",
            label="Validation loss",
            unit="nats",
            definition="loss of the validation rows, of the trial's own objective",
            higher_is_better=False,
        ),
    ),
    "Held-out completions": (
        _demonstrations(
            name="held_out_loss",
            label="Held-out loss",
            unit="nats per token",
            definition="negative log-prob of held-out completions, summed, per completion token",
            higher_is_better=False,
        ),
        _demonstrations(
            name="perplexity",
            label="Perplexity",
            unit="1 or more",
            definition="exp of the held-out loss: of a completion token, as this model's tokenizer "
            "cuts it",
            higher_is_better=False,
            mean=False,
            comparable="never",
        ),
    ),
    "Held-out pairs": (
        _pairs(
            name="preference_accuracy",
            label="Preference accuracy",
            unit="share",
            definition="pairs whose chosen completion has the higher implicit reward; ties count "
            "half",
            of_lookup="pairs whose chosen completion has the higher win rate in the training "
            "pairs, no model; never judged is a rate of one half; ties count half",
            source=RAFAILOV,
            higher_is_better=True,
            interval="wilson",
        ),
        _pairs(
            name="auc",
            label="AUC",
            unit="0 to 1",
            definition="of unpaired rows, the share of pairs of a good and a bad one in which the "
            "good completion has the higher log-ratio to the reference; ties half: the area under "
            "the ROC curve",
            source="Hanley & McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747",
            package="numpy",
            higher_is_better=True,
            mean=False,
            comparable="never",
        ),
        _pairs(
            name="preference_loss",
            label="Preference loss",
            unit="nats",
            definition="mean -log sigmoid(margin), the sigmoid DPO loss, whatever the trial's "
            "objective",
            source=RAFAILOV,
            higher_is_better=False,
            comparable="same objective",
        ),
        _pairs(
            name="margin",
            label="Reward margin",
            unit="nats",
            definition="mean implicit reward of chosen minus that of rejected, beta included",
            source=RAFAILOV,
            higher_is_better=True,
            comparable="same objective",
        ),
        _pairs(
            name="calibration_error",
            label="Calibration error",
            unit="0 to 1",
            definition="expected calibration error of the margin (Guo et al. 2017): over ten equal "
            "bins of confidence from 0.5 to 1, the mean distance between the share of right pairs "
            "and the mean confidence, by pairs; confidence is sigmoid(|margin|), a positive margin "
            "is right, ties half; it is above 0 for a finite sample of calibrated margins too",
            source="Guo et al. 2017, https://arxiv.org/abs/1706.04599",
            package="numpy",
            higher_is_better=False,
            mean=False,
            comparable="never",
        ),
        _pairs(
            name="policy_accuracy",
            label="Policy accuracy",
            unit="share",
            definition="pairs whose chosen completion has the higher log-prob under the model; "
            "ties half",
            higher_is_better=True,
            interval="wilson",
        ),
        _pairs(
            name="policy_token_accuracy",
            label="Policy accuracy per token",
            unit="share",
            definition="pairs whose chosen completion has the higher log-prob per token under the "
            "model; ties half",
            higher_is_better=True,
            interval="wilson",
        ),
        _pairs(
            name="chosen_nll",
            label="NLL of chosen",
            unit="nats per token",
            definition="mean negative log-prob per token of the chosen completion",
            higher_is_better=False,
        ),
        _pairs(
            name="chosen_logp",
            label="Chosen log-prob",
            unit="nats",
            definition="mean log-prob of the chosen completion, summed over its tokens",
            comparable="never",
        ),
        _pairs(
            name="rejected_logp",
            label="Rejected log-prob",
            unit="nats",
            definition="mean log-prob of the rejected completion, summed over its tokens",
            comparable="never",
        ),
        _pairs(
            name="length_difference",
            label="Length difference",
            unit="tokens",
            definition="mean tokens of the chosen completion minus those of the rejected one",
            comparable="never",
        ),
        _pairs(
            name="chosen_change",
            label="Change of chosen log-prob",
            unit="nats",
            definition="mean log-prob of the chosen completion minus that under the reference",
            comparable="never",
        ),
        _pairs(
            name="rejected_change",
            label="Change of rejected log-prob",
            unit="nats",
            definition="mean log-prob of the rejected completion minus that under the reference",
            comparable="never",
        ),
        _pairs(
            name="chosen_fell",
            label="Chosen fell",
            unit="share",
            definition="pairs whose chosen completion is less likely than under the reference; "
            "ties half",
            source="Pal et al. 2024, https://arxiv.org/abs/2402.13228",
            higher_is_better=False,
            comparable="same start",
            interval="wilson",
        ),
        _pairs(
            name="reference_accuracy",
            label="Reference accuracy",
            unit="share",
            definition="pairs whose chosen completion has the higher log-prob under the reference; "
            "ties half",
            comparable="never",
            interval="wilson",
        ),
        _pairs(
            name="reference_chosen_logp",
            label="Reference chosen logp",
            unit="nats",
            definition="mean log-prob of the chosen completion, summed over its tokens",
            comparable="never",
        ),
        _pairs(
            name="reference_rejected_logp",
            label="Reference rejected logp",
            unit="nats",
            definition="mean log-prob of the rejected completion, summed over its tokens",
            comparable="never",
        ),
        _pairs(
            name="known_pairs",
            label="Known pairs",
            unit="share",
            definition="pairs both of whose completions the training pairs have judged",
            comparable="never",
            interval="wilson",
        ),
    ),
    "Answers beside known ones": (
        _answers(
            name="exact_match",
            label="Exact match",
            unit="share",
            definition="answers whose final number equals the known answer's; a number directly "
            "behind #### goes before all others, else this is lm-evaluation-harness's "
            "flexible-extract, but that a hyphen behind a word, number or bracket is no sign, "
            "commas part thousands only, and marks without digits are no number",
            source=COBBE,
            higher_is_better=True,
            interval="wilson",
        ),
        _answers(
            name="exact_match_strict",
            label="Strict exact match",
            unit="share",
            definition="answers whose first number behind #### is the known answer's, as written "
            "but for commas: lm-evaluation-harness's strict-match on GSM8K",
            source=COBBE,
            higher_is_better=True,
            interval="wilson",
        ),
        _answers(
            name="equal_calls",
            label="Equal calls",
            unit="share",
            definition="the known answers' calls that an answer makes with the same name and "
            "arguments, in JSON, whatever marks stand around it",
            higher_is_better=True,
        ),
        _answers(
            name="bleu",
            label="BLEU",
            unit="0 to 1",
            definition="corpus BLEU with 13a tokenizer, order 4, no smoothing, brevity penalty "
            "(Papineni et al. 2002)",
            source="Papineni et al. 2002, https://aclanthology.org/P02-1040",
            package="evaluate, sacrebleu",
            higher_is_better=True,
            mean=False,
            comparable="never",
        ),
        _answers(
            name="sacrebleu",
            label="sacreBLEU",
            unit="0 to 100",
            definition="corpus BLEU as sacrebleu has it unless told otherwise (Post 2018): an "
            "order without a match is smoothed",
            source="Post 2018, https://aclanthology.org/W18-6319",
            package="sacrebleu",
            higher_is_better=True,
            mean=False,
            comparable="never",
        ),
        _answers(
            name="chrf",
            label="chrF2",
            unit="0 to 100",
            definition="corpus chrF2 (Popovic 2015): F-score of character n-grams up to order 6, "
            "recall twice as important, white space left out",
            source="Popović 2015, https://aclanthology.org/W15-3049",
            package="sacrebleu",
            higher_is_better=True,
            mean=False,
            comparable="never",
        ),
        _answers(
            name="rouge_l",
            label="ROUGE-L",
            unit="0 to 1",
            definition="mean ROUGE-L (Lin 2004): F1 of the longest common subsequence of words, "
            "lower case, letters a-z and digits alone, no stemmer (rouge-score)",
            source="Lin 2004, https://aclanthology.org/W04-1013",
            package="rouge-score",
            higher_is_better=True,
        ),
    ),
    "Answers": (
        _answers(
            name="stop_rate",
            label="Stop rate",
            unit="share",
            definition="answers that end by themselves",
            higher_is_better=True,
            interval="wilson",
        ),
        _answers(
            name="generated_tokens",
            label="Generated tokens",
            unit="tokens",
            definition="mean new tokens of an answer",
        ),
        _answers(
            name="answer_words",
            label="Answer words",
            unit="words",
            definition="mean words of an answer, by white space",
        ),
        _answers(
            name="distinct_1",
            label="Distinct-1",
            unit="0 to 1",
            definition="different words of all answers by their number of words (Li et al. 2016); "
            "13a tokenizer, case kept; it falls as answers are added, so compare equally many",
            source=LI,
            package="sacrebleu's 13a words",
            higher_is_better=True,
            interval="group jackknife",
            mean=False,
            comparable="never",
        ),
        _answers(
            name="distinct_2",
            label="Distinct-2",
            unit="0 to 1",
            definition="different pairs of neighbouring words of all answers by their number of "
            "words (Li et al. 2016); 13a tokenizer, case kept; it falls as answers are added, so "
            "compare equally many",
            source=LI,
            package="sacrebleu's 13a words",
            higher_is_better=True,
            interval="group jackknife",
            mean=False,
            comparable="never",
        ),
        _answers(
            name="self_bleu",
            label="Self-BLEU",
            unit="0 to 100",
            definition="mean BLEU of each answer against all others, high where answers repeat "
            "each other (Zhu et al. 2018); sacrebleu's sentence BLEU; the interval holds the other "
            "answers fixed",
            source="Zhu et al. 2018, https://arxiv.org/abs/1802.01886",
            package="sacrebleu",
            higher_is_better=False,
        ),
        _answers(
            name="odd_characters",
            label="Odd characters",
            unit="share",
            definition="of all characters of the answers those that are symbols such as emoji, "
            "control characters, not assigned, letters of a script other than Latin, or marks of "
            "code blocks, if no prompt or known answer of the set uses them",
            comparable="never",
        ),
    ),
    "Titles": (
        _answers(
            name="title_length",
            label="Title length",
            unit="share",
            definition="answers of 30 to 75 characters",
            higher_is_better=True,
            interval="wilson",
        ),
        _answers(
            name="title_only",
            label="Title only",
            unit="share",
            definition="answers of one line that are a title and nothing else: no label, quotation "
            "marks, emphasis, list mark, introduction or count around it",
            higher_is_better=True,
            interval="wilson",
        ),
        _answers(
            name="question",
            label="Question",
            unit="share",
            definition="answers with a question mark",
            interval="wilson",
        ),
        _answers(
            name="how_to",
            label="How-to",
            unit="share",
            definition="answers with how to in them",
            interval="wilson",
        ),
        _answers(
            name="explanatory",
            label="Explanatory",
            unit="share",
            definition="answers that promise an explanation: why, what, reason, explain, "
            "understand, the science (truth, story, secret, meaning, logic) of or behind, how "
            "something works",
            interval="wilson",
        ),
    ),
    "Beside the reference": (
        _answers(
            name="kl",
            label="KL from the reference",
            unit="nats per answer",
            definition="mean of log-prob under the model minus log-prob under its reference, over "
            "answers that the model sampled; estimates the KL divergence from the reference",
            source=SCHULMAN,
            comparable="same start",
        ),
        _answers(
            name="kl_per_token",
            label="KL per token",
            unit="nats per token",
            definition="log-prob under the model minus log-prob under its reference of answers "
            "that the model sampled, summed, per token, end tokens included",
            source=SCHULMAN,
            comparable="same start",
        ),
    ),
    "Beside the base": (
        _answers(
            name="win_rate",
            label="Win rate",
            unit="share",
            definition="answers that the judge finds better than the base's, in both orders; ties "
            "count half",
            higher_is_better=True,
            interval="wilson",
        ),
        _answers(
            name="win_rate_length_controlled",
            label="Win rate at equal lengths",
            unit="share",
            definition="win rate at equal lengths: a logistic regression of the verdict on "
            "tanh(difference in tokens / its standard deviation), at a difference of 0",
            source="Dubois et al. 2024, https://arxiv.org/abs/2404.04475",
            package="statsmodels",
            higher_is_better=True,
            mean=False,
            comparable="never",
        ),
        _answers(
            name="judge_disagreement",
            label="Judge's disagreement",
            unit="share",
            definition="pairs of different answers of which the judge's verdict changes with their "
            "order",
            higher_is_better=False,
            interval="wilson",
        ),
    ),
}

METRICS = {metric.name: metric for section in SECTIONS.values() for metric in section}
"""Every metric by name, in the order in which people read them."""


def comparison_rules() -> dict[str, dict[str, Any]]:
    """Return what comparing models needs to know of each metric, as its job is given it."""
    keys = ("higher_is_better", "comparable")
    return {name: {key: getattr(found, key) for key in keys} for name, found in METRICS.items()}


def metric(name: str) -> Metric:
    """Return the metric of a name. Raises BadInput if none is declared."""
    if name not in METRICS:
        raise BadInput(f"metric {name}: not declared in scripts/common/metrics.py")
    return METRICS[name]


# ------------------------------------------------------------------------------- docs/metrics.md

INTRODUCTION = """\
# What is measured

Every metric, as `scripts/common/metrics.py` declares it; `python -m scripts.common.metrics` writes
this page. In `metrics.json` each has `value`, `n`, `groups`, `intervals`, where its library gives
one a `signature`, and where the definition depends on the data a `detail`. A share has Wilson's
interval, and every mean the bootstrap that draws whole groups, so that answers to one prompt stay
together; the items of a mean are in `items.parquet`, where two models can be compared item by item.
The others (†) are metrics of all items together: corpus scores are resampled from the counts of
their sentences, and distinct n-grams, of which a resample that repeats answers has fewer, get the
jackknife's interval.

Better: ↑ higher, ↓ lower, – neither; such a metric describes, and no trial leads in it.
"""
REMARKS = {
    "Training": "in `train.json` and `history.jsonl`",
    "Held-out pairs": "a base has only those that need no reference",
    "Answers beside known ones": "of each set of prompts that has known answers",
    "Answers": "of each set of prompts",
    "Titles": "with `rules: titles`",
    "Beside the reference": "with `kl: true`, of answers sampled untruncated",
    "Beside the base": "with a [`judge`](judge.md)",
}
FOOTNOTES = """\
`calibration_error` of margins that are calibrated (drawn from a normal of mean 1 and deviation 1.5)
was 0.10 on average for 100 pairs and 0.04 for 500: compare it between models of the same pairs.

Titles are held against patterns that stand in `scripts/evaluate/titles.py`; they are English.
"""
BETTER = {True: "↑", False: "↓", None: "–"}


def page() -> str:
    """Return docs/metrics.md."""
    lines = [INTRODUCTION, "| metric | what it is | unit | better | library | paper |"]
    lines += ["|---|---|---|---|---|---|"]
    for title, section in SECTIONS.items():
        lines.append(f"| **{title}** | {REMARKS.get(title, '')} | | | | |")
        for one in section:
            paper, _, address = one.source.partition(", http")
            cells = [
                f"`{one.name}`" + ("" if one.mean or one.home == "training" else " †"),
                one.definition.replace("|", "\\|"),
                one.unit,
                BETTER[one.higher_is_better],
                one.package,
                f"[{paper}](http{address})" if paper else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", FOOTNOTES])


if __name__ == "__main__":
    print(page(), end="")
