"""Model snapshots: what a manifest says, and what is no model."""

import json
from pathlib import Path

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, sha256
from scripts.lm.snapshots import snapshot_folder
from scripts.models import fetch


def test_a_local_folder_is_named_with_its_files(tiny_model: Path, tmp_path: Path) -> None:
    folder = snapshot_folder(tiny_model)
    manifest = tmp_path / "deep" / "manifest.json"
    assert fetch.main(["--source", json.dumps({"folder": str(folder)}),
                       "--manifest", str(manifest)]) == 0  # fmt: skip
    found = read_json(manifest)
    assert found["source"] == "folder"
    assert snapshot_folder(manifest).resolve() == folder.resolve()
    digests = {file["name"]: file["sha256"] for file in found["files"]}
    assert digests["model.safetensors"] == sha256(folder / "model.safetensors")


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_that_lacks_a_part_is_refused(
    tiny_model: Path, tmp_path: Path, missing: str
) -> None:
    for path in snapshot_folder(tiny_model).iterdir():
        if path.name != missing:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    # Weights that could run code are not taken in their stead.
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(BadInput, match="a model needs"):
        fetch.main(["--source", json.dumps({"folder": str(tmp_path)}),
                    "--manifest", str(tmp_path / "out" / "manifest.json")])  # fmt: skip


def test_a_download_takes_neither_code_nor_pickles() -> None:
    from fnmatch import fnmatch

    def taken(name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in fetch.PATTERNS)

    assert taken("model-00001-of-00008.safetensors")
    assert taken("chat_template.jinja")
    assert not taken("pytorch_model.bin")
    assert not taken("modeling_custom.py")
