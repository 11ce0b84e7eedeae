"""Messages as text: the one place where a chat template runs, which may be a stranger's program."""

import re
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from scripts.common.cli import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = list[dict[str, Any]]

SECONDS = 5.0
"""Processor time in which a template must have written a text; real ones take milliseconds."""
RANDOM = re.compile(r"\|\s*random\b")


class Refused(Exception):
    """What a template says by `raise_exception`: these messages are none that it writes."""


def rendered(
    tokenizer: "PreTrainedTokenizerBase",
    messages: Messages,
    template: str | None = None,
    prompt: bool = False,
    name: str = "the chat template",
) -> str:
    """Return messages as text; a prompt ends where the assistant's answer begins.

    Parameters
    ----------
    template
        A Jinja template; None is the tokenizer's own.
    name
        What messages of errors call it.

    Raises
    ------
    Refused
        When the template refuses the messages.
    BadInput
        When it has a mistake, takes too long, or would write another text at another time.
    """
    from jinja2 import TemplateError

    def undated(*_: object, **__: object) -> NoReturn:
        raise BadInput(
            f"{name}: found strftime_now or lipsum, with which the same rows would be other tokens "
            "another day; write the date into a copy of the template, and name that by `template:`"
        )

    if RANDOM.search(template or str(tokenizer.chat_template)):
        raise BadInput(f"{name}: found the filter random; the same rows need the same tokens")
    try:
        with _limited(name):
            return tokenizer.apply_chat_template(
                messages,
                chat_template=template,
                tokenize=False,
                add_generation_prompt=prompt,
                strftime_now=undated,
                lipsum=undated,
            )
    except BadInput:
        raise
    except Exception as error:
        # What a template raises itself is of this very class, its mistakes are of others.
        if type(error) is TemplateError:
            raise Refused(" ".join(str(error).split())) from None
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"{name}{_line(error)}: {said}") from error


@contextmanager
def _limited(name: str) -> Iterator[None]:
    """Raise BadInput in the block once it has taken so much of the processor's time."""

    def stop(*_: object) -> NoReturn:
        raise BadInput(f"{name}: found no end after {SECONDS:g} s; a text takes milliseconds")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _line(error: Exception) -> str:
    """Return the line of a template in which an error came, as far as it is known."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename in ("<template>", "<unknown>")]
    line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
    return f", line {line}" if line else ""
