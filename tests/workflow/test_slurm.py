"""Trials as jobs of a real Slurm cluster of one node, through profiles/slurm."""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from scripts.common.files import read_json, sha256
from tests.slurm.cluster import CannotStart, Cluster, Task, running, until
from tests.workflow.conftest import CUT_DOWN, Project, environment
from tests.workflow.same_bytes import differing

SLURM = (
    "--workflow-profile", "profiles/slurm", "--configfile", "demo/config.yaml", "cut-down.yaml",
    # This cluster has no accounting database, shares its disk with itself, and is asked often.
    "--slurm-status-command", "squeue", "--latency-wait", "5",
    "--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1",
)  # fmt: skip
# The jobs of a group are indented.
JOB = re.compile(r"^ *rule (\w+):\n(?: +.*\n)*? +resources: (.+)$", re.MULTILINE)
SUBMITTED = re.compile(r"SLURM jobid (\d+) \(log: \S+/(?:rule|group)_(\w+)/(\S*?)/?\d+\.log\)")
REQUEUED, WARNED = "sft-r4", "sft-r16"
TRIALS = [f"results/demo/trials/{trial}/seed-0" for trial in (REQUEUED, WARNED)]
AGAIN = ("--forcerun", "train", "--", *(f"{folder}/trial.json" for folder in TRIALS))
SAME = ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", "history.jsonl")
"""What is the same to the last bit however often a trial was stopped."""


def test_every_job_that_uses_a_gpu_asks_for_one_and_no_other_does(project: Project) -> None:
    """Of the paper: rules that name a GPU, and those that the profile sends where GPUs are."""
    done = project.run("-n", "--workflow-profile", "profiles/slurm", "all", "plan", "probes")
    asked = {"cpu": set(), "gpu": set()}
    for rule, resources in JOB.findall(done.stdout + done.stderr):
        uses = "gpu" if re.search(r"(^|, )gpu=1\b", resources) else "cpu"
        assert f"slurm_partition={uses}," in f"{resources},", rule
        assert "slurm_extra=--signal=USR1@300 --open-mode=append" in resources, rule
        asked[uses].add(rule)
    training = {"probe", "reference", "score", "train"}
    assert asked["gpu"] == {"check_backends", "plan", *training}
    assert {"prepare_dataset", "tokenize", "measure", "table", "figure", "page"} <= asked["cpu"]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    """Returns a running cluster; tests are skipped where none can be started."""
    with ExitStack() as stack:
        try:
            if shutil.which("nvidia-smi"):
                raise CannotStart("jobs would train on this machine's GPU, which rounds otherwise")
            cluster = stack.enter_context(running())
        except CannotStart as reason:
            if os.environ.get("CI") and shutil.which("apt-get"):
                pytest.fail(f"no Slurm cluster: {reason}")
            pytest.skip(f"no Slurm cluster: {reason}")
        yield cluster


@dataclass(frozen=True)
class Run:
    """What happened to the two trials that ran side by side."""

    project: Project
    before: dict[str, str]
    """Digests of what they made on this machine without Slurm, by file."""
    together: dict[str, str]
    """The state of every job at the moment at which both trials were at work."""
    first: list[Task]
    """The tasks that had begun then."""
    jobs: dict[str, list[str]]
    """The numbers of the Slurm jobs of each trial."""
    states: dict[str, str]
    restarts: dict[str, str]
    output: str


def digests(project: Project) -> dict[str, str]:
    """Returns the digest of every file of the two trials that must not change."""
    files = [f"{folder}/{name}" for folder in TRIALS for name in SAME]
    return {file: sha256(project.folder / file) for file in files}


def submitted(output: str) -> dict[str, list[str]]:
    """Returns the numbers of the jobs that Snakemake submitted, by their first wildcard or rule."""
    found: dict[str, list[str]] = {}
    for job, rule, wildcards in SUBMITTED.findall(output):
        found.setdefault(wildcards.split("_")[0] or rule, []).append(job)
    return found


