"""Model snapshots: what a manifest says, and which folders are no models."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, sha256
from scripts.lm.tokenizers import load_tokenizer, snapshot_folder
from scripts.models import fetch
from tests.conftest import ROOT
from tests.hub.repositories import COMMIT, MODEL, TOKENIZER_FILES, WEIGHT_FILES, write_model
from tests.hub.server import Fault, Hub

Start = Callable[..., Hub]


def command(source: dict[str, str], manifest: Path, *options: str) -> list[str]:
    return ["--source", json.dumps(source), "--manifest", str(manifest), *options]


def listed(manifest: Path) -> list[str]:
    return [file["name"] for file in read_json(manifest)["files"]]


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
    # Weights in a format that could run code do not replace them.
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


def test_a_snapshot_of_the_hub_is_listed_with_its_digests(tmp_path: Path, loopback: Start) -> None:
    source = write_model(tmp_path / "hub")
    hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    manifest = tmp_path / "model" / "manifest.json"
    assert fetch.main(command({"hub": MODEL, "revision": "main"}, manifest)) == 0
    found = read_json(manifest)
    assert {key: found[key] for key in ("source", "repository", "commit", "folder")} == {
        "source": "hub",
        "repository": MODEL,
        "commit": COMMIT,
        "folder": f"snapshot/{COMMIT}",
    }
    assert {file["name"]: file["sha256"] for file in found["files"]} == {
        name: sha256(source / name) for name in [*TOKENIZER_FILES, *WEIGHT_FILES]
    }
    assert hub.sent() == sorted([*TOKENIZER_FILES, *WEIGHT_FILES])


@pytest.mark.parametrize("option", [[], ["--tokenizer"]])
def test_a_manifest_has_listed_files_only(
    tmp_path: Path, loopback: Start, option: list[str]
) -> None:
    """Not what else lies in the snapshot's folder."""
    write_model(tmp_path / "hub")
    loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    other = tmp_path / "snapshot" / COMMIT / "other.json"
    other.parent.mkdir(parents=True)
    other.write_text("{}")
    manifest = tmp_path / "manifest.json"
    assert fetch.main(command({"hub": MODEL, "revision": COMMIT}, manifest, *option)) == 0
    assert listed(manifest) == sorted([*TOKENIZER_FILES, *([] if option else WEIGHT_FILES)])


def test_a_tokenizer_comes_without_the_weights(tmp_path: Path, loopback: Start) -> None:
    source = write_model(tmp_path / "hub")
    hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    manifest = tmp_path / "model" / "tokenizer" / "manifest.json"
    options = command({"hub": MODEL, "revision": COMMIT}, manifest, "--tokenizer")
    assert fetch.main(options) == 0
    assert hub.sent() == listed(manifest) == TOKENIZER_FILES
    snapshot = sum((source / name).stat().st_size for name in [*TOKENIZER_FILES, *WEIGHT_FILES])
    assert read_json(manifest)["snapshot_bytes"] == snapshot
    assert read_json(manifest)["commit"] == COMMIT
    assert snapshot_folder(manifest) == manifest.parent / "snapshot" / COMMIT


def test_a_local_tokenizer_is_listed_without_the_weights(tiny_model: Path, tmp_path: Path) -> None:
    folder = snapshot_folder(tiny_model)
    manifest = tmp_path / "manifest.json"
    assert fetch.main(command({"folder": str(folder)}, manifest, "--tokenizer")) == 0
    names = {path.name for path in folder.iterdir()}
    assert listed(manifest) == sorted(names - {"model.safetensors"})
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert read_json(manifest)["snapshot_bytes"] == sum(sizes)
    assert load_tokenizer(manifest).encode("Ada") == load_tokenizer(tiny_model).encode("Ada")


def test_a_model_without_tokenizer_json_is_refused(tmp_path: Path, loopback: Start) -> None:
    folder = write_model(tmp_path / "hub")
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    for source, where in [
        ({"hub": MODEL, "revision": COMMIT}, MODEL),
        ({"folder": str(folder)}, str(folder)),
    ]:
        with pytest.raises(
            BadInput, match=rf"^{where}: a model needs tokenizer\.json; found chat_"
        ):
            fetch.main(command(source, tmp_path / "out" / "manifest.json", "--tokenizer"))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_the_command_line_prints_one_line_for_a_failure_and_then_resumes(
    tmp_path: Path, loopback: Start
) -> None:
    """In separate processes, as rules run it."""
    write_model(tmp_path / "hub")
    hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    shard = WEIGHT_FILES[0]
    hub.faults = [Fault(f"*/resolve/*/{shard}", status=404, code="EntryNotFound", times=1)]
    manifest = tmp_path / "model" / "manifest.json"
    line = command({"hub": MODEL, "revision": COMMIT}, manifest)

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "scripts.models.fetch", *line],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )

    done = run()
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        f"error: model {MODEL}@{COMMIT}: {shard}:"
        " the hub lists this file but does not have it (404)"
    ]
    assert not manifest.exists()
    assert run().returncode == 0
    assert listed(manifest) == sorted([*TOKENIZER_FILES, *WEIGHT_FILES])


def test_the_real_qwen_tokenizer(hub: Path, tmp_path: Path, loopback: Start) -> None:
    """The ids of special tokens are the published ones, after the 151,643 others."""
    name, commit = "Qwen/Qwen2.5-14B-Instruct", "cf98f3b3bbb457ad9e2bb7baf9a0125b6b88caa8"
    loopback(hub, commits={name: commit})
    manifest = tmp_path / "manifest.json"
    assert fetch.main(command({"hub": name, "revision": commit}, manifest, "--tokenizer")) == 0
    tokenizer = load_tokenizer(manifest)
    assert tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]) == [
        151643, 151644, 151645,
    ]  # fmt: skip
    turn = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert turn.startswith("<|im_start|>system\nYou are Qwen, created by Alibaba Cloud.")
