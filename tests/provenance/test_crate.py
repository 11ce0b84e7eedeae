"""How a crate names what it holds and what it only speaks of."""

from pathlib import Path

from scripts.provenance.chain import Job
from scripts.provenance.crate import Packer, named_apart


def test_sources_of_one_name_keep_their_own_digests(tmp_path: Path) -> None:
    """As the config.json of two models in folders of this machine."""
    packer = Packer([], [], "run")
    job = Job(tmp_path, "fetch.provenance.json", {})
    parts = [
        {"file": f"/models/{name}/config.json", "sha256": digest * 64, "bytes": 9, "outside": True}
        for name, digest in (("first", "a"), ("second", "b"))
    ]
    first, second = (packer.of_part(job, part) for part in parts)
    assert first.id != second.id
    assert [first["sha256"], second["sha256"]] == ["a" * 64, "b" * 64]
    assert packer.of_part(job, parts[0]) is first
    assert first["name"] == "config.json"
    assert "/models/" not in first.id


def test_a_source_that_changed_between_two_jobs_is_two(tmp_path: Path) -> None:
    packer = Packer([], [], "run")
    job = Job(tmp_path, "fetch.provenance.json", {})
    part = {"file": "demo/corpora/x.jsonl", "bytes": 9, "outside": True}
    before, after = (packer.of_part(job, part | {"sha256": digest * 64}) for digest in "ab")
    assert [before["sha256"], after["sha256"]] == ["a" * 64, "b" * 64]


def test_configurations_of_one_name_lie_apart_in_their_order() -> None:
    paths = [Path("a/config.yaml"), Path("overlay.yaml"), Path("b/config.yaml")]
    assert named_apart(paths) == {
        "1/config.yaml": paths[0],
        "overlay.yaml": paths[1],
        "3/config.yaml": paths[2],
    }
