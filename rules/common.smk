"""Functions that the rules share: the plan behind the wildcards, and digests of code and env.

Takes the configuration; makes no file. `PLAN` holds everything that the configuration asks for,
under the names that stand in paths.
"""

import json
import re
import shlex
import time
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

from scripts.provenance import digests
from scripts.provenance import environment
from scripts.config.check import load
from scripts.config.files import ConfigError
from scripts.provenance.digests import code_digest
from scripts.common.files import shortest
from scripts.common.methods import METHODS
from scripts.train.estimate.pace import pace_of
from scripts.config.plan import make_plan
from scripts.common.splits import SPLITS
from scripts.common.states import FAILED, unfinished
from scripts.models.manifest import snapshot_files


def plan_of(files, overrides):
    """Returns the plan of the config files, or stops with what is wrong in them."""
    try:
        return make_plan(load(files, overrides))
    except (ConfigError, ValueError) as error:
        raise WorkflowError(f"the configuration has mistakes\n{error}") from None


def env_file(env):
    """Returns the file of a stage's conda env, in the form that the configuration chooses."""
    return f"../envs/{environment.form(env, PLAN.accelerator)}.yaml"


def env_digest(env):
    """Returns the digest of a stage's env, in the form that the configuration chooses."""
    return digests.env_digest(env, PLAN.accelerator)


def as_json(part):
    """Returns a part of the plan as the one string that a job is given."""
    return json.dumps(part, ensure_ascii=False)


def only(names):
    """Returns the wildcard pattern that matches just these names."""
    return "|".join(map(re.escape, sorted(names))) or r"(?!)"


def without(part, *keys):
    """Returns a part of the plan less some keys."""
    return {key: value for key, value in part.items() if key not in keys}


def trained(plan):
    """Returns the models and the tokens that trials use, each once."""
    return {
        key: sorted({trial["training"][key] for trial in plan.trials.values()})
        for key in ("model", "tokens")
    }


def probed(plan):
    """Returns by name the first trial of each pace, as it is trained."""
    first = {}
    for trial in plan.trials.values():
        # A probe is one process.
        if trial["training"]["processes"] > 1:
            continue
        first.setdefault(as_json(pace_of(trial["training"])), trial["training"])
    return {trial["name"]: trial for trial in first.values()}


def seeds_of(plan):
    """Returns the folders of each trial, one a seed, by the trial's name."""
    found = {}
    for folder, trial in plan.trials.items():
        found.setdefault(trial["name"], []).append(folder)
    return found


def unfinished_of(plan):
    """Returns by folder the states of all that tables need not wait for.

    None in a plain run, and of what was published, which is whole.
    """
    results = workflow.pathvars.apply("<results>")
    awaited = not plan.allow_failed or metrics_root() != results
    return {} if awaited else unfinished(Path(results), plan, time.time())


# -------------------------------------------------------------------------------------- commands


def job(rule, env, command, stdin=""):
    """Returns a rule's shell command: its module, run by the wrapper that writes its provenance.

    Inputs come through a file descriptor: thousands of them are too long for a command line.
    `exec`, so that what stops the job reaches the wrapper, which hands it on.
    """
    results = shlex.quote(workflow.pathvars.apply("<results>"))
    given = "<<'STDIN'" if stdin else ""
    words = [
        "exec python -m scripts.provenance.job",
        f"--rule {rule} --env {env} --accelerator {PLAN.accelerator}",
        "--allow-env-drift" if PLAN.allow_env_drift else "",
        "--code {params.code} --env-digest {params.env}",
        f"--results {results.replace('{', '{{').replace('}', '}}')}",
        "--provenance {output.provenance:q} --outputs {output:q} --inputs-from 3",
        f"-- {command} 2> {{log:q}} 3<<'INPUTS' {given}",
    ]
    documents = ["{input:q}", "INPUTS"] + ([stdin, "STDIN"] if stdin else [])
    return "\n".join([" ".join(filter(None, words)), *documents])


# ---------------------------------------------------------------------------------- files by name


def manifest(model):
    return f"<results>/models/{model}/manifest.json"


def tokenizer(model):
    return f"<results>/models/{model}/tokenizer/manifest.json"


def data_split(dataset, split):
    return f"<results>/data/{dataset}/{split}.parquet"


def token_split(tokens, split):
    return f"<results>/tokens/{tokens}/{split}.parquet"


