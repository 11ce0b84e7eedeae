"""A run stands until its successor is whole, and going back to its settings makes nothing again."""

from dataclasses import asdict

from scripts.common.files import sha256, write_json
from scripts.train.lock import this_holder
from tests.workflow.conftest import CUT_DOWN, Project

TRIAL = "results/demo/trials/sft-r4/seed-0"
RUN = (f"{TRIAL}/score.json", *CUT_DOWN)
OLD, NEW = "lora: {r: 4, lora_alpha: 8}", "lora: {r: 5, lora_alpha: 8}"
RECORDS = ("train.provenance.json", "score.provenance.json")


def files(project: Project, *left_out: str) -> dict[str, str]:
    """Return the digest of each file that the trial's jobs made."""
    folder = project.folder / TRIAL
    paths = [it for it in folder.rglob("*") if it.is_file() and "work" not in it.parts]
    return {it.name: sha256(it) for it in paths if not it.name.endswith(("failed.json", *left_out))}


def test_a_failed_successor_costs_nothing(rerun: Project) -> None:
    before = files(rerun)
    rerun.edit("cut-down.yaml", OLD, NEW)
    # Another process, this one, is training there.
    lock = rerun.folder / TRIAL / "work" / "lock.json"
    write_json(lock, asdict(this_holder()))
    failed = rerun.run(*RUN, check=False)
    assert failed.returncode != 0
    assert "is training" in failed.stdout + failed.stderr
    assert files(rerun) == before
    lock.unlink()
    assert "train" in rerun.rules(*RUN)

    rerun.edit("cut-down.yaml", NEW, OLD)
    rerun.run(*RUN)
    assert files(rerun, *RECORDS) == {
        it: digest for it, digest in before.items() if it not in RECORDS
    }
    for step in ("train", "score"):
        log = rerun.folder / f"logs/demo/trials/sft-r4/seed-0/{step}.log"
        assert "put back" in log.read_text(encoding="utf-8")
    assert rerun.rules(*RUN) == {}


def test_modules_that_a_model_lacks_are_refused_before_anything_is_trained(rerun: Project) -> None:
    before = files(rerun)
    rerun.edit("cut-down.yaml", OLD, "lora: {r: 4, lora_alpha: 8, target_modules: [q_projj]}")
    done = rerun.run(*RUN, check=False)
    assert done.returncode != 0
    assert (
        "manifest.json: lora.target_modules: found q_projj; the model has down_proj, "
        "gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in done.stdout + done.stderr
    )
    assert "rule train:" not in done.stdout + done.stderr
    assert files(rerun) == before
    rerun.edit("cut-down.yaml", ", target_modules: [q_projj]", "")
    assert rerun.rules(*RUN) == {}


def test_what_waits_for_a_new_check_is_trained_again_where_it_changed_too(rerun: Project) -> None:
    rerun.edit("cut-down.yaml", OLD, "lora: {r: 4, lora_alpha: 8, target_modules: [q_proj]}")
    assert set(rerun.rules(*RUN)) == {"check_adapter", "train", "score"}


def test_checks_are_made_once(rerun: Project) -> None:
    """Were they made again in a run, Snakemake would leave what waits for them as it was."""
    rerun.edit("scripts/train/check.py", "parser.parse_args(argv)", "parser.parse_args(argv) ")
    rerun.edit("scripts/lm/backends.py", "import argparse", "import argparse, abc")
    (rerun.folder / "results/demo/models/demo/manifest.json").touch()
    assert not [it for it in rerun.rules(*CUT_DOWN) if it.startswith("check_")]
