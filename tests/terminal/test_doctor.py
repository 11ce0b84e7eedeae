"""Findings on datasets as a terminal shows them."""

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import write_json
from scripts.terminal import doctor as show_doctor


def finding(check, severity, count=0, of=9, examples=(), split="test"):
    return {"check": check, "severity": severity, "count": count, "of": of, "split": split,
            "text": f"what {check} means", "examples": list(examples)}  # fmt: skip


FINDINGS = [
    finding("empty_rows", "ok"),
    finding("pad_is_eos", "note", 1, 1, split=None),
    finding("cut_rows", "ok", split="train"),
    finding("cut_rows", "warning", 3, 1200, ["[a]"]),
    finding("leaked_groups", "error", 76, 76, [f"valid-{i}" for i in range(5)]),
]


def printed(tmp_path, capsys, monkeypatch, **contents):
    files = []
    for name, findings in contents.items():
        files.append(str(tmp_path / f"{name}.json"))
        rows = {"train": 1026, "valid": 0, "test": 114}
        write_json(files[-1], {"name": name, "rows": rows, "findings": findings})
    assert show_doctor.main(files) == 0
    return capsys.readouterr().out


def test_the_worst_comes_first(tmp_path, capsys, monkeypatch):
    out = printed(tmp_path, capsys, monkeypatch, titles=FINDINGS)
    assert out.startswith("titles (train 1,026, test 114): 1 error, 1 warning, 1 note, 2 ok")
    places = [out.index(text) for text in ("76 of 76", "3 of 1,200", "1 of 1 ")]
    assert places == sorted(places)
    said = " ".join(out.split())
    assert "leaked groups: what leaked_groups means (valid-0, valid-1, valid-2, …)" in said
    assert "([a], …)" in out


def test_checks_that_found_nothing_anywhere_are_a_line(tmp_path, capsys, monkeypatch):
    assert printed(tmp_path, capsys, monkeypatch, a=FINDINGS).rstrip().endswith("ok: empty rows")


def test_each_file_has_its_table(tmp_path, capsys, monkeypatch):
    out = printed(tmp_path, capsys, monkeypatch, first=FINDINGS, second=FINDINGS[:1])
    assert out.count("what it means") == 1
    assert "second (train 1,026, test 114): 0 error, 0 warning, 0 note, 1 ok" in out


def test_other_files_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        show_doctor.main([str(tmp_path / "none.json")])
    write_json(tmp_path / "other.json", {"name": "x"})
    with pytest.raises(BadInput, match="found no findings"):
        show_doctor.main([str(tmp_path / "other.json")])
