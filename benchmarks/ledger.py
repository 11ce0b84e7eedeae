"""Save each measurement right away, so that a stopped run can resume."""

import hashlib
import os
import platform
import sys
from dataclasses import asdict
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from scripts.common.files import read_json, write_json
from scripts.provenance.digests import code_digest

Part = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes",
            "unsloth", "snakemake")  # fmt: skip
MEASURED = ("scripts/train/dpo.py", "scripts/train/sft.py", "scripts/train/reference.py")
MEASURING = ("cases", "contestants", "corpora", "meter", "needed", "shapes", "sweep")


def conditions(titles: str) -> Part:
    """Return the conditions of a measurement: machine, versions, code, and which titles."""
    digest = hashlib.sha256("".join(map(code_digest, MEASURED)).encode())
    for name in MEASURING:
        digest.update((ROOT / "benchmarks" / f"{name}.py").read_bytes())
    return {
        "machine": machine(),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
        "code": digest.hexdigest()[:16],
        "titles": titles,
    }


def machine() -> Part:
    """Return the CPU's name and how many cores this process may use."""
    from scripts.lm.devices import device_name

    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return {"device": device_name(), "cores": cores, "system": platform.platform(terse=True)}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class Ledger:
    """Measurements in a JSON file; those made under other conditions are ignored."""

    def __init__(self, path: Path, under: Part) -> None:
        self.path, self.under = path, under
        self.kept: list[Part] = read_json(path)["measurements"] if path.is_file() else []

    def find(self, case: Case, contestant: str, turn: int) -> Part | None:
        """Return a measurement, or None if it is still to be made."""
        wanted = self._key(case, contestant, turn)
        for entry in self.kept:
            if all(entry[name] == value for name, value in wanted.items()):
                return entry["figures"]
        return None

    def keep(self, case: Case, contestant: str, turn: int, metrics: Part) -> None:
        """Write a measurement to the file, in place of an older one of the same case."""
        wanted = self._key(case, contestant, turn)
        place = ("case", "contestant", "turn")
        self.kept = [
            entry
            for entry in self.kept
            if any(entry[name] != wanted[name] for name in place)
            or entry["under"]["machine"] != self.under["machine"]
        ]
        self.kept.append({**wanted, "date": date.today().isoformat(), "figures": metrics})
        write_json(self.path, {"measurements": self.kept})

    def dates(self, cases: list[Case]) -> list[str]:
        """Return the first and the last date of these cases' measurements."""
        names = {case.name for case in cases}
        found = [e["date"] for e in self.kept if e["case"] in names and e["under"] == self.under]
        return sorted({min(found), max(found)}) if found else []

    def _key(self, case: Case, contestant: str, turn: int) -> Part:
        # Lists, because JSON has no tuples.
        settings = asdict(case) | {"contestants": list(case.contestants)}
        return {"case": case.name, "contestant": contestant, "turn": turn, "settings": settings,
                "under": self.under}  # fmt: skip
