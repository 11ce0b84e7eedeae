"""Scores one model on all that its experiment asks: loads it once, writes rows.

Makes completions.parquet (log-prob of each held-out completion), pairs.parquet (four log-probs a
pair and the margin; of unpaired rows the label and two log-probs) and generations.parquet (one
answer a prompt of each set), each empty where the experiment has nothing of its kind; and
score.json: what that cost, from loading the model on.
"""

import argparse
import json
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import run
from scripts.common.files import Row, read_rows, write_json, write_rows
from scripts.common.rows import COMPLETIONS, GENERATIONS, PAIRS, UNPAIRED_SCORES
from scripts.common.states import forget_work, read_if_there

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from scripts.lm.generation import Answer


def score_completions(model: "PreTrainedModel", rows: list[Row]) -> list[Row]:
    """Return id, log-prob (nats) and number of tokens of each completion.

    Of a conversation all of whose answers are learned, they are those of all answers together.
    """
    from scripts.lm.logprobs import completion_logps

    parts = [_from_first_answer(row) for row in rows]
    logps = completion_logps(model, [sequence for sequence, _ in parts])
    return [
        {"id": row["id"], "logp": sum(compress(logp, scored)), "tokens": sum(scored)}
        for row, logp, (_, scored) in zip(rows, logps, parts, strict=True)
    ]


def _from_first_answer(row: Row) -> tuple[tuple[list[int], list[int]], list[bool]]:
    """Return a row's tokens before its first answer and behind it, and which of these count."""
    prompt, completion = row["prompt_ids"], row["completion_ids"]
    scored = [*row.get("prompt_scored", [False] * len(prompt)), *(True for _ in completion)]
    first = scored.index(True)
    tokens = prompt + completion
    return (tokens[:first], tokens[first:]), scored[first:]


def join_reference(
    tokens: list[Row], policy: list[Row], reference: list[Row], beta: float
) -> list[Row]:
    """Return each pair's four log-probs, its implicit reward margin and both lengths in tokens; of
    an unpaired row the label, two log-probs and the length.

    margin = beta * ((chosen - reference chosen) - (rejected - reference rejected)), in nats:
    Rafailov et al. 2023, https://arxiv.org/abs/2305.18290, section 4.
    """
    references = {row["id"]: row for row in reference}
    policies = {row["id"]: row for row in policy}
    rows = []
    for pair in tokens:
        row, other = policies[pair["id"]], references[pair["id"]]
        if "label" in pair:
            scores = {"logp": row["logp"], "reference_logp": other["logp"]}
            tokens_of = {"label": pair["label"], "tokens": len(pair["completion_ids"])}
            rows.append({"id": row["id"], **scores, **tokens_of})
            continue
        chosen = row["chosen_logp"] - other["chosen_logp"]
        rejected = row["rejected_logp"] - other["rejected_logp"]
        rows.append(
            {
                "id": row["id"],
                "chosen_logp": row["chosen_logp"],
                "rejected_logp": row["rejected_logp"],
                "reference_chosen_logp": other["chosen_logp"],
                "reference_rejected_logp": other["rejected_logp"],
                "margin": beta * (chosen - rejected),
                "chosen_tokens": len(pair["chosen_ids"]),
                "rejected_tokens": len(pair["rejected_ids"]),
            }
        )
    return rows


def distinct_prompts(rows: list[Row], limit: int | None) -> list[Row]:
    """Return the first row of each prompt, at most `limit` of them."""
    first: dict[tuple[int, ...], Row] = {}
    for row in rows:
        first.setdefault(tuple(row["prompt_ids"]), row)
    return list(first.values())[:limit]


def answer_prompts(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: list[Row],
    settings: dict[str, Any],
    start: Path | None = None,
) -> list[Row]:
    """Return id, prompt, text, new tokens and stop reason of one answer a distinct prompt.

    A set that asks for the KL has two log-probs of each answer beside them; `start` is the adapter
    that the reference has instead of the model's own, if it was not merged.
    """
    from scripts.lm.generation import generate_answers

    rows = distinct_prompts(rows, settings["limit"])
    prompts = [row["prompt_ids"] for row in rows]
    answers = generate_answers(model, tokenizer, prompts, settings)
    logps = answer_logps(model, prompts, answers, start) if settings["kl"] else [{}] * len(rows)
    return [
        {
            "id": row["id"],
            "prompt": tokenizer.decode(row["prompt_ids"]),
            "text": answer.text,
            "tokens": answer.tokens,
            "stop": answer.stop,
            **logp,
        }
        for row, answer, logp in zip(rows, answers, logps, strict=True)
    ]


