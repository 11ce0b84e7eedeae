"""Runs a job's command and writes its provenance: what it read, what it ran on, what it made.

    python -m scripts.provenance.job --rule lookup --env evaluate --results results \
        --provenance results/baselines/x/lookup.provenance.json --inputs train.parquet \
        --outputs results/baselines/x/metrics.json -- python -m scripts.evaluate.lookup ...

Signals that stop a job are handed on to the command, once, and its exit code is this program's.
Provenance is written when all outputs are there. Of a command that failed it is left under another
name, which no rule declares.
"""

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput, run
from scripts.common.files import read_json, write_json
from scripts.common.files import sha256 as file_digest
from scripts.provenance import environment
from scripts.provenance.digests import ROOT, code_digest, code_files, env_digest, read_sources
from scripts.provenance.record import FAILED, SCHEMA, SUFFIX, Part, entry, maker, named

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
FROM_TERMINALS = (signal.SIGINT, signal.SIGHUP)
"""Which nohup, and a shell that runs something in the background, have ignored."""
CODE = ("Snakefile", "envs", "profiles", "report", "rules", "scripts")
"""Where a file that git does not know makes the project dirty."""
FIELDS = {"1": 8, "2": 9, "u": 10}
"""How many fields `git status --porcelain=v2` has before a path, by the kind of change."""
GPU = ("name", "uuid", "memory.total", "driver_version")
PATIENCE = 60
"""Seconds after which a program that was asked about this machine has no answer."""
ROLES = {"data": "data", "tokens": "tokens", "models": "model", "references": "reference"}
"""What the files of a folder of the results are to a job that reads them."""


def ask(*command: str) -> "subprocess.Popen[str] | None":
    """Starts a program that answers a question about this machine; none where it is absent."""
    if not shutil.which(command[0]):
        return None
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    )


def answer(asked: "subprocess.Popen[str] | None") -> list[str] | None:
    """Returns the lines that a program answered, or None where it has no answer."""
    if asked is None:
        return None
    try:
        text, _ = asked.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        asked.kill()
        asked.communicate()
        return None
    return text.splitlines() if asked.returncode == 0 else None


def git_of(lines: list[str] | None) -> Part | None:
    """Returns the commit, and what of the project differs from it, by what `git status` printed.

    None where there is no git, or no repository.
    """
    if lines is None:
        return None
    commit = next(line.split()[-1] for line in lines if line.startswith("# branch.oid"))
    # Before a path stand as many fields; behind a renamed one's, a tab and its old name.
    changed = [
        line.split(" ", FIELDS[line[0]])[-1].split("\t")[0] for line in lines if line[0] in FIELDS
    ]
    changed += [
        line[2:] for line in lines if line.startswith("? ") and line[2:].split("/")[0] in CODE
    ]
    return {
        "commit": None if commit == "(initial)" else commit,
        "dirty": bool(changed),
        "changed": changed,
    }


def gpus_of(lines: list[str] | None) -> list[Part] | None:
    """Returns the machine's GPUs by what nvidia-smi printed; None where there is none."""
    if not lines:
        return None
    return [dict(zip(GPU, map(str.strip, line.split(",")), strict=False)) for line in lines]


def cpu() -> str | None:
    """Returns the name of the CPU, where the machine tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or None
    found = re.search(r"^model name\s*: (.+)$", text, flags=re.MULTILINE)
    return found[1] if found else None


def machine(gpus: list[Part] | None) -> Part:
    """Returns on what a job ran; of a GPU also which one it was."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpu": cpu(),
        "gpus": gpus,
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def env_part(name: str, accelerator: str, allow_drift: bool) -> Part:
    """Returns the env in which a job runs.

    An env that Snakemake made for the job holds its lock by construction.

    Raises
    ------
    BadInput
        When what is installed differs from the env's lock, and no drift is allowed.
    """
    own = made_by_snakemake()
    differences = [] if own else environment.drift(name, accelerator)
    if differences and not allow_drift:
        raise BadInput(environment.refusal(name, accelerator, differences))
    _, lock = environment.form_files(name, accelerator)
    return {
        "name": name,
        "form": environment.form(name, accelerator),
        "digest": env_digest(name, accelerator),
        "lock": file_digest(lock),
        "made_by_snakemake": own,
        "drift": differences,
        "versions": versions_of(name, accelerator),
    }


