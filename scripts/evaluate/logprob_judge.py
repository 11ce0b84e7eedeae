"""The judge `logprob`: a local language model, and how likely it finds each verdict.

The question is a text with both answers, under the model's own chat template where it has one. The
model is not sampled: the log-prob of the verdict "A" less that of "B" is its answer, as in Zheng et
al. 2023, https://arxiv.org/abs/2306.05685 (pairwise comparison), without the noise of a draw.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.cli import BadInput
from scripts.common.files import Row, read_text
from scripts.evaluate.questions import Question
from scripts.lm.chat import Refused, rendered, written

if TYPE_CHECKING:
    from jinja2 import Template
    from transformers import PreTrainedTokenizerBase

VARIABLES = {"prompt", "a", "b"}
VERDICTS = ("A", "B")


def by_logprob(manifest: Path, settings: Row, questions: list[Question]) -> list[float]:
    """Return log p("A") - log p("B") of each question, in nats.

    Raises
    ------
    BadInput
        When the template does not show the prompt and both answers, or a question is longer than
        the model's context.
    """
    from scripts.lm.logprobs import completion_logps
    from scripts.lm.snapshots import load_base
    from scripts.lm.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(manifest)
    ask = asking(Path(settings["template"]))
    sequences = []
    for question in questions:
        sequences += verdicts(tokenizer, ask(question))
    model = load_base(manifest, settings["precision"], settings["quantization"])
    _check_length(
        sequences, model.config.get_text_config().max_position_embeddings, settings["model"]
    )
    logps = iter(map(sum, completion_logps(model, sequences)))
    return [next(logps) - next(logps) for _ in questions]


def asking(path: Path) -> Callable[[Question], str]:
    """Return what writes a question as a Jinja template does.

    Raises
    ------
    BadInput
        When the template does not show all of a question; calling it, as `written` does.
    """
    from jinja2 import StrictUndefined
    from jinja2.meta import find_undeclared_variables
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    text = read_text(path)
    found: set[str] = set()
    templates: list[Template] = []

    def read() -> str:
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
        found.update(find_undeclared_variables(environment.parse(text)))
        templates.append(environment.from_string(text))
        return ""

    written(read, "", str(path))
    if found != VARIABLES:
        raise BadInput(
            f"{path}: found the variables {', '.join(sorted(found)) or 'none'}; "
            f"a question shows {', '.join(sorted(VARIABLES))}"
        )

    def ask(question: Question) -> str:
        values = vars(question)
        return written(lambda: templates[0].render(values), "".join(values.values()), str(path))

    return ask


def verdicts(
    tokenizer: "PreTrainedTokenizerBase", question: str
) -> list[tuple[list[int], list[int]]]:
    """Return ids of question and verdict, once for each verdict.

    The verdict is what differs when question and verdict are tokenized in one piece: where it
    follows a word, a space before it may be part of its token.
    """
    head = _before_verdict(tokenizer, question)
    ids = [tokenizer(head + word, add_special_tokens=False)["input_ids"] for word in VERDICTS]
    shared = next((place for place, (a, b) in enumerate(zip(*ids, strict=False)) if a != b), None)
    if shared is None:
        raise BadInput(f"judge: its tokenizer writes the verdicts {' and '.join(VERDICTS)} alike")
    return [(one[:shared], one[shared:]) for one in ids]


def _before_verdict(tokenizer: "PreTrainedTokenizerBase", question: str) -> str:
    """Return the question under the chat template, or with what begins a text without one."""
    if tokenizer.chat_template is None:
        return f"{tokenizer.bos_token or ''}{question} "
    messages = [{"role": "user", "content": question}]
    name = "the judge's chat template"
    try:
        return rendered(tokenizer, messages, prompt=True, name=name)
    except Refused as error:
        raise BadInput(f"{name} refuses a question: {error}") from None


def _check_length(sequences: list[tuple[list[int], list[int]]], allowed: int, model: str) -> None:
    longest = max((len(question) + len(verdict) for question, verdict in sequences), default=0)
    if longest > allowed:
        raise BadInput(
            f"judge: found a question of {longest} tokens; {model} takes {allowed}: "
            "a shorter template or max_new_tokens, or another judge, is needed"
        )
