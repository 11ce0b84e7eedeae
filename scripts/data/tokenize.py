"""Turns canonical rows into token ids, once for all trials that use them.

Prompt and completion stand in columns of their own: generation is given exactly the prompt ids that
training saw. A row whose text would be tokenized differently in one piece is a boundary merge; its
completion is tokenized behind the prompt's boundary, so that the ids still agree, and counted.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_rows, read_text, write_json, write_rows
from scripts.common.rows import (
    COMPLETION_TOKENS,
    CONVERSATION_TOKENS,
    PREFERENCE_TOKENS,
    UNPAIRED_TOKENS,
)
from scripts.common.texts import spoken
from scripts.data.dropped import counted, told
from scripts.lm.chat import Refused, rendered

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COMPLETIONS = {
    "demonstrations": ("completion",),
    "preferences": ("chosen", "rejected"),
    "unpaired": ("completion",),
}
SCHEMAS = {
    "demonstrations": COMPLETION_TOKENS,
    "preferences": PREFERENCE_TOKENS,
    "unpaired": UNPAIRED_TOKENS,
}
COUNTS = ("prompt_truncated", "truncated", "boundary_merges", "second_bos")
TOO_LONG = "the prompt fills max_length"
"""Why a row is dropped that its template writes whole."""
EXAMPLES = 5
QUANTILES = (0.0, 0.5, 0.9, 0.99, 1.0)


Part = tuple[str, bool]
"""A part of a text, and whether the assistant says it."""


class Lost(Exception):
    """A row that does not stand in its tokens as it is; its text is the reason."""


class Encoded(NamedTuple):
    """A row as tokens.

    Attributes
    ----------
    prompt_ids, completion_ids
        No token crosses from one to the other.
    prompt_scored
        For each token of the prompt, whether it belongs to an answer that is learned, too.
    merged
        Whether a token would have crossed.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    prompt_scored: list[bool]
    merged: bool