def reference_split(reference, split):
    return f"<results>/references/{reference}/{split}.parquet"


ADAPTER = ["adapter_model.safetensors", "adapter_config.json", "README.md"]


def adapter_files(folder):
    """Returns the files of a trial's adapter that loading it reads."""
    return [f"<results>/{folder}/adapter/{file}" for file in ADAPTER[:2]]


def finished(trial):
    """Tells whether no seed of a trial is among what tables need not wait for."""
    return not any(folder in UNFINISHED for folder in SEEDS[trial])


def seed_files(trial, file):
    """Returns a file of each seed of a trial."""
    return [f"<results>/{folder}/{file}" for folder in SEEDS[trial]]


# ------------------------------------------------------------------------------- inputs by wildcard


def backend_checks(source):
    """Returns what a download waits for: a backend that cannot run is told before it begins.

    It is the same for every plan, and only its presence counts, or another backend would fetch
    everything anew.
    """
    return [ancient("<results>/backends.json")] if "hub" in source else []


def folder_files(model):
    """Returns the files of a model in a local folder; one on the hub has none here."""
    folder = PLAN.models[model]["source"].get("folder")
    return [f"{folder}/{name}" for name in snapshot_files(Path(folder))] if folder else []


def tokenize_inputs(wildcards):
    tokens = PLAN.tokens[wildcards.tokens]
    files = {
        "data": [data_split(tokens["dataset"], split) for split in SPLITS],
        "model": tokenizer(tokens["model"]),
    }
    return files | ({"template": tokens["template"]} if tokens["template"] else {})


def doctor_inputs(wildcards):
    tokens = PLAN.tokens[wildcards.tokens]
    generation = PLAN.examined[wildcards.tokens]
    return tokenize_inputs(wildcards) | {
        "generation_template": [] if generation == "chat" else generation,
        "dropped": f"<results>/data/{tokens['dataset']}/dropped.parquet",
        "tokens": [token_split(wildcards.tokens, split) for split in SPLITS],
        "report": f"<results>/tokens/{wildcards.tokens}/report.json",
    }


def overlap_inputs(wildcards):
    overlap = PLAN.overlaps[wildcards.overlap]
    return {name: data_split(part["dataset"], part["split"]) for name, part in overlap.items()}


def lookup_inputs(wildcards):
    lookup = PLAN.lookups[wildcards.lookup]
    return {split: data_split(lookup["dataset"], lookup[split]) for split in ("train", "test")}


def reference_inputs(wildcards):
    reference = PLAN.references[wildcards.reference]
    files = {
        "model": manifest(reference["model"]),
        "tokens": token_split(reference["tokens"], wildcards.split),
    }
    return files | ({"start": adapter_files(reference["start"])} if reference["start"] else {})


def training(wildcards):
    """Returns the trial as it is trained: all that its training reads, and nothing else."""
    return PLAN.trials[f"trials/{wildcards.trial}/seed-{wildcards.seed}"]["training"]


def program(wildcards):
    """Returns the module that trains a trial, started by what starts several where it has them."""
    processes, module = training(wildcards)["processes"], trainer(wildcards)
    started = f"scripts.train.processes --count {processes} {module}"
    return module if processes == 1 else started


def trainer(wildcards):
    """Returns the module that trains a trial by its method."""
    return METHODS[training(wildcards)["method"]].trainer


def check_gpus():
    """Stops where a trial needs more GPUs than there may be: Snakemake would give it fewer."""
    limit = workflow.global_resources.get("gpu").value
    for trial in PLAN.trials.values():
        processes = trial["training"]["processes"]
        if isinstance(limit, int) and processes > max(limit, 1):
            raise WorkflowError(
                f"trial {trial['name']}: found processes {processes}, each on a GPU of its own,"
                f" under a limit of {limit}; allowed is --resources gpu={processes} or more"
            )


def training_inputs(wildcards):
    trial = training(wildcards)
    files = {
        "model": manifest(trial["model"]),
        "tokens": token_split(trial["tokens"], trial["train"]),
    }
    if trial["valid"]:
        files["valid_tokens"] = token_split(trial["tokens"], trial["valid"])
    if METHODS[trial["method"]].has_reference:
        files["reference"] = reference_split(trial["reference"], trial["train"])
        if trial["valid"]:
            files["valid_reference"] = reference_split(trial["reference"], trial["valid"])
        if trial["start"]:
            files["start"] = adapter_files(trial["start"])
    return files


