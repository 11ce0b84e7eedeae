"""Trials as jobs of a real Slurm cluster of one node, through profiles/slurm."""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from scripts.common.files import read_json, sha256
from tests.slurm.cluster import CannotStart, Cluster, asked, running, until
from tests.workflow.conftest import CUT_DOWN, Project, environment
from tests.workflow.same_bytes import differing

SLURM = (
    "--workflow-profile", "profiles/slurm", "--configfile", "demo/config.yaml", "cut-down.yaml",
    # This cluster has no accounting database and only one disk, and is polled often.
    "--slurm-status-command", "squeue", "--latency-wait", "5",
    "--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1",
)  # fmt: skip
# Jobs of a group are indented.
JOB = re.compile(r"^ *rule (\w+):\n(?: +.*\n)*? +resources: (.+)$", re.MULTILINE)
SUBMITTED = re.compile(r"SLURM jobid (\d+) \(log: \S+/(?:rule|group)_(\w+)/(\S*?)/?\d+\.log\)")
REQUEUED, WARNED = "sft-r4", "sft-r16"
TRIALS = [f"results/demo/trials/{trial}/seed-0" for trial in (REQUEUED, WARNED)]
AGAIN = ("--forcerun", "train", "--", *(f"{folder}/trial.json" for folder in TRIALS))
SAME = ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", "history.jsonl")
"""Files that have the same bytes however often a trial was stopped."""


def test_jobs_that_use_a_gpu_ask_for_one_and_no_others_do(project: Project) -> None:
    done = project.run("-n", "--workflow-profile", "profiles/slurm", "all", "plan", "probes")
    found: dict[str, set[str]] = {"cpu": set(), "gpu": set()}
    for rule, resources in JOB.findall(done.stdout + done.stderr):
        uses = "gpu" if re.search(r"(^|, )gpu=1\b", resources) else "cpu"
        assert f"slurm_partition={uses}," in f"{resources},", rule
        assert "slurm_extra=--signal=USR1@300 --open-mode=append" in resources, rule
        found[uses].add(rule)
    training = {"probe", "reference", "score", "train"}
    assert found["gpu"] == {"check_backends", "plan", *training}
    assert {"prepare_dataset", "tokenize", "measure", "table", "figure", "page"} <= found["cpu"]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    """Yield a running cluster; skip the tests where none can be started."""
    with ExitStack() as stack:
        try:
            if shutil.which("nvidia-smi"):
                raise CannotStart("jobs would train on this machine's GPU, which rounds otherwise")
            cluster = stack.enter_context(running())
        except CannotStart as reason:
            pytest.skip(f"no Slurm cluster: {reason}")
        yield cluster


def digests(project: Project) -> dict[str, str]:
    """Return the digest of every file of the two trials that must not change."""
    files = [f"{folder}/{name}" for folder in TRIALS for name in SAME]
    return {file: sha256(project.folder / file) for file in files}


def submitted(output: str) -> dict[str, list[str]]:
    """Return the numbers of the jobs that Snakemake submitted, by first wildcard or rule."""
    found: dict[str, list[str]] = {}
    for job, rule, wildcards in SUBMITTED.findall(output):
        found.setdefault(wildcards.split("_")[0] or rule, []).append(job)
    return found


def test_a_submitted_trial_has_a_gpu_and_the_same_bytes(slurm: Cluster, rerun: Project) -> None:
    before = digests(rerun)
    done = rerun.run(*SLURM, "--forcerun", "train", "--", f"{TRIALS[0]}/trial.json")
    (job,) = submitted(done.stdout + done.stderr)[REQUEUED]
    assert slurm.jobs()[job] == "COMPLETED"
    assert [task.gpus for task in slurm.tasks() if task.job == job] == ["0"]
    assert digests(rerun) == before


