"""Write the locks and each stage's envs from the .in files, or check them.

    python -m envs.lock [--upgrade]     # make lock
    python -m envs.lock --check

A locked version stays while it fits; --upgrade takes the newest of all. Hashes are always those in
the package index now, so that a hash that was altered is found and replaced.

launcher.lock holds every package of every stage with hashes, for Python 3.11 and newer. It lacks
torch and what only its CUDA builds depend on: the machine decides which build the launcher has, and
torch.txt pins the versions of that build's packages. A stage's env is an interpreter and uv from
conda-forge, and a post-deploy script that installs the stage's share of the launcher's versions.
The script contains the lock, because Snakemake identifies an env by its YAML and its script alone.
A stage that needs torch has two forms, {stage} for CUDA and {stage}.cpu, which differ only in
torch's build and what comes with it.

uv compiles the locks. `uv lock` would not do: it keeps a wrong hash that it finds in its lock, and
records from which host each file was taken. overrides.in holds what overrules the packages' own
requirements.
"""

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.common.cli import BadInput, run
from scripts.provenance.environment import STAGES

ENVS = Path(__file__).parent
PYTHON = "3.11"
BY_BUILD = re.compile(r"^(torch|triton|nvidia-(?!ml-py$).*|cuda-.*)$")
"""torch, and the packages that only its CUDA builds depend on."""
PINNED = re.compile(r"[\w.-]+==")
HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})\b")

YAML = f"""\
# Made by `make lock`. The packages stand in {{form}}.post-deploy.sh, hashes included.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python={PYTHON}
  - uv
"""

SCRIPT = """\
#!/bin/sh
# Made by `make lock` from {stage}.in. Runs in the new env, which Snakemake has activated.
set -eu
# Once, here: jobs run side by side, and some machines write no bytecode when a module is imported.
export UV_COMPILE_BYTECODE="${{UV_COMPILE_BYTECODE:-1}}"
{source}uv pip install --python "$CONDA_PREFIX" --no-deps --require-hashes -r - <<'LOCK'
{lock}LOCK
"""

SOURCE = """\
# The CPU build lies in PyTorch's own index, unless this machine is told of another place.
if [ -z "${UV_FIND_LINKS:-}${UV_INDEX:-}${UV_TORCH_BACKEND:-}" ]; then
  export UV_TORCH_BACKEND=cpu
fi
"""

CPU = """\
torch=={version}+cpu ; sys_platform != "darwin"
torch=={version} ; sys_platform == "darwin"
triton ; python_version < "3"
"""
"""The overrides of a CPU form. On macOS the ordinary build of torch is one for CPUs. triton, which
packages require on Linux, compiles kernels for GPUs; a marker that is never true leaves it out."""

CONSTRAINTS = """\
# Made by `make lock`. What CUDA builds of torch bring: `make setup` keeps to these versions.
"""


# ------------------------------------------------------------------------------------------- locks


def packages(lock: str) -> dict[str, str]:
    """Return the requirements of a lock, hashes included, by their first lines without ` \\`."""
    found: dict[str, list[str]] = {}
    block: list[str] = []
    for line in lock.splitlines(keepends=True):
        if not line.startswith(" "):
            # Lines of a script belong to no package.
            block = []
            if PINNED.match(line):
                block = found.setdefault(line.rstrip("\n").removesuffix(" \\"), [])
        block.append(line)
    return {line: "".join(block) for line, block in found.items()}


def name_of(line: str) -> str:
    """Return the package that a requirement is about."""
    return re.split(r"[=@ ;]", line)[0]


def pins(lock: str) -> set[str]:
    """Return `name==version` of each requirement, without the `+cpu` of torch's CPU build."""
    return {re.split(r"[ +]", line)[0] for line in packages(lock)}


def by_build(lock: str, wanted: bool) -> str:
    """Return the part of a lock that depends on torch's build, or the part that does not."""
    kept = [
        block
        for line, block in packages(lock).items()
        if bool(BY_BUILD.match(name_of(line))) == wanted
    ]
    return "".join(kept)


def lock_of(script: str) -> str:
    """Return the lock in a post-deploy script."""
    return script.partition("<<'LOCK'\n")[2].rpartition("LOCK\n")[0]


