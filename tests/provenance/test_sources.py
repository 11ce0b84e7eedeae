"""Digests of source files follow their content, whatever their times say."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.provenance import sources
from scripts.provenance.sources import sources_digest

LONG_AGO = 1_000_000_000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder to work in, where Snakemake has its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".snakemake").mkdir()
    sources.forget()
    yield tmp_path
    sources.forget()


def digest(*files: str) -> str:
    """Return the digest that the next process computes."""
    sources.forget()
    return sources_digest(files)


def written(text: str, seconds: int = LONG_AGO) -> None:
    """Write rows.jsonl with a time stamp."""
    Path("rows.jsonl").write_text(text, encoding="utf-8")
    os.utime("rows.jsonl", (seconds, seconds))


def test_an_older_file_of_other_content_has_another_digest(folder: Path) -> None:
    written("one\n")
    first = digest("rows.jsonl")
    written("two\n", LONG_AGO - 1)
    assert digest("rows.jsonl") != first
    written("one\n", LONG_AGO + 5)
    assert digest("rows.jsonl") == first
    Path("rows.jsonl").unlink()
    assert digest("rows.jsonl") not in (first, digest())


def test_a_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(sources, "sha256", lambda path: read.append(path) or "digest")
    monkeypatch.setattr(sources, "SETTLED", -1.0)
    written("one\n")
    assert digest("rows.jsonl") == digest("rows.jsonl")
    assert len(read) == 1
    # The same size and time, in another inode.
    written("two\n")
    os.rename("rows.jsonl", "other.jsonl")
    written("two\n")
    digest("rows.jsonl")
    assert len(read) == 2


def test_a_file_that_may_still_change_is_not_remembered(folder: Path) -> None:
    Path("rows.jsonl").write_text("one\n", encoding="utf-8")
    digest("rows.jsonl")
    assert not sources.CACHE.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', "not JSON", '{"rows.jsonl": []}'])
def test_a_damaged_cache_costs_time_only(folder: Path, text: str) -> None:
    written("one\n")
    right = digest("rows.jsonl")
    sources.CACHE.write_text(text, encoding="utf-8")
    assert digest("rows.jsonl") == right
