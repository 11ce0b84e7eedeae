"""Write the demo's corpora: word problems, titles, dialogues and a pre-training mix.

Also write two small sets that are only used for generation: summaries and conversations.

Everything is invented here from word lists and templates, so the files carry no one else's text.
The same seed gives the same bytes on every Python from 3.11 on: only ``random.Random.random()``,
whose sequence the language guarantees, is ever drawn from.

    python demo/make_corpora.py --out demo/corpora --sets paper
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Row = dict[str, object]

SEED = 20240
PROBLEMS = 1000
IDEAS = 40
DIALOGUE_PROMPTS = 168
DIALOGUE_PAIRS = 500
PRETRAINING_ROWS = 9000
SET_ROWS = 60

# Labels are drawn from utility + noise. One level is worth LEVEL points, and the noise of each
# answer is uniform on the integers -NOISE..NOISE, so the Bayes accuracy is an exact sum.
LEVEL = 3
NOISE = 3

# The most that one step of a word problem adds or subtracts.
MOST = 8

NAMES = ("Ada", "Ben", "Cara", "Dan", "Eva", "Finn", "Gina", "Hugo")
THINGS = ("apples", "books", "coins", "shells", "pens", "cards", "stones", "buttons")
GAINS = ("{other} gives {name} {n} more.", "{name} finds {n} more.", "{name} buys {n} more.")
LOSSES = ("{name} gives {n} to {other}.", "{name} loses {n}.", "{name} sells {n}.")

SUBJECTS = (
    "bread baking", "bridge design", "chess openings", "cloud watching", "tidal power",
    "pocket knots", "map reading", "candle making", "bird songs", "solar cooking",
    "paper folding", "bike repair", "star charts", "wood carving", "soap making",
    "rain gardens", "pottery glazes", "tea tasting", "kite flying", "stone walls",
    "hand lettering", "bee keeping", "clock repair", "mushroom hunting", "puppet shows",
    "code breaking", "loom weaving", "river rafting", "radio building", "salt mining",
)  # fmt: skip
ANGLES = ("for beginners", "at home", "step by step", "on a budget", "for busy people")

# One tuple per level, best last. Each level has a short, a medium and a long template, so length
# says nothing about the level.
TITLE_STYLES = (
    ("{x} Video", "Some Notes on {x} Again", "Various Remarks About {x} and Other Things"),
    ("On {x}", "{x}: General Overview", "An Overview of the Subject of {x}, Part One"),
    ("All of {x}", "A Short Guide to {x}", "Everything in One Place: A Full Guide to {x}"),
    ("{x} Made Easy", "Try {x} in Ten Minutes", "{x} Made Easy: Ten Small Tricks That Work"),
    ("Why {x}?", "The Secret Behind {x}", "Are We Wrong About {x}? The Secret Revealed"),
)

TITLE_PROMPT = (
    "Write a title for a video.\n\n**Idea**: {idea}\n\n"
    "- At most 75 characters\n- Only the title, nothing else"
)

TASKS = (
    ("fix a squeaky door", "oiling the hinges", "tightening the screws"),
    ("sleep better", "dimming the lights", "keeping regular hours"),
    ("learn the guitar", "playing two chords", "practising every day"),
    ("cook rice", "rinsing the grains", "leaving the lid on"),
    ("save money", "writing down costs", "planning the meals"),
    ("grow tomatoes", "choosing a sunny spot", "watering the roots"),
    ("clean a window", "using warm water", "drying with a cloth"),
    ("train a puppy", "giving small treats", "keeping lessons short"),
    ("write a letter", "making a short list", "reading it aloud"),
    ("paint a wall", "taping the edges", "using a wide roller"),
    ("remember names", "repeating the name", "linking it to a face"),
    ("run a longer race", "running slowly first", "resting once a week"),
    ("pack for a trip", "laying it all out", "rolling the clothes"),
    ("bake a cake", "weighing the flour", "warming the oven"),
    ("sharpen a knife", "wetting the stone", "keeping one angle"),
    ("read more books", "carrying a book", "reading before bed"),
    ("draw a portrait", "sketching the outline", "shading the eyes"),
    ("repair a bike", "checking the chain", "pumping up the tyres"),
    ("make good tea", "heating the pot", "timing the brew"),
    ("study for a test", "making some cards", "taking short breaks"),
    ("iron a shirt", "starting at the collar", "using some steam"),
    ("plan a party", "setting the date", "asking for help early"),
    ("wash a sweater", "using cold water", "drying it flat"),
    ("speak in public", "slowing your speech", "practising with a friend"),
)
OPENERS = (
    "How do I {task}?",
    "Can you help me {task}?",
    "I want to {task}. Any advice?",
    "What is the best way to {task}?",
    "I never managed to {task}. What should I do?",
    "Please tell me how to {task}.",
)
# What comes between the opener and the reply in a dialogue of three turns.
MIDDLES = (
    ("Have you tried anything yet?", "Not yet. Where do I start?"),
    ("How much time do you have?", "One hour. What would you do?"),
)

# Best last, as for the titles: rude, vague, plainly useful, useful and kind. Lengths and first
# letters are spread over every level.
REPLY_STYLES = (
    (
        "As if anybody cared about that.",
        "Do not ask me such things, because everyone understands how to {task}.",
        "What a silly question, as anyone can {task}.",
    ),
    (
        "Advice like that depends on circumstances.",
        "It depends, since people {task} in different ways.",
        "There are several approaches, so it really depends on your own situation.",
    ),
    (
        "Begin by {a}.",
        "Most people begin by {a} and {b}, a bit at a time.",
        "Usually one starts by {a}.",
    ),
    (
        "Absolutely! Try {a}.",
        "Happy to help! First try {a}, and then {b}. Good luck!",
        "What a question! You could try {a}.",
    ),
)

STORY_PROMPT = "Summarize this in one sentence.\n\n{story}"
STORY_STARTS = (
    "{name} wanted to {task}.",
    "For a long time {name} had wanted to {task}.",
    "{name} told {other}: I want to {task}.",
)
# Details in between that a summary does not need.
STORY_ASIDES = (
    "It was a rainy day.",
    "There was not much time.",
    "{other} came by with {n} {things}.",
    "Nobody had shown {name} how to do it.",
)
# What was tried and how it went, then the summary.
STORY_ENDS = (
    ("First {name} tried {a}, then {b}. After that it went well.",
     "{name} managed to {task} by {a} and {b}."),
    ("{name} tried {a}. It did not work, and {name} gave up.",
     "{name} tried to {task} by {a}, but gave up."),
    ("{other} said that {a} would help. {name} tried it, and it worked.",
     "{name} managed to {task} by {a}, as {other} had said."),
)  # fmt: skip

TALK_PROMPT = "Continue this dialogue with one reply.\n\n{talk}"
TALK_GREETINGS = ("Nice to meet you, {name}!", "Hello {name}, how can I help?", "Good day, {name}.")
TALK_GAINS = ("I find {m} more.", "{other} gives me {m} more.", "I buy {m} more.")
TALK_LOSSES = ("I lose {m}.", "I give {m} to {other}.", "I sell {m}.")
TALK_PLANS = ("That sounds like a plan.", "All right.", "Good luck with that.")
TALK_NODS = ("I see.", "All right.", "Good to know.")


class Dice:
    """Random choices made from ``random()`` alone, the one method with a guaranteed sequence."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def below(self, bound: int) -> int:
        """Return an integer from 0 to ``bound - 1``."""
        return int(self._random() * bound)

    def between(self, low: int, high: int) -> int:
        """Return an integer from ``low`` to ``high``, both included."""
        return low + self.below(high - low + 1)

    def pick(self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return items[self.below(len(items))]

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """Return the items in a random order."""
        pool = list(items)
        for last in range(len(pool) - 1, 0, -1):
            other = self.below(last + 1)
            pool[last], pool[other] = pool[other], pool[last]
        return pool


@dataclass(frozen=True)
class Candidate:
    """A title or a reply, its true utility and the noisy one that decides the label."""

    text: str
    utility: int
    noisy: tuple[int, int]


def make_candidate(dice: Dice, text: str, level: int) -> Candidate:
    """Return a candidate of that level; the second part of ``noisy`` breaks ties at random."""
    utility = LEVEL * level
    return Candidate(text, utility, (utility + dice.between(-NOISE, NOISE), dice.below(2**40)))


def win_probability(gap: int) -> float:
    """Return the probability that an answer ahead by ``gap`` points is labelled as chosen."""
    span = range(-NOISE, NOISE + 1)
    differences = Counter(gap + mine - theirs for mine in span for theirs in span)
    won = sum(count for value, count in differences.items() if value > 0)
    return (won + differences[0] / 2) / len(span) ** 2


def bayes_accuracy(gaps: Iterable[int]) -> float:
    """Return the mean accuracy of a judge who knows the true utilities but not the noise."""
    chances = [win_probability(abs(gap)) for gap in gaps]
    return sum(chances) / len(chances)


def judged(one: Candidate, other: Candidate) -> tuple[Candidate, Candidate]:
    """Return the two candidates as (chosen, rejected)."""
    return (one, other) if one.noisy > other.noisy else (other, one)


@dataclass(frozen=True)
class Problem:
    """A word problem, its worked steps and its answer."""

    question: str
    steps: str
    answer: int

    @property
    def response(self) -> str:
        """The worked steps with the answer line that fine-tuning teaches."""
        return f"{self.steps}\n#### {self.answer}"


def make_problem(dice: Dice) -> Problem:
    """Return a random problem of one or two steps with small amounts."""
    name, other = dice.shuffled(NAMES)[:2]
    thing = dice.pick(THINGS)
    total = dice.between(2, 10)
    sentences, steps = [f"{name} has {total} {thing}."], []
    for _ in range(dice.between(1, 2)):
        # A loss leaves at least two, so that the plural is always right.
        loses = total > 2 and dice.below(2) == 1
        n = dice.between(1, min(MOST, total - 2)) if loses else dice.between(1, MOST)
        after = total - n if loses else total + n
        sentences.append(dice.pick(LOSSES if loses else GAINS).format(name=name, other=other, n=n))
        steps.append(f"{total} {'-' if loses else '+'} {n} = {after} {thing}")
        total = after
    sentences.append(f"How many {thing} does {name} have now?")
    return Problem(" ".join(sentences), "\n".join(steps), total)


def fresh_problems(dice: Dice, taken: set[str]) -> Iterator[Problem]:
    """Yield problems whose question is not in ``taken``, to which each is added."""
    while True:
        problem = make_problem(dice)
        if problem.question not in taken:
            taken.add(problem.question)
            yield problem


def title_case(phrase: str) -> str:
    """Return the phrase with capitals on all but its small words."""
    small = {"a", "at", "by", "for", "on"}
    return " ".join(word if word in small else word.capitalize() for word in phrase.split())


def make_title(dice: Dice, idea: str, level: int) -> str:
    """Return a title of that level for the idea."""
    return dice.pick(TITLE_STYLES[level]).format(x=title_case(idea))


def all_ideas(dice: Dice) -> list[str]:
    """Return every idea in a random order."""
    return dice.shuffled(f"{subject} {angle}" for subject in SUBJECTS for angle in ANGLES)


def message(role: str, content: str) -> list[Row]:
    """Return a conversation of one message."""
    return [{"role": role, "content": content}]


def title_row(idea: str, chosen: str, rejected: str) -> Row:
    """Return one preference pair of titles in the chat layout."""
    return {
        "prompt": message("user", TITLE_PROMPT.format(idea=idea)),
        "chosen": message("assistant", chosen),
        "rejected": message("assistant", rejected),
    }


@dataclass(frozen=True)
class Exchange:
    """What precedes the reply in a dialogue, and the task that it is about."""

    task: tuple[str, str, str]
    turns: tuple[str, ...]

    def before_reply(self) -> str:
        """Return the turns in the raw ``Human:`` and ``Assistant:`` layout."""
        roles = ("Human", "Assistant", "Human")
        return "".join(f"\n\n{role}: {turn}" for role, turn in zip(roles, self.turns, strict=False))

    def with_reply(self, reply: str) -> str:
        """Return the whole dialogue."""
        return f"{self.before_reply()}\n\nAssistant: {reply}"


def all_exchanges(dice: Dice) -> list[Exchange]:
    """Return every dialogue opening in a random order; a third have three turns."""
    single = [
        Exchange(task, (opener.format(task=task[0]),)) for task in TASKS for opener in OPENERS
    ]
    longer = [
        Exchange(first.task, (*first.turns, *dice.pick(MIDDLES)))
        for first in dice.shuffled(single)[: len(single) // 2]
    ]
    return dice.shuffled(single + longer)


def make_reply(dice: Dice, exchange: Exchange, level: int) -> str:
    """Return a reply of that level."""
    task, *tips = exchange.task
    first, second = dice.shuffled(tips)
    return dice.pick(REPLY_STYLES[level]).format(task=task, a=first, b=second)


def insert_rows(dice: Dice, rows: list[Row], odd: list[Row]) -> list[Row]:
    """Return the rows with the odd ones at random places; the others stay in order."""
    rows = list(rows)
    for row in odd:
        rows.insert(dice.below(len(rows) + 1), row)
    return rows


def problem_rows(dice: Dice, taken: set[str]) -> list[Row]:
    """Return the word problems, with two that have no answer."""
    source = fresh_problems(dice, taken)
    rows: list[Row] = []
    for _ in range(PROBLEMS):
        problem = next(source)
        rows.append({"instruction": problem.question, "response": problem.response})
    odd: list[Row] = [
        {"instruction": next(source).question, "response": ""},
        {"instruction": next(source).question, "response": " \n"},
    ]
    return insert_rows(dice, rows, odd)


def title_rows(dice: Dice, ideas: Sequence[str]) -> tuple[list[Row], list[int]]:
    """Return the titles' pairs and the utility gap of each pair that is not odd."""
    rows, gaps = [], []
    for idea in ideas:
        titles = [
            make_candidate(dice, make_title(dice, idea, level), level)
            for level in range(len(TITLE_STYLES))
        ]
        for one, other in dice.shuffled(combinations(titles, 2)):
            chosen, rejected = judged(one, other)
            rows.append(title_row(idea, chosen.text, rejected.text))
            gaps.append(chosen.utility - rejected.utility)
    same = make_title(dice, ideas[0], 2)
    odd = [
        title_row(ideas[0], same, same),
        title_row(ideas[1], make_title(dice, ideas[1], 3), ""),
    ]
    return insert_rows(dice, rows, odd), gaps


def dialogue_pairs(
    dice: Dice, exchanges: Sequence[Exchange]
) -> Iterator[tuple[Exchange, Candidate, Candidate]]:
    """Yield judged pairs, going round the dialogues' openings; no opening gets a reply twice.

    If replies repeated, levels with fewer wordings would repeat more often, and a repeated reply
    would give away its label.
    """
    seen: set[tuple[Exchange, str]] = set()
    while True:
        for exchange in exchanges:
            levels = dice.shuffled(range(len(REPLY_STYLES)))[:2]
            texts = [make_reply(dice, exchange, level) for level in levels]
            keys = {(exchange, text) for text in texts}
            if seen & keys:
                continue
            seen |= keys
            one, other = (
                make_candidate(dice, text, level) for text, level in zip(texts, levels, strict=True)
            )
            yield exchange, *judged(one, other)


def dialogue_rows(dice: Dice, exchanges: Sequence[Exchange]) -> tuple[list[Row], list[int]]:
    """Return the dialogues' pairs and the utility gap of each pair that is not odd."""
    pairs = dialogue_pairs(dice, exchanges)
    rows, gaps = [], []
    for _ in range(DIALOGUE_PAIRS):
        exchange, chosen, rejected = next(pairs)
        rows.append(
            {
                "chosen": exchange.with_reply(chosen.text),
                "rejected": exchange.with_reply(rejected.text),
            }
        )
        gaps.append(chosen.utility - rejected.utility)
    return insert_rows(dice, dice.shuffled(rows), odd_dialogues(dice, exchanges)), gaps


def odd_dialogues(dice: Dice, exchanges: Sequence[Exchange]) -> list[Row]:
    """Return pairs that a data stage has to drop: no reply, an empty one, or the same twice."""
    silent, empty, same = exchanges[:3]
    reply = make_reply(dice, empty, 2)
    twice = same.with_reply(make_reply(dice, same, 1))
    opening = f"\n\nHuman: {silent.turns[0]}"
    return [
        {"chosen": opening, "rejected": opening},
        {"chosen": empty.with_reply(reply), "rejected": empty.with_reply("")},
        {"chosen": twice, "rejected": twice},
    ]


def make_summary(dice: Dice) -> Row:
    """Return a story of a few sentences about a task, and its summary."""
    name, other = dice.shuffled(NAMES)[:2]
    task, *tips = dice.pick(TASKS)
    a, b = dice.shuffled(tips)
    end, summary = dice.pick(STORY_ENDS)
    parts = (dice.pick(STORY_STARTS), dice.pick(STORY_ASIDES), end)
    said = {"name": name, "other": other, "task": task, "a": a, "b": b,
            "n": dice.between(2, 10), "things": dice.pick(THINGS)}  # fmt: skip
    story = " ".join(parts).format(**said)
    return {"instruction": STORY_PROMPT.format(story=story), "response": summary.format(**said)}


def talk_row(opening: str, answer: str, question: str, reply: str) -> Row:
    """Return a dialogue of three turns, and the reply to its last one."""
    talk = f"Human: {opening}\n\nAssistant: {answer}\n\nHuman: {question}"
    return {"instruction": TALK_PROMPT.format(talk=talk), "response": reply}


def count_talk(dice: Dice) -> Row:
    """Return a dialogue that ends by asking how many things someone has now."""
    name, other = dice.shuffled(NAMES)[:2]
    things, total = dice.pick(THINGS), dice.between(3, 10)
    loses = dice.below(2) == 1
    m = dice.between(1, min(MOST, total - 2) if loses else MOST)
    turn = dice.pick(TALK_LOSSES if loses else TALK_GAINS).format(m=m, other=other)
    now = total - m if loses else total + m
    return talk_row(
        f"My name is {name} and I have {total} {things}.",
        dice.pick(TALK_GREETINGS).format(name=name),
        f"{turn} How many {things} do I have now?",
        f"You have {now} {things} now.",
    )


def plan_talk(dice: Dice) -> Row:
    """Return a dialogue that ends by asking back for one of two plans."""
    task, *tips = dice.pick(TASKS)
    plan = dict(zip(("today", "tomorrow"), dice.shuffled(tips), strict=True))
    day = dice.pick(tuple(plan))
    return talk_row(
        f"I want to {task}. I will try {plan['today']} today and {plan['tomorrow']} tomorrow.",
        dice.pick(TALK_PLANS),
        f"What did I want to try {day}?",
        f"You wanted to try {plan[day]} {day}.",
    )


def more_talk(dice: Dice) -> Row:
    """Return a dialogue that ends by asking which of two has more."""
    name, other = dice.shuffled(NAMES)[:2]
    things = dice.pick(THINGS)
    amounts = [(name, dice.between(6, 10)), (other, dice.between(2, 5))]
    (first, n), (second, m) = dice.shuffled(amounts)
    return talk_row(
        f"{first} has {n} {things} and {second} has {m}.",
        dice.pick(TALK_NODS),
        f"Who has more {things}?",
        f"{name} has more {things}.",
    )


def distinct(makers: Sequence[Callable[[Dice], Row]], dice: Dice) -> list[Row]:
    """Return rows with instructions of their own, as many of each maker."""
    rows: dict[object, Row] = {}
    for maker in makers:
        wanted = len(rows) + SET_ROWS // len(makers)
        while len(rows) < wanted:
            row = maker(dice)
            rows.setdefault(row["instruction"], row)
    return dice.shuffled(rows.values())


def build_sets(seed: int = SEED) -> dict[str, list[Row]]:
    """Return the rows of the sets that models only answer, by name."""
    return {
        "summaries": distinct((make_summary,), Dice(seed + 6)),
        "conversations": distinct((count_talk, plan_talk, more_talk), Dice(seed + 7)),
    }


def in_chat(*turns: str) -> str:
    """Return user and assistant turns by turn in the chat format of the demo's model.

    Its tokenizer adds the bos and the eos of each text.
    """
    marked = []
    for index, turn in enumerate(turns):
        user = index % 2 == 0
        # Only the last turn gets its eos from the tokenizer.
        eos = "" if user or index == len(turns) - 1 else "</s>"
        marked.append(f"<|{'user' if user else 'assistant'}|>{turn}{eos}")
    return "".join(marked)


def drill(dice: Dice) -> str:
    """Return a few lines of addition and subtraction."""
    lines = []
    for _ in range(dice.between(4, 8)):
        small, n = dice.between(2, 10 + MOST), dice.between(1, MOST)
        total = small + n
        lines.append(f"{small} + {n} = {total}" if dice.below(2) else f"{total} - {n} = {small}")
    return "\n".join(lines)


def pretraining_rows(
    dice: Dice, taken: set[str], ideas: Sequence[str], exchanges: Sequence[Exchange]
) -> list[Row]:
    """Return the pre-training mix.

    Every skill is in it and hardly any wrapper. The base does the sums, but as a base does: it
    runs on to the next problem, has rarely seen the chat markers, never around a problem, and
    hardly ever the answer line, which are what fine-tuning is there to teach. Titles and replies
    come from every level equally, so that the base prefers none.
    """
    problems = fresh_problems(dice, taken)

    def worked() -> str:
        some = [next(problems) for _ in range(dice.between(1, 3))]
        return "\n".join(f"{problem.question}\n{problem.steps}" for problem in some)

    def echo() -> str:
        # To work a problem, a model has to copy from it; repetition teaches that soonest.
        return "\n".join([next(problems).question] * 2)

    def prompt_and_title() -> tuple[str, str]:
        idea = dice.pick(ideas)
        title = make_title(dice, idea, dice.below(len(TITLE_STYLES)))
        return TITLE_PROMPT.format(idea=idea), title

    def opening_and_reply() -> tuple[Exchange, str]:
        exchange = dice.pick(exchanges)
        return exchange, make_reply(dice, exchange, dice.below(len(REPLY_STYLES)))

    def dialogue() -> str:
        exchange, reply = opening_and_reply()
        return exchange.with_reply(reply).strip()

    def chat_dialogue() -> str:
        exchange, reply = opening_and_reply()
        return in_chat(*exchange.turns, reply)

    mix: tuple[tuple[int, Callable[[], str]], ...] = (
        (50, worked),
        (15, dialogue),
        (11, lambda: "\n".join(prompt_and_title())),
        (10, lambda: drill(dice)),
        (6, echo),
        (1, lambda: next(problems).question),
        (2, lambda: next(problems).steps),
        (1, lambda: f"#### {next(problems).answer}"),
        (2, lambda: in_chat(*prompt_and_title())),
        (2, chat_dialogue),
    )
    texts = [make() for percent, make in mix for _ in range(PRETRAINING_ROWS * percent // 100)]
    rows: list[Row] = [{"text": text} for text in dice.shuffled(texts)]
    return insert_rows(dice, rows, [{"text": ""}, {"text": "\n"}])


def build(seed: int = SEED) -> tuple[dict[str, list[Row]], dict[str, float]]:
    """Return every corpus's rows by name, and the Bayes accuracy of the two preference sets.

    The pre-training mix shares no question, idea or dialogue opening with the other three.
    """
    taken: set[str] = set()
    problems = problem_rows(Dice(seed), taken)
    ideas = all_ideas(Dice(seed + 1))
    titles, title_gaps = title_rows(Dice(seed + 2), ideas[:IDEAS])
    exchanges = all_exchanges(Dice(seed + 3))
    used, unused = exchanges[:DIALOGUE_PROMPTS], exchanges[DIALOGUE_PROMPTS:]
    dialogues, dialogue_gaps = dialogue_rows(Dice(seed + 4), used)
    pretraining = pretraining_rows(Dice(seed + 5), taken, ideas[IDEAS:], unused)
    corpora = {
        "problems": problems,
        "titles": titles,
        "dialogues": dialogues,
        "pretraining": pretraining,
    }
    ceilings = {"titles": bayes_accuracy(title_gaps), "dialogues": bayes_accuracy(dialogue_gaps)}
    return corpora, ceilings


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON object a line, UTF-8, with the same line ends on every system."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the corpora and print how many rows each has and the ceilings."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the JSONL files")
    parser.add_argument("--sets", type=Path, required=True, help="folder of the two answered sets")
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    args = parser.parse_args(argv)
    corpora, ceilings = build(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, rows in corpora.items():
        write_jsonl(args.out / f"{name}.jsonl", rows)
        ceiling = f", Bayes accuracy {ceilings[name]:.3f}" if name in ceilings else ""
        print(f"{name}: {len(rows)} rows{ceiling}")
    args.sets.mkdir(parents=True, exist_ok=True)
    for name, rows in build_sets(args.seed).items():
        write_jsonl(args.sets / f"{name}.jsonl", rows)
        print(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
