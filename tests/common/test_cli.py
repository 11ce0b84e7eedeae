"""One line for every error, also for what nobody foresaw."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scripts.common.cli import BadInput, one_line
from tests.conftest import ROOT

SAY = "from scripts.common.cli import BadInput, run; from scripts.common.files import read_json\n"


def called(code: str, log: Path) -> tuple[int, str]:
    """Return the exit code of `run(main)` in a process of its own, and its log."""
    with open(log, "w", encoding="utf-8") as stderr:
        done = subprocess.run(
            [sys.executable, "-c", SAY + code + "\nrun(main)"], cwd=ROOT, stderr=stderr, check=False
        )
    return done.returncode, log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def main(): raise BadInput('a.csv: found 3, allowed are 1 and 2')",
         "error: a.csv: found 3, allowed are 1 and 2\n"),
        ("def main(): open('/nowhere/a')", "error: /nowhere/a: No such file or directory\n"),
        ("def main(): open('/', 'w')",
         "error: /: Is a directory; a file is needed there: move the folder away, or name another "
         "place\n"),
        # A terminal would obey what a file or a name holds.
        (r"def main(): raise BadInput('a\x1b[2J\u202e\r\udcff é\nb')",
         "error: a\\x1b[2J\\u202e\\r\\udcff é\nb\n"),
    ],
)  # fmt: skip
def test_foreseen_errors_are_a_line(code: str, said: str, tmp_path: Path) -> None:
    assert called(code, tmp_path / "log") == (1, said)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise KeyError('text\\nof two lines')", r"KeyError: 'text\nof two lines'"),
        ("raise ValueError('one\\ntwo')", "ValueError: one two"),
        ("next(iter(()))", "StopIteration:"),
        ("raise MemoryError", "not enough memory"),
        (r"raise ValueError('a\x1b]0;t\x07\udcff')", r"ValueError: a\x1b]0;t\x07\udcff"),
        ("raise ValueError('x' * 10_000)", f"ValueError: {'x' * 488}"),
    ],
)  # fmt: skip
def test_an_unforeseen_error_is_a_line_too(code: str, said: str, tmp_path: Path) -> None:
    read = tmp_path / "rows.json"
    read.write_text("[1]", encoding="utf-8")
    log = tmp_path / "a.log"
    failed, text = called(f"def main():\n    read_json({str(read)!r})\n    {code}", log)
    kept = Path(ROOT, text.rsplit(" ", 1)[1].strip())
    assert failed == 1
    assert text.startswith(f"error: {said}, after reading {read}; traceback in ")
    assert text.count("\n") == 1
    assert kept == tmp_path / "a.log.traceback" or kept.resolve() == tmp_path / "a.log.traceback"
    assert "Traceback (most recent call last):" in kept.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Bearer hf_loopbackSecret123!", "Bearer $HF_TOKEN!"),
        ("http://user:pa55word@host/a", "http://…@host/a"),
        ("http://hf_other@host:80?x=1", "http://…@host:80?x=1"),
        ("https://host/a?b=1&access_token=abc&c=2", "https://host/a?b=1&…&c=2"),
        ("https://host/a?X-Amz-Signature=abc 'x'", "https://host/a?… 'x'"),
        ("docker://image@sha256:0a", "docker://image@sha256:0a"),
        ("mail a@b.c, 3://4 ? token=1", "mail a@b.c, 3://4 ? token=1"),
    ],
)
def test_secrets_are_not_shown(
    text: str, shown: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", " hf_loopbackSecret123\n")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("scripts.common.cli._reading", "")
    assert one_line(BadInput(text)) == shown
    # Nor in the file that keeps a traceback.
    line = one_line(ValueError(text))
    assert line.startswith(f"ValueError: {shown}; traceback in {tmp_path}")
    (kept,) = tmp_path.iterdir()
    assert kept.read_text(encoding="utf-8").endswith(f"ValueError: {shown}\n")


def test_what_is_interrupted_is_no_error(tmp_path: Path) -> None:
    failed, text = called("def main(): raise KeyboardInterrupt", tmp_path / "log")
    assert failed not in (0, 1)
    assert not text.startswith("error")
