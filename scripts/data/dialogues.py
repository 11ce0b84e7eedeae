"""Dialogues in hh-rlhf's form: one string, its turns introduced by `Human:` and `Assistant:`."""

import re

Messages = list[dict[str, str]]

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


class NotADialogue(ValueError):
    """A string that does not read as a dialogue; its text is the reason."""


def split_at_last(dialogue: str) -> tuple[Messages, Messages]:
    """Return the turns before the last one, and the last one, an assistant's, as the completion.

    Raises
    ------
    NotADialogue
        When there is no assistant turn, when the last turn is not one, or when text stands before
        the first turn.
    """
    before, *parts = _TURN.split(dialogue)
    turns = [
        {"role": _ROLES[role], "content": content.strip()}
        for role, content in zip(parts[::2], parts[1::2], strict=True)
    ]
    if before.strip():
        raise NotADialogue("text before the first turn")
    if not any(turn["role"] == "assistant" for turn in turns):
        raise NotADialogue("no assistant turn")
    if turns[-1]["role"] != "assistant":
        raise NotADialogue("last turn is not the assistant's")
    return turns[:-1], turns[-1:]


def split_at_first(dialogue: str) -> tuple[Messages, Messages]:
    """Return the first human turn, and all that follows the first `Assistant:` as one completion.

    Raises
    ------
    NotADialogue
        When there is no assistant turn.
    """
    prompt, mark, response = dialogue.partition("\n\nAssistant:")
    if not mark:
        raise NotADialogue("no assistant turn")
    human = prompt.removeprefix("\n\nHuman:").strip()
    return (
        [{"role": "user", "content": human}],
        [{"role": "assistant", "content": response.strip()}],
    )
