"""Chat templates, which are programs: what they refuse, their mistakes, and what has no end."""

from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.lm import chat
from scripts.lm.chat import Refused, rendered
from scripts.lm.tokenizers import load_tokenizer

ASKED = [{"role": "user", "content": "hi"}]
ENDLESS = "{% for i in range(99999) %}" * 4 + "{{ i }}" + "{% endfor %}" * 4


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return load_tokenizer(tiny_model)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("\n{{ x", "a.jinja, line 2: TemplateSyntaxError"),
        ("{% for %}", "a.jinja, line 1: TemplateSyntaxError"),
        ("{{ messages|nofilter }}", "a.jinja, line 1: TemplateAssertionError: No filter"),
        ("\n\n{{ a.b.c }}", "a.jinja, line 3: UndefinedError: 'a' is undefined"),
        ("{{ messages[0].nosuch.x }}", "UndefinedError"),
        ("{{ messages[0]['content'] + 1 }}", "TypeError: can only concatenate str"),
        ("{% include 'x' %}", "a.jinja, line 1: TypeError: no loader"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{% for i in range(10**7) %}{% endfor %}", "OverflowError: Range too big"),
        (ENDLESS, "a.jinja: found no end after 0.2 s"),
        ("{{ 'x'.join(['a' * 99999] * 99999) }}", "a.jinja: found no end after 0.2 s"),
        ("{{ strftime_now('%d %b %Y') }}", "a.jinja: found strftime_now or lipsum"),
        ("{{ lipsum() }}", "a.jinja: found strftime_now or lipsum"),
        ("{{ messages | random }}", "a.jinja: found the filter random"),
        ("{{ [messages] | map('random') | list }}", "a.jinja: found the filter random"),
        ("{{ range }}", "a.jinja: found an address of memory, ' at 0x"),
        ("{{ messages | map('string') }}", "a.jinja: found an address of memory, ' at 0x"),
        ("{{ '\\ud800' }}", "a.jinja: UnicodeEncodeError"),
        ("a\n{{ 'a' * 10**10 }}", "a.jinja, line 2: found a text of more than 2 GiB"),
        ("{{ 'a' | center(10**10) }}", "a.jinja, line 1: found a text of more than 2 GiB"),
        ("{{ '%10000000000d' % 1 }}", "a.jinja, line 1: found a text of more than 2 GiB"),
        ("{{ [1] | batch(10**10, 'x') | list }}", "a.jinja, line 1: found a text of more than 2"),
        ("{{ 3**(9**9) }}", "a.jinja, line 1: OverflowError: a power of more digits"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "a.jinja: RecursionError"),
        ("{% for i in [1] %}" * 30 + "{% endfor %}" * 30, "SyntaxError: too many statically"),
    ],
)
def test_a_mistake_of_a_template_is_one_line(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, template: str, said: str
) -> None:
    monkeypatch.setattr(chat, "SECONDS", 0.2)
    with pytest.raises(BadInput) as error:
        rendered(tokenizer, ASKED, template, name="a.jinja")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_address_that_a_message_holds_is_its_own(tokenizer: Any) -> None:
    asked = [{"role": "user", "content": "<function f at 0x7f0123456789>"}]
    assert rendered(tokenizer, asked, "{{ messages[0].content }}") == asked[0]["content"]
    assert rendered(tokenizer, ASKED, "{{ 2**10 }} {{ 2**-1 }} {{ 1.5**2 }}") == "1024 0.5 2.25"


def test_what_a_template_refuses_is_no_mistake(tokenizer: Any) -> None:
    with pytest.raises(Refused, match=r"^no such role$"):
        rendered(tokenizer, ASKED, "{{ raise_exception('no such\n role') }}")


def test_a_template_that_only_asks_for_a_clock_is_none_that_reads_it(tokenizer: Any) -> None:
    template = "{% if strftime_now is defined %}{{ messages[0].content }}{% endif %}"
    assert rendered(tokenizer, ASKED, template) == "hi"
