"""What touches Snakemake; the rest `PLAN` and `REPORTS` know (scripts/config/plan/).

Takes: the configuration.
Makes: no file.
"""

import gc
import json
import os
import re
import shlex
import signal
import sys
import time
from functools import cache
from itertools import chain
from pathlib import Path

from snakemake.jobs import Job
from snakemake.persistence import PersistenceBase

from scripts.common.cli import BadInput, printable
from scripts.common.files import in_the_way, shortest
from scripts.common.folders import unwritable
from scripts.common.hub import hub_folder
from scripts.common.splits import SPLITS
from scripts.config.base import PLAIN, is_odd
from scripts.config.check import load
from scripts.config.files import ConfigError, read_config
from scripts.config.plan import Reports, make_plan, unfinished
from scripts.config.plan.paths import ADAPTER
from scripts.config.plan.report import PAGE
from scripts.provenance import digests, environment
from scripts.provenance.publish import published_in
from scripts.provenance.sources import sources_digest
from scripts.report.catalog import FIGURES, TABLES

# A plan of a thousand trials is objects that stay: a tenth of its time went into looking for others.
gc.set_threshold(100_000, 50, 100)
# Slurm warns every process of a job with this signal; by default Snakemake would end, and the job.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

# PYTHONPATH ends at a colon.
if is_odd(workflow.basedir) or ":" in workflow.basedir:
    raise SystemExit(f"the project's folder: found {workflow.basedir!r}: {PLAIN}, and without :")
# The hub is off; the rules that fetch turn it on for themselves.
shell.prefix(
    f"set -euo pipefail; export PYTHONSAFEPATH=1 PYTHONPATH={shlex.quote(workflow.basedir)}"
    " HF_HUB_OFFLINE=1; "
)


def remember_failures():
    """Have Snakemake not record a failed job as done.

    Snakemake 9.27 does (https://github.com/snakemake/snakemake/issues/3808). With new settings, whose
    job failed, and old results of the jobs after it, the next run had nothing to do, and the old
    results passed for those of the new settings.
    """
    postprocess, finished = Job.postprocess, PersistenceBase.finished

    async def postprocess_or_fail(job, *words, error=False, **options):
        job.is_failed = error
        await postprocess(job, *words, error=error, **options)

    async def finished_unless_failed(persistence, job):
        if not job.is_failed:
            await finished(persistence, job)

    Job.postprocess, PersistenceBase.finished = postprocess_or_fail, finished_unless_failed


remember_failures()
# Of a module; each of a thousand trials asks for its trainer's.
code_digest = cache(digests.code_digest)


def require_yaml(file):
    """Stop with what is wrong in a config file as YAML, before Snakemake reads it."""
    try:
        read_config(file)
    except ConfigError as error:
        raise SystemExit(f"the configuration has mistakes\n{error}") from None


def plan_of(files, overrides):
    """Return the plan of the config files, or stop with what is wrong in them."""
    try:
        return make_plan(load(files, overrides))
    except ConfigError as error:
        raise SystemExit(f"the configuration has mistakes\n{error}") from None


def reports_of(plan):
    """Return what reports show; they wait for everything, unless the plan says otherwise."""
    results, metrics = folder("results"), folder("metrics")
    if metrics != results:
        # What was published of an experiment is whole.
        return Reports(plan, only=published_in(Path(metrics)))
    if not plan.allow_failed:
        return Reports(plan)
    return Reports(plan, unfinished(Path(results), plan, time.time()), Path(metrics))


def folder(pathvar):
    """Return the folder of results, of logs, or of the metrics that reports read."""
    return workflow.pathvars.apply(f"<{pathvar}>")


def env_file(env):
    """Return the file of a stage's conda env, in the form that the configuration chooses."""
    return f"../envs/{environment.form(env, PLAN.accelerator)}.yaml"


def env_digest(env):
    """Return the digest of a stage's env, in the form that the configuration chooses."""
    return environment.env_digest(env, PLAN.accelerator)


def as_json(part):
    """Return a part of the plan as the one string that a job is given."""
    return json.dumps(part, ensure_ascii=False)


def sources(inputs):
    """Return the digest of those of a job's inputs that no job makes, so that it reruns with them.

    Of params that are made of `input`, Snakemake asks no change; so this takes what the plan says.
    """
    files = chain.from_iterable([it] if isinstance(it, str) else it for it in inputs.values())
    return sources_digest(file for file in files if not file.startswith("<"))


