"""Run a job's command and record what it read, what it ran on and what it made.

    python -m scripts.provenance.job --rule lookup --env evaluate --results results \
        --provenance results/baselines/x/lookup.provenance.json --inputs train.parquet \
        --outputs results/baselines/x/metrics.json -- python -m scripts.evaluate.lookup ...

Signals that stop a job are passed to the command once, and its exit code becomes this program's.
The record is written when all outputs exist. A failed command leaves one under another name, which
no rule declares.
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
from scripts.common.files import ROOT, read_json, write_json
from scripts.common.files import sha256 as file_digest
from scripts.provenance import environment
from scripts.provenance.digests import code_digest, code_files, read_sources
from scripts.provenance.kept import Kept
from scripts.provenance.record import FAILED, SCHEMA, SUFFIX, Part, entry, maker, named

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
FROM_TERMINALS = (signal.SIGINT, signal.SIGHUP)
"""Signals that may be ignored from the start, as by nohup or in the background of a shell."""
CAUSES: dict[int, str] = {
    signal.SIGKILL: ", as when memory runs out",
    signal.SIGSEGV: ": a fault in a library, or a file that it cannot read",
    signal.SIGABRT: ": a fault in a library, or memory ran out",
}
"""What else there is to say where a signal ended a command."""
CODE = ("Snakefile", "envs", "profiles", "report", "rules", "scripts")
"""Where a file that git does not track makes the project dirty."""
FIELDS = {"1": 8, "2": 9, "u": 10}
"""Number of fields before the path in a line of `git status --porcelain=v2`, by kind of change."""
GPU = ("name", "uuid", "memory.total", "driver_version")
TIMEOUT = 60
"""Seconds to wait for git and nvidia-smi."""
ROLES = {"data": "data", "tokens": "tokens", "models": "model", "references": "reference"}
"""The role of an input, by the top folder of the results that it lies in."""

# ---------------------------------------------------------------------------------------- machine


def ask(*command: str) -> "subprocess.Popen[str] | None":
    """Start a program that reports on this machine; return None if it is not installed."""
    if not shutil.which(command[0]):
        return None
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    )


def answer(asked: "subprocess.Popen[str] | None") -> list[str] | None:
    """Return the lines that a program printed, or None if it failed, hung or is not installed."""
    if asked is None:
        return None
    try:
        text, _ = asked.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        asked.kill()
        asked.communicate()
        return None
    return text.splitlines() if asked.returncode == 0 else None


def git_of(lines: list[str] | None) -> Part | None:
    """Return the commit and the files that differ from it, given the output of `git status`.

    None without git or without a repository.
    """
    if lines is None:
        return None
    commit = next(line.split()[-1] for line in lines if line.startswith("# branch.oid"))
    # A renamed file's line ends in a tab and its old name.
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
    """Return the machine's GPUs, given the output of nvidia-smi; None without any."""
    if not lines:
        return None
    return [dict(zip(GPU, map(str.strip, line.split(",")), strict=False)) for line in lines]


def cpu() -> str | None:
    """Return the name of the CPU, if the system reports it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or None
    found = re.search(r"^model name\s*: (.+)$", text, flags=re.MULTILINE)
    return found[1] if found else None


def machine(gpus: list[Part] | None) -> Part:
    """Return what the job ran on."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpu": cpu(),
        "gpus": gpus,
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


# ---------------------------------------------------------------------------------- env and code


def env_part(name: str, accelerator: str, allow_drift: bool) -> Part:
    """Return a description of the env that the job runs in.

    An env that Snakemake made for the job is as locked by construction.

    Raises
    ------
    BadInput
        If the installed packages differ from the env's lock and `allow_drift` is false.
    """
    own = made_by_snakemake()
    differences = [] if own else environment.drift(name, accelerator)
    if differences and not allow_drift:
        raise BadInput(environment.refusal(name, accelerator, differences))
    _, lock = environment.form_files(name, accelerator)
    installed = environment.installed()
    locked = sorted({package for package, _, _ in environment.locked(name, accelerator)})
    return {
        "name": name,
        "form": environment.form(name, accelerator),
        "digest": environment.env_digest(name, accelerator),
        "lock": file_digest(lock),
        "made_by_snakemake": own,
        "drift": differences,
        "versions": {package: installed[package] for package in locked if package in installed},
    }


