"""What planning takes: in CPU seconds, which other work on the same cores makes more."""

import resource

import yaml

from tests.workflow.conftest import Project
from tests.workflow.test_dag import LITERAL


def cpu_seconds(project: Project, *words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    project.run("-n", "--quiet", "all", *words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_planning_the_paper_takes_at_most_three_seconds(project: Project) -> None:
    assert cpu_seconds(project, *LITERAL) < 3


def test_planning_a_thousand_trials_takes_at_most_fifteen_seconds(project: Project) -> None:
    config = yaml.safe_load((project.folder / "config.yaml").read_text(encoding="utf-8"))
    phases = config["experiments"]["tinyllama"]
    for phase in ("sft", "dpo"):
        first = phases[phase]["trials"][0]
        phases[phase]["trials"] = [first | {"name": f"{phase}-{i}"} for i in range(1, 501)]
    (project.folder / "many.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert cpu_seconds(project, *LITERAL, "--configfile", "many.yaml") < 15
    # The most that any of this process's children has held, in KiB.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2**20
