"""What is no config: whatever is in the file, `prefmake check` says it in one line, at once."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.__main__ import main
from scripts.common.cli import BadInput
from scripts.config.files import BYTES, DEPTH, NODES
from scripts.terminal.workflow import Sweep

DEEP = f"found more than {DEPTH} levels, one in another; allowed are so many"
MANY = f"found more than {NODES:,} values, aliases written out; allowed are so many"
TAG = "; a config has plain text, numbers, true, false and null"
WHOLE = "(whole file): "


def laughs(link: str) -> str:
    """Returns lines each of which holds the one before nine times."""
    lines = ["a0: &a0 {x: 1}"]
    for index in range(1, 12):
        nine = ", ".join([f"*a{index - 1}"] * 9)
        lines.append(f"a{index}: &a{index} {link.format(nine)}")
    return "\n".join(lines)


def chain(first: str, link: str, length: int) -> str:
    """Returns lines each of which holds the one before."""
    later = (f"a{index}: &a{index} {link.format(f'*a{index - 1}')}" for index in range(1, length))
    return "\n".join([f"a0: &a0 {first}", *later])


def cases() -> Iterator[tuple[str, str | bytes, str]]:
    """Yields a name, a file, and what is said of it from the line on."""
    for length in (DEPTH + 1, 3_000, 100_000):
        for text in ("[", "{", "[{a: ", "{a: ", "{? ", "- ", "? "):
            before = "a:\n  " if text in ("- ", "? ") else "a: "
            line = 2 if text in ("- ", "? ") else 1
            yield f"{length} times {text}", before + text * length, f"{line}: {WHOLE}{DEEP}"
        closed = f"a: {'[' * length}{']' * length}"
        yield f"{length} closed", closed, f"1: {WHOLE}{DEEP}"
    yield "a chain of lists", chain("[1]", "[{}]", 100), f"1: a{DEPTH}"
    yield "a chain of merges", chain("{x: 1}", "{{<<: {}}}", 100), f"2: a{DEPTH + 1}: {DEEP}"
    yield "a long chain", chain("[1]", "[{}]", 5_000), ""
    yield "a billion laughs", laughs("[{}]"), f"6: {WHOLE}{MANY}"
    yield "a billion merged", laughs("{{<<: [{}]}}"), ""
    yield "a list in itself", "a: &a [*a]", f"1: {WHOLE}found *a inside of what it stands for"
    yield (
        "a mapping in itself",
        "a: &a\n  b: *a",
        f"2: {WHOLE}found *a inside of what it stands for",
    )
    yield "merged in itself", "a: &a {<<: *a}", f"1: {WHOLE}found *a inside of what it stands for"
    yield "two in each other", "a: &a [&b [*a], *b]", f"1: {WHOLE}found *a inside of what it stands"
    yield "an alias of nothing", "a: 1\nb: *x", f"2: {WHOLE}not YAML: found undefined alias"
    yield "many values", f"a: [{'1, ' * NODES}]", f"1: {WHOLE}{MANY}"
    yield (
        "many keys",
        "".join(f"k{index}: 1\n" for index in range(NODES)),
        f"{NODES // 2}: {WHOLE}",
    )
    yield "many unknown keys", "".join(f"k{index}: 1\n" for index in range(5_000)), "1: k0: unknown"
    yield "a large file", "a: " + "x" * BYTES, f"1: {WHOLE}found more than {BYTES:,} bytes"
    for tag in ("!!binary zzz", "!!binary aGk=", "!!timestamp 2020-99-99", "!!int abc", "!!float x",
                "!!bool maybe", "!!null x", "!!python/object:os.system x", "!mine 1", "!!set {a}",
                "!!omap [a: 1]", "!!map 3", "!!int [1]", "!!int 1:30", "!!str [a]"):  # fmt: skip
        yield tag, f"a: 1\nb: {tag}", f"2: b: found the tag {tag.split()[0]}{TAG}"
    for text in ("*", "%x", "@x", "`x`", "'", '"', "[", "]", "}", "a: b: c", "|x", '"\\q"'):
        yield f"no YAML: {text}", f"a: {text}", ""
    for key in ("1", "~", "true", "null", "1.5", "0x10", "1e3", ".inf", "FALSE"):
        found = f'found the key {key}, which is no text; "{key}" in quotes is'
        yield f"key {key}", f"a: 1\n{key}: 1", f"2: {WHOLE}{found}"
        yield f"key {key} below", f"models:\n  a: 1\n  {key}: 1", f"3: models: {found}"
    for key in ("[a]", "{a: 1}", "? [a, b]\n"):
        found = "found a list or mapping as a key; a key is text"
        yield (
            f"key {key}",
            f"a: 1\n{key}: 1",
            f"2: {WHOLE}{found}",
        )
    for key in ("on", "no", "=", "2020-01-01", "' '", "''", "é"):
        yield (
            f"key {key}",
            f"{key}: 1",
            f"1: {key.strip(chr(39)) or WHOLE[:-2]}: unknown key; allowed: path",
        )
    yield "a key twice", "a: 1\na: 2", "2: a: the key stands twice; each may stand once"
    yield "nothing merged", "a: {<<: 1}", "1: a.<<: takes a mapping, or a list of mappings"
    yield "a key with a control", 'a: 1\n"b\\0": 1', f"2: {WHOLE}found a key with a control"
    for text in ("\\0", "\\x1b[31m", "\\x07"):
        yield f"text {text}", f'a: "{text}"', "1: a: found the control character U+00"
    yield "UTF-16", "a: 1".encode("utf-16"), f"1: {WHOLE}found the byte 0xff, which is not UTF-8"
    yield "UTF-16 bare", "a: 1".encode("utf-16-le"), f"1: {WHOLE}found the control character U+0000"
    yield "UTF-32", "a: 1".encode("utf-32"), f"1: {WHOLE}found the byte 0xff, which is not UTF-8"
    yield "Latin-1", "a: 1\nb: é".encode("latin-1"), f"2: {WHOLE}found the byte 0xe9, which is not"
    yield "NUL", b"a: 1\nb: \0", f"2: {WHOLE}found the control character U+0000; allowed is text in"
    yield "bytes", bytes(range(256)), f"2: {WHOLE}found the byte 0x80, which is not UTF-8"
    secret = f"{WHOLE}found a token or password; crates hold this file: a token belongs into $HF_T"
    yield "a password", "a: 1\n# http://user:pa55word@host", f"2: {secret}"
    yield "a key in an address", "a: 'https://host/?x=1&token=abc'", f"1: {secret}"
    yield "a BOM", b"\xef\xbb\xbfa: 1", "1: a: unknown key; allowed: pathvars"
    for text in ("", "\n", "# x", "abc", "- 1", "1", "~", "..."):
        yield f"only {text!r}", text, ""
    yield "two documents", "a: 1\n---\nb: 1", f"2: {WHOLE}not YAML: but found another document"


CASES = list(cases())


@pytest.mark.parametrize(
    ("data", "said"), [case[1:] for case in CASES], ids=[it[0] for it in CASES]
)
def test_what_is_no_config_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: str | bytes, said: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    start = time.process_time()
    assert main(["check", str(path)]) == 1
    assert time.process_time() - start < 1
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith(f"error: {path}:{said}") for line in lines)
    assert len(lines) <= 21
    assert all(line.startswith((f"error: {path}:", "error: and ")) for line in lines)


PART = """\
models: {{m: {{source: {model}}}}}
datasets:
  d: {{format: instruction, source: {data}, splits: {{by: source, train: train}}}}
