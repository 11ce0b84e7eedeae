"""Check a finished trial from outside: with transformers and PEFT, and no line of this project.

    python -m pilot.check results/pilot/trials/sft-1/seed-42 --base pilot/base

Canonical rows are written with the tokenizer's chat template, or as the published instruction text;
each completion is scored as a sequence of its own, and each prompt answered alone. Log-probs,
numbers of tokens, prompts and answers are compared with those in the trial's Parquet files. Prints
a report in Markdown; the exit code is 1 if anything disagrees.
"""

import argparse
import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Row = dict[str, Any]

ALLOWED = {"bfloat16": (0.5, 0.2), "float32": (0.01, 0.01)}
"""By precision: how many nats of a completion may differ, and logits where answers part."""
TEXTS = {"instruction": (True, False), "instruction-eos": (True, True),
         "instruction-pairs": (False, True)}  # fmt: skip
"""Published texts: whether BOS stands before the prompt, and EOS behind the completion."""
SHOWN = 10
"""So many disagreements are listed."""
BACK = 4
"""Tokens before two answers part in which their ids may differ already, though not their text."""


@dataclass
class Compared:
    """One thing that is compared: how far apart the values are, and what disagrees."""

    name: str
    allowed: float
    differences: list[float] = field(default_factory=list)
    disagree: list[str] = field(default_factory=list)

    def add(self, what: str, difference: float) -> None:
        """Take in one difference; it disagrees if it is larger than allowed, or no number."""
        self.differences.append(difference)
        if not difference <= self.allowed:
            self.disagree.append(f"{self.name}, {what}: off by {difference:.4g}")

    def row(self) -> str:
        """Return it as a row of the report."""
        found = self.differences
        largest, mean = (max(found), sum(found) / len(found)) if found else (0.0, 0.0)
        allowed = f"{self.allowed:g}" if self.allowed < float("inf") else "any"
        cells = (self.name, len(found), f"{largest:.4g}", f"{mean:.4g}", allowed)
        return f"| {' | '.join(map(str, cells))} | {len(self.disagree)} |"


class Trial:
    """What a finished trial left."""

    def __init__(self, folder: Path, adapter: Path | None) -> None:
        self.folder = folder
        self.adapter = adapter or folder / "adapter"
        self.results = folder.resolve().parents[2]
        self.trial = self.read("trial.json")
        self.metrics = self.read("metrics.json")
        # {dataset}.{model}.{template}.{max_length}, and the length of prompts if it is bounded
        _, _, self.template, *lengths = self.trial["tokens"].split(".")
        self.max_length, self.max_prompt, *_ = [*map(int, lengths), None]

    @property
    def is_merged(self) -> bool:
        """Return True if its start, if it has one, was merged into the base."""
        return self.trial.get("start_as", "merged") == "merged"

    def read(self, name: str) -> Row:
        """Return one of its JSON files."""
        with open(self.folder / name, encoding="utf-8") as file:
            return json.load(file)

    def scored(self, name: str) -> "DataFrame":
        """Return one of its Parquet files."""
        from pandas import read_parquet

        return read_parquet(self.folder / f"{name}.parquet")

    def rows(self, file: str) -> dict[str, Row]:
        """Return the canonical rows of a file that its metrics name, by id."""
        from pandas import read_parquet

        return {row["id"]: row for row in read_parquet(self.results / file).to_dict("records")}

    def greedy(self) -> str | None:
        """Return the first set of prompts that was answered greedily."""
        settings = {name: it["settings"] for name, it in self.metrics["sets"].items()}
        greedy = (
            name for name, it in settings.items() if not (it["do_sample"] or it["own_settings"])
        )
        return next(greedy, None)


# ----------------------------------------------------------------------------------------- texts


def written(
    tokenizer: "PreTrainedTokenizerBase", template: str, prompt: Any, completion: Any = ()
) -> tuple[str, str]:
    """Return the text up to an answer, and that of the answer."""
    prompt, completion = list(prompt), list(completion)
    if template == "chat":
        head = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(prompt + completion, tokenize=False)
        return head, whole[len(head) :] if completion else ""
    bos, eos = TEXTS[template]
    end = tokenizer.eos_token if eos else ""
    said = {"user": "### Instruction:\n{}\n\n", "assistant": "### Response:\n{}" + end + "\n\n"}
    head = "".join(said[it["role"]].format(it["content"]) for it in prompt)
    head = (tokenizer.bos_token or "" if bos else "") + head + "### Response:\n"
    return head, "".join(it["content"] + end for it in completion)


def encoded(tokenizer: "PreTrainedTokenizerBase", head: str, tail: str) -> tuple[Any, Any]:
    """Return the ids of a prompt and of what follows it."""
    first = tokenizer(head, add_special_tokens=False)["input_ids"]
    whole = tokenizer(head + tail, add_special_tokens=False)["input_ids"]
    if whole[: len(first)] == first:
        return first, whole[len(first) :]
    # A token would cross the border; generation cannot write it.
    return first, tokenizer(tail, add_special_tokens=False)["input_ids"]


# ---------------------------------------------------------------------------------------- scores