def made_by_snakemake() -> bool:
    """Return True if this interpreter belongs to a conda env that Snakemake made."""
    return os.path.exists(f"{sys.prefix}.env_setup_done")


def module_of(command: list[str]) -> str | None:
    """Return the path of the project's module that a command runs, or None if it runs another."""
    names = [name for option, name in pairwise(command) if option == "-m"]
    if names == ["scripts.train.processes"]:
        # It starts several processes of the module that its arguments name.
        names = [word for word in command if word.startswith("scripts.")]
    if not names or not names[-1].startswith("scripts."):
        return None
    return names[-1].replace(".", "/") + ".py"


def code_part(command: list[str], before: dict[Path, bytes]) -> Part:
    """Return the code that a command ran, and which of it was edited since `before` was read."""
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
    """Check that code and env are what they were when Snakemake planned the job.

    Snakemake stores the planned digests as the result's, so running other code would hide a change.

    Raises
    ------
    BadInput
        If either was edited since.
    """
    module = module_of(command)
    found = {
        f"{module} or what it imports": (arguments.code, module and code_digest(module)),
        f"the lock of envs/{environment.form(arguments.env, arguments.accelerator)}.yaml": (
            arguments.env_digest,
            environment.env_digest(arguments.env, arguments.accelerator),
        ),
    }
    for what, (planned, now) in found.items():
        if planned and planned != now:
            raise BadInput(
                f"rule {arguments.rule}: {what} was edited since Snakemake planned this job; "
                "run snakemake again"
            )


# ------------------------------------------------------------------------------- what was read


def settings_of(command: list[str]) -> Part:
    """Return the JSON objects among a command's arguments, by option."""
    found = {}
    for option, value in pairwise(command):
        if option.startswith("--") and value.startswith("{"):
            try:
                found[option.removeprefix("--")] = json.loads(value)
            except ValueError:
                continue
    return found


def seeds_in(value: Any, name: str = "") -> dict[str, Any]:
    """Return every seed in nested dictionaries, by its dotted name."""
    if not isinstance(value, dict):
        return {}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        where = f"{name}.{key}" if name else key
        is_seed = key == "seed" and inner is not None
        found |= {where: inner} if is_seed else seeds_in(inner, where)
    return found


def run_of(file: str) -> Part:
    """Return the trial and seed whose folder a file of the results lies in, else None for each."""
    found = re.match(r"trials/([^/]+)/(?:seed-([^/]+)/)?", file)
    return {
        "trial": found[1] if found else None,
        "seed": int(found[2]) if found and found[2] else None,
    }


def digests_of(inputs: list[Part], settings: Part) -> Part:
    """Return one digest over all inputs of each role, and one of the trial's settings."""
    by_role: dict[str, list[str]] = {}
    for part in inputs:
        role = ROLES.get(part["file"].split("/")[0])
        if role and not part.get("outside"):
            by_role.setdefault(role, []).append(f"{part['file']} {part['sha256']}")
    found = {role: _digest("\n".join(sorted(lines))) for role, lines in by_role.items()}
    if "trial" in settings:
        found["trial"] = _digest(json.dumps(settings["trial"], sort_keys=True))
    return found


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def check_inputs(read: list[Part], inputs: list[str]) -> None:
    """Check that the inputs are what their jobs made.

    Raises
    ------
    BadInput
        If one was edited or cut since.
    """
    for part, file in zip(read, inputs, strict=True):
        made = maker(file)
        if made is None:
            continue
        wanted = next(it for it in made.outputs if made.at(it) == Path(os.path.abspath(file)))
        if wanted["sha256"] != part["sha256"]:
            raise BadInput(
                f"{file}: found {part['bytes']:,} bytes, not the {wanted['bytes']:,} that "
                f"rule {made.rule} made, or others; delete it, and snakemake makes it again"
            )