experiments:
  e:
    model: m
    max_length: 64
    template: {template}
    generate: {{g: {{dataset: d, split: train, answer_after: {mark}}}}}
    sft: {{dataset: d, test: null, trials: [{{name: s}}]}}
"""
RIGHT = {"model": "{demo: d.jsonl}", "data": "{file: {train: d.jsonl}}", "template": "chat"}
LONG = "x" * 300
PARTS = [
    *(({"model": found}, f"1: models.m.source{said}") for found, said in [
        ("abc", ': found "abc": needs one of the keys hub, folder, demo'),
        ("1", ": found 1: needs one of the keys hub, folder, demo"),
        ("~", ": found null: needs one of the keys hub, folder, demo"),
        ("[hub]", ": needs one of the keys hub, folder, demo"),
        ("{}", ": needs one of the keys hub, folder, demo"),
        ("{hub: a/b}", ".revision: is missing"),
        ("{hub: a/b, revision: 1e5}", ".revision: found 100000: must be text"),
        ("{demo: d.jsonl, folder: x}", ".demo: unknown key; allowed: hub, revision, folder"),
        ("{demo: .}", ".demo: found "),
        ("{demo: /proc}", ".demo: found /proc: a folder"),
        ("{folder: .}", ".folder: found "),
        ("{folder: d.jsonl}", ".folder: found "),
        ("{folder: 5}", ".folder: found 5: must be text"),
        (f"{{demo: {LONG}}}", '.demo: found "'),
        ('{demo: "a\\nb"}', '.demo: found "'),
    ]),
    *(({"data": found}, f"3: datasets.d.source{said}") for found, said in [
        ("abc", ': found "abc": needs one of the keys hub, file'),
        ("[]", ": needs one of the keys hub, file"),
        ("{file: 1}", ".file: found 1: must be a mapping"),
        ("{file: {train: 1}}", ".file.train: found 1: must be text"),
        (f"{{file: {{train: {LONG}.csv}}}}", '.file.train: found "'),
    ]),
    ({"template": LONG}, f'8: experiments.e.template: found "{LONG}": allowed are paths of 4000'),
    ({"template": "'{x}.jinja'"}, "8: experiments.e.template: found "),
    ({"template": "[a]"}, "8: experiments.e.template: must be text"),
    ({"mark": "1"}, "9: experiments.e.generate.g.answer_after: found 1: must be text"),
    ({"mark": "="}, None),
    ({"mark": "2020-99-99"}, None),
    ({"mark": '"\\n\\t"'}, None),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), PARTS, ids=[str(change)[:60] for change, _ in PARTS])
def test_a_part_of_another_kind_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], said: str | None
) -> None:
    (tmp_path / "d.jsonl").write_text('{"prompt": "p", "completion": "c"}\n', encoding="utf-8")
    path = tmp_path / "config.yaml"
    path.write_text(PART.format(**{**RIGHT, "mark": "x", **change}), encoding="utf-8")
    assert main(["check", str(path)]) == (said is not None)
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"error: {path}:{said}") for line in lines] == [True] * (
        said is not None
    )


def test_snakemake_is_not_asked_about_what_is_no_config(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: " + "[" * 3_000, encoding="utf-8")
    with pytest.raises(BadInput, match=f"{path}:1: "):
        Sweep([path]).snakemake("-n")