def only(names):
    """Return the wildcard pattern that matches just these names."""
    return "|".join(map(re.escape, sorted(names))) or r"(?!)"


def check_gpus():
    """Stop where a trial needs more GPUs than there may be: Snakemake would give it fewer."""
    limit = workflow.global_resources.get("gpu").value
    if isinstance(limit, int) and (refusal := PLAN.lack_of_gpus(limit)):
        raise SystemExit(refusal)


def check_hub():
    """Stop with one line where a folder is to stand in for the hub and is none."""
    try:
        hub_folder()
    except BadInput as error:
        raise SystemExit(printable(str(error))) from None


def check_targets():
    """Stop with one line where the command line names what the configuration does not have.

    Snakemake reads the rules before its targets, and would say that an input function failed.
    """
    results = Path(folder("results"))
    for target in map(Path, sys.argv[1:]):
        if target.is_relative_to(results):
            if refusal := PLAN.refusal(target.relative_to(results)):
                raise SystemExit(f"{target}: {refusal}")


def check_folders():
    """Stop with one line where a file is in the place of a folder: Snakemake would say a traceback."""
    places = [".snakemake", *(f"{folder('results')}/{name}" for name in PLAN.folders())]
    places += [f"{folder(it)}/{name}" for it in ("logs", "benchmarks") for name in PLAN.named]
    if refusal := next(filter(None, map(in_the_way, places)), unwritable(".snakemake")):
        raise SystemExit(refusal)


onstart:
    # Planning, which comes before, writes to none of them.
    if refusal := next(
        filter(None, (unwritable(folder(it)) for it in ("results", "logs", "benchmarks"))), None
    ):
        raise SystemExit(refusal)


def job(rule, env, command, stdin="", keep=False, code=None):
    """Return a rule's shell command: its module, run by the wrapper that writes its provenance.

    What is worth hours is kept (scripts/provenance/kept.py). `code` is the digest of the code of what
    `checked` names; that of others is a param, with which they rerun. Inputs come through a file
    descriptor: thousands of them are too long for a command line. `exec`, so that what stops the job
    reaches the wrapper, which hands it on.
    """
    given = "<<'STDIN'" if stdin else ""
    planned = (code, env_digest(env)) if code else ("{params.code}", "{params.env}")
    results = shlex.quote(folder("results")).replace("{", "{{").replace("}", "}}")
    words = [
        "exec python -m scripts.provenance.job",
        f"--rule {rule} --env {env} --accelerator {PLAN.accelerator}",
        "--allow-env-drift" if PLAN.allow_env_drift else "",
        "--stdin" if stdin else "",
        "--keep" if keep else "",
        "--code {} --env-digest {}".format(*planned),
        f"--results {results}",
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
        if name in ("adapters", "start"):
            files = list(dict.fromkeys(os.path.dirname(file) for file in files))
        words += [f"--{name.replace('_', '-')}", *files] if files else []
    return shlex.join(words)


def named_files(names, files):
    """Return `name=file` for each file."""
    return [f"{name}={file}" for name, file in zip(names, files)]


def checked(*files):
    """Return the files of checks that a job waits for, and that never make it run again.

    The jobs that make them must have nothing that makes them run again either, such as digests among
    their params: of what waits for an `ancient` file that is made again in the same run, Snakemake
    9.27 does not ask whether it changed too, and leaves it as it was
    (https://github.com/snakemake/snakemake/issues/4166).
    """
    return [ancient(file) for file in files]


def backend_checks(source):
    """Return what a download waits for: a backend that cannot run is told before it begins."""
    return checked("<results>/backends.json") if source.is_on_hub else []


# ------------------------------------------------------------------------------------------ reports


def owned(entry, files):
    """Return the command-line option that names references' costs by experiment, if any."""
    named = named_files(REPORTS.reference_costs(entry).values(), files)
    return shlex.join(["--references", *named]) if named else ""


def states():
    """Return the command-line options that say what is not done, where reports do not wait for it.

    Reasons stand in failed.json: those of a thousand trials are too long for a command line.
    """
    if not PLAN.allow_failed:
        return ""
    return shlex.join(["--states", as_json(REPORTS.undone()), "--logs", folder("logs")])


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
    """Return the page of a whole run: one in progress has none."""
    return [] if PLAN.allow_failed else ["<results>/report.html"]