def score_inputs(wildcards):
    subject = PLAN.subject(wildcards.subject)
    evaluation = subject["evaluation"]
    files = {"model": manifest(subject["model"])}
    if subject["adapters"]:
        files["adapters"] = [file for a in subject["adapters"] for file in adapter_files(a)]
    for kind in ("completions", "pairs"):
        asked = evaluation[kind]
        if asked:
            files[kind] = token_split(asked["tokens"], asked["split"])
    files["prompts"] = [
        token_split(asked["tokens"], asked["split"]) for asked in evaluation["prompts"].values()
    ]
    if evaluation["pairs"]:
        files["reference"] = reference_split(evaluation["reference"], evaluation["pairs"]["split"])
    if overwrites(subject) and any(asked["kl"] for asked in evaluation["prompts"].values()):
        files["start"] = adapter_files(subject["training"]["start"])
    return files


def overwrites(subject):
    """Tells whether a trial's adapter lies over its start's, which is then in no merged model."""
    return subject.get("training", {}).get("start_as") == "overwritten"


def judged_sets(folder):
    """Returns the sets of prompts on which a judge compares a trial with its base."""
    subject = PLAN.subject(folder)
    prompts = subject["evaluation"]["prompts"] if subject["adapters"] else {}
    return {name: asked for name, asked in prompts.items() if asked["judge"]}


def judged_trials():
    """Returns the folders of the trials that a judge compares with their base."""
    return [folder for folder in PLAN.trials if judged_sets(folder)]


def judge_inputs(wildcards):
    base = PLAN.subject(wildcards.subject)["experiment"]
    sets = judged_sets(wildcards.subject).values()
    return {
        "tuned": f"<results>/{wildcards.subject}/generations.parquet",
        "base": f"<results>/bases/{base}/generations.parquet",
        "sets_rows": [data_split(asked["dataset"], asked["split"]) for asked in sets],
        "models": [manifest(asked["judge"]["model"]) for asked in sets],
        "templates": [asked["judge"]["template"] for asked in sets],
    }


def measure_inputs(wildcards):
    evaluation = PLAN.subject(wildcards.subject)["evaluation"]
    kinds = ("completions", "pairs", "generations")
    files = {kind: f"<results>/{wildcards.subject}/{kind}.parquet" for kind in kinds}
    for kind in ("completions", "pairs"):
        part = evaluation[kind]
        if part:
            files[f"{kind}_rows"] = data_split(part["dataset"], part["split"])
    prompts = evaluation["prompts"].values()
    files["sets_rows"] = [data_split(asked["dataset"], asked["split"]) for asked in prompts]
    files["overlaps"] = [
        f"<results>/overlaps/{asked['overlap']}.parquet" for asked in prompts if asked["overlap"]
    ]
    if judged_sets(wildcards.subject):
        files["verdicts"] = f"<results>/{wildcards.subject}/verdicts.parquet"
    return files


def compared_files(experiment):
    """Returns what comparing an experiment's models reads: items, and how trials were trained."""
    plan = compared(experiment)
    return [f"<results>/bases/{experiment}/items.parquet"] + [
        f"<results>/trials/{folder}/{file}"
        for runs in plan["trials"].values()
        for folder in runs
        for file in ("items.parquet", "trial.json")
    ]


# ------------------------------------------------------------------------------- params by wildcard


def token_lengths(wildcards):
    """Returns the command line options that say how long rows may be."""
    tokens = PLAN.tokens[wildcards.tokens]
    keys = ("max_length", "max_prompt_length")
    lengths = {key: tokens[key] for key in keys if tokens[key] is not None}
    return " ".join(f"--{key.replace('_', '-')} {length}" for key, length in lengths.items())


def model_of(wildcards):
    """Returns the model that a reference's log-probs come from."""
    return PLAN.models[PLAN.references[wildcards.reference]["model"]]


GENERATION = ["limit", "max_new_tokens", "do_sample", "temperature", "top_p", "own_settings"]
GENERATION += ["seed", "batch_size", "kl"]


