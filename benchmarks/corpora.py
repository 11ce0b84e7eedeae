"""Benchmark rows: real ones for the real model, and rows with the lengths of the published data.

Real rows are read from a folder of hub repositories (PREFMAKE_HUB), and become tokens as in a run.
For a model with random weights, titles are the real ones if that folder has them, tokenized with
Qwen2.5's tokenizer cut down to the tokens that they use; otherwise made-up words, one token each.
Dialogues and word problems are then random tokens of the published lengths.
"""

import json
import math
import os
import random
import shutil
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.shapes import random_ids
from scripts.common.files import Row, read_rows, write_json, write_jsonl, write_rows
from scripts.common.rows import PREFERENCE_TOKENS
from scripts.common.splits import SPLIT_COLUMN

if TYPE_CHECKING:
    from scripts.config.plan.data import Dataset, Tokens

Part = dict[str, Any]

QWEN = "models/Qwen/Qwen2.5-14B-Instruct"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
ROOT = Path(__file__).resolve().parents[1]


def hub_folder() -> Path:
    """Return the folder that holds real repositories, if it exists."""
    return Path(os.environ.get("PREFMAKE_HUB", ROOT.parent / "shared" / "hub"))


# ------------------------------------------------------------------------------------ real rows


class RealRows(NamedTuple):
    """Where real rows stand: a repository, its file, and the dataset of config.yaml."""

    repository: str
    file: str
    dataset: str

    def path(self, hub: Path) -> Path:
        """Return where the file is in a folder of hub repositories."""
        return hub / "datasets" / self.repository / self.file

    def command(self, hub: Path) -> str:
        """Return the command that gets the file."""
        place = hub / "datasets" / self.repository
        return f"hf download {self.repository} {self.file} --repo-type dataset --local-dir {place}"


REAL_ROWS = {
    "titles": RealRows(
        "EliasHossain/youtube-titles-dpo", "data/train-00000-of-00001.parquet", "youtube-titles"
    ),
    "hh-rlhf": RealRows("Anthropic/hh-rlhf", "harmless-base/test.jsonl.gz", "hh-rlhf"),
    "gsm8k": RealRows("openai/gsm8k", "main/train-00000-of-00001.parquet", "gsm8k"),
}


def real_messages(corpus: str, dataset: "Dataset", hub: Path) -> list[Row]:
    """Return the rows of a corpus as messages, without those that a run would drop."""
    from scripts.common import columns
    from scripts.data.prepare import canonical_rows

    raw = columns.read_rows(REAL_ROWS[corpus].path(hub), dataset.columns)
    kept, _ = canonical_rows([row | {SPLIT_COLUMN: "train"} for _, row in raw], dataset.rows)
    return kept


