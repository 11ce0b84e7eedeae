"""Examines a dataset as one model's tokens for what makes a result wrong, before a GPU is spent.

    python -m scripts.data.doctor --name titles.qwen.chat.1024 \\
        --data data/titles/{train,valid,test}.parquet --dropped data/titles/dropped.parquet \\
        --tokens tokens/titles/{train,valid,test}.parquet --report tokens/titles/report.json \\
        --model models/qwen/manifest.json --out doctor.json

A finding says how many rows of how many, and what that means for a result. Its severity is

- error: a figure from these rows does not mean what it says;
- warning: training or a figure is distorted;
- note: to be known, and stated beside a result;
- ok: looked for and not found.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from math import sqrt
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_json, read_rows, read_text, write_json
from scripts.common.texts import SharedNgrams, ngrams, normalized, said, spoken
from scripts.data.dropped import by_reason
from scripts.data.tokenize import TOO_LONG, Encoder
from scripts.lm.chat import Refused, marked

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Texts = Callable[[Row], list[str]]

COMPLETIONS = ("completion", "chosen", "rejected")
NGRAM = 5
JACCARD = 0.8
"""From here on two texts are near-duplicates. Lee et al. 2022 (https://arxiv.org/abs/2107.06499)
find candidates by the Jaccard similarity of word 5-grams, estimated, and keep those above 0.8 in
edit similarity; here the first is exact, and decides."""
FEWEST_CHARACTERS = 10
BIAS = 0.1
"""How far from one half a rule may be right that sees lengths alone."""
EXAMPLES = 5
SHOWN = 3
"""Rows that are shown as they are learned."""


@dataclass(frozen=True)
class Split:
    """The rows of one split, and what became of them as tokens."""

    name: str
    rows: list[Row]
    tokens: list[Row]
    report: Row


def finding(
    check: str,
    severity: str,
    found: list[str],
    of: int,
    text: str,
    split: str | None = None,
    count: int | None = None,
) -> Row:
    """Return a finding; where nothing was found its severity is ok.

    Parameters
    ----------
    found
        The ids of what was found.
    count
        How many were found, where that is not the number of ids.
    """
    count = len(found) if count is None else count
    return {
        "check": check,
        "severity": severity if count else "ok",
        "count": count,
        "of": of,
        "split": split,
        "text": text,
        "examples": found[:EXAMPLES],
    }


# ------------------------------------------------------------------- a held-out split and training


def examine_held_out(split: Split, train: list[Row]) -> list[Row]:
    """Return what a held-out split has in common with the training rows."""
    return [
        leaked_groups(split, train),
        near_duplicates(split, train, "near_duplicate_prompts", "prompt", _prompt),
        near_duplicates(split, train, "near_duplicate_texts", "prompt and completion", _whole),
        *known_pairs(split, train),
    ]


def leaked_groups(split: Split, train: list[Row]) -> Row:
    """Return the finding on groups that are in training, too."""
    groups = {row["group"] for row in split.rows}
    leaked = groups & {row["group"] for row in train}
    rows = [row["id"] for row in split.rows if row["group"] in leaked]
    text = (
        f"groups that train has, too; they are {len(rows)} of {len(split.rows)} rows, "
        "and a score on those says nothing of new groups: split by group"
    )
    return finding("leaked_groups", "error", rows, len(groups), text, split.name, len(leaked))


def _prompt(row: Row) -> list[str]:
    return [said(row["prompt"])]


def _whole(row: Row) -> list[str]:
    return [f"{said(row['prompt'])}\n{completion}" for completion in _completions(row)]


def _completions(row: Row) -> list[str]:
    return [said(row[name]) for name in COMPLETIONS if name in row]


def near_duplicates(split: Split, train: list[Row], check: str, what: str, texts: Texts) -> Row:
    """Return the finding on rows one of whose texts nearly is that of another group in training.

    Exact: equal after normalization, or a Jaccard similarity of word 5-grams of at least 0.8.
    """
    owners: dict[str, list[Row]] = defaultdict(list)
    for row in split.rows:
        for text in texts(row):
            owners[normalized(text)].append(row)
    groups: dict[str, set[str]] = defaultdict(set)
    for row in train:
        for text in texts(row):
            groups[normalized(text)].add(row["group"])
    held_out = list(owners)
    shared = SharedNgrams(held_out, NGRAM, JACCARD)
    near: set[str] = set()
    for text, found_in in groups.items():
        grams = ngrams(text, NGRAM)
        for place, count in shared.sharing(grams):
            union = len(shared.grams[place]) + len(grams) - count
            if count >= JACCARD * union - 1e-9:
                near |= {row["id"] for row in owners[held_out[place]] if found_in != {row["group"]}}
    return finding(
        check,
        "warning",
        [row["id"] for row in split.rows if row["id"] in near],
        len(split.rows),
        f"rows whose {what} is nearly a training row's of another group (equal words, or "
        f"{JACCARD:.0%} of the {NGRAM}-grams): a split by group does not part these",
        split.name,
    )


def known_pairs(split: Split, train: list[Row]) -> list[Row]:
    """Return the finding on pairs both of whose completions training has judged."""
    if not _are_pairs(split.rows):
        return []
    judged = {(row["group"], said(row[side])) for row in train for side in ("chosen", "rejected")}
    known = [
        row["id"]
        for row in split.rows
        if all((row["group"], said(row[side])) in judged for side in ("chosen", "rejected"))
    ]
    text = (
        "pairs of two completions that train has judged: a lookup of their wins predicts "
        "these without a model, so its accuracy belongs beside every other"
    )
    return [finding("known_pairs", "error", known, len(split.rows), text, split.name)]


def _are_pairs(rows: list[Row]) -> bool:
    return bool(rows) and "chosen" in rows[0]


# ------------------------------------------------------------------------------- rows of one split


def examine_rows(split: Split) -> list[Row]:
    """Return what is odd about the rows of a split by themselves."""
    return [
        *odd_completions(split),
        duplicates(split),
        *(odd_pairs(split) if _are_pairs(split.rows) else []),
    ]


def odd_completions(split: Split) -> list[Row]:
    """Return the findings on empty and on very short completions."""
    lengths = {
        row["id"]: min(len(text.strip()) for text in _completions(row)) for row in split.rows
    }
    empty = [name for name, length in lengths.items() if not length]
    short = [name for name, length in lengths.items() if 0 < length < FEWEST_CHARACTERS]
    of = len(split.rows)
    return [
        finding("empty_completions", "error", empty, of,
                "rows with an empty completion, of which nothing but stopping is learned",
                split.name),
        finding("short_completions", "note", short, of,
                f"rows with a completion of fewer than {FEWEST_CHARACTERS} characters: answers, "
                "or what is left of a broken row", split.name),
    ]  # fmt: skip


def duplicates(split: Split) -> Row:
    """Return the finding on rows that say what an earlier row says."""
    seen: set[tuple[str, ...]] = set()
    again = []
    for row in split.rows:
        key = tuple(normalized(text) or text for text in [*_prompt(row), *_completions(row)])
        if key in seen:
            again.append(row["id"])
        seen.add(key)
    text = "rows that repeat an earlier one word for word: they count twice, in training and in n"
    return finding("duplicate_rows", "warning", again, len(split.rows), text, split.name)


def odd_pairs(split: Split) -> list[Row]:
    """Return the findings on pairs that tell nothing, or the opposite of one another."""
    sides = {
        row["id"]: (said(row["prompt"]), said(row["chosen"]), said(row["rejected"]))
        for row in split.rows
    }
    judged = set(sides.values())
    # Cut to one length, two texts may become the same tokens.
    same = {row["id"] for row in split.tokens if row["chosen_ids"] == row["rejected_ids"]}
    equal, prefix, contradictory = [], [], []
    for name, (prompt, chosen, rejected) in sides.items():
        if chosen == rejected or name in same:
            equal.append(name)
            continue
        if chosen.startswith(rejected) or rejected.startswith(chosen):
            prefix.append(name)
        if (prompt, rejected, chosen) in judged:
            contradictory.append(name)
    of = len(split.rows)
    return [
        finding("equal_completions", "warning", equal, of,
                "pairs of twice the same completion: their margin is always 0, a tie",
                split.name),
        finding("prefix_completions", "note", prefix, of,
                "pairs of which one completion begins with all of the other: only when to stop "
                "tells them apart", split.name),
        finding("contradictory_pairs", "warning", contradictory, of,
                "pairs that are there the other way round, too: no model gets both right",
                split.name),
    ]  # fmt: skip


# -------------------------------------------------------------------------------- tokens of a split


def examine_tokens(
    split: Split, tokenizer: "PreTrainedTokenizerBase", ends: set[int], generation: Encoder
) -> list[Row]:
    """Return what is odd about a split as tokens.

    Parameters
    ----------
    ends
        The ids that end an answer.
    generation
        The encoder with the template that prompts have in generation.
    """
    return [
        no_end_token(split, tokenizer, ends),
        *odd_starts(split, tokenizer),
        other_prompts(split, generation),
        *other_marks(split, generation),
        *report_findings(split),
        *length_bias(split),
    ]


def no_end_token(split: Split, tokenizer: "PreTrainedTokenizerBase", ends: set[int]) -> Row:
    """Return the finding on completions that do not end in an end token.

    White space may follow it: many templates write a new line behind each turn.
    """

    @cache
    def blank(ids: tuple[int, ...]) -> bool:
        return not tokenizer.decode(ids).strip()

    def stops(ids: list[int]) -> bool:
        last = next((place for place in reversed(range(len(ids))) if ids[place] in ends), None)
        return last is not None and blank(tuple(ids[last + 1 :]))

    columns = _columns(split.tokens)
    endless = [
        row["id"] for row in split.tokens if not all(stops(row[column]) for column in columns)
    ]
    text = (
        "rows with a completion that no end token ends: from them a model does not learn to "
        "stop, and generates up to the limit (a cut completion has lost its end)"
    )
    return finding("no_end_token", "warning", endless, len(split.tokens), text, split.name)


def _columns(tokens: list[Row]) -> list[str]:
    """Return the columns of completions."""
    return [f"{name}_ids" for name in COMPLETIONS if tokens and f"{name}_ids" in tokens[0]]


def odd_starts(split: Split, tokenizer: "PreTrainedTokenizerBase") -> list[Row]:
    """Return the findings on prompts with two BOS, and with none where the tokenizer adds one."""
    bos = tokenizer.bos_token_id
    adds = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    starts = {row["id"]: row["prompt_ids"][:2] for row in split.tokens}
    twice = [name for name, ids in starts.items() if bos is not None and ids == [bos, bos]]
    none = [name for name, ids in starts.items() if adds and ids[:1] != [bos]]
    of = len(split.tokens)
    return [
        finding("second_bos", "warning", twice, of,
                "prompts that begin with BOS twice, which pretraining never showed the model",
                split.name),
        finding("missing_bos", "warning", none, of,
                "prompts without the BOS that the tokenizer puts before any other text",
                split.name),
    ]  # fmt: skip


def other_prompts(split: Split, generation: Encoder) -> Row:
    """Return the finding on prompts that generation writes in other ids than training saw.

    Where prompts were cut, the longest are as long as they may be and have their end alone, which
    is compared: that they were cut is another finding.
    """
    ids = {row["id"]: row["prompt_ids"] for row in split.tokens}
    asked = {row["id"]: _asked(row, generation) for row in split.rows}
    longest = max(map(len, ids.values()), default=0) if split.report["prompt_truncated"] else None

    def same(name: str) -> bool:
        seen, meant = ids[name], asked[name]
        if meant is not None and len(seen) == longest:
            meant = meant[-longest:]
        return seen == meant

    others = [name for name in ids if not same(name)]
    text = (
        "prompts whose ids under the template of generation (or their text, where it refuses "
        "them) are not those of training: the model is asked what it was not trained on"
    )
    return finding("other_prompts", "error", others, len(ids), text, split.name)


def other_marks(split: Split, encoder: Encoder) -> list[Row]:
    """Return the finding on rows of which the template's generation marks score other tokens.

    Empty where it has no marks, or rows are pairs. Rows that were cut, or whose tokens are others
    where a token would have crossed, are not compared.
    """
    rows = {row["id"]: row for row in split.rows}
    others, compared, such = [], 0, ""
    for tokens in split.tokens:
        row = rows[tokens["id"]]
        if "completion" not in row:
            return []
        messages = spoken(row["prompt"]) + spoken(row["completion"])
        tools = json.loads(row.get("tools") or "null")
        try:
            found = marked(encoder.tokenizer, messages, encoder.template, encoder.name, tools)
        except Refused:
            continue
        if found is None:
            return []
        ids, marks = found
        if ids != tokens["prompt_ids"] + tokens["completion_ids"]:
            continue
        compared += 1
        here = _scored(tokens)
        if "prompt_scored" not in tokens:
            # One answer is learned, and marks are on all.
            start = len(tokens["prompt_ids"])
            while start and marks[start - 1]:
                start -= 1
            marks = [False] * start + marks[start:]
        if marks != here:
            others.append(row["id"])
            odd = [one for one, mark, own in zip(ids, marks, here, strict=True) if mark != own]
            such = such or f", such as {encoder.tokenizer.decode(odd)!r}"
    text = (
        f"rows of which the template's generation marks score other tokens{such}; scored here are "
        "what generation continues from a prompt, and what ends it, whatever the marks say"
    )
    return [finding("other_marks", "note", others, compared, text, split.name)]


def _scored(tokens: Row) -> list[bool]:
    """Return for each token of prompt and completion whether it is learned."""
    prompt = tokens.get("prompt_scored", [False] * len(tokens["prompt_ids"]))
    return [*prompt, *(True for _ in tokens["completion_ids"])]


def shown(splits: list[Split], tokenizer: "PreTrainedTokenizerBase") -> list[Row]:
    """Return the first rows of the first split as texts, each with whether it is learned."""
    first = next((split for split in splits if split.tokens), None)
    return [
        {"id": row["id"], "of": column.removesuffix("_ids"), "texts": _runs(row, column, tokenizer)}
        for row in (first.tokens[:SHOWN] if first else [])
        for column in _columns(first.tokens if first else [])
    ]


def _runs(row: Row, column: str, tokenizer: "PreTrainedTokenizerBase") -> list[tuple[str, bool]]:
    tokens = row | {"completion_ids": row[column]}
    both = zip(row["prompt_ids"] + row[column], _scored(tokens), strict=True)
    runs = groupby(both, key=itemgetter(1))
    return [(tokenizer.decode([token for token, _ in run]), scored) for scored, run in runs]


def _asked(row: Row, encoder: Encoder) -> list[int] | None:
    """Return the ids of a row's prompt, or None where the template refuses it."""
    try:
        tools = json.loads(row.get("tools") or "null")
        return encoder.encode(encoder.render(spoken(row["prompt"]), prompt=True, tools=tools))
    except Refused:
        return None


def report_findings(split: Split) -> list[Row]:
    """Return what tokenizing counted."""
    report = split.report

    def examples(count: str) -> list[str]:
        return report["examples"].get(count, [])

    lost = by_reason(report["dropped"])
    kept, of = report["rows"], report["rows"] + len(report["dropped"])
    return [
        finding("too_long_prompts", "warning", lost.pop(TOO_LONG, []), of,
                "rows left out, since their prompt alone fills max_length", split.name),
        *(finding("lost_rows", "warning", ids, of, f"rows left out: {reason}", split.name)
          for reason, ids in lost.items()),
        finding("cut_prompts", "warning", examples("prompt_truncated"), of,
                "rows that lost the beginning of their prompt to max_prompt_length", split.name,
                report["prompt_truncated"]),
        finding("cut_completions", "warning", examples("truncated"), kept,
                "rows that lost the end of a completion to max_length, and the end token with it",
                split.name, report["truncated"]),
        finding("boundary_merges", "note", examples("boundary_merges"), of,
                "rows in which a token would cross from prompt to completion; their completion is "
                "tokenized behind the boundary, so that training and generation see the same "
                "prompt", split.name, report["boundary_merges"]),
    ]  # fmt: skip


def length_bias(split: Split) -> list[Row]:
    """Return the finding on how often the chosen completion is the longer one, in tokens.

    A warning where that is further from one half than 10 points and than two standard errors.
    """
    if "chosen_ids" not in (split.tokens[0] if split.tokens else {}):
        return []
    lengths = {
        row["id"]: (len(row["chosen_ids"]), len(row["rejected_ids"])) for row in split.tokens
    }
    unequal = {name: pair for name, pair in lengths.items() if pair[0] != pair[1]}
    longer = [name for name, (chosen, rejected) in unequal.items() if chosen > rejected]
    share = len(longer) / len(unequal) if unequal else 0.5
    biased = abs(share - 0.5) > max(BIAS, 1 / sqrt(len(unequal) or 1))
    rule = f"the {'longer' if share >= 0.5 else 'shorter'} one wins"
    text = (
        f"pairs of unequal length whose chosen completion has more tokens: '{rule}' is right in "
        f"{max(share, 1 - share):.0%} of them without reading"
    )
    severity = "warning" if biased else "ok"
    found = finding("length_bias", severity, longer, len(unequal), text, split.name)
    return [found | {"severity": severity}]


# ----------------------------------------------------------------------------- tokenizer and source


def examine_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> list[Row]:
    """Return what is odd about the tokenizer, as it was saved."""
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    return [
        finding("no_pad_token", "note" if eos is not None else "error", [], 1,
                "the tokenizer has no pad token: EOS stands in for it", count=int(pad is None)),
        finding("pad_is_eos", "note", [], 1,
                "padding is EOS: labels masked by the pad id would hide every EOS, and the model "
                "never learn to stop; labels here come from lengths, so it does",
                count=int(pad == eos or pad is None)),
    ]  # fmt: skip


def examine_dropped(dropped: list[Row]) -> list[Row]:
    """Return a finding for each reason why rows of the source were left out."""
    return [
        finding("dropped_rows", "note", names, len(dropped),
                f"rows left out of the source, before it was split: {reason}")
        for reason, names in by_reason(dropped).items()
    ] or [finding("dropped_rows", "note", [], 0, "rows left out of the source")]  # fmt: skip


# ------------------------------------------------------------------------------------ command line


def examine(
    splits: list[Split],
    dropped: list[Row],
    tokenizer: "PreTrainedTokenizerBase",
    ends: set[int],
    generation: Encoder,
) -> list[Row]:
    """Return all findings; splits without rows have none."""
    train = next(split.rows for split in splits if split.name == "train")
    findings = []
    for split in splits:
        if not split.rows:
            continue
        if split.name != "train":
            findings += examine_held_out(split, train)
        findings += examine_rows(split)
        findings += examine_tokens(split, tokenizer, ends, generation)
    return [*findings, *examine_tokenizer(tokenizer), *examine_dropped(dropped)]


def end_ids(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Return the ids that end an answer in generation: the model's own and the tokenizer's EOS."""
    ends = {tokenizer.eos_token_id}
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            own = read_json(folder / name).get("eos_token_id")
            ends |= set(own) if isinstance(own, list) else {own}
            break
    return ends - {None}


def read_split(data: Path, tokens: Path, report: Row) -> Split:
    """Return a split.

    Raises
    ------
    BadInput
        When the tokens are not those of the rows.
    """
    split = Split(data.stem, read_rows(data), read_rows(tokens), report.get(data.stem, {}))
    names = [row["id"] for row in split.rows]
    lost = {row["id"] for row in split.report.get("dropped", [])}
    if tokens.stem != split.name or not split.report:
        raise BadInput(f"{data}: found tokens of {tokens.stem}, the report has {', '.join(report)}")
    if [row["id"] for row in split.tokens] != [name for name in names if name not in lost]:
        raise BadInput(f"{tokens}: not the rows of {data}; tokenize again")
    return split


def main(argv: list[str] | None = None) -> int:
    """Write the findings as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.data.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--name", required=True, help="dataset, model, template and length")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="canonical splits")
    parser.add_argument("--dropped", type=Path, required=True, help="dropped.parquet")
    parser.add_argument("--tokens", type=Path, nargs="+", required=True, help="in data's order")
    parser.add_argument("--report", type=Path, required=True, help="the tokens' report.json")
    parser.add_argument("--model", type=Path, required=True, help="the model's manifest.json")
    parser.add_argument("--template", type=Path, help="Jinja file; else the tokenizer's own")
    parser.add_argument(
        "--generation-template", help="Jinja file, or chat, the tokenizer's own; else --template"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    if "train" not in [path.stem for path in arguments.data]:
        raise BadInput(f"--data: found {', '.join(map(str, arguments.data))}, train is needed")
    if len(arguments.data) != len(arguments.tokens):
        raise BadInput(f"--tokens: found {len(arguments.tokens)}, need {len(arguments.data)}")

    from scripts.lm.tokenizers import read_tokenizer, snapshot_folder

    report = read_json(arguments.report)
    splits = [
        read_split(data, tokens, report)
        for data, tokens in zip(arguments.data, arguments.tokens, strict=True)
    ]
    folder = snapshot_folder(arguments.model)
    tokenizer = read_tokenizer(folder)
    template = arguments.generation_template or arguments.template
    text, name = None, "the tokenizer's chat template"
    if template not in (None, "chat"):
        text, name = read_text(template), Path(template).name
    findings = examine(
        splits,
        read_rows(arguments.dropped),
        tokenizer,
        end_ids(folder, tokenizer),
        Encoder(tokenizer, text, name),
    )
    rows = {split.name: len(split.rows) for split in splits}
    content = {"name": arguments.name, "rows": rows, "findings": findings}
    write_json(arguments.out, content | {"shown": shown(splits, tokenizer)})
    return 0


if __name__ == "__main__":
    run(main)