def score_settings(wildcards):
    """Returns the command line options that say how a model is loaded and scored."""
    subject = PLAN.subject(wildcards.subject)
    model, evaluation = PLAN.models[subject["model"]], subject["evaluation"]
    words = ["--precision", model["precision"], "--quantization", model["quantization"]]
    if evaluation["pairs"] and subject["adapters"]:
        words += ["--beta", str(subject["training"]["trainer"]["beta"])]
    if evaluation["prompts"]:
        # How an answer is cut out of what was written, and what is scored, is for measuring.
        sets = {
            name: {key: asked[key] for key in GENERATION}
            # A base is its own reference.
            | ({} if subject["adapters"] else {"kl": False})
            for name, asked in evaluation["prompts"].items()
        }
        words += ["--generate", as_json(sets)]
    return shlex.join(words)


def duels(wildcards):
    """Returns by set the judge, and how an answer is cut out of what was written."""
    return {
        name: {
            "judge": asked["judge"] | held(PLAN.models[asked["judge"]["model"]]),
            "answer_after": asked["answer_after"],
            "answer_before": asked["answer_before"],
        }
        for name, asked in judged_sets(wildcards.subject).items()
    }


def held(model):
    """Returns how a model's weights are held in memory."""
    return {key: model[key] for key in ("precision", "quantization")}


def prompt_sets(wildcards):
    """Returns the sets of prompts that a trial or base answers, and how."""
    prompts = PLAN.subject(wildcards.subject)["evaluation"]["prompts"]
    return {name: without(asked, "tokens") for name, asked in prompts.items()}


def identity(folder):
    """Returns what tells a trial or base from the others."""
    subject = PLAN.subject(folder)
    own = {key: subject[key] for key in ("name", "experiment", "method", "seed")}
    return own | (splits_of_trial(subject) if "training" in subject else {})


def aggregated(name):
    """Returns what tells a trial from the others."""
    trial = PLAN.trials[SEEDS[name][0]]
    return {key: trial[key] for key in ("name", "experiment", "method")} | splits_of_trial(trial)


def splits_of_trial(trial):
    """Returns on which splits a trial is reported and selected.

    The adapter of the best evaluation is selected on the split of the evaluations.
    """
    training, evaluation = trial["training"], trial["evaluation"]
    best = training["trainer"]["load_best_model_at_end"]
    return {
        "held_out": {
            kind: evaluation[kind] and evaluation[kind]["split"]
            for kind in ("completions", "pairs")
        },
        "selected_on": training["valid"] if best else None,
    }


def compared(experiment):
    """Returns the models of an experiment that are compared: those of which all seeds are done."""
    runs = {
        method: [run for run in runs_of(experiment, method) if finished(run.split("/")[0])]
        for method in METHODS
    }
    return {
        "experiment": experiment,
        "base": PLAN.bases[f"bases/{experiment}"]["name"],
        "trials": {method: found for method, found in runs.items() if found},
    }


def named_folders(names, files):
    """Returns `name=folder` for each file."""
    return [f"{name}={Path(file).parent}" for name, file in zip(names, files)]


def named_files(names, files):
    """Returns `name=file` for each file."""
    return [f"{name}={file}" for name, file in zip(names, files)]


def options(input, *names):
    """Returns `--name file …` for those of the named inputs that this job has, quoted.

    An adapter is named by its folder, because that is what loads it.
    """
    words = []
    for name in names:
        value = input.get(name, [])
        files = [value] if isinstance(value, str) else list(value)
        if name in ("start", "adapters"):
            files = list(dict.fromkeys(str(Path(file).parent) for file in files))
        words += [f"--{name.replace('_', '-')}", *files] if files else []
    return shlex.join(words)


def owned(table, files):
    """Returns the command line option that names references' costs by experiment, if any."""
    named = named_files(reference_costs(table).values(), files)
    return shlex.join(["--references", *named]) if named else ""


# ------------------------------------------------------------------------------------------ reports