def versions_of(env: str, accelerator: str) -> dict[str, str]:
    """Returns the installed version of each package that an env's lock names and that is there."""
    installed = environment.installed()
    locked = sorted({package for package, _, _ in environment.locked(env, accelerator)})
    return {package: installed[package] for package in locked if package in installed}


def made_by_snakemake() -> bool:
    """Tells whether this interpreter is of an env that Snakemake made and activated for the job."""
    return os.path.exists(f"{sys.prefix}.env_setup_done")


def arguments_of(command: list[str]) -> Part:
    """Returns by option the JSON objects among a command's arguments."""
    found = {}
    for option, value in pairwise(command):
        if option.startswith("--") and value.startswith("{"):
            try:
                found[option.removeprefix("--")] = json.loads(value)
            except ValueError:
                continue
    return found


def seeds_in(value: Any, name: str = "") -> dict[str, Any]:
    """Returns every seed in nested dictionaries by its dotted name."""
    if not isinstance(value, dict):
        return {}
    found = {}
    for key, inner in value.items():
        where = f"{name}.{key}" if name else key
        is_seed = key == "seed" and inner is not None
        found |= {where: inner} if is_seed else seeds_in(inner, where)
    return found


def subject_of(file: str) -> Part:
    """Returns whose provenance a file of the results is: the trial and seed, where it is one's."""
    found = re.match(r"trials/([^/]+)/(?:seed-([^/]+)/)?", file)
    return {
        "trial": found[1] if found else None,
        "seed": int(found[2]) if found and found[2] else None,
    }


def digests_of(inputs: list[Part], arguments: Part) -> Part:
    """Returns one digest for all that a job reads of each role, and for the trial it is given."""
    by_role: dict[str, list[str]] = {}
    for part in inputs:
        role = ROLES.get(part["file"].split("/")[0])
        if role and not part.get("outside"):
            by_role.setdefault(role, []).append(f"{part['file']} {part['sha256']}")
    found = {role: digest("\n".join(sorted(lines))) for role, lines in by_role.items()}
    if "trial" in arguments:
        found["trial"] = digest(json.dumps(arguments["trial"], sort_keys=True))
    return found


def digest(text: str) -> str:
    """Returns the SHA-256 of a text."""
    return sha256(text.encode()).hexdigest()


def behind(read: list[Part], inputs: list[str]) -> Part:
    """Returns what stands behind a job: its inputs with the jobs that made them, and what they say.

    Of templates those that it is given, and those with which its tokens were made; else the chat
    template of each model that it is given.
    """
    linked, templates, drifted = [], {}, set()
    for part, file in zip(read, inputs, strict=True):
        made = maker(file)
        linked.append(part if made is None else part | {"made_by": made.link})
        if part["file"].endswith(".jinja"):
            templates[part["file"]] = part["sha256"]
        if made is not None:
            drifted |= set(made.content["drift_behind"])
            drifted |= {made.link["file"]} if made.content["env"]["drift"] else set()
            if part["file"].startswith("tokens/"):
                templates |= made.content["templates"]
    for part, file in zip(read, inputs, strict=True) if not templates else ():
        if os.path.basename(file) == "manifest.json":
            templates |= chat_template(file, part["file"])
    return {"inputs": linked, "templates": templates, "drift_behind": sorted(drifted)}


