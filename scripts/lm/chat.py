"""Messages as text: the one place where a chat template runs, which may be a stranger's program."""

import operator
import re
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from scripts.common.cli import BadInput
from scripts.common.processes import limited_memory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = list[dict[str, Any]]

SECONDS = 5.0
"""Processor time in which a template must have written a text; real ones take milliseconds."""
BYTES = 2 << 30
"""Memory that a template may take besides; one operation of C is stopped by nothing else."""
BITS = 1 << 20
"""Of a power, of which one operation may have no end."""
MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
"""Where a template begins what the assistant says."""
ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}>")
"""How Python writes what is no text."""


class Refused(Exception):
    """What a template says by `raise_exception`: these messages are none that it writes."""


def rendered(
    tokenizer: "PreTrainedTokenizerBase",
    messages: Messages,
    template: str | None = None,
    prompt: bool = False,
    name: str = "the chat template",
    tools: list[dict[str, Any]] | None = None,
) -> str:
    """Return messages as text; a prompt ends where the assistant's answer begins.

    Parameters
    ----------
    template
        A Jinja template; None is the tokenizer's own.
    name
        What messages of errors call it.
    tools
        JSON schemas of the functions that the assistant may call.

    Raises
    ------
    Refused
        When the template refuses the messages.
    BadInput
        When it has a mistake, takes too long, or would write another text at another time.
    """

    def undated(*_: object, **__: object) -> NoReturn:
        raise BadInput(
            f"{name}: found strftime_now or lipsum, with which the same rows would be other tokens "
            "another day; write the date into a copy of the template, and name that by `template:`"
        )

    def write() -> str:
        text: str = tokenizer.apply_chat_template(
            messages,
            tools=tools,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=prompt,
            strftime_now=undated,
            lipsum=undated,
        )
        return text

    return written(write, str([messages, tools]), name)


def marked(
    tokenizer: "PreTrainedTokenizerBase",
    messages: Messages,
    template: str | None = None,
    name: str = "the chat template",
    tools: list[dict[str, Any]] | None = None,
) -> tuple[list[int], list[bool]] | None:
    """Return the ids of messages, and which of them stand between a template's generation marks.

    Returns None where it has none. Takes and raises what `rendered` does.
    """
    text = template or tokenizer.chat_template
    if not MARK.search(text):
        return None
    found: dict[str, list[int]] = {}

    def write() -> str:
        found.update(
            tokenizer.apply_chat_template(
                messages,
                tools=tools,
                chat_template=template,
                return_dict=True,
                return_assistant_tokens_mask=True,
            )
        )
        return ""

    written(write, str([messages, tools]), name)
    return found["input_ids"], [bool(mark) for mark in found["assistant_masks"]]


def written(write: Callable[[], str], said: str, name: str) -> str:
    """Return the text that a template writes, which may be a stranger's program.

    Parameters
    ----------
    write
        Runs the template.
    said
        All the text that it is given.
    name
        What messages of errors call it.

    Raises
    ------
    Refused, BadInput
        As `rendered` does.
    """
    from jinja2 import TemplateError
    from jinja2.filters import FILTERS
    from jinja2.sandbox import SandboxedEnvironment

    SandboxedEnvironment.intercepted_binops = frozenset(["**"])
    SandboxedEnvironment.default_binop_table["**"] = _power
    # An environment that is made from now on has it.
    FILTERS["random"] = _drawn
    try:
        with _limited(name):
            text = write()
        # Half a character is no text that could be encoded.
        text.encode()
    except BadInput:
        raise
    except _Drawn:
        found = "found the filter random; the same rows need the same tokens"
        raise BadInput(f"{name}: {found}") from None
    except MemoryError as error:
        found = f"found a text of more than {BYTES >> 30} GiB; allowed are so many"
        raise BadInput(f"{name}{_line(error)}: {found}") from None
    except Exception as error:
        # What a template raises itself is of this very class, its mistakes are of others.
        if type(error) is TemplateError:
            raise Refused(" ".join(str(error).split())) from None
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"{name}{_line(error)}: {said}") from error
    if len(ADDRESS.findall(text)) > len(ADDRESS.findall(said)):
        found = f"found an address of memory, {ADDRESS.findall(text)[0]!r}"
        raise BadInput(f"{name}: {found}; the same rows need the same tokens")
    return text


@contextmanager
def _limited(name: str) -> Iterator[None]:
    """Raise BadInput in the block once it has taken so much of the processor's time, MemoryError
    once it has taken so much memory.
    """

    def stop(*_: object) -> NoReturn:
        raise BadInput(f"{name}: found no end after {SECONDS:g} s; a text takes milliseconds")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        with limited_memory(BYTES):
            yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


class _Drawn(Exception):
    """A template draws by chance."""


def _drawn(*_: object) -> NoReturn:
    raise _Drawn


def _power(base: Any, exponent: Any) -> Any:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and base.bit_length() * exponent > BITS:
        raise OverflowError("a power of more digits than anybody reads")
    return operator.pow(base, exponent)


def _line(error: Exception) -> str:
    """Return the line of a template in which an error came, as far as it is known."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename in ("<template>", "<unknown>")]
    line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
    return f", line {line}" if line else ""