def real_tokens(
    corpus: str, dataset: "Dataset", tokens: "Tokens", model: Path, hub: Path
) -> list[Row]:
    """Return the token rows of a corpus for a model, under the template and limits of `tokens`."""
    from transformers import AutoTokenizer

    from scripts.data.tokenize import COMPLETIONS, Encoder, tokenize_rows

    template = tokens.template and (ROOT / tokens.template).read_text(encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    rows, _ = tokenize_rows(
        real_messages(corpus, dataset, hub), Encoder(tokenizer, template),
        COMPLETIONS[tokens.rows], tokens.max_length, tokens.max_prompt_length,
    )  # fmt: skip
    return rows


# --------------------------------------------------------------------------------------- titles


def write_titles(folder: Path, hub: Path) -> None:
    """Write rows of messages, their tokens, a tokenizer, and where the titles are from."""
    from transformers import AutoTokenizer

    from scripts.data.tokenize import Encoder

    real = (hub / QWEN / TOKENIZER[0]).is_file() and REAL_ROWS["titles"].path(hub).is_file()
    rows = _real_titles(hub) if real else made_up_titles()
    if real:
        used = _used_ids(hub / QWEN, rows)
        cut_tokenizer(hub / QWEN, used, folder / "tokenizer")
    else:
        write_word_tokenizer(rows, folder / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(
        folder / "tokenizer", local_files_only=True, trust_remote_code=False
    )
    write_rows(folder / "tokens.parquet", pair_tokens(rows, Encoder(tokenizer)), PREFERENCE_TOKENS)
    write_jsonl(folder / "train.jsonl", rows)
    write_json(folder / "source.json", {"titles": "real" if real else "made up"})


def _real_titles(hub: Path) -> list[Row]:
    columns = ("prompt", "chosen", "rejected")
    rows = read_rows(REAL_ROWS["titles"].path(hub))
    return [{name: row[name] for name in columns} for row in rows]


def pair_tokens(rows: list[Row], encoder: Any) -> list[Row]:
    """Return token rows of pairs of messages."""
    found = []
    for number, row in enumerate(rows):
        prompt, chosen, *_ = encoder.split(row["prompt"], row["chosen"])
        _, rejected, *_ = encoder.split(row["prompt"], row["rejected"])
        found.append({"id": f"train-{number}", "prompt_ids": prompt, "chosen_ids": chosen,
                      "rejected_ids": rejected})  # fmt: skip
    return found


def _used_ids(tokenizer: Path, rows: list[Row]) -> set[int]:
    from transformers import AutoTokenizer

    from scripts.data.tokenize import Encoder

    encoder = Encoder(
        AutoTokenizer.from_pretrained(tokenizer, local_files_only=True, trust_remote_code=False)
    )
    tokens = pair_tokens(rows, encoder)
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")
    return {token for row in tokens for name in columns for token in row[name]}


def cut_tokenizer(source: Path, used: set[int], folder: Path) -> None:
    """Write a byte-level BPE tokenizer with only the tokens that a text uses, renumbered from 0.

    Every merge that leads to one of these tokens stays, in the same order. No other merge was ever
    applied to that text, so it is tokenized exactly as before.
    """
    folder.mkdir(parents=True)
    for name in TOKENIZER[1:]:
        shutil.copy(source / name, folder / name)
    tokenizer = json.loads((source / TOKENIZER[0]).read_text(encoding="utf-8"))
    model = tokenizer["model"]
    kept = {token for token, place in model["vocab"].items() if place in used or len(token) == 1}
    merges = []
    # The parts of a merge are made by earlier merges, so walk backwards.
    for left, right in reversed(model["merges"]):
        if left + right in kept:
            kept |= {left, right}
            merges.append([left, right])
    model["merges"] = merges[::-1]
    order = sorted(kept, key=model["vocab"].__getitem__)
    model["vocab"] = {token: place for place, token in enumerate(order)}
    for place, token in enumerate(tokenizer["added_tokens"], start=len(order)):
        token["id"] = place
    write_json(folder / TOKENIZER[0], tokenizer)


IDEAS, TITLES_AN_IDEA, KEPT_ROWS = 114, 5, 1026
COMMON_WORDS, GUIDANCE_WORDS = 37, 34
"""One token less in each for the turn markers."""


def made_up_titles() -> list[Row]:
    """Return pairs of made-up titles: ten per idea, from its five titles; nine in ten are used.

    Token counts match the real ones: the first 38 of a prompt are the same in all rows, 2 to 22
    name the idea, and the last 35 are the same again. A completion has 7 to 20 with its end token.
    """
    chosen = random.Random(0)
    common, guidance = _words(chosen, COMMON_WORDS), _words(chosen, GUIDANCE_WORDS)
    rows = []
    for _ in range(IDEAS):
        idea = _words(chosen, round(min(22, max(2, chosen.gauss(6.6, 3.5)))))
        titles = [
            _words(chosen, round(min(19, max(6, chosen.gauss(11.2, 2.2)))))
            for _ in range(TITLES_AN_IDEA)
        ]
        prompt = [{"role": "user", "content": f"{common} {idea} {guidance}"}]
        for pair in combinations(titles, 2):
            one, other = chosen.sample(pair, 2)
            rows.append({"prompt": prompt, "chosen": [_answer(one)], "rejected": [_answer(other)]})
    return chosen.sample(rows, KEPT_ROWS)


def _words(chosen: random.Random, count: int) -> str:
    return " ".join(f"w{number}" for number in random_ids(chosen, count))


def _answer(text: str) -> Part:
    return {"role": "assistant", "content": text}


MARKS = {"user": "<|user|>", "assistant": "<|assistant|>"}
END = "<|end|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message.role + '|> ' + message.content + ' ' }}"
    "{% if message.role == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|> ' }}{% endif %}"
)


def write_word_tokenizer(rows: list[Row], folder: Path) -> None:
    """Write a tokenizer with one token for each word of the rows, and a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    columns = ("prompt", "chosen", "rejected")
    texts = [message["content"] for row in rows for name in columns for message in row[name]]
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {word: place for place, word in enumerate([END, *MARKS.values(), *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, chat_template=TEMPLATE
    ).save_pretrained(folder)


# --------------------------------------------------------------------- dialogues, word problems

INSTRUCTION, RESPONSE = [11, 12, 13, 14, 15], [16, 17, 18, 19, 20]
"""Token ids used for the template's `### Instruction:` and `### Response:`."""


def dialogues(count: int) -> list[Row]:
    """Return pairs of random tokens shaped like hh-rlhf's as experiment B prepares it.

    A prompt has about 43 tokens. The two completions have about 150; they are the same dialogue for
    about 110 tokens and differ in its last turn.
    """
    chosen = random.Random(1)
    rows = []
    for number in range(count):
        turn = random_ids(chosen, round(min(90, max(4, chosen.gauss(33, 12)))))
        shared = random_ids(chosen, round(min(220, max(8, chosen.gauss(110, 40)))))
        ends = [random_ids(chosen, round(max(6, chosen.gauss(40, 14)))) for _ in range(2)]
        rows.append(
            {
                "id": f"train-{number}",
                "prompt_ids": INSTRUCTION + turn + RESPONSE,
                "chosen_ids": shared + ends[0],
                "rejected_ids": shared + ends[1],
            }
        )
    return rows


LONGEST = 512
MEDIAN, SPREAD = 161, 0.354
"""Log-normal lengths of grade-school-math: the published median, and the standard deviation of the
log length over its first 5000 rows with Qwen2.5's tokenizer."""
PROMPT_SHARE = 0.45


def problems(count: int) -> list[Row]:
    """Return word problems and answers of random tokens, with grade-school-math's lengths."""
    chosen = random.Random(2)
    rows = []
    for number in range(count):
        length = round(min(LONGEST, max(50, MEDIAN * math.exp(chosen.gauss(0, SPREAD)))))
        prompt = round(length * min(0.7, max(0.2, chosen.gauss(PROMPT_SHARE, 0.08))))
        frame = len(INSTRUCTION) + len(RESPONSE)
        rows.append(
            {
                "id": f"train-{number}",
                "prompt_ids": INSTRUCTION + random_ids(chosen, prompt - frame) + RESPONSE,
                "completion_ids": random_ids(chosen, length - prompt),
            }
        )
    return rows