def chat_template(manifest: str, name: str) -> dict[str, str]:
    """Returns the digest of the file that holds a model's chat template, by that file's name."""
    listed = {it["name"]: it["sha256"] for it in read_json(manifest).get("files", [])}
    for file in ("chat_template.jinja", "tokenizer_config.json"):
        if file in listed:
            return {f"{name}#{file}": listed[file]}
    return {}


def code_part(command: list[str], before: dict[Path, bytes]) -> Part:
    """Returns the code that a command ran, and what of it was edited meanwhile."""
    module = module_of(command)
    if module is None:
        return {"module": None, "digest": None, "files": {}, "edited": []}
    found = {"module": module, "digest": code_digest(module), "files": code_files(module)}
    edited = [
        name
        for name in found["files"]
        if not (ROOT / name).is_file() or (ROOT / name).read_bytes() != before[ROOT / name]
    ]
    return found | {"edited": edited}


def check_planned(arguments: argparse.Namespace, command: list[str]) -> None:
    """Checks that code and env are those of the plan, which Snakemake keeps as the result's.

    Raises
    ------
    BadInput
        When either was edited since.
    """
    module = module_of(command)
    found = {
        f"{module} or what it imports": (arguments.code, module and code_digest(module)),
        f"the lock of envs/{environment.form(arguments.env, arguments.accelerator)}.yaml": (
            arguments.env_digest,
            env_digest(arguments.env, arguments.accelerator),
        ),
    }
    for what, (planned, now) in found.items():
        if planned and planned != now:
            raise BadInput(
                f"rule {arguments.rule}: {what} was edited since Snakemake planned this job; "
                "run snakemake again"
            )


def module_of(command: list[str]) -> str | None:
    """Returns the path of the project's module that a command runs, itself or through another."""
    names = [name for option, name in pairwise(command) if option == "-m"]
    if names == ["scripts.train.processes"]:
        names = [word for word in command if word.startswith("scripts.")]
    if not names or not names[-1].startswith("scripts."):
        return None
    return names[-1].replace(".", "/") + ".py"


def run_command(command: list[str]) -> int:
    """Runs a command, hands signals on to it, and returns its exit code; 128 + n for signal n.

    The command has a process group of its own, so that what a terminal sends to this one reaches it
    once, through this process. What this process was started to ignore the command ignores too.
    Should this process be killed, the kernel tells the command to stop.
    """
    waiting: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def hand_on(number: int, frame: object) -> None:
        if process is None:
            waiting.append(number)
        else:
            process.send_signal(number)

    ignored = {it for it in FROM_TERMINALS if signal.getsignal(it) == signal.SIG_IGN}
    before = {it: signal.signal(it, hand_on) for it in PASSED_ON if it not in ignored}
    try:
        process = subprocess.Popen(command, process_group=0, preexec_fn=_end_with_parent())
        for number in waiting:
            process.send_signal(number)
        code = process.wait()
    except FileNotFoundError:
        raise BadInput(f"{command[0]}: no such program") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


def _end_with_parent() -> Callable[[], None] | None:
    """Returns what makes the kernel send SIGTERM to a child whose parent dies, where it can."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl, set_death_signal = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(set_death_signal, signal.SIGTERM)


def now() -> str:
    """Returns the time as UTC in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def words_of(descriptor: int | None) -> list[str]:
    """Returns the words that a file descriptor gives, quoted as for a shell."""
    if descriptor is None:
        return []
    with open(descriptor, encoding="utf-8") as file:
        text = file.read()
    # Of thousands of names, shlex alone would take a second.
    return shlex.split(text) if set(text) & set("'\"\\") else text.split()