@pytest.fixture(scope="module")
def survived(slurm: Cluster, finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trains two trials side by side anew; the one is requeued, the other warned of its end."""
    folder = tmp_path_factory.mktemp("slurm") / "project"
    shutil.copytree(finished.folder, folder, symlinks=True)
    project = Project(folder)
    before = digests(project)
    log = folder / "snakemake.log"
    with open(log, "wb") as lines:
        process = subprocess.Popen(
            project.command(*SLURM, *AGAIN),
            cwd=folder, env=environment(), stdout=lines, stderr=lines,
        )  # fmt: skip
    try:
        # Written when the trainer heeds signals, before it loads what takes long.
        begun = [folder / trial / "work" / "progress.json" for trial in TRIALS]

        def both_began() -> bool:
            assert process.poll() is None, log.read_text(encoding="utf-8")[-6000:]
            return all(path.exists() for path in begun)

        until(both_began, "the trials do not begin", 240)
        together, first = slurm.jobs(), slurm.tasks()
        jobs = submitted(log.read_text(encoding="utf-8"))
        for command in (
            ["scontrol", "requeue", *jobs[REQUEUED]],
            # As Slurm sends it before a time limit: to the job's steps, not to its batch script.
            ["scancel", "--signal=USR1", *jobs[WARNED]],
        ):
            subprocess.run(command, check=True)
        assert process.wait(300) == 0, log.read_text(encoding="utf-8")[-6000:]
    finally:
        process.kill()
    output = log.read_text(encoding="utf-8")
    jobs = submitted(output)
    return Run(
        project,
        before,
        together,
        first,
        jobs,
        slurm.jobs(),
        {job: slurm.facts(job)["Restarts"] for numbers in jobs.values() for job in numbers},
        output,
    )


def test_two_trials_run_side_by_side_each_on_a_gpu_of_its_own(survived: Run) -> None:
    numbers = [survived.jobs[trial][0] for trial in (REQUEUED, WARNED)]
    assert [survived.together[number] for number in numbers] == ["RUNNING", "RUNNING"]
    assert sorted(task.job for task in survived.first) == sorted(numbers)
    assert sorted(task.gpus for task in survived.first) == ["0", "1"]


def test_a_requeued_trial_goes_on_in_the_same_job(survived: Run) -> None:
    (job,) = survived.jobs[REQUEUED]
    assert (survived.states[job], survived.restarts[job]) == ("COMPLETED", "1")


def test_a_trial_that_is_warned_ends_itself_and_is_submitted_again(survived: Run) -> None:
    stopped, again = survived.jobs[WARNED]
    assert (survived.states[stopped], survived.restarts[stopped]) == ("FAILED", "0")
    assert (survived.states[again], survived.restarts[again]) == ("COMPLETED", "0")


def test_what_was_stopped_has_the_bytes_of_what_was_not(survived: Run) -> None:
    assert digests(survived.project) == survived.before


def test_the_profile_makes_nothing_stale(survived: Run) -> None:
    targets = AGAIN[AGAIN.index("--") :]
    assert survived.project.jobs(*SLURM, *targets) == []


@pytest.mark.all
def test_the_whole_demo_makes_of_slurm_jobs_what_it_makes_without(
    slurm: Cluster, finished: Project, project: Project
) -> None:
    done = project.run(*SLURM)
    first, again = (it.folder / "results" / "demo" for it in (finished, project))
    assert differing(first, again) == []
    rules = Counter(rule for _, rule, _ in SUBMITTED.findall(done.stdout + done.stderr))
    assert not rules.keys() & {"fetch_dataset", "measure", "aggregate", "table", "figure", "page"}
    assert (rules["train"], rules["score"]) == (4, 6)


@pytest.mark.all
def test_a_trial_goes_on_after_every_time_limit(slurm: Cluster, rerun: Project) -> None:
    """Warned one minute before the third ends, or up to two, it takes several jobs."""
    rerun.edit("cut-down.yaml", "max_steps: 4, eval_steps: 2, logging_steps: 2",
               "max_steps: 8000, eval_steps: 2000, logging_steps: 100")  # fmt: skip
    rerun.edit("profiles/slurm/config.yaml", "train_minutes: 1440", "train_minutes: 3")
    rerun.edit("profiles/slurm/config.yaml", "warning_seconds: 300", "warning_seconds: 60")
    rerun.run(*CUT_DOWN, "--", f"{TRIALS[0]}/trial.json")
    before = {name: sha256(rerun.folder / TRIALS[0] / name) for name in SAME}
    # What is finished and not scored would be published again.
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