def answer_logps(
    model: "PreTrainedModel",
    prompts: list[list[int]],
    answers: list["Answer"],
    start: Path | None,
) -> list[Row]:
    """Return the log-prob of each answer under the model and under its reference, in nats."""
    from scripts.lm.adapters import as_reference
    from scripts.lm.logprobs import completion_logps

    sequences = [(prompt, answer.ids) for prompt, answer in zip(prompts, answers, strict=True)]
    logps = completion_logps(model, sequences)
    with as_reference(model, start):
        reference_logps = completion_logps(model, sequences)
    return [
        {"logp": sum(logp), "reference_logp": sum(reference_logp)}
        for logp, reference_logp in zip(logps, reference_logps, strict=True)
    ]


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(prog="python -m scripts.evaluate.score", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the base model's manifest.json")
    parser.add_argument("--precision", required=True)
    parser.add_argument("--quantization", required=True)
    parser.add_argument(
        "--adapters", type=Path, nargs="*", default=[], help="all but the last are merged"
    )
    parser.add_argument(
        "--start", type=Path, help="adapter that the KL's reference has instead of the model's own"
    )
    parser.add_argument("--completions", type=Path, help="held-out token split of demonstrations")
    parser.add_argument("--pairs", type=Path, help="held-out token split of pairs")
    parser.add_argument("--reference", type=Path, help="the reference's log-probs of the pairs")
    parser.add_argument("--beta", type=float, default=1.0, help="scale of the reward margin")
    parser.add_argument(
        "--generate", type=json.loads, default={}, help="settings of each set of prompts, by name"
    )
    parser.add_argument(
        "--prompts", type=Path, nargs="*", default=[], help="the sets' token splits, in order"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the Parquet files")
    arguments = parser.parse_args(argv)
    if len(arguments.prompts) != len(arguments.generate):
        parser.error("--prompts needs one file for each set of --generate")
    if not arguments.adapters and any(asked["kl"] for asked in arguments.generate.values()):
        parser.error("kl: true needs --adapters: a base is its own reference")
    return arguments


def score(arguments: argparse.Namespace) -> tuple[list[Row], list[Row], list[Row]]:
    """Return completions, pairs and generations of the model that the arguments name."""
    from scripts.lm.devices import check_precision, pin_threads
    from scripts.lm.pairs import reference_logps
    from scripts.lm.snapshots import attach_adapter, load_base, merge_adapters
    from scripts.lm.tokenizers import load_tokenizer

    pin_threads()
    tokenizer = load_tokenizer(arguments.model)
    model = load_base(arguments.model, arguments.precision, arguments.quantization)
    if arguments.adapters:
        model = merge_adapters(model, arguments.adapters[:-1])
        model = attach_adapter(model, arguments.adapters[-1])

    completions, pairs, generations = [], [], []
    if arguments.completions:
        rows = read_rows(arguments.completions)
        completions = score_completions(model, rows)
    if arguments.pairs:
        record = arguments.reference.with_suffix(".json")
        check_precision(record, read_if_there(record), model)
        reference = read_rows(arguments.reference)
        # A base is its own reference, whose log-probs are there already.
        tokens = read_rows(arguments.pairs)
        policy = reference_logps(model, tokens) if arguments.adapters else reference
        pairs = join_reference(tokens, policy, reference, arguments.beta)
    for (name, settings), path in zip(arguments.generate.items(), arguments.prompts, strict=True):
        answers = answer_prompts(model, tokenizer, read_rows(path), settings, arguments.start)
        generations += [{"set": name, **answer} for answer in answers]
    return completions, pairs, generations


def main(argv: list[str] | None = None) -> int:
    """Write the four files; what training has kept of its work until now is removed."""
    arguments = parse_arguments(argv)

    from scripts.lm.devices import Meter
    from scripts.lm.snapshots import weights_dtype

    meter = Meter()
    asked = arguments.completions or arguments.pairs or arguments.prompts
    completions, pairs, generations = score(arguments) if asked else ([], [], [])
    write_rows(arguments.out / "completions.parquet", completions, COMPLETIONS)
    schema = UNPAIRED_SCORES if pairs and "label" in pairs[0] else PAIRS
    write_rows(arguments.out / "pairs.parquet", pairs, schema)
    write_rows(arguments.out / "generations.parquet", generations, GENERATIONS)
    precision = str(weights_dtype(arguments.precision)).removeprefix("torch.")
    write_json(arguments.out / "score.json", meter.cost() | {"precision": precision})
    forget_work(arguments.out)
    return 0


if __name__ == "__main__":
    run(main)