def parser() -> argparse.ArgumentParser:
    """Returns the parser of what stands before `--`."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.provenance.job",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rule", required=True, help="the rule's name")
    parser.add_argument("--env", required=True, help="the env in which it should run")
    parser.add_argument(
        "--accelerator", choices=environment.ACCELERATORS, required=True, help="the env's form"
    )
    parser.add_argument("--allow-env-drift", action="store_true", help="run in another env, too")
    parser.add_argument("--code", help="the digest of its code when Snakemake planned the job")
    parser.add_argument("--env-digest", help="the same of its env")
    parser.add_argument("--results", required=True, help="the folder of all results")
    parser.add_argument("--provenance", required=True, help=f"file to write, {SUFFIX}")
    parser.add_argument("--inputs", nargs="*", default=[], help="files that the command reads")
    parser.add_argument("--inputs-from", type=int, help="a file descriptor that names more")
    parser.add_argument("--outputs", nargs="*", default=[], help="files that it makes")
    return parser


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns the wrapper's own arguments, and the command behind the first `--`.

    Raises
    ------
    BadInput
        When there is no command, or the provenance file has another name than it may.
    """
    where = argv.index("--") if "--" in argv else len(argv)
    arguments, command = parser().parse_args(argv[:where]), argv[where + 1 :]
    if not command:
        raise BadInput("no command: it stands behind --")
    if not arguments.provenance.endswith(SUFFIX):
        raise BadInput(f"--provenance: found {arguments.provenance}, allowed is *{SUFFIX}")
    arguments.inputs = list(dict.fromkeys([*arguments.inputs, *words_of(arguments.inputs_from)]))
    arguments.outputs = [file for file in arguments.outputs if file != arguments.provenance]
    return arguments, command


def run_recorded(arguments: argparse.Namespace, command: list[str]) -> Part:
    """Runs the command and returns its provenance, less the outputs.

    Raises
    ------
    BadInput
        When the env drifted, or code or env are not as planned, before the command began.
    """
    check_planned(arguments, command)
    results = arguments.results
    file = named(arguments.provenance, results)["file"]
    given = arguments_of(command)
    started = now()
    env = env_part(arguments.env, arguments.accelerator, arguments.allow_env_drift)
    status = ask("git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "-unormal")
    gpus = ask("nvidia-smi", f"--query-gpu={','.join(GPU)}", "--format=csv,noheader")
    before = read_sources()
    read = [entry(file, results) for file in arguments.inputs]
    code = run_command(command)
    return {
        "schema": SCHEMA,
        "file": file,
        "rule": arguments.rule,
        **subject_of(file),
        "command": command,
        "started": started,
        "ended": now(),
        "exit": code,
        "seeds": seeds_in(given),
        "digests": digests_of(read, given),
        **behind(read, arguments.inputs),
        "outputs": [],
        "code": code_part(command, before),
        "git": git_of(answer(status)),
        "env": env,
        "machine": machine(gpus_of(answer(gpus))),
    }


def leave_failed(path: str, record: Part) -> None:
    """Writes what a failed job leaves; a full disk, say, must not hide why it failed."""
    try:
        write_json(path, record)
    except OSError as error:
        print(f"{path}: not written: {error.strerror}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and leaves its provenance; returns its exit code.

    Raises
    ------
    BadInput
        When the env drifted, code or env are not as planned, an input cannot be read, or an output
        is missing or cannot be read.
    """
    arguments, command = parse(sys.argv[1:] if argv is None else argv)
    failed = arguments.provenance.removesuffix(SUFFIX) + FAILED
    try:
        record = run_recorded(arguments, command)
        missing = [file for file in arguments.outputs if not os.path.exists(file)]
        if record["exit"] or missing:
            leave_failed(failed, record)
        if record["exit"]:
            return record["exit"]
        if missing:
            raise BadInput(f"rule {arguments.rule}: ended well without making {missing[0]}")
        record["outputs"] = [entry(file, arguments.results) for file in arguments.outputs]
        write_json(arguments.provenance, record)
        Path(failed).unlink(missing_ok=True)
    except OSError as error:
        where = error.filename or arguments.provenance
        raise BadInput(f"rule {arguments.rule}: {where}: {error.strerror}") from None
    return 0


if __name__ == "__main__":
    run(main)
