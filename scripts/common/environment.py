"""What is installed, held against the lock of a stage's env."""

import os
import re
import sys
from pathlib import Path

ENVS = Path(__file__).resolve().parents[2] / "envs"


def drift(env: str, accelerator: str) -> list[str]:
    """Returns how what is installed differs from an env's lock, one line a difference."""
    have = installed()
    return [
        f"{name}: locked {wanted}, installed {have.get(name, 'not at all')}"
        for name, wanted in sorted(locked(env).items())
        if have.get(name, "").split("+")[0] != wanted
    ]


def locked(env: str) -> dict[str, str]:
    """Returns the versions that an env's lock pins on every machine, by canonical name."""
    script = (ENVS / f"{env}.post-deploy.sh").read_text(encoding="utf-8")
    pins = re.findall(r"^([\w.-]+)==(\S+) \\$", script, flags=re.MULTILINE)
    return {canonical(name): version for name, version in pins}


def installed() -> dict[str, str]:
    """Returns the versions of all packages that this interpreter finds, by canonical name."""
    found: dict[str, str] = {}
    for folder in sys.path:
        if os.path.isdir(folder):
            for name in os.listdir(folder):
                if name.endswith(".dist-info"):
                    package, version = name.removesuffix(".dist-info").rsplit("-", 1)
                    found.setdefault(canonical(package), version)
    return found


def canonical(name: str) -> str:
    """Returns a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def snakemakes() -> bool:
    """Tells whether this interpreter is of an env that Snakemake made and activated."""
    return os.path.exists(f"{sys.prefix}.env_setup_done")