def load(base: Path, trial: Trial, precision: str) -> "PreTrainedModel":
    """Return the base with the adapter; a start is merged first, if the trial began so."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=getattr(torch, precision), local_files_only=True, trust_remote_code=False
    )
    if trial.trial.get("start") and trial.is_merged:
        start = trial.results / trial.trial["start"] / "adapter"
        model = PeftModel.from_pretrained(model, start).merge_and_unload()
    return PeftModel.from_pretrained(model, trial.adapter).eval()


def logp(model: "PreTrainedModel", prompt: list[int], completion: list[int]) -> float:
    """Return the log-prob of a completion in nats, from a pass of its own."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + completion])).logits[0]
    logps = logits[len(prompt) - 1 : -1].float().log_softmax(-1)
    return logps.gather(-1, torch.tensor(completion)[:, None]).sum().item()


def check_logps(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    trial: Trial,
    most: int,
    nats: float,
    exact: "PreTrainedModel | None" = None,
) -> Iterator[Compared]:
    """Score pairs, or completions where the trial learned from these, with the trial and its
    reference; return how log-probs and numbers of tokens compare.

    With the same model in float32, return also how far its log-probs are from those here: what
    rounding alone makes.
    """
    names = ("chosen", "rejected") if len(trial.scored("pairs")) else ("completion",)
    kind = "pairs" if len(names) == 2 else "completions"
    scored, rows = trial.scored(kind), trial.rows(trial.metrics["read"][kind])
    # The reference of an adapter that overwrote its start is no part of what is loaded.
    has_reference = kind == "pairs" and trial.is_merged
    tokens = Compared(f"tokens of {kind}", 0)
    own = Compared(f"log-probs of {kind} (nats)", nats)
    reference = Compared(f"log-probs of {kind} under the reference (nats)", nats)
    rounding = Compared("the same, here against float32 (nats)", float("inf"))
    for row in spread(scored, most):
        for name in names:
            prefix = f"{name}_" if kind == "pairs" else ""
            texts = rows[row["id"]]
            text = written(tokenizer, trial.template, texts["prompt"], texts[name])
            prompt, completion = encoded(tokenizer, *text)
            prompt = prompt[-(trial.max_prompt or len(prompt)) :]
            completion = completion[: trial.max_length - len(prompt)]
            what = f"{row['id']} {name}"
            tokens.add(what, abs(len(completion) - row[f"{prefix}tokens"]))
            scored_here = logp(model, prompt, completion)
            own.add(what, abs(scored_here - row[f"{prefix}logp"]))
            if exact is not None:
                rounding.add(what, abs(scored_here - logp(exact, prompt, completion)))
            if has_reference:
                with model.disable_adapter():
                    found = logp(model, prompt, completion)
                reference.add(what, abs(found - row[f"reference_{prefix}logp"]))
    yield from (tokens, own, *([reference] if has_reference else []))
    if exact is not None:
        yield rounding