class Encoder:
    """Renders messages with a chat template and encodes them."""

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        template: str | None = None,
        name: str = "the chat template",
        vocabulary: int | None = None,
    ):
        """Takes the template's text; None is the tokenizer's own. `vocabulary` is the number of
        tokens that the model embeds; None is any.

        Raises
        ------
        BadInput
            When there is no template at all.
        """
        if template is None and tokenizer.chat_template is None:
            raise BadInput(
                f"{tokenizer.name_or_path}: the tokenizer has no chat template; name one with "
                "`template:`"
            )
        self.tokenizer = tokenizer
        self.template = template
        self.name = name
        self.vocabulary = sys.maxsize if vocabulary is None else vocabulary
        added = tokenizer.added_tokens_decoder.values()
        special = {*tokenizer.all_special_tokens, *(str(one) for one in added if one.special)}
        self.special = [token for token in sorted(special) if token.strip()]
        self.written: dict[tuple[str, ...], str | None] = {}

    def render(self, messages: list[Row], prompt: bool, tools: list[Row] | None = None) -> str:
        """Return the messages as text; a prompt ends where the assistant's answer begins.

        Raises
        ------
        Refused, BadInput
            As `rendered` does.
        """
        return rendered(self.tokenizer, messages, self.template, prompt, self.name, tools)

    def encode(self, text: str) -> list[int]:
        """Return the ids of text; special tokens are the template's business."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def split(
        self,
        prompt: list[Row],
        completion: list[Row],
        tools: list[Row] | None = None,
        every: bool = False,
    ) -> Encoded:
        """Return the tokens of prompt and completion.

        Parameters
        ----------
        tools
            JSON schemas of the functions that the assistant may call.
        every
            Whether the assistant's turns in the prompt are scored, too.

        Raises
        ------
        BadInput
            When the template writes a turn differently once others follow it.
        Lost
            When the template leaves something out, or a text would be read as special tokens.
        """
        for token in self.special:
            if any(token in text for message in prompt + completion for text in _texts(message)):
                raise Lost(f"a text has the special token {token}")
        self._require_roles(prompt, completion)
        head, tail = self._parts(prompt, completion, tools)
        self._require_all_said(prompt, head, completion, tail, tools)
        parts = self._turns(prompt, head, tools) if every else [(head, False)]
        (*earlier, ids), merged = self._encoded([text for text, _ in parts] + [tail])
        prompt_ids = [number for part in earlier for number in part]
        if beyond := [number for number in prompt_ids + ids if number >= self.vocabulary]:
            token = self.tokenizer.convert_ids_to_tokens(beyond[0])
            raise Lost(f"the model does not embed the token {token}, with the id {beyond[0]}")
        return Encoded(
            prompt_ids,
            ids,
            [scored for part, (_, scored) in zip(earlier, parts, strict=True) for _ in part],
            merged,
        )

    def _encoded(self, parts: list[str]) -> tuple[list[list[int]], bool]:
        """Return the ids of each part of a text, and whether a token would have crossed from one
        to the next.
        """
        found: list[list[int]] = []
        text, before, merged = "", list[int](), False
        for part in parts:
            text += part
            whole = self.encode(text)
            merged = merged or whole[: len(before)] != before
            found.append(self._continuation(part) if merged else whole[len(before) :])
            before = before + found[-1]
        return found, merged

    def _parts(
        self, prompt: list[Row], completion: list[Row], tools: list[Row] | None = None
    ) -> tuple[str, str]:
        """Return the text up to the answer, and that of the answer."""
        head = self._written(prompt, True, tools)
        whole = self._written(prompt + completion, False, tools)
        if not whole.startswith(head):
            raise BadInput(
                f"{self.name} writes the prompt differently with and without an answer: "
                f"{head[-40:]!r} is not how {whole[:80]!r} begins"
            )
        return head, whole[len(head) :]

    def _turns(self, prompt: list[Row], head: str, tools: list[Row] | None) -> list[Part]:
        """Return the parts of a prompt's text: the assistant's turns, and what is between them."""
        parts: list[Part] = []
        end = 0
        for place, message in enumerate(prompt):
            if message["role"] == "assistant" and place:
                before = self._written(prompt[:place], True, tools)
                after = self._written(prompt[: place + 1], False, tools)
                if not (head.startswith(after) and after.startswith(before)):
                    raise BadInput(
                        f"{self.name} writes turn {place + 1} differently once others follow it; "
                        "learn the turns one by one (turns: each), or the last one only "
                        "(turns: last)"
                    )
                parts += [(head[end : len(before)], False), (head[len(before) : len(after)], True)]
                end = len(after)
        return [*parts, (head[end:], False)]

    def _written(self, messages: list[Row], prompt: bool, tools: list[Row] | None) -> str:
        try:
            return self.render(messages, prompt, tools)
        except Refused as error:
            raise Lost(f"{self.name} refuses it: {error}") from None

    def _require_all_said(
        self,
        prompt: list[Row],
        head: str,
        completion: list[Row],
        tail: str,
        tools: list[Row] | None,
    ) -> None:
        """Raise Lost where a text lacks what a message, a call or a tool says."""
        for tool in tools or []:
            if not _says(head, tool["function"]["name"]):
                raise Lost(f"{self.name} leaves out the tools")
        for messages, text in ((prompt, head), (completion, tail)):
            for message in messages:
                # Of earlier turns, templates leave out the reasoning on purpose.
                heard = message if messages is completion else message | {"reasoning_content": ""}
                if not all(_says(text, said.strip()) for said in _texts(heard)):
                    raise Lost(
                        f"{self.name} leaves out a part of a message of the {message['role']}"
                    )

    def _require_roles(self, prompt: list[Row], completion: list[Row]) -> None:
        """Raise Lost where the template does not write a role's messages, or not in their place.

        Short texts may stand in a template by chance. So each sequence of roles is written once
        with contents that cannot.
        """
        roles = tuple(message["role"] for message in prompt + completion)
        if roles not in self.written:
            self.written[roles] = self._misplaced(roles, len(prompt))
        if reason := self.written[roles]:
            raise Lost(f"{self.name} {reason}")

    def _misplaced(self, roles: tuple[str, ...], prompts: int) -> str | None:
        marks = [f"mark{place}of{len(roles)}" for place in range(len(roles))]
        messages = [
            {"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)
        ]
        try:
            head, tail = self._parts(messages[:prompts], messages[prompts:])
        except Lost:
            # It may ask for more than roles, such as a word in a text; rows are written, too.
            return None
        for place, (role, mark) in enumerate(zip(roles, marks, strict=True)):
            if mark not in (head if place < prompts else tail):
                return f"leaves out messages of the {role}"
            if place < prompts and mark in tail:
                return f"writes messages of the {role} into the completion"
        lead = tail.partition(marks[prompts])[0].strip()
        if lead and head == self._written(messages[:prompts], False, None):
            return f"writes {lead!r} with an answer, not at the end of a prompt, as it should"
        return None

    def _continuation(self, text: str) -> list[int]:
        """Return the ids of text inside a line of text.

        Encoded on its own, some tokenizers would put a space before it; a new line before it keeps
        that from happening, and no merge crosses a new line.
        """
        anchor = self.encode("\n")
        ids = self.encode("\n" + text)
        return ids[len(anchor) :] if ids[: len(anchor)] == anchor else self.encode(text)


def tokenize_rows(
    rows: list[Row],
    encoder: Encoder,
    completions: tuple[str, ...],
    max_length: int,
    max_prompt_length: int | None = None,
    every: bool = False,
) -> tuple[list[Row], Row]:
    """Return the token rows and the report on them.

    A prompt longer than `max_prompt_length` keeps its end. A sequence longer than `max_length` then
    loses the end of its completion. A row is dropped whose prompt leaves no room for a completion,
    and one that the template does not write whole. With `every`, the assistant's turns in a prompt
    are marked.
    """
    kept: list[Row] = []
    dropped: list[Row] = []
    noted: dict[str, list[str]] = {name: [] for name in COUNTS}
    for row in rows:
        try:
            tokens, merged = _encode_row(row, encoder, completions, every)
        except Lost as reason:
            dropped.append({"id": row["id"], "reason": told(reason)})
            continue
        prompt_ids = tokens["prompt_ids"]
        for name in tokens.keys() & {"prompt_ids", "prompt_scored"}:
            tokens[name] = tokens[name][-(max_prompt_length or len(prompt_ids)) :]
        room = max_length - len(tokens["prompt_ids"])
        happened = {
            "prompt_truncated": len(tokens["prompt_ids"]) < len(prompt_ids),
            "truncated": room > 0 and any(len(tokens[f"{c}_ids"]) > room for c in completions),
            "boundary_merges": merged,
            "second_bos": _second_bos(prompt_ids, encoder),
        }
        for name in filter(happened.get, happened):
            noted[name].append(row["id"])
        if room < 1:
            dropped.append({"id": row["id"], "reason": TOO_LONG})
            continue
        for completion in completions:
            tokens[f"{completion}_ids"] = tokens[f"{completion}_ids"][:room]
        label = {"label": row["label"]} if "label" in row else {}
        kept.append({"id": row["id"], **tokens, **label})
    return kept, report_of(kept, dropped, noted)


def report_of(rows: list[Row], dropped: list[Row], noted: dict[str, list[str]]) -> Row:
    """Return the report on the tokens of a split.

    Parameters
    ----------
    noted
        The ids of rows to which something happened, by what.
    """
    return {
        "rows": len(rows),
        "dropped": dropped,
        **{name: len(ids) for name, ids in noted.items()},
        "repeated": len(rows) - len({_ids(row) for row in rows}),
        "examples": {name: ids[:EXAMPLES] for name, ids in noted.items() if ids},
        "noted": noted,
        "lengths": dict(_lengths(rows)),
    }


def _ids(row: Row) -> tuple[tuple[int, ...], ...]:
    """Return all of a token row that a model sees."""
    return tuple(tuple(ids) for name, ids in row.items() if name not in ("id", "label"))


def _texts(message: Row) -> Iterator[str]:
    """Yield all that a message says: its content, its reasoning, and its calls."""
    yield message["content"]
    yield message.get("reasoning_content") or ""
    if message["role"] != "tool":
        yield message.get("name") or ""
    for call in message.get("tool_calls", ()):
        yield call["function"]["name"]
        yield from _leaves(call["function"]["arguments"])


def _leaves(value: Any) -> Iterator[str]:
    """Yield the keys and values of nested arguments."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _leaves(part)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part)
    else:
        # Numbers and booleans as JSON, or as Python writes them: nobody says which.
        yield value if isinstance(value, str) else ""


