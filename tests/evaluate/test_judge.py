"""The judge: both orders, ties, and log-probs against the model itself."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from scripts.common.cli import BadInput
from scripts.common.files import read_rows, write_rows
from scripts.common.rows import DEMONSTRATIONS, GENERATIONS
from scripts.common.templates import JUDGE
from scripts.config.evaluation import Judge
from scripts.evaluate import judge
from scripts.evaluate.judge import Duel, duels_of, judge_duels, verdict
from scripts.evaluate.logprob_judge import asking, by_logprob, verdicts
from scripts.evaluate.questions import Question
from scripts.lm import chat
from scripts.lm.snapshots import load_base
from scripts.lm.tokenizers import load_tokenizer

SETTINGS = {"kind": "logprob", "model": "tiny", "template": str(JUDGE), "precision": "float32",
            "quantization": "none"}  # fmt: skip
ASKED = {"judge": SETTINGS, "answer_after": None, "answer_before": None}


@pytest.mark.parametrize(
    ("as_a", "as_b", "expected"),
    [(1, 2, 1), (-1, -2, 0), (1, -2, 0.5), (-1, 2, 0.5), (0, 0, 0.5), (1, 0, 0.5), (0, -1, 0.5)],
)
def test_a_verdict_is_what_both_orders_say(as_a: float, as_b: float, expected: float) -> None:
    assert verdict(as_a, as_b) == expected


def test_every_kind_of_the_configuration_is_a_judge() -> None:
    assert set(get_args(Judge.model_fields["kind"].annotation)) == judge.JUDGES.keys()


def asked_by(monkeypatch: pytest.MonkeyPatch, say: Any) -> list[Question]:
    """Puts a judge that says so in the place of the one there is; returns what it is asked."""
    seen: list[Question] = []

    def of_questions(manifest: Path, settings: Any, questions: list[Question]) -> list[float]:
        seen.extend(questions)
        return [say(question) for question in questions]

    monkeypatch.setitem(judge.JUDGES, "logprob", of_questions)
    return seen


def test_each_pair_is_asked_in_both_orders_and_equal_answers_not_at_all(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duels = [
        Duel("s", "a", "p", "a longer answer", "short"),
        Duel("s", "b", "p", "the same", "the same"),
        Duel("s", "c", "p", "short", "a longer answer"),
    ]
    seen = asked_by(monkeypatch, lambda question: float(len(question.a) - len(question.b)))
    rows = judge_duels(duels, SETTINGS, tiny_model)
    assert seen == [
        Question("p", "a longer answer", "short"), Question("p", "short", "a longer answer"),
        Question("p", "short", "a longer answer"), Question("p", "a longer answer", "short"),
    ]  # fmt: skip
    assert [row["verdict"] for row in rows] == [1, 0.5, 0]
    margins = [(row["margin_as_a"], row["margin_as_b"]) for row in rows]
    assert margins == [(10, 10), (None, None), (-10, -10)]
    encode = load_tokenizer(tiny_model)
    for row, duel in zip(rows, duels, strict=True):
        for key, text in (("tuned_tokens", duel.tuned), ("base_tokens", duel.base)):
            assert row[key] == len(encode(text, add_special_tokens=False)["input_ids"])


def test_a_judge_that_always_says_a_finds_only_ties(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_by(monkeypatch, lambda question: 3.0)
    (row,) = judge_duels([Duel("s", "a", "p", "x", "y")], SETTINGS, tiny_model)
    assert (row["verdict"], row["margin_as_a"], row["margin_as_b"]) == (0.5, 3, -3)


def test_answers_are_compared_as_far_as_they_are_scored() -> None:
    tuned = [{"set": "s", "id": "a", "text": "x A: 1 Q: 2"}, {"set": "t", "id": "a", "text": "n"}]
    base = [{"set": "s", "id": "a", "text": "2"}]
    prompts = [{"id": "a", "prompt": [{"role": "user", "content": "p"}]}]
    settings = ASKED | {"answer_after": "A:", "answer_before": "Q:"}
    assert duels_of("s", settings, tuned, base, prompts) == [Duel("s", "a", "p", "1", "2")]
    with pytest.raises(BadInput, match="set s: found no answer of the base to a"):
        duels_of("s", settings, tuned, [], prompts)


@pytest.mark.parametrize("chat", [True, False])
def test_the_log_probs_are_the_models(
    tiny_model: Path, chat: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, model = load_tokenizer(tiny_model), load_base(tiny_model, "float32", "none")
    if not chat:
        tokenizer.chat_template = None
        monkeypatch.setattr("scripts.lm.tokenizers.load_tokenizer", lambda manifest: tokenizer)
    questions = [Question("Ada has 3 pens.", "7 pens", "3"), Question("Try", "a", "b c")]
    ask = asking(JUDGE)
    found = by_logprob(tiny_model, SETTINGS, questions)
    for question, margin in zip(questions, found, strict=True):
        text = ask(question)
        assert all(part in text for part in vars(question).values())
        if chat:
            head = tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
            )
            ends = [tokenizer.encode(word, add_special_tokens=False) for word in "AB"]
        else:
            head = [tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False)]
            ends = [tokenizer.encode(f" {word}", add_special_tokens=False) for word in "AB"]
        a, b = (summed(model, head, end) for end in ends)
        assert margin == pytest.approx(a - b, abs=1e-4)
        assert margin != 0


def summed(model: Any, head: list[int], end: list[int]) -> float:
    with torch.no_grad():
        logps = model(input_ids=torch.tensor([head + end])).logits[0].log_softmax(-1)
    places = range(len(head) - 1, len(head) + len(end) - 1)
    return sum(logps[place, token].item() for place, token in zip(places, end, strict=True))


def test_both_verdicts_follow_the_same_question(tiny_model: Path) -> None:
    (question, a), (same, b) = verdicts(load_tokenizer(tiny_model), "Which one?")
    assert question == same
    assert (len(a), len(b)) == (1, 1)
    assert a != b


LOOP, END = "{% for i in a %}", "{% endfor %}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ prompt }} {{ a }}", ": found the variables a, prompt; a question shows a, b, prompt"),
        ("x", ": found the variables none; a question shows a, b, prompt"),
        ("\n{{ prompt", ", line 2: TemplateSyntaxError: "),
        ("{{ prompt }}\n{{ a.b.c }} {{ b }}", ", line 2: UndefinedError: 'str object' has no"),
        ("{{ prompt }} {{ a }} {{ b }} {% include 'x' %}", ", line 1: TypeError: no loader"),
        ("{{ prompt }} {{ a / 0 }} {{ b }}", ", line 1: TypeError: unsupported operand"),
        ("{{ prompt }} {{ a }} {{ b.upper }}", ": found an address of memory, ' at 0x"),
        ("{{ prompt }} {{ a }} {{ b | random }}", ": found the filter random"),
        ("{{ prompt }} {{ a }} {{ b * 10**10 }}", ", line 1: found a text of more than 2 GiB"),
        (
            f"{{{{ prompt }}}} {{{{ a }}}} {{{{ b }}}} {LOOP * 4}{END * 4}",
            ": found no end after 0.2 s",
        ),
        ("{{ prompt }} {{ a }} {{ b }} {{ '\\ud800' }}", ": UnicodeEncodeError: "),
        ("{{ prompt }} {{ a }} {{ b }}" + "{{ (" * 3000, ": RecursionError: "),
        (b"{{ prompt }}\n\xff", ": line 2: found byte 0xff; allowed: text in UTF-8"),
    ],
)
def test_a_mistake_in_a_question_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes, said: str
) -> None:
    monkeypatch.setattr(chat, "SECONDS", 0.2)
    path = tmp_path / "question.jinja"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput) as caught:
        asking(path)(Question("p" * 999, "a" * 999, "b" * 999))
    assert str(caught.value).startswith(f"{path}{said}")
    assert "\n" not in str(caught.value)


def test_verdicts_that_a_tokenizer_writes_alike(tiny_model: Path) -> None:
    class Deaf:
        chat_template = bos_token = None

        def __call__(self, *_: object, **__: object) -> dict[str, list[int]]:
            return {"input_ids": []}

    with pytest.raises(BadInput, match=r"^judge: its tokenizer writes the verdicts A and B alike$"):
        verdicts(Deaf(), "Which one?")


def test_a_question_that_does_not_fit_is_bad_input(tiny_model: Path) -> None:
    with pytest.raises(BadInput, match=r"found a question of \d+ tokens; tiny takes 256: "):
        by_logprob(tiny_model, SETTINGS, [Question("p", "word " * 200, "b")])


def test_command_line(tiny_model: Path, tmp_path: Path) -> None:
    def generation(name: str, text: str) -> dict[str, Any]:
        return {
            "set": name,
            "id": "test-0",
            "prompt": "p",
            "text": text,
            "tokens": 1,
            "stop": "eos",
        }

    asked = [{"role": "user", "content": "Ada has 3 pens."}]
    row = {"id": "test-0", "group": "g", "prompt": asked, "completion": asked}
    files = {
        "tuned": ([generation("s", "7"), generation("t", "7"), generation("u", "7")], GENERATIONS),
        "base": ([generation(name, "7 pens") for name in "stu"], GENERATIONS),
        "rows": ([row], DEMONSTRATIONS),
    }
    for name, (rows, schema) in files.items():
        write_rows(tmp_path / f"{name}.parquet", rows, schema)
    command = ["--sets", json.dumps({"s": ASKED, "t": ASKED}),
               "--tuned", str(tmp_path / "tuned.parquet"), "--base", str(tmp_path / "base.parquet"),
               "--sets-rows", *[str(tmp_path / "rows.parquet")] * 2,
               "--models", *[str(tiny_model)] * 2]  # fmt: skip
    outs = [tmp_path / f"{name}.parquet" for name in ("one", "two")]
    for out in outs:
        assert judge.main([*command, "--out", str(out)]) == 0
    rows = read_rows(outs[0])
    assert [(row["set"], row["id"]) for row in rows] == [("s", "test-0"), ("t", "test-0")]
    assert rows[0]["margin_as_a"] == rows[1]["margin_as_a"] != 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    with pytest.raises(SystemExit):
        judge.main([*command, str(tiny_model), "--out", str(outs[0])])