def spread(frame: "DataFrame", most: int) -> list[Row]:
    """Return at most so many rows, from the first to the last at equal distances."""
    return frame.iloc[:: max(1, len(frame) // most)][:most].to_dict("records")


# --------------------------------------------------------------------------------------- answers


def check_answers(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    trial: Trial,
    asked: tuple[str, str],
    most: int,
    logits: float,
) -> Iterator[Compared]:
    """Answer prompts greedily, one at a time; return how prompts and answers compare.

    An answer that differs does so by the gap between the logits of the two tokens where it parts.
    """
    name, template = asked
    settings = trial.metrics["sets"][name]["settings"]
    answers = trial.scored("generations")
    rows = trial.rows(trial.metrics["read"]["sets"][name])
    prompts = Compared(f"prompts of {name}", 0)
    same = Compared(f"answers to {name} (logits)", logits)
    for row in spread(answers[answers["set"] == name], most):
        text, _ = written(tokenizer, template, rows[row["id"]]["prompt"])
        ids, _ = encoded(tokenizer, text, "")
        prompts.add(row["id"], float(tokenizer.decode(ids) != row["prompt"]))
        same.add(row["id"], Answer(model, tokenizer, ids, settings["max_new_tokens"]).gap(row))
    yield from (prompts, same)


class Answer:
    """A greedy answer to one prompt, with the logits of each of its tokens."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        prompt: list[int],
        most: int,
    ) -> None:
        import torch
        from transformers import GenerationConfig

        stops = model.generation_config.eos_token_id
        stops = stops if isinstance(stops, list) else [stops]
        self.ends = {it for it in (*stops, tokenizer.eos_token_id) if it is not None}
        self.tokenizer = tokenizer
        # Neutral settings: the model's own may be to sample, or to punish repetition.
        own, model.generation_config = model.generation_config, GenerationConfig()
        config = GenerationConfig(
            do_sample=False, max_new_tokens=most, eos_token_id=sorted(self.ends),
            pad_token_id=min(self.ends), output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
        try:
            with torch.inference_mode():
                made = model.generate(
                    input_ids=torch.tensor([prompt]),
                    attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
                    generation_config=config,
                )
        finally:
            model.generation_config = own
        self.ids: list[int] = made.sequences[0, len(prompt) :].tolist()
        self.logits = [step[0].float() for step in made.logits]

    def text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def gap(self, row: Row) -> float:
        """Return 0 if a trial's answer is this one; else how far apart the logits of the two tokens
        are where it parts from this one: infinite where none of the likely tokens fits.
        """
        ended = self.ids[-1] in self.ends
        said = self.ids[:-1] if ended else self.ids
        stop = "eos" if ended else "length"
        if (self.text(said).strip(), len(said), stop) == (row["text"], row["tokens"], row["stop"]):
            return 0.0
        fits = (self.fits(self.ids[: place + 1], row) for place in range(len(self.ids)))
        last = next((place for place, it in enumerate(fits) if not it), len(self.ids) - 1)
        gaps = [float("inf")]
        for place in range(max(0, last - BACK), last + 1):
            values, tokens = self.logits[place].topk(min(50, len(self.logits[place])))
            others = zip(values.tolist(), tokens.tolist(), strict=True)
            gaps += [
                values[0].item() - value
                for value, token in others
                if token != self.ids[place] and self.fits([*self.ids[:place], token], row)
            ]
        return min(gaps)

    def fits(self, ids: list[int], row: Row) -> bool:
        """Return True if a trial's answer may begin with these tokens.

        It is known as text, without the white space around it. A character of which only some bytes
        are there decodes as U+FFFD.
        """
        if ids[-1] in self.ends:
            return row["stop"] == "eos" and self.text(ids[:-1]).strip() == row["text"]
        text = self.text(ids).lstrip().rstrip("\ufffd")
        return row["text"].startswith(text) or row["text"] == text.rstrip()


# -------------------------------------------------------------------------------------- the report


def report(trial: Trial, base: Path, precision: str, compared: list[Compared]) -> str:
    """Return what was compared, as Markdown."""
    from importlib.metadata import version

    packages = ", ".join(f"{it} {version(it)}" for it in ("transformers", "peft", "torch"))
    lines = [
        f"**{trial.trial['name']}, seed {trial.trial['seed']}**, computed again in {precision} "
        f"with {packages}: base {digest(base / 'model.safetensors')}, "
        f"adapter {digest(trial.adapter / 'adapter_model.safetensors')}.",
        "",
        "| compared | number | largest difference | mean | allowed | disagree |",
        "|---|---:|---:|---:|---:|---:|",
        *(it.row() for it in compared),
    ]
    found = [line for it in compared for line in it.disagree]
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    lines += ["", *(f"- {line}" for line in (*found[:SHOWN], *more))] if found else []
    return "\n".join(lines)


def digest(path: Path) -> str:
    """Return the beginning of a file's SHA-256."""
    with open(path, "rb") as file:
        return f"`{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}`"


def main(argv: list[str] | None = None) -> int:
    """Print the report; return 1 if anything disagrees."""
    parser = argparse.ArgumentParser(
        prog="python -m pilot.check", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("trial", type=Path, help="folder of a trial with a seed")
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--adapter", type=Path, help="default: the trial's own")
    parser.add_argument("--precision", choices=ALLOWED, default="bfloat16")
    parser.add_argument("--pairs", type=int, default=50, help="pairs, or completions, to score")
    parser.add_argument("--answers", type=int, default=10, help="prompts to answer")
    parser.add_argument("--set", help="of prompts; default: the first that is answered greedily")
    parser.add_argument(
        "--prompts-as", choices=("chat", *TEXTS),
        help="how prompts are written; default: as the trial's rows",
    )  # fmt: skip
    defaults = ", ".join(f"{nats} in {name}" for name, (nats, _) in ALLOWED.items())
    parser.add_argument(
        "--nats", type=float, help=f"what a completion may be off by; default: {defaults}"
    )
    parser.add_argument(
        "--rounding", action="store_true", help="show too how far bfloat16 is from float32 here"
    )
    arguments = parser.parse_args(argv)
    try:
        return check(arguments)
    except Exception as error:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


def check(arguments: argparse.Namespace) -> int:
    """Check a trial as the command line says; return 1 if anything disagrees."""
    from transformers import AutoTokenizer
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    disable_progress_bar()
    set_verbosity_error()
    nats, logits = ALLOWED[arguments.precision]
    nats = nats if arguments.nats is None else arguments.nats
    trial = Trial(arguments.trial, arguments.adapter)
    tokenizer = AutoTokenizer.from_pretrained(arguments.base, local_files_only=True)
    model = load(arguments.base, trial, arguments.precision)
    exact = load(arguments.base, trial, "float32") if arguments.rounding else None
    compared = list(check_logps(model, tokenizer, trial, arguments.pairs, nats, exact))
    asked = arguments.set or trial.greedy()
    if asked is not None and arguments.answers:
        template = arguments.prompts_as or trial.template
        compared += check_answers(
            model, tokenizer, trial, (asked, template), arguments.answers, logits
        )
    print(report(trial, arguments.base, arguments.precision, compared))
    return 1 if any(it.disagree for it in compared) else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
