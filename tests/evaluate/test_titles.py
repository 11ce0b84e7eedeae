"""The rules of titles, answer by answer."""

import pytest

from scripts.evaluate.titles import (
    NOT_ONLY,
    is_explanatory,
    is_how_to,
    is_long_enough,
    is_question,
    is_title_only,
    title_metrics,
)

TITLE = "Everything You Missed About Tidal Power"


@pytest.mark.parametrize(
    ("characters", "keeps"), [(0, False), (29, False), (30, True), (75, True), (76, False)]
)
def test_title_length(characters: int, keeps: bool) -> None:
    assert is_long_enough("x" * characters) is keeps
    assert is_long_enough(f"  {'x' * characters}\n") is keeps


@pytest.mark.parametrize(
    "text",
    [
        TITLE,
        f" {TITLE}\n",
        "Here Is Why Your Soap Never Sets",
        "Here's How I Built a Boat",
        "Title Fights That Ended in Seconds",
        "I Would Never Do This Again: A Diver's Story",
        "I Suggested a Detour, and It Saved Us",
        '"Free" Energy: What the Sellers Don\'t Say',
        '"Fast" Against "Slow" Fashion',
        "It's Not What You Think",
        "10 Ways to Tie a Knot",
        "3.5 Billion Years in Ten Minutes",
        "Great Barrier Reef: The Last Survey",
        "Of Course It Sank: Ten Bad Ships",
        "The Headline Is a Lie",
        "Sure-Footed: How Goats Climb (4 Tricks)",
        "The 2 * 3 Rule",
    ],
)
def test_a_title_alone(text: str) -> None:
    assert is_title_only(text)


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        ("label", f"Title: {TITLE}"),
        ("label", f"**Title:** {TITLE}"),
        ("label", f"Video title 2: {TITLE}"),
        ("label", f"Suggested Headline: {TITLE}"),
        ("quotation marks", f'"{TITLE}"'),
        ("quotation marks", f"“{TITLE}”"),
        ("quotation marks", f"'{TITLE}'"),
        ("quotation marks", "'It's Not What You Think'"),
        ("quotation marks", f'**"{TITLE}"**'),
        ("quotation marks", f"`{TITLE}`"),
        ("emphasis", f"**{TITLE}**"),
        ("emphasis", f"_{TITLE}_"),
        ("list mark", f"- {TITLE}"),
        ("list mark", f"• {TITLE}"),
        ("list mark", f"1. {TITLE}"),
        ("list mark", f"2) {TITLE}"),
        ("list mark", f"# {TITLE}"),
        ("introduction", f"Here is a title for your video: {TITLE}"),
        ("introduction", f"Here's one possible title: {TITLE}"),
        ("introduction", f"Here are three options: {TITLE}"),
        ("introduction", f"Sure! {TITLE}"),
        ("introduction", f"Certainly, {TITLE}"),
        ("introduction", f"I would suggest {TITLE}"),
        ("introduction", f"I recommend: {TITLE}"),
        ("introduction", f"A good title would be {TITLE}"),
        ("introduction", f"The title is: {TITLE}"),
        ("count", f"{TITLE} (39 characters)"),
    ],
)
def test_more_than_a_title(mark: str, text: str) -> None:
    assert not is_title_only(text)
    assert NOT_ONLY[mark].search(text)


@pytest.mark.parametrize("text", ["", " \n ", f"{TITLE}\n{TITLE}", f"{TITLE}\n\nIt is short."])
def test_a_title_is_one_line(text: str) -> None:
    assert not is_title_only(text)


@pytest.mark.parametrize(
    ("text", "asks", "how_to", "explains"),
    [
        ("Are We Wrong About Knots? The Secret Revealed", True, False, False),
        ("Why Tidal Power on a Budget?", True, False, True),
        ("How to Tie a Bowline", False, True, False),
        ("A How-To for Beginners", False, True, False),
        ("How Tides Work", False, False, True),
        ("How the Moon Works for Us", False, False, True),
        ("What Nobody Tells You", False, False, True),
        ("The Reason Ships Float", False, False, True),
        ("Black Holes Explained in Five Minutes", False, False, True),
        ("Understanding Inflation", False, False, True),
        ("The Science Behind Bread", False, False, True),
        ("Somewhat Whyever: Whatsoever", False, False, False),
        ("Show Towels", False, False, False),
        ("", False, False, False),
    ],
)
def test_framing(text: str, asks: bool, how_to: bool, explains: bool) -> None:
    assert (is_question(text), is_how_to(text), is_explanatory(text)) == (asks, how_to, explains)


def test_metrics_are_shares_of_answers() -> None:
    rows = [{"id": "a", "text": "Why Does the Moon Pull the Sea Twice?"}, {"id": "b", "text": ""}]
    found = {metric.name: metric.summary() for metric in title_metrics(rows, {"a": "g", "b": "h"})}
    shares = {name: metric["value"] for name, metric in found.items()}
    assert shares == {
        "title_length": 0.5, "title_only": 0.5, "question": 0.5, "how_to": 0, "explanatory": 0.5,
    }  # fmt: skip
    assert found["question"]["intervals"].keys() == {"wilson", "group bootstrap"}
    (one, *_) = title_metrics(rows[:1], {"a": "g"})
    assert one.summary()["intervals"].keys() == {"wilson"}
