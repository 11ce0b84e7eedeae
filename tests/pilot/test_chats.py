"""Chats made of real rows, and the experiment that learns them."""

import shutil
from pathlib import Path

import pytest

from pilot.chats import dialogues, main, titled, with_system
from scripts.common.cli import BadInput
from scripts.common.files import read_jsonl
from scripts.config.check import load
from scripts.config.plan import make_plan
from tests.conftest import ROOT

TASK = "Write a title.\n\n**Video Idea**: knots\n\n**Additional Guidance**:\n- Short"


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_each_problem_is_in_one_dialogue_and_what_is_left_in_none() -> None:
    rows = [{"question": f"q{number}", "answer": f"a{number}"} for number in range(7)]
    found = list(dialogues(rows))
    assert [[turn["content"] for turn in row["messages"]] for row in found] == [
        ["q0", "a0", "q1", "a1", "q2", "a2"],
        ["q3", "a3", "q4", "a4", "q5", "a5"],
    ]
    assert {tuple(turn["role"] for turn in row["messages"]) for row in found} == {
        ("user", "assistant") * 3
    }


def test_the_task_is_the_system_turn_and_the_idea_the_users() -> None:
    assert with_system(user(TASK)) == [
        {"role": "system", "content": "Write a title.\n\n**Additional Guidance**:\n- Short"},
        {"role": "user", "content": "knots"},
    ]
    with pytest.raises(BadInput, match="youtube-titles-dpo: found the prompt 'Hi'; allowed: task"):
        with_system(user("Hi"))


def test_a_title_that_is_preferred_twice_is_learned_once() -> None:
    rows = [{"prompt": user(TASK), "chosen": user(title)} for title in ("A", "A", "B")]
    assert [row["messages"][-1]["content"] for row in titled(rows)] == ["A", "B"]


def test_the_experiment_on_the_real_rows(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"file:{hub}")
    shutil.copy2(ROOT / "pilot" / "chat.yaml", tmp_path)
    assert main([str(tmp_path / "chats")]) == 0
    counts = {it.stem: len(read_jsonl(it)) for it in (tmp_path / "chats").iterdir()}
    assert counts == {"problems-train": 160, "problems-test": 40, "titles": 475, "pairs": 1140}
    # The model from the hub, because its folder may not be there.
    plan = make_plan(load([tmp_path / "chat.yaml", ROOT / "pilot" / "hub.yaml"]))
    steps = {name: it.runs[0].training.trainer["max_steps"] for name, it in plan.trials.items()}
    assert steps == {
        "chat-both": 20, "chat-problems": 20, "chat-problems-last": 20, "chat-titles": 20,
        "chat-dpo": 50,
    }  # fmt: skip
    assert plan.trials["chat-dpo"].runs[0].training.start == "trials/chat-both/seed-42"
