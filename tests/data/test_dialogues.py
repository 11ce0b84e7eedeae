"""Dialogues in hh-rlhf's form."""

import pytest

from scripts.data.dialogues import NotADialogue, split_at_first, split_at_last

TWO_TURNS = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Bye?\n\nAssistant: Bye."


def test_the_last_assistant_turn_answers_the_dialogue_before_it() -> None:
    prompt, completion = split_at_last(TWO_TURNS)
    assert [turn["role"] for turn in prompt] == ["user", "assistant", "user"]
    assert [turn["content"] for turn in prompt] == ["Hi", "Hello.", "Bye?"]
    assert completion == [{"role": "assistant", "content": "Bye."}]


def test_at_the_first_all_later_turns_stay_in_the_response() -> None:
    prompt, completion = split_at_first(TWO_TURNS)
    assert prompt == [{"role": "user", "content": "Hi"}]
    assert completion[0]["content"] == "Hello.\n\nHuman: Bye?\n\nAssistant: Bye."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no assistant turn"),
        ("\n\nHuman: Hi", "no assistant turn"),
        ("\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Bye", "last turn is not the assistant's"),
        ("Hi\n\nHuman: Hi\n\nAssistant: Hello.", "text before the first turn"),
    ],
)
def test_what_is_no_dialogue(text: str, reason: str) -> None:
    with pytest.raises(NotADialogue, match=reason):
        split_at_last(text)
    if reason == "no assistant turn":
        with pytest.raises(NotADialogue, match=reason):
            split_at_first(text)


def test_a_turn_named_inside_a_line_is_text() -> None:
    prompt, _ = split_at_last("\n\nHuman: What does Assistant: mean?\n\nAssistant: Me.")
    assert prompt[0]["content"] == "What does Assistant: mean?"