def _says(text: str, content: str) -> bool:
    """Return whether a text has a content, as it is or as JSON, as some templates write results."""
    return content in text or json.dumps(content, ensure_ascii=False)[1:-1] in text


def _encode_row(
    row: Row, encoder: Encoder, completions: tuple[str, ...], every: bool
) -> tuple[dict[str, list[Any]], bool]:
    tokens: dict[str, list[Any]] = {}
    merged = False
    tools = json.loads(row.get("tools") or "null")
    for completion in completions:
        found = encoder.split(spoken(row["prompt"]), spoken(row[completion]), tools, every)
        scored = {"prompt_scored": found.prompt_scored} if every else {}
        tokens |= {"prompt_ids": found.prompt_ids, **scored}
        tokens[f"{completion}_ids"] = found.completion_ids
        merged = merged or found.merged
    for name, ids in tokens.items():
        if not ids:
            raise Lost(f"no token is left of the {name.removesuffix('_ids')}")
    return tokens, merged


def _second_bos(ids: list[int], encoder: Encoder) -> bool:
    bos = encoder.tokenizer.bos_token_id
    return bos is not None and ids[:2] == [bos, bos]


def _lengths(rows: list[Row]) -> Iterator[tuple[str, Any]]:
    """Yield each column's quantiles of lengths in tokens, and those of whole sequences."""
    columns = [name.removesuffix("_ids") for name in (rows[0] if rows else {}) if "_ids" in name]
    completions = [name for name in columns if name != "prompt"]
    for column in columns:
        yield column, _quantiles([len(row[f"{column}_ids"]) for row in rows])
    totals = [
        len(row["prompt_ids"]) + len(row[f"{completion}_ids"])
        for row in rows
        for completion in completions
    ]
    yield "sequence", _quantiles(totals)