# Each table and figure: the methods that stand in it, and the files that it reads of each trial:
# metrics.json, of all its seeds; of each seed the others; train.json, too, which says the versions
# that stand below each. A base lacks those of training; a lookup, which stands beside the trials'
# accuracies, has metrics.json alone; comparison.json is the experiment's.
TABLES = {
    "sft": (["base", "sft"], ["metrics.json", "trial.json", "train.json", "comparison.json"]),
    "dpo": (["dpo", "lookup"], ["metrics.json", "trial.json", "train.json", "comparison.json"]),
    "summary": (["base", "sft", "dpo", "lookup"], ["metrics.json", "comparison.json"]),
    "results": (["dpo", "lookup"], ["metrics.json", "train.json"]),
    "metrics": (["base", "sft", "dpo", "lookup"], ["metrics.json"]),
    "seeds": (["sft", "dpo"], ["seed-*/metrics.json", "train.json"]),
    "differences": (["base", "sft", "dpo"], ["comparison.json"]),
    "comparison": (
        ["base", "sft", "dpo", "lookup"],
        ["metrics.json", "train.json", "comparison.json"],
    ),
    "examples": (["base", "shown"], ["metrics.json", "generations.parquet"]),
    "cost": (["base", "sft", "dpo"], ["train.json", "score.json"]),
}
FIGURES = {
    "curves": (["sft", "dpo"], ["metrics.json", "trial.json", "history.jsonl"]),
    "accuracy": (["dpo", "lookup"], ["metrics.json"]),
    "before_after": (["base", "sft", "dpo"], ["metrics.json"]),
    "forest": (["base", "sft", "dpo"], ["metrics.json", "comparison.json"]),
    "power": (["base", "sft", "dpo"], ["comparison.json"]),
    "sensitivity": (["sft", "dpo"], ["metrics.json", "trial.json"]),
    "reliability": (["dpo"], ["metrics.json", "seed-*/metrics.json", "items.parquet"]),
    "length": (["dpo"], ["metrics.json", "seed-*/metrics.json", "items.parquet"]),
    "quality": (["sft", "dpo"], ["metrics.json"]),
}


# What a page has beside the tables and figures, and what of it a base has too.
PAGE = ["base", "sft", "dpo", "lookup"]
SCORED = ["metrics.json", "generations.parquet", "items.parquet"]
OF_BASE = [*SCORED, "score.json"]


def reported(methods):
    """Returns, by experiment, what of it stands in a report, as reports are given it.

    Short, because a thousand trials must fit into one argument of a command line.
    """
    parts = [
        {
            "experiment": base["experiment"],
            "title": base["title"],
            "base": base["name"] if "base" in methods else None,
            "trials": {
                method: runs
                for method in METHODS
                if method in methods and (runs := runs_of(base["experiment"], method))
            },
            "lookup": base["lookup"] if "lookup" in methods else None,
            "shown": base["shown"] if "shown" in methods else {},
        }
        for base in PLAN.bases.values()
    ]
    return [part for part in parts if part["trials"] or part["shown"]]


@cache
def runs_of(experiment, method):
    """Returns an experiment's trials of a method as `{trial}/seed-{seed}`."""
    return [
        folder.removeprefix("trials/")
        for folder, trial in PLAN.trials.items()
        if (trial["experiment"], trial["method"]) == (experiment, method)
    ]


def reported_files(methods, files):
    """Returns the files that a table or figure reads."""
    parts = reported(methods)
    runs = [run for part in parts for those in part["trials"].values() for run in those]
    runs += [run for part in parts for shown in part["shown"].values() for run in shown]
    runs = list(dict.fromkeys(runs))
    folders = {
        "bases": [part["experiment"] for part in parts if part["base"] is not None],
        "baselines": [part["lookup"] for part in parts if part["lookup"] is not None],
        "trials": [it for it in dict.fromkeys(run.split("/")[0] for run in runs) if finished(it)],
        "seeds": runs,
    }
    own = ("metrics.json", "comparison.json")
    kept = {
        "bases": [file for file in files if file in OF_BASE],
        "baselines": [file for file in files if file == "metrics.json"],
        "trials": [file for file in files if file == "metrics.json"],
        "seeds": [
            file.removeprefix("seed-*/")
            for file in dict.fromkeys([*files, "train.json"])
            if file not in own
        ],
    }
    comparisons = [part["experiment"] for part in parts if "comparison.json" in files]
    return [
        f"<metrics>/comparisons/{experiment}.json"
        for experiment in comparisons
        if f"bases/{experiment}" not in UNFINISHED
    ] + [
        f"<metrics>/{place}/{file}"
        for room, names in folders.items()
        for name in names
        for place in [f"{'trials' if room == 'seeds' else room}/{name}"]
        if place not in UNFINISHED
        for file in kept[room]
    ]


def data_files(methods):
    """Returns the files that say what was left out of the data of a table's trials.

    Prompts that are answered stand in a table that has a row for the base.
    """
    experiments = {part["experiment"] for part in reported(methods)}
    used = {
        trial["training"]["tokens"]
        for trial in PLAN.trials.values()
        if trial["experiment"] in experiments and trial["method"] in methods
    }
    for base in PLAN.bases.values():
        if base["experiment"] in experiments and "base" in methods:
            used |= {asked["tokens"] for asked in base["evaluation"]["prompts"].values()}
    datasets = sorted({PLAN.tokens[tokens]["dataset"] for tokens in used})
    files = [f"<metrics>/data/{dataset}/dropped.parquet" for dataset in datasets]
    files += [f"<metrics>/tokens/{tokens}/report.json" for tokens in sorted(used)]
    return [file for file in files if not PLAN.allow_failed or is_there(file)]


