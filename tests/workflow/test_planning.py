"""Planning time, compared with Snakemake's own time for as many jobs.

Planning speed differs by more than a factor of two between machines, and from hour to hour on one;
so times are compared with a plan of trivial jobs, made in the same test.
"""

import resource

import pytest
import yaml

from tests.workflow.conftest import Project, cpu_seconds
from tests.workflow.test_dag import LITERAL


def test_planning_the_paper_takes_at_most_three_seconds(project: Project, slowness: float) -> None:
    assert cpu_seconds(project, *LITERAL) < 3 * slowness


@pytest.mark.all
@pytest.mark.timed
def test_planning_a_thousand_trials_takes_at_most_fifteen_seconds(
    project: Project, slowness: float
) -> None:
    config = yaml.safe_load((project.folder / "config.yaml").read_text(encoding="utf-8"))
    phases = config["experiments"]["tinyllama"]
    # Some of the names are asked for elsewhere in the file.
    for phase, name in {"sft": "sft", "preference": "dpo"}.items():
        first = phases[phase]["trials"][0]
        phases[phase]["trials"] = [first | {"name": f"{name}-{i}"} for i in range(1, 501)]
    (project.folder / "many.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert cpu_seconds(project, *LITERAL, "--configfile", "many.yaml") < 15 * slowness
    # Peak memory of this process's children, in KiB.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2**20
