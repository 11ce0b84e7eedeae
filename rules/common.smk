"""What touches Snakemake: the plan of its config files, commands, digests, and the rest of the machine.

Takes the configuration; makes no file. What a wildcard stands for, and the inputs and parameters of
each job, `PLAN` and `REPORTS` know (scripts/config/plan/).
"""

import json
import re
import shlex
import sys
import time
from pathlib import Path

from scripts.common.files import shortest
from scripts.common.splits import SPLITS
from scripts.common.states import FAILED, unfinished
from scripts.config.check import load
from scripts.config.files import ConfigError
from scripts.config.plan import Reports, make_plan
from scripts.config.plan.paths import ADAPTER
from scripts.config.plan.report import PAGE
from scripts.provenance import digests, environment
from scripts.provenance.digests import code_digest
from scripts.report.catalog import EVERYTHING, FIGURES, TABLES

ADAPTERS = ("adapters", "start")
"""The inputs that are files of adapters."""


def plan_of(files, overrides):
    """Return the plan of the config files, or stop with what is wrong in them."""
    try:
        return make_plan(load(files, overrides))
    except (ConfigError, ValueError) as error:
        raise SystemExit(f"the configuration has mistakes\n{error}") from None


def reports_of(plan):
    """Return what reports show; they wait for everything, unless the plan says otherwise."""
    results, metrics = results_root(), metrics_root()
    # What was published of a run is whole.
    if not plan.allow_failed or metrics != results:
        return Reports(plan)
    return Reports(plan, unfinished(Path(results), plan, time.time()), Path(metrics))


def results_root():
    """Return the folder that results go to."""
    return workflow.pathvars.apply("<results>")


def metrics_root():
    """Return the folder that reports read."""
    return workflow.pathvars.apply("<metrics>")


def env_file(env):
    """Return the file of a stage's conda env, in the form that the configuration chooses."""
    return f"../envs/{environment.form(env, PLAN.accelerator)}.yaml"


def env_digest(env):
    """Return the digest of a stage's env, in the form that the configuration chooses."""
    return digests.env_digest(env, PLAN.accelerator)


def as_json(part):
    """Return a part of the plan as the one string that a job is given."""
    return json.dumps(part, ensure_ascii=False)


def only(names):
    """Return the wildcard pattern that matches just these names."""
    return "|".join(map(re.escape, sorted(names))) or r"(?!)"


def check_gpus():
    """Stop where a trial needs more GPUs than there may be: Snakemake would give it fewer."""
    limit = workflow.global_resources.get("gpu").value
    for run in PLAN.runs.values():
        processes = run.training.processes
        if isinstance(limit, int) and processes > max(limit, 1):
            raise SystemExit(
                f"trial {run.name}: found processes {processes}, each on a GPU of its own,"
                f" under a limit of {limit}; allowed is --resources gpu={processes} or more"
            )


def check_targets():
    """Stop with one line where the command line names what the configuration does not have.

    Snakemake reads the rules before its targets, and would say that an input function failed.
    """
    results = Path(results_root())
    for target in map(Path, sys.argv[1:]):
        if target.is_relative_to(results):
            if refusal := PLAN.refusal(target.relative_to(results)):
                raise SystemExit(f"{target}: {refusal}")


def job(rule, env, command, stdin=""):
    """Return a rule's shell command: its module, run by the wrapper that writes its provenance.

    Inputs come through a file descriptor: thousands of them are too long for a command line.
    `exec`, so that what stops the job reaches the wrapper, which hands it on.
    """
    given = "<<'STDIN'" if stdin else ""
    words = [
        "exec python -m scripts.provenance.job",
        f"--rule {rule} --env {env} --accelerator {PLAN.accelerator}",
        "--allow-env-drift" if PLAN.allow_env_drift else "",
        "--code {params.code} --env-digest {params.env}",
        f"--results {shlex.quote(results_root()).replace('{', '{{').replace('}', '}}')}",
        "--provenance {output.provenance:q} --outputs {output:q} --inputs-from 3",
        f"-- {command} 2> {{log:q}} 3<<'INPUTS' {given}",
    ]
    documents = ["{input:q}", "INPUTS"] + ([stdin, "STDIN"] if stdin else [])
    return "\n".join([" ".join(filter(None, words)), *documents])


def options(input, *names):
    """Return `--name file …` for those of the named inputs that this job has, quoted.

    An adapter is named by its folder, because that is what loads it.
    """
    words = []
    for name in names:
        value = input.get(name, [])
        files = [value] if isinstance(value, str) else list(value)
        if name in ADAPTERS:
            files = list(dict.fromkeys(str(Path(file).parent) for file in files))
        words += [f"--{name.replace('_', '-')}", *files] if files else []
    return shlex.join(words)


def named_files(names, files):
    """Return `name=file` for each file."""
    return [f"{name}={file}" for name, file in zip(names, files)]


def backend_checks(source):
    """Return what a download waits for: a backend that cannot run is told before it begins.

    It is the same for every plan, and only its presence counts, or another backend would fetch
    everything again.
    """
    return [ancient("<results>/backends.json")] if source.is_on_hub else []


# ------------------------------------------------------------------------------------------ reports


def owned(entry, files):
    """Return the command-line option that names references' costs by experiment, if any."""
    named = named_files(REPORTS.reference_costs(entry).values(), files)
    return shlex.join(["--references", *named]) if named else ""


def failures():
    """Return what failed trials left, where tables do not wait for them."""
    return [
        f"<results>/{folder}/work/failed.json"
        for folder, state in dict(REPORTS.unfinished).items()
        if state.word == FAILED and not state.start
    ]


def states():
    """Return the command-line options that say what has become of what is not done.

    Reasons stand in failed.json: those of a thousand trials are too long for a command line.
    """
    if not PLAN.allow_failed:
        return ""
    found = {
        folder: [state.word, *filter(None, [state.start])]
        for folder, state in dict(REPORTS.unfinished).items()
    }
    return shlex.join(["--states", as_json(found), "--logs", workflow.pathvars.apply("<logs>")])


def mark():
    """Return the command-line option that says what the run is, if it is not a full one."""
    return shlex.join(["--mark", PLAN.mark]) if PLAN.mark else ""


def tables(*kinds):
    """Return every table's files of these kinds."""
    return expand("<results>/tables/{table}.{kind}", table=REPORTS.tables(), kind=kinds)


def figures(*kinds):
    """Return every figure's files of these kinds."""
    return expand("<results>/figures/{figure}.{kind}", figure=REPORTS.figures(), kind=kinds)


def own_file(path):
    """Return a file of the project as a job is given it, wherever the results go."""
    return shortest(Path(workflow.basedir, path))


def page_files():
    """Return the template, style sheet and script that a page is made of."""
    folder = Path(workflow.basedir, "scripts/report/page")
    return sorted(shortest(path) for path in folder.glob("page.*"))


def page():
    """Return the page of a whole run: one in progress, or of which little was kept, has none."""
    whole = metrics_root() == results_root() and not PLAN.allow_failed
    return ["<results>/report.html"] if whole else []