@pytest.mark.all
def test_a_requeued_and_a_warned_trial_resume(slurm: Cluster, rerun: Project) -> None:
    """Two trials train side by side; then one is requeued, and the other warned of its end."""
    before = digests(rerun)
    log = rerun.folder / "snakemake.log"
    with open(log, "wb") as lines:
        process = subprocess.Popen(
            rerun.command(*SLURM, *AGAIN),
            cwd=rerun.folder, env=environment(), stdout=lines, stderr=lines,
        )  # fmt: skip
    try:
        # Written as soon as the trainer handles signals, before the slow imports.
        begun = [rerun.folder / trial / "work" / "progress.json" for trial in TRIALS]

        def both_began() -> bool:
            assert process.poll() is None, log.read_text(encoding="utf-8")[-6000:]
            return all(path.exists() for path in begun)

        until(both_began, "the trials do not begin", 240)
        states, tasks = slurm.jobs(), slurm.tasks()
        jobs = submitted(log.read_text(encoding="utf-8"))
        for command in (
            ["scontrol", "requeue", *jobs[REQUEUED]],
            # As Slurm does before a time limit: to the job's steps, not to its batch script.
            ["scancel", "--signal=USR1", *jobs[WARNED]],
        ):
            asked(*command)
        assert process.wait(300) == 0, log.read_text(encoding="utf-8")[-6000:]
    finally:
        process.kill()
    numbers = {jobs[trial][0] for trial in (REQUEUED, WARNED)}
    assert {states[number] for number in numbers} == {"RUNNING"}
    running = [task for task in tasks if task.job in numbers]
    assert sorted(task.gpus for task in running) == ["0", "1"]

    def ends(trial: str) -> list[tuple[str, str]]:
        return [(states[job], slurm.facts(job)["Restarts"]) for job in jobs[trial]]

    states, jobs = slurm.jobs(), submitted(log.read_text(encoding="utf-8"))
    assert ends(REQUEUED) == [("COMPLETED", "1")]
    assert ends(WARNED) == [("FAILED", "0"), ("COMPLETED", "0")]
    assert digests(rerun) == before
    # The profile makes nothing stale.
    assert rerun.jobs(*SLURM, *AGAIN[AGAIN.index("--") :]) == []


@pytest.mark.all
def test_the_whole_demo_has_the_same_bytes_as_without_slurm(
    slurm: Cluster, finished: Project, project: Project
) -> None:
    done = project.run(*SLURM)
    first, again = (it.folder / "results" / "demo" for it in (finished, project))
    assert differing(first, again) == []
    rules = Counter(rule for _, rule, _ in SUBMITTED.findall(done.stdout + done.stderr))
    assert not rules.keys() & {"fetch_dataset", "measure", "aggregate", "table", "figure", "page"}
    assert (rules["train"], rules["score"]) == (4, 6)


@pytest.mark.all
@pytest.mark.timeout(3600)
def test_a_trial_resumes_after_every_time_limit(slurm: Cluster, rerun: Project) -> None:
    """Warned a minute or two before its limit of three, it takes several jobs."""
    rerun.edit("cut-down.yaml", "max_steps: 4, eval_steps: 2, logging_steps: 2",
               "max_steps: 8000, eval_steps: 2000, logging_steps: 100")  # fmt: skip
    rerun.edit("profiles/slurm/config.yaml", "train_minutes: 1440", "train_minutes: 3")
    rerun.edit("profiles/slurm/config.yaml", "warning_seconds: 300", "warning_seconds: 60")
    rerun.run(*CUT_DOWN, "--", f"{TRIALS[0]}/trial.json")
    before = {name: sha256(rerun.folder / TRIALS[0] / name) for name in SAME}
    # A finished work directory would only be published again.
    shutil.rmtree(rerun.folder / TRIALS[0] / "work")
    again = ("--forcerun", "train", "--", f"{TRIALS[0]}/trial.json")
    done = rerun.run(*SLURM, "--retries", "20", *again)
    jobs = submitted(done.stdout + done.stderr)[REQUEUED]
    states = slurm.jobs()
    assert [states[job] for job in jobs] == ["FAILED"] * (len(jobs) - 1) + ["COMPLETED"]
    assert len(jobs) > 1
    assert {name: sha256(rerun.folder / TRIALS[0] / name) for name in SAME} == before
    run = read_json(rerun.folder / TRIALS[0] / "train.json")
    assert run["resumed"] == len(jobs) - 1