def behind(read: list[Part], inputs: list[str]) -> Part:
    """Return the inputs linked to the jobs that made them, the templates used, and earlier drift.

    The templates are those among the inputs and those that the inputs' tokens were rendered with;
    without any, the chat templates of the models among the inputs.
    """
    linked, templates, drifted = [], {}, set()
    for part, file in zip(read, inputs, strict=True):
        made = maker(file)
        linked.append(part if made is None else part | {"made_by": made.link})
        if part["file"].endswith(".jinja"):
            templates[part["file"]] = part["sha256"]
        if made is not None:
            drifted |= set(made.content["drift_behind"])
            drifted |= {made.file} if made.content["env"]["drift"] else set()
            if part["file"].startswith("tokens/"):
                templates |= made.content["templates"]
    for part, file in zip(read, inputs, strict=True) if not templates else ():
        if os.path.basename(file) == "manifest.json":
            templates |= _chat_template(file, part["file"])
    return {"inputs": linked, "templates": templates, "drift_behind": sorted(drifted)}


def _chat_template(manifest: str, name: str) -> dict[str, str]:
    """Return the digest of the file that holds a model's chat template, by that file's name."""
    listed = {it["name"]: it["sha256"] for it in read_json(manifest).get("files", [])}
    for file in ("chat_template.jinja", "tokenizer_config.json"):
        if file in listed:
            return {f"{name}#{file}": listed[file]}
    return {}


# ---------------------------------------------------------------------------------- the command


def run_command(command: list[str], stdin: int | None = subprocess.DEVNULL) -> int:
    """Run a command, pass signals on to it, and return its exit code, or 128 + n for signal n.

    Its standard input is closed, so that no library asks there and takes what it finds for an
    answer; None gives it this process's.

    The command has its own process group, so that a signal that a terminal sends to this process's
    group reaches it once, through this process. It ignores what this process was started to ignore.
    If this process is killed, the kernel sends the command SIGTERM (on Linux).
    """
    waiting: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, frame: object) -> None:
        if process is None:
            waiting.append(number)
        else:
            process.send_signal(number)

    ignored = {it for it in FROM_TERMINALS if signal.getsignal(it) == signal.SIG_IGN}
    before = {it: signal.signal(it, pass_on) for it in PASSED_ON if it not in ignored}
    try:
        process = subprocess.Popen(
            command, stdin=stdin, process_group=0, preexec_fn=_end_with_parent()
        )
        for number in waiting:
            process.send_signal(number)
        code = process.wait()
        if code < 0 and -code not in PASSED_ON:
            # Such a command says nothing itself.
            name, why = signal.Signals(-code).name, CAUSES.get(-code, "")
            print(
                f"error: {module_of(command) or command[0]}: ended by {name}{why}", file=sys.stderr
            )
    except FileNotFoundError:
        raise BadInput(f"{command[0]}: no such program") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


