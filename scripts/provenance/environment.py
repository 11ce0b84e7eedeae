"""What this interpreter has installed, held against the lock of a stage's env.

    python -m scripts.provenance.environment --env train --accelerator cpu

A stage's env has a form for each accelerator where it needs torch, and one form where it does not;
the forms differ in the build of torch and in what its CUDA builds bring, and in nothing else.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from scripts.common.cli import BadInput, run

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("data", "train", "evaluate", "report")
ACCELERATORS = ("cuda", "cpu")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?: ; (.+?))?(?: \\)?$", re.MULTILINE)


def form(env: str, accelerator: str) -> str:
    """Returns under which name the chosen form of an env lies in envs/: `train` or `train.cpu`.

    Raises
    ------
    FileNotFoundError
        When there is no such env.
    """
    own = env if accelerator == "cuda" else f"{env}.{accelerator}"
    found = next((name for name in (own, env) if _yaml(name).is_file()), None)
    if found is None:
        raise FileNotFoundError(_yaml(env))
    return found


def form_files(env: str, accelerator: str) -> list[Path]:
    """Returns the files that make the chosen form of an env: its YAML and its lock.

    Raises
    ------
    FileNotFoundError
        When there is no such env.
    """
    name = form(env, accelerator)
    return [_yaml(name), _yaml(name).with_name(f"{name}.post-deploy.sh")]


def locked(env: str, accelerator: str) -> list[tuple[str, str, str]]:
    """Returns package, version and marker of each line of an env's lock; no marker is empty.

    Raises
    ------
    FileNotFoundError
        When there is no such env.
    """
    _, lock = form_files(env, accelerator)
    return PIN.findall(lock.read_text(encoding="utf-8"))


def drift(env: str, accelerator: str) -> list[str]:
    """Returns in what this interpreter differs from an env's lock, a line for each package.

    What is installed beside the lock's packages is no difference. Neither is another build of the
    locked torch where a CPU is asked for: pip finds a CUDA build on Linux, and it computes there.

    Raises
    ------
    FileNotFoundError
        When there is no such env.
    """
    # Every env has it. Its import takes longer than all that is done here.
    from packaging.markers import Marker

    found = installed()
    lines = []
    for name, version, marker in locked(env, accelerator):
        present = found.get(_normalized(name))
        same = present == version or (
            accelerator == "cpu" and name == "torch" and present and _same_release(present, version)
        )
        if not same and (not marker or Marker(marker).evaluate()):
            has = f"{present}{_build(name, present)} is installed" if present else "is missing"
            lines.append(f"{name}: {version}{_build(name, version)} is locked, {has}")
    return lines


def installed() -> dict[str, str]:
    """Returns the version of each package on this interpreter's path, by its normalized name.

    They are read off the names of the packages' own folders: importing importlib.metadata and
    parsing each package's metadata would take 170 ms, and this takes one.
    """
    found: dict[str, str] = {}
    for folder in filter(os.path.isdir, sys.path):
        for entry in os.listdir(folder):
            name, _, version = entry.removesuffix(".dist-info").partition("-")
            if entry.endswith(".dist-info"):
                found.setdefault(_normalized(name), version)
    return found


def refusal(env: str, accelerator: str, differences: list[str]) -> str:
    """Returns what to say of differences: all of them, and what can be done."""
    other = next((it for it in ACCELERATORS if it != accelerator and not drift(env, it)), None)
    ways = [
        *(
            [f"choose the form that is installed here with --config accelerator={other}"]
            * bool(other)
        ),
        "make the launcher environment again with make setup",
        "run with --sdm conda",
        "go on and have the results marked with --config allow_env_drift=true",
    ]
    head = f"{len(differences)} packages differ from envs/{form(env, accelerator)}.post-deploy.sh:"
    return "\n".join([head, *(f"  {line}" for line in differences), f"  ({'; or '.join(ways)})"])


def _yaml(name: str) -> Path:
    return ROOT / "envs" / f"{name}.yaml"


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _same_release(one: str, other: str) -> bool:
    return one.partition("+")[0] == other.partition("+")[0]


def _build(name: str, version: str) -> str:
    """Returns which build a version of torch is, in words; nothing for other packages."""
    if name != "torch":
        return ""
    for_cpu = version.endswith("+cpu") or sys.platform == "darwin"
    return " (CPU build)" if for_cpu else " (CUDA build)"


def main(argv: list[str] | None = None) -> int:
    """Prints in what this interpreter differs from an env's lock; returns 0 if in nothing."""
    parser = argparse.ArgumentParser(description="Compares what is installed with an env's lock.")
    parser.add_argument("--env", choices=STAGES, required=True)
    parser.add_argument("--accelerator", choices=ACCELERATORS, required=True)
    arguments = parser.parse_args(argv)
    differences = drift(arguments.env, arguments.accelerator)
    if differences:
        raise BadInput(refusal(arguments.env, arguments.accelerator, differences))
    count = len(locked(arguments.env, arguments.accelerator))
    print(f"{form(arguments.env, arguments.accelerator)}: as locked ({count} lines)")
    return 0


if __name__ == "__main__":
    run(main)
