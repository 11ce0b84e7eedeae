"""How a crate names the files that it holds, and those that it only mentions."""

import random
from pathlib import Path

import pytest

from scripts.common.cli import one_line
from scripts.common.files import write_json
from scripts.provenance import trace
from scripts.provenance.crate import HUB, Packer, named_apart
from scripts.provenance.crate import _write as write
from scripts.provenance.record import Job
from tests.conftest import contents, no_file_grows


def test_sources_are_named_by_their_digests(tmp_path: Path) -> None:
    """Two may have the same name, or one may change between jobs; absolute paths stay private."""
    packer = Packer([], [], "run")
    job = Job(str(tmp_path), "fetch.provenance.json", {}, "")
    first, second, third = (
        {"file": f"/models/{name}/config.json", "sha256": digest * 64, "bytes": 9, "outside": True}
        for name, digest in (("a", "a"), ("b", "b"), ("b", "c"))
    )
    found = [packer.of_part(job, part) for part in (first, second, third)]
    assert len({entity.id for entity in found}) == 3
    assert [entity["sha256"] for entity in found] == ["a" * 64, "b" * 64, "c" * 64]
    assert packer.of_part(job, first) is found[0]
    assert found[0]["name"] == "config.json"
    assert "/models/" not in found[0].id


@pytest.mark.parametrize(
    ("commit", "url", "version", "line"),
    [
        (
            "a" * 40,
            f"{HUB}/datasets/a/b/tree/{'a' * 40}",
            "a" * 40,
            f"hub a/b at commit {'a' * 40}",
        ),
        (None, f"{HUB}/datasets/a/b", None, "hub a/b from a folder in its place, without a commit"),
    ],
)
def test_a_repository_has_its_commit_where_one_is_known(
    tmp_path: Path, commit: str | None, url: str, version: str | None, line: str
) -> None:
    write_json(tmp_path / "d" / "raw.json", {"repository": "a/b", "commit": commit})
    content = {"outputs": [{"file": "d/raw.json"}], "rule": "fetch_dataset"}
    job = Job(str(tmp_path), "d/fetch.provenance.json", content, "")
    (found,) = Packer([], [], "run")._origins(job)
    assert (found.id, found.get("version"), found["name"]) == (url, version, "a/b")
    assert list(trace._origins(job)) == [line]


def test_configurations_with_the_same_name_are_numbered() -> None:
    paths = [Path("a/config.yaml"), Path("overlay.yaml"), Path("b/config.yaml")]
    assert named_apart(paths) == {
        "1/config.yaml": paths[0],
        "overlay.yaml": paths[1],
        "3/config.yaml": paths[2],
    }


@pytest.mark.parametrize("name", ["a", "a.zip"])
def test_a_full_disk_names_the_crate_and_leaves_the_old_one(tmp_path: Path, name: str) -> None:
    source, out = tmp_path / "source", tmp_path / "out" / name
    source.write_bytes(random.Random(0).randbytes(99_999))
    packer = Packer([], [], "run")
    packer.file(source, "big.bin")
    write(packer.crate, out)
    before = contents(out.parent)
    with no_file_grows(beyond=9_999), pytest.raises(OSError, match="too large") as error:
        write(packer.crate, out)
    assert one_line(error.value).startswith(f"{out}: File too large; ")
    assert contents(out.parent) == before
