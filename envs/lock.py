"""Writes the locks and each stage's envs from the .in files, or checks them.

    python -m envs.lock [--upgrade]     # make lock
    python -m envs.lock --check         # make check-locks

A version that is locked stays while it fits; --upgrade takes the newest of all. Hashes are always
those that the package index has now, so one that was altered by hand is found and put right.

launcher.lock holds every package of every stage with hashes, for Python 3.11 and newer, but for
torch and what only its CUDA builds bring: which build the launcher has is the machine's choice, and
torch.txt keeps to one version of each package that comes with it. A stage's env is an interpreter
and uv from conda-forge; its post-deploy script installs the stage's share of the launcher's
versions. The script *contains* the lock, because Snakemake's identity of an env covers the YAML and
the script and nothing beside them. A stage that needs torch has two forms, {stage} for CUDA and
{stage}.cpu; they differ in torch's build, in what comes with it, and in nothing else.

overrides.in says where the locks overrule what a package asks for.
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
"""torch, and what no package but its CUDA builds brings."""
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
"""How a CPU form overrules its packages. On macOS the ordinary build is one for CPUs; triton
compiles kernels for a GPU, and packages ask for it wherever there is Linux, so it is left out by a
marker that holds nowhere."""

CONSTRAINTS = """\
# Made by `make lock`. What CUDA builds of torch bring: `make setup` keeps to these versions.
"""


# ------------------------------------------------------------------------------------------- locks


def packages(lock: str) -> dict[str, str]:
    """Returns each requirement of a lock, hashes included, by its first line less the hashes."""
    found: dict[str, list[str]] = {}
    block: list[str] = []
    for line in lock.splitlines(keepends=True):
        if not line.startswith(" "):
            # A line of a script is none, and what follows it belongs to no package.
            block = []
            if PINNED.match(line):
                block = found.setdefault(line.rstrip("\n").removesuffix(" \\"), [])
        block.append(line)
    return {line: "".join(block) for line, block in found.items()}


def name_of(line: str) -> str:
    """Returns the package that a requirement's line is about."""
    return re.split(r"[=@ ;]", line)[0]


def hashes(block: str) -> list[str]:
    """Returns the well-formed hashes of a requirement."""
    return HASH.findall(block)


def by_build(lock: str, wanted: bool) -> str:
    """Returns the part of a lock that goes with torch's build, or the part that does not."""
    kept = [
        block
        for line, block in packages(lock).items()
        if bool(BY_BUILD.match(name_of(line))) == wanted
    ]
    return "".join(kept)


def lock_of(script: str) -> str:
    """Returns the lock that a post-deploy script contains."""
    return script.partition("<<'LOCK'\n")[2].rpartition("LOCK\n")[0]


