"""Tiny models and made-up titles, once for all tests of the benchmarks."""

from pathlib import Path

import pytest

from benchmarks.contestants import prepare


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as `prepare` leaves it where there is no hub."""
    folder = tmp_path_factory.mktemp("benchmarks")
    prepare(["tiny-llama", "tiny-qwen2"], folder, folder / "no hub")
    return folder