def torch_version(requirements: Path) -> str | None:
    """Return the version of torch that a stage needs, or None."""
    found = re.search(r"^torch==(\S+)$", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


# --------------------------------------------------------------------------------------- compiling


def compiled(
    requirements: Path, versions: str = "", preferred: str = "", overrides: str = ""
) -> str:
    """Return the hashed lock of a requirements file for all platforms, as uv writes it.

    Parameters
    ----------
    versions
        Requirements whose versions are kept if their packages are needed.
    preferred
        Requirements whose versions are kept while they fit.
    overrides
        What is overruled besides overrides.in. With it, torch's CPU build is searched for.

    Raises
    ------
    BadInput
        If uv finds no such set of packages.
    """
    with tempfile.TemporaryDirectory() as folder:
        constraints, overruled, lock = (
            Path(folder, name) for name in ("constraints", "overrides", "lock")
        )
        constraints.write_text(versions, encoding="utf-8")
        overruled.write_text(overrides, encoding="utf-8")
        lock.write_text(preferred, encoding="utf-8")
        command = [
            *("uv", "pip", "compile", "--universal", "--python-version", PYTHON, "--quiet"),
            *("--generate-hashes", "--no-header", "--no-annotate", str(requirements)),
            *("--overrides", str(ENVS / "overrides.in"), "--overrides", str(overruled)),
            *("--constraints", str(constraints), "--output-file", str(lock)),
        ]
        environment = _sources(cpu=bool(overrides))
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise BadInput(f"{requirements.name} cannot be locked\n{done.stderr.strip()}")
        return lock.read_text(encoding="utf-8")


def _sources(cpu: bool) -> dict[str, str]:
    """Return the environment in which uv finds torch's CUDA build or its CPU build.

    The CUDA build is the one in the package index. The CPU build is taken from the folders or pages
    in UV_FIND_LINKS or PIP_FIND_LINKS, else from PyTorch's index.
    """
    own = ("UV_FIND_LINKS", "UV_TORCH_BACKEND")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    links = os.environ.get("UV_FIND_LINKS") or ",".join(
        os.environ.get("PIP_FIND_LINKS", "").split()
    )
    if not cpu:
        return environment
    return environment | ({"UV_FIND_LINKS": links} if links else {"UV_TORCH_BACKEND": "cpu"})


def cpu_form(requirements: Path, version: str, cuda: str, present: str) -> str:
    """Return the lock of a stage's CPU form, with the versions of its CUDA form.

    Parameters
    ----------
    version
        The version of torch.
    cuda
        The lock of the CUDA form.
    present
        The CPU form's lock so far. Its hashes of the CPU builds are kept if they include those that
        this machine sees, or are among them: some machines see only one of the builds.
    """
    fresh = compiled(
        requirements,
        versions="\n".join(packages(by_build(cuda, wanted=False))),
        overrides=CPU.format(version=version),
    )
    before = packages(present)
    blocks = []
    for line, block in packages(fresh).items():
        seen, had = set(HASH.findall(block)), set(HASH.findall(before.get(line, "")))
        if line.startswith(f"torch=={version}+cpu") and had and (had <= seen or seen <= had):
            block = before[line]
        elif line.startswith(f"torch=={version} "):
            # The index's own files, wherever the CPU builds were found.
            head = f"{line} \\\n"
            block = head + packages(cuda)[f"torch=={version}"].partition("\n")[2]
        blocks.append(block)
    return "".join(blocks)


def generated(present: dict[str, str], upgrade: bool = False) -> dict[str, str]:
    """Return the text of every file that is made from the .in files, by its name in envs/.

    Parameters
    ----------
    present
        The same files as they are now: their versions stay while they fit.
    upgrade
        Take the newest versions instead.

    Raises
    ------
    BadInput
        If uv finds no such set of packages.
    """
    kept = {} if upgrade else present
    lines = [*packages(kept.get("launcher.lock", "")), *packages(kept.get("torch.txt", ""))]
    whole = compiled(ENVS / "launcher.in", preferred="\n".join(lines) + "\n")
    versions = "\n".join(packages(whole))
    constraints = "".join(f"{line}\n" for line in packages(by_build(whole, wanted=True)))
    files = {
        "launcher.lock": by_build(whole, wanted=False),
        "torch.txt": CONSTRAINTS + constraints,
    }
    for stage in STAGES:
        source = ENVS / f"{stage}.in"
        cuda = compiled(source, versions=versions)
        files |= env_files(stage, stage, cuda)
        version = torch_version(source)
        if version:
            had = lock_of(kept.get(f"{stage}.cpu.post-deploy.sh", ""))
            cpu = cpu_form(source, version, cuda, had)
            files |= env_files(stage, f"{stage}.cpu", cpu, SOURCE)
    return files


def env_files(stage: str, form: str, lock: str, source: str = "") -> dict[str, str]:
    """Return the files of a form of a stage's env, by name."""
    return {
        f"{form}.yaml": YAML.format(form=form),
        f"{form}.post-deploy.sh": SCRIPT.format(stage=stage, lock=lock, source=source),
    }


# ---------------------------------------------------------------------------------------- checking


def moved(before: str, after: str) -> Iterator[str]:
    """Yield a line for each package in which two versions of a generated file differ."""
    old, new = packages(before), packages(after)
    for line in sorted(old.keys() ^ new.keys()):
        yield f"{'+' if line in new else '-'} {line}"
    for line in sorted(old.keys() & new.keys()):
        had, has = set(HASH.findall(old[line])), set(HASH.findall(new[line]))
        if old[line] != new[line]:
            yield f"! {line}: {len(had - has)} hashes not in the index, {len(has - had)} new ones"
    if old == new and before != after:
        yield "! other text than `make lock` writes"


def present_files() -> dict[str, str]:
    """Return the text of every generated file that exists, by its name in envs/."""
    kinds = ("*.lock", "torch.txt", "*.yaml", "*.post-deploy.sh")
    made = [path for kind in kinds for path in ENVS.glob(kind)]
    return {path.name: path.read_text(encoding="utf-8") for path in made if path.is_file()}


def main(argv: list[str] | None = None) -> int:
    """Write the locks and print what moved, or check them. Raises BadInput if a check fails."""
    parser = argparse.ArgumentParser(
        prog="python -m envs.lock", description="Write the locks and print what moved."
    )
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    parser.add_argument("--check", action="store_true", help="write nothing; print what is wrong")
    arguments = parser.parse_args(argv)
    present = present_files()
    files = generated(present, arguments.upgrade)
    where: dict[str, list[str]] = {}
    for name in sorted(present.keys() | files.keys()):
        for line in moved(present.get(name, ""), files.get(name, "")):
            where.setdefault(line, []).append(name)
    for line, names in sorted(where.items()):
        print(f"{line} ({', '.join(names)})")
    if arguments.check:
        if where:
            raise BadInput("envs/ is not what `make lock` makes of the .in files")
        print(f"{len(files)} files are complete, current and unaltered")
        return 0
    for name in present.keys() - files.keys():
        (ENVS / name).unlink()
    for name, text in files.items():
        (ENVS / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    run(main)
