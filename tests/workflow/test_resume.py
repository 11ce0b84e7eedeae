"""Snakemake is killed while a trainer works: the next run stops the orphan and resumes."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from scripts.common.files import read_json, sha256
from tests.workflow.conftest import CUT_DOWN, Project, environment

TRIAL = "results/demo/trials/sft-r4/seed-0"
FILES = ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", "adapter/README.md",
         "trial.json", "history.jsonl")  # fmt: skip
EVERY_STEP = ("--set-resources", "train:checkpoint_minutes=0")
PATIENCE = 300.0
"""Seconds that a trainer may take until its first checkpoint."""


def suspended(work: Path) -> int:
    """Suspend a trainer once its first checkpoint is written, and return its pid."""
    end = time.monotonic() + PATIENCE
    while not list(work.glob("checkpoint-*")):
        assert time.monotonic() < end, "no checkpoint came"
        time.sleep(0.01)
    pid = read_json(work / "lock.json")["process"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    return pid


@pytest.mark.all
def test_a_killed_snakemake_loses_nothing(rerun: Project) -> None:
    trial = rerun.folder / TRIAL
    whole = {name: sha256(trial / name) for name in FILES}
    shutil.rmtree(trial)
    command = [f"{TRIAL}/train.json", *CUT_DOWN, *EVERY_STEP]
    run = subprocess.Popen(
        rerun.command(*command), cwd=rerun.folder, env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    orphan = suspended(trial / "work")
    step = max(int(it.name.split("-")[1]) for it in (trial / "work").glob("checkpoint-*"))
    run.kill()
    run.wait(60)
    assert read_json(trial / "work" / "lock.json")["process"]["pid"] == orphan

    rerun.run("--unlock", *CUT_DOWN)
    rerun.run(*command)
    log = (rerun.folder / "logs/demo/trials/sft-r4/seed-0/train.log").read_text(encoding="utf-8")
    assert f"process {orphan} on " in log
    assert "is left over from a run that is gone" in log
    # It finished the step that it was suspended in.
    resumes = [f"step {last}/4: resumes from a checkpoint" in log for last in (step, step + 1)]
    assert any(resumes), log
    assert {name: sha256(trial / name) for name in FILES} == whole
    assert read_json(trial / "train.json")["resumed"] == 1
