"""Writes envs/launcher.lock and each stage's env from the .in files: `make lock`.

    python envs/lock.py [--upgrade]

A version that is locked stays while it fits; --upgrade takes the newest of all.

The launcher's lock holds every package of every stage with hashes, for Python 3.11 and newer. A
stage's env is an interpreter and uv from conda-forge; its post-deploy script installs the stage's
share of that same lock. The script *contains* the lock, because Snakemake's identity of an env
covers the YAML and the script and nothing beside them.

torch and what its CUDA builds bring stand in no lock: their hashes differ from build to build, and
the machine's own package index decides between a CPU and a CUDA build. The version is pinned.
overrides.in says where the locks overrule what a package asks for.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ENVS = Path(__file__).parent
STAGES = ("data", "train", "evaluate", "report")
PYTHON = "3.11"
BY_MACHINE = re.compile(r"^(torch|triton|nvidia-(?!ml-py$).*|cuda-.*)$")

YAML = f"""\
# Made by `make lock`. The packages stand in {{stage}}.post-deploy.sh, hashes included.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python={PYTHON}.*
  - uv
"""

SCRIPT = """\
#!/bin/sh
# Made by `make lock` from {stage}.in. Runs in the new env, which Snakemake has activated.
set -eu
uv pip install --python "$CONDA_PREFIX" --no-deps --require-hashes -r - <<'LOCK'
{lock}LOCK
{torch}"""

TORCH = """\
# Whichever build this machine's index has; a CUDA build brings its own packages.
uv pip install --python "$CONDA_PREFIX" {requirement}
"""


def compiled(requirements: Path, present: str = "", constraints: Path | None = None) -> str:
    """Returns the hashed, universal lock of a requirements file, as uv writes it.

    Parameters
    ----------
    present
        A lock whose versions are kept where they fit.
    """
    command = [
        *("uv", "pip", "compile", "--universal", "--python-version", PYTHON),
        *("--generate-hashes", "--no-header", "--no-annotate", "--quiet"),
        *("--overrides", str(ENVS / "overrides.in"), str(requirements)),
    ]
    if constraints:
        command += ["--constraints", str(constraints)]
    links = os.environ.get("PIP_FIND_LINKS")
    if links:
        command += ["--find-links", links]
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / "lock"
        lock.write_text(present, encoding="utf-8")
        subprocess.run([*command, "--output-file", str(lock)], check=True, capture_output=True)
        return lock.read_text(encoding="utf-8")


def packages(lock: str) -> dict[str, str]:
    """Returns each requirement of a lock, hashes included, by its first line less the hashes."""
    blocks = re.findall(r"^\S.*?(?=^\S|\Z)", lock, flags=re.MULTILINE | re.DOTALL)
    return {block.splitlines()[0].removesuffix(" \\"): block for block in blocks}


def without_torch(lock: str) -> str:
    """Returns the lock less torch and the packages that only its CUDA builds need."""
    kept = [
        block
        for line, block in packages(lock).items()
        if not BY_MACHINE.match(re.split(r"[=@ ;]", line)[0])
    ]
    return "".join(kept)


def torch_requirement(requirements: Path) -> str | None:
    """Returns the line that pins torch, if the stage needs it."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return next((line for line in lines if line.startswith("torch==")), None)


def main() -> int:
    """Writes the locks; prints which packages moved."""
    parser = argparse.ArgumentParser(description="Writes the locks, and says what moved.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    arguments = parser.parse_args()
    target = ENVS / "launcher.lock"
    present = target.read_text(encoding="utf-8") if target.exists() else ""
    before = packages(present)
    whole = compiled(ENVS / "launcher.in", "" if arguments.upgrade else present)
    target.write_text(without_torch(whole), encoding="utf-8")
    after = packages(target.read_text(encoding="utf-8"))
    for line in sorted(before.keys() ^ after.keys()):
        print("+" if line in after else "-", line)

    versions = ENVS / ".versions.txt"
    versions.write_text("\n".join(packages(whole)) + "\n", encoding="utf-8")
    try:
        for stage in STAGES:
            source = ENVS / f"{stage}.in"
            lock = without_torch(compiled(source, constraints=versions))
            requirement = torch_requirement(source)
            torch = TORCH.format(requirement=requirement) if requirement else ""
            script = SCRIPT.format(stage=stage, lock=lock, torch=torch)
            (ENVS / f"{stage}.post-deploy.sh").write_text(script, encoding="utf-8")
            (ENVS / f"{stage}.yaml").write_text(YAML.format(stage=stage), encoding="utf-8")
    finally:
        versions.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
