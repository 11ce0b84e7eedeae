"""Compare the installed packages with the lock of a stage's env.

    python -m scripts.provenance.environment --env train --accelerator cpu

The env of a stage that needs torch has one form for each accelerator. They differ only in the build
of torch and in the packages that CUDA builds depend on. Other envs have one form.
"""

import argparse
import hashlib
import os
import re
import sys
from pathlib import Path

from scripts.common.cli import BadInput, run
from scripts.common.files import ROOT

STAGES = ("data", "train", "evaluate", "report")
ACCELERATORS = ("cuda", "cpu")
INSTALLED = re.compile(r"^(?P<name>[^-]+)-(?P<version>[^-]+)(-py[\d.]+)?\.(dist|egg)-info$")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?: ; (.+?))?(?: \\)?$", re.MULTILINE)


def form(env: str, accelerator: str) -> str:
    """Return the name of an env's form for an accelerator, such as `train` or `train.cpu`.

    Raises
    ------
    FileNotFoundError
        If there is no such env.
    """
    own = env if accelerator == "cuda" else f"{env}.{accelerator}"
    found = next((name for name in (own, env) if _yaml(name).is_file()), None)
    if found is None:
        raise FileNotFoundError(_yaml(env))
    return found


def form_files(env: str, accelerator: str) -> list[Path]:
    """Return the files that define an env's form for an accelerator: its YAML and its lock.

    Raises
    ------
    FileNotFoundError
        If there is no such env.
    """
    name = form(env, accelerator)
    return [_yaml(name), _yaml(name).with_name(f"{name}.post-deploy.sh")]


def env_digest(env: str, accelerator: str) -> str:
    """Return the digest of a stage's env in its form for an accelerator, lock included.

    Raises
    ------
    FileNotFoundError
        If there is no such env.
    """
    contents = b"\0".join(path.read_bytes() for path in form_files(env, accelerator))
    return hashlib.sha256(contents).hexdigest()[:16]


def locked(env: str, accelerator: str) -> list[tuple[str, str, str]]:
    """Return package, version and marker (or "") of each requirement in an env's lock.

    Raises
    ------
    FileNotFoundError
        If there is no such env.
    """
    _, lock = form_files(env, accelerator)
    return PIN.findall(lock.read_text(encoding="utf-8"))


def drift(env: str, accelerator: str) -> list[str]:
    """Return one line for each package whose installed version differs from an env's lock.

    Further packages do not count. Neither does another build of the locked torch on a CPU: on
    Linux pip takes the CUDA build, which runs there too.

    Raises
    ------
    FileNotFoundError
        If there is no such env.
    """
    # Every env has it. Importing it takes longer than everything else here.
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
    """Return the version of each package on this interpreter's path, by its normalized name.

    They are taken from the names of folders in 1 ms: `.dist-info`, or `.egg-info` as an older pip
    installs a package without a wheel. importlib.metadata parses each package's metadata, which
    takes 170 ms, and every job waits for it.
    """
    found: dict[str, str] = {}
    for folder in filter(os.path.isdir, sys.path):
        for entry in os.listdir(folder):
            if match := INSTALLED.match(entry):
                found.setdefault(_normalized(match["name"]), match["version"])
    return found


def refusal(env: str, accelerator: str, differences: list[str]) -> str:
    """Return an error message that lists the differences and what can be done about them."""
    other = next((it for it in ACCELERATORS if it != accelerator and not drift(env, it)), None)
    ways = [
        *(
            [f"choose the form that is installed here with --config accelerator={other}"]
            * bool(other)
        ),
        "make the launcher environment again with make setup",
        "run with --sdm conda",
        "run anyway and have the results marked with --config allow_env_drift=true",
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
    """Return which build a version of torch is, in words, or "" for other packages."""
    if name != "torch":
        return ""
    for_cpu = version.endswith("+cpu") or sys.platform == "darwin"
    return " (CPU build)" if for_cpu else " (CUDA build)"


def main(argv: list[str] | None = None) -> int:
    """Compare what is installed with an env's lock. Raises BadInput on a difference."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.provenance.environment", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--env", choices=STAGES, required=True)
    parser.add_argument("--accelerator", choices=ACCELERATORS, required=True)
    arguments = parser.parse_args(argv)
    differences = drift(arguments.env, arguments.accelerator)
    if differences:
        raise BadInput(refusal(arguments.env, arguments.accelerator, differences))
    count = len(locked(arguments.env, arguments.accelerator))
    print(f"{form(arguments.env, arguments.accelerator)}: as locked ({count} requirements)")
    return 0


if __name__ == "__main__":
    run(main)