def _end_with_parent() -> Callable[[], Any] | None:
    """Return a function that makes the kernel send SIGTERM to a child whose parent dies."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl, set_death_signal = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(set_death_signal, signal.SIGTERM)


def now() -> str:
    """Return the time as UTC in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def words_of(descriptor: int | None) -> list[str]:
    """Return the words that can be read from a file descriptor, which are quoted as in a shell."""
    if descriptor is None:
        return []
    with open(descriptor, encoding="utf-8") as file:
        text = file.read()
    # For thousands of names shlex takes a second, and few are quoted.
    return shlex.split(text) if set(text) & set("'\"\\") else text.split()


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the wrapper's own arguments, and the command after the first `--`.

    Raises
    ------
    BadInput
        If there is no command, or the record's name has another suffix.
    """
    parser = argparse.ArgumentParser(
        prog="python -m scripts.provenance.job",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rule", required=True, help="name of the rule")
    parser.add_argument("--env", required=True, help="env in which the command should run")
    parser.add_argument(
        "--accelerator", choices=environment.ACCELERATORS, required=True, help="form of the env"
    )
    parser.add_argument("--allow-env-drift", action="store_true", help="run in any other env too")
    parser.add_argument("--code", help="digest of the code when Snakemake planned the job")
    parser.add_argument("--env-digest", help="digest of the env at that time")
    parser.add_argument("--results", required=True, help="folder of all results")
    parser.add_argument("--provenance", required=True, help=f"record to write, {SUFFIX}")
    parser.add_argument("--inputs", nargs="*", default=[], help="files that the command reads")
    parser.add_argument("--inputs-from", type=int, help="file descriptor that names more of them")
    parser.add_argument("--stdin", action="store_true", help="the command reads standard input")
    parser.add_argument("--outputs", nargs="*", default=[], help="files that the command makes")
    parser.add_argument(
        "--keep", action="store_true", help="keep what is made, and put back what was kept"
    )
    where = argv.index("--") if "--" in argv else len(argv)
    arguments, command = parser.parse_args(argv[:where]), argv[where + 1 :]
    if not command:
        raise BadInput("no command after --")
    if not arguments.provenance.endswith(SUFFIX):
        raise BadInput(f"--provenance: found {arguments.provenance}, allowed is *{SUFFIX}")
    arguments.inputs = list(dict.fromkeys([*arguments.inputs, *words_of(arguments.inputs_from)]))
    arguments.outputs = [file for file in arguments.outputs if file != arguments.provenance]
    return arguments, command


def run_recorded(arguments: argparse.Namespace, command: list[str]) -> tuple[Part, Kept | None]:
    """Run the command, or put back what it made before from the same.

    Return its record, whose outputs are not yet listed, and what is kept of it, if anything is.

    Raises
    ------
    BadInput
        If the env drifted, code or env are not as planned, or an input is not what its job made;
        the command is then not started.
    """
    check_planned(arguments, command)
    results = arguments.results
    file = named(arguments.provenance, results)["file"]
    settings = settings_of(command)
    started = now()
    env = env_part(arguments.env, arguments.accelerator, arguments.allow_env_drift)
    status = ask("git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "-unormal")
    gpus = ask("nvidia-smi", f"--query-gpu={','.join(GPU)}", "--format=csv,noheader")
    before = read_sources()
    read = [entry(file, results) for file in arguments.inputs]
    check_inputs(read, arguments.inputs)
    links = behind(read, arguments.inputs)
    made_from = [command, arguments.code, env, [[it["file"], it["sha256"]] for it in read]]
    kept = Kept(results, file, made_from, arguments.outputs) if arguments.keep else None
    if kept and (earlier := kept.put_back(arguments.inputs)):
        print(
            f"rule {arguments.rule}: put back what it made before from the same settings, inputs "
            f"and code; to make it again, delete {kept.folder} and run snakemake --forcerun",
            file=sys.stderr,
        )
        return earlier | links, kept
    code = run_command(command, None if arguments.stdin else subprocess.DEVNULL)
    record = {
        "schema": SCHEMA,
        "file": file,
        "rule": arguments.rule,
        **run_of(file),
        "command": command,
        "started": started,
        "ended": now(),
        "exit": code,
        "seeds": seeds_in(settings),
        "digests": digests_of(read, settings),
        **links,
        "outputs": [],
        "code": code_part(command, before),
        "git": git_of(answer(status)),
        "env": env,
        "machine": machine(gpus_of(answer(gpus))),
    }
    return record, kept


def main(argv: list[str] | None = None) -> int:
    """Run the command, write its record and return its exit code.

    Raises
    ------
    BadInput
        If the env drifted, code or env are not as planned, or a file cannot be read or written or
        was not made.
    """
    arguments, command = parse(sys.argv[1:] if argv is None else argv)
    failed = arguments.provenance.removesuffix(SUFFIX) + FAILED
    try:
        record, kept = run_recorded(arguments, command)
        missing = [file for file in arguments.outputs if not os.path.exists(file)]
        if record["exit"] or missing:
            _write_failed(failed, record)
        if record["exit"]:
            return record["exit"]
        if missing:
            raise BadInput(f"rule {arguments.rule}: succeeded without making {missing[0]}")
        record["outputs"] = [entry(file, arguments.results) for file in arguments.outputs]
        if kept:
            _keep(kept, record)
        write_json(arguments.provenance, record)
        Path(failed).unlink(missing_ok=True)
    except OSError as error:
        where = error.filename or arguments.provenance
        raise BadInput(f"rule {arguments.rule}: {where}: {error.strerror}") from None
    return 0


def _keep(kept: Kept, record: Part) -> None:
    """Keep what was made. On a full disk it may not be kept, and is whole all the same."""
    try:
        kept.keep(record)
    except OSError as error:
        print(f"{error.filename or kept.folder}: not kept: {error.strerror}", file=sys.stderr)


def _write_failed(path: str, record: Part) -> None:
    """Write the record of a failed job; an error such as a full disk must not hide the failure."""
    try:
        write_json(path, record)
    except OSError as error:
        print(f"{path}: not written: {error.strerror}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