def torch_version(requirements: Path) -> str | None:
    """Returns the version of torch that a stage asks for, if it needs torch."""
    found = re.search(r"^torch==(\S+)$", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


# --------------------------------------------------------------------------------------- compiling


def compiled(
    requirements: Path, versions: str = "", preferred: str = "", overrides: str = ""
) -> str:
    """Returns the hashed, universal lock of a requirements file, as uv writes it.

    Parameters
    ----------
    versions
        Lines of a lock that must be kept to, where their packages are needed.
    preferred
        Lines of a lock whose versions are kept while they fit.
    overrides
        What is overruled beside overrides.in. With it, torch's CPU build is looked for.

    Raises
    ------
    BadInput
        When uv finds no such set of packages.
    """
    with tempfile.TemporaryDirectory() as folder:
        constraints, overruled, lock = (
            _written(Path(folder, name), text)
            for name, text in [
                ("constraints", versions),
                ("overrides", overrides),
                ("lock", preferred),
            ]
        )
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


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _sources(cpu: bool) -> dict[str, str]:
    """Returns the environment in which uv finds torch's CUDA build or its CPU build.

    The CUDA build is the package index's own. The CPU build comes from the folders or pages that
    UV_FIND_LINKS or pip's variable of that kind names, else from PyTorch's index.
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
    """Returns the lock of a stage's CPU form: the versions of its CUDA form but for torch's build.

    Parameters
    ----------
    cuda
        The lock of the CUDA form.
    present
        The CPU form's lock so far. A machine may see few of the official builds, or more: where
        those locked and those seen do not contradict each other, what is locked stays.
    """
    fresh = compiled(
        requirements,
        versions="\n".join(packages(by_build(cuda, wanted=False))),
        overrides=CPU.format(version=version),
    )
    before = packages(present)
    blocks = []
    for line, block in packages(fresh).items():
        seen, had = set(hashes(block)), set(hashes(before.get(line, "")))
        if line.startswith(f"torch=={version}+cpu") and had and (had <= seen or seen <= had):
            block = before[line]
        elif line.startswith(f"torch=={version} "):
            # The index's own files, wherever the CPU builds were found.
            head = f"{line} \\\n"
            block = head + packages(cuda)[f"torch=={version}"].partition("\n")[2]
        blocks.append(block)
    return "".join(blocks)


def generated(present: dict[str, str], upgrade: bool = False) -> dict[str, str]:
    """Returns the text of every file that is made from the .in files, by its name in envs/.

    Parameters
    ----------
    present
        The same files as they are: versions in them stay while they fit.
    upgrade
        Take the newest versions instead.

    Raises
    ------
    BadInput
        When uv finds no such set of packages.
    """
    kept = {} if upgrade else present
    lines = [*packages(kept.get("launcher.lock", "")), *packages(kept.get("torch.txt", ""))]
    whole = compiled(ENVS / "launcher.in", preferred="\n".join(lines) + "\n")
    versions = "\n".join(packages(whole))
    files = {
        "launcher.lock": by_build(whole, wanted=False),
        "torch.txt": CONSTRAINTS
        + "".join(f"{line}\n" for line in packages(by_build(whole, wanted=True))),
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
    """Returns the files of one form of a stage's env."""
    return {
        f"{form}.yaml": YAML.format(form=form),
        f"{form}.post-deploy.sh": SCRIPT.format(stage=stage, lock=lock, source=source),
    }


# ---------------------------------------------------------------------------------------- checking


def moved(before: str, after: str) -> Iterator[str]:
    """Yields in what two texts of one generated file differ, a line for each package."""
    old, new = packages(before), packages(after)
    for line in sorted(old.keys() ^ new.keys()):
        yield f"{'+' if line in new else '-'} {line}"
    for line in sorted(old.keys() & new.keys()):
        had, has = hashes(old[line]), hashes(new[line])
        if old[line] != new[line]:
            gone, come = len(set(had) - set(has)), len(set(has) - set(had))
            yield f"! {line}: {gone} hashes that the index does not have, {come} that it has more"
    if old == new and before != after:
        yield "! other text than `make lock` writes"


def malformed(files: dict[str, str]) -> Iterator[str]:
    """Yields what is wrong in generated files, whatever the package index has.

    That is: a package without a hash; a stage's version that is not the launcher's; two forms of a
    stage that differ in more than torch's build.
    """
    launcher = {line for name in ("launcher.lock", "torch.txt") for line in pins(files[name])}
    for name, text in files.items():
        if name.endswith((".lock", ".sh")):
            bare = [
                line for line, block in packages(lock_of(text) or text).items() if not _whole(block)
            ]
            yield from (f"{name}: {line} has no hash, or one that is none" for line in bare)
        if name.endswith(".sh"):
            strange = pins(lock_of(text)) - launcher
            yield from (f"{name}: {pin} is not the launcher's version" for pin in sorted(strange))
    for stage in STAGES:
        cpu = files.get(f"{stage}.cpu.post-deploy.sh")
        if cpu is not None:
            forms = [
                by_build(lock_of(it), wanted=False)
                for it in (files[f"{stage}.post-deploy.sh"], cpu)
            ]
            yield from (f"{stage}.cpu differs from {stage}: {line}" for line in moved(*forms))


def pins(lock: str) -> set[str]:
    """Returns `name==version` of each requirement, torch's CPU builds as any other."""
    return {re.split(r"[ +]", line)[0] for line in packages(lock)}


def _whole(block: str) -> bool:
    """Tells whether a requirement has hashes, and nothing below its first line but hashes."""
    below = block.splitlines()[1:]
    return bool(below) and len(hashes(block)) == len(below)


def present_files() -> dict[str, str]:
    """Returns the text of every generated file that there is, by its name in envs/."""
    kinds = ("*.lock", "torch.txt", "*.yaml", "*.post-deploy.sh")
    made = [path for kind in kinds for path in ENVS.glob(kind)]
    return {path.name: path.read_text(encoding="utf-8") for path in made if path.is_file()}


def main(argv: list[str] | None = None) -> int:
    """Writes the locks and prints what moved, or checks them and prints what is wrong."""
    parser = argparse.ArgumentParser(description="Writes the locks and says what moved.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    parser.add_argument("--check", action="store_true", help="write nothing; say what is wrong")
    arguments = parser.parse_args(argv)
    present = present_files()
    files = generated(present, arguments.upgrade)
    where: dict[str, list[str]] = {}
    for name in sorted(present.keys() | files.keys()):
        for line in moved(present.get(name, ""), files.get(name, "")):
            where.setdefault(line, []).append(name)
    lines = [f"{line} ({', '.join(names)})" for line, names in sorted(where.items())]
    wrong = list(malformed(present if arguments.check else files))
    print(*lines, *wrong, sep="\n", end="\n" if lines or wrong else "")
    if arguments.check:
        if lines or wrong:
            raise BadInput("envs/ is not what `make lock` makes of the .in files")
        print(f"{len(files)} files are whole, current and untampered")
        return 0
    if wrong:
        raise BadInput("nothing was written")
    for name in present.keys() - files.keys():
        (ENVS / name).unlink()
    for name, text in files.items():
        (ENVS / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    run(main)