def _quantiles(lengths: list[int]) -> dict[str, int]:
    """Return the nearest-rank quantiles."""
    ordered = sorted(lengths)
    if not ordered:
        return {}
    return {f"{q:g}": ordered[round(q * (len(ordered) - 1))] for q in QUANTILES}


def main(argv: list[str] | None = None) -> int:
    """Write {train,valid,test}.parquet and report.json into a folder."""
    parser = argparse.ArgumentParser(prog="python -m scripts.data.tokenize", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="canonical splits")
    parser.add_argument("--model", type=Path, required=True, help="the model's manifest.json")
    parser.add_argument("--rows", choices=COMPLETIONS, required=True)
    parser.add_argument("--template", type=Path, help="Jinja file; else the tokenizer's own")
    parser.add_argument("--max-length", type=int, required=True)
    parser.add_argument("--max-prompt-length", type=int, help="a longer prompt keeps its end")
    parser.add_argument(
        "--every-turn", action="store_true", help="the assistant's earlier turns are scored, too"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the token splits")
    arguments = parser.parse_args(argv)

    from scripts.lm.checks import read_config, vocabulary
    from scripts.lm.tokenizers import load_tokenizer, snapshot_folder

    template = read_text(arguments.template) if arguments.template else None
    name = arguments.template.name if template is not None else "the tokenizer's chat template"
    size = vocabulary(read_config(snapshot_folder(arguments.model)))
    encoder = Encoder(load_tokenizer(arguments.model), template, name, size)
    completions = COMPLETIONS[arguments.rows]
    schema = CONVERSATION_TOKENS if arguments.every_turn else SCHEMAS[arguments.rows]
    report = {}
    for path in arguments.data:
        canonical = read_rows(path)
        rows, report[path.stem] = tokenize_rows(
            canonical,
            encoder,
            completions,
            arguments.max_length,
            arguments.max_prompt_length,
            arguments.every_turn,
        )
        if canonical and not rows:
            reasons = counted(report[path.stem]["dropped"])
            raise BadInput(f"{path}: no row is left; dropped: {reasons}")
        if dropped := report[path.stem]["dropped"]:
            print(f"{path.stem}: dropped {counted(dropped)}", file=sys.stderr)
        write_rows(arguments.out / path.name, rows, schema)
    write_json(arguments.out / "report.json", report)
    return 0


if __name__ == "__main__":
    run(main, without=["torch"])
