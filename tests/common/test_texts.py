"""Messages as a person reads them."""

import json

from scripts.common.texts import dialogue

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Tromsø"}}}
TURNS = [
    {"role": "user", "content": "How warm?", "extra": None},
    {"role": "assistant", "content": "", "extra": json.dumps({"tool_calls": [CALL]})},
]


def test_of_several_turns_it_says_who_speaks_and_what_is_called() -> None:
    called = '{"name": "weather", "arguments": {"city": "Tromsø"}}'
    assert dialogue(TURNS) == f"User: How warm?\n\nAssistant: {called}"
    assert dialogue(TURNS[:1]) == "How warm?"