def reference_costs(table):
    """Returns by file what a table reads of references' costs, and whose each is.

    A reference counts for the experiment that uses it first, and for no other.
    """
    used = {}
    for subject in [*PLAN.trials.values(), *PLAN.bases.values()] if table == "cost" else []:
        training, evaluation = subject.get("training", {}), subject["evaluation"]
        splits = [(training.get("reference"), training.get(key)) for key in ("train", "valid")]
        pairs = evaluation["pairs"] or {}
        for reference, split in [*splits, (evaluation["reference"], pairs.get("split"))]:
            if reference and split:
                file = f"<metrics>/references/{reference}/{split}.json"
                used.setdefault(file, subject["experiment"])
    return {file: name for file, name in used.items() if not PLAN.allow_failed or is_there(file)}


def is_there(file):
    """Tells whether a file of the results exists."""
    return Path(workflow.pathvars.apply(file)).is_file()


def failures():
    """Returns what failed trials left, where tables do not wait for them."""
    return [
        f"<results>/{folder}/work/failed.json"
        for folder, state in UNFINISHED.items()
        if state.word == FAILED and not state.start
    ]


def states():
    """Returns the command line options that say what has become of what is not done.

    Reasons stand in failed.json: those of a thousand trials are too long for a command line.
    """
    if not PLAN.allow_failed:
        return ""
    found = {
        folder: [state.word, *filter(None, [state.start])] for folder, state in UNFINISHED.items()
    }
    logs = workflow.pathvars.apply("<logs>")
    return shlex.join(["--states", as_json(found), "--logs", logs])


def all_reported_files():
    """Returns the files that tables and figures read, each once, by their paths in a run."""
    reports = [*TABLES.values(), *FIGURES.values()]
    files = [file for report in reports for file in reported_files(*report)]
    files += [file for methods, _ in TABLES.values() for file in data_files(methods)]
    files += [file for table in TABLES for file in reference_costs(table)]
    return [file.removeprefix("<metrics>/") for file in dict.fromkeys(files)]


def metrics_root():
    """Returns the folder that reports read."""
    return workflow.pathvars.apply("<metrics>")


def claims(table):
    """Returns the published figures that a table compares with ours."""
    return PLAN.claims if table == "comparison" else []


def mark():
    """Returns the command line option that says what the run is, if no full one."""
    return shlex.join(["--mark", PLAN.mark]) if PLAN.mark else ""


def table_names():
    """Returns the tables that are made; one without trials of its kind is not."""
    names = [name for name, (methods, _) in TABLES.items() if reported(methods)]
    return [name for name in names if name != "comparison" or PLAN.claims]


def figure_names():
    """Returns the figures that are made; one without trials of its kind is not."""
    return [name for name, (methods, _) in FIGURES.items() if reported(methods)]


def tables(*kinds):
    """Returns every table's files of these kinds."""
    return expand("<results>/tables/{table}.{kind}", table=table_names(), kind=kinds)


def figures(*kinds):
    """Returns every figure's files of these kinds."""
    return expand("<results>/figures/{figure}.{kind}", figure=figure_names(), kind=kinds)


def prompts_rows():
    """Returns the canonical splits behind all sets of prompts, each once."""
    asked = [
        part for base in PLAN.bases.values() for part in base["evaluation"]["prompts"].values()
    ]
    return list(dict.fromkeys(data_split(part["dataset"], part["split"]) for part in asked))


def own_file(path):
    """Returns a file of the project as a job is given it, wherever the results go."""
    return shortest(Path(workflow.basedir, path))


def look():
    """Returns the template, style sheet and script that a page is made of."""
    folder = Path(workflow.basedir, "scripts/report/page")
    return sorted(shortest(path) for path in folder.glob("page.*"))


def page():
    """Returns the page of a whole run: one in progress, or of which little was kept, has none."""
    whole = metrics_root() == workflow.pathvars.apply("<results>") and not PLAN.allow_failed
    return ["<results>/report.html"] if whole else []
