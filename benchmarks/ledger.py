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

from benchmarks.cases import OWN, Case
from scripts.common.files import read_json, write_json
from scripts.provenance.digests import code_digest

Part = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes",
            "unsloth", "snakemake")  # fmt: skip
MEASURED = ("scripts/train/dpo.py", "scripts/train/sft.py", "scripts/train/reference.py")
MEASURING = ("contestants", "corpora", "meter", "needed", "shapes")
SWEEPING = ("stock_trial", "sweep")
SHOWN = ("letter", "name", "contestants", "epochs", "bounds")
"""What a case says about comparing and not about measuring."""


def conditions(titles: str) -> Part:
    """Return the conditions of a measurement: machine, versions, code, and which toy titles."""
    measured = hashlib.sha256("".join(map(code_digest, MEASURED)).encode())
    return {
        "machine": machine(),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
        "measuring": _digest(MEASURING),
        "sweeping": _digest(SWEEPING),
        "code": measured.hexdigest()[:16],
        "titles": titles,
    }


def _digest(modules: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in modules:
        digest.update((ROOT / "benchmarks" / f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]


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
    """Measurements in a JSON file. Only those made under the present conditions are not made again;
    a page shows older ones of the same machine too, and says so."""

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
        self.kept = [entry for entry in self.kept if not self._replaces(wanted, entry)]
        self.kept.append({**wanted, "date": date.today().isoformat(), "figures": metrics})
        write_json(self.path, {"measurements": self.kept})

    def shown(self, case: Case, contestant: str) -> list[Part]:
        """Return what a page shows of a contestant: its measurements on this machine, by turn, all
        under the conditions of the first."""
        found: list[Part] = []
        while entry := self._entry(case, contestant, len(found)):
            if found and entry["under"] != found[0]["under"]:
                break
            found.append(entry)
        return [entry["figures"] for entry in found]

    def dates(self, case: Case) -> list[str]:
        """Return the first and the last date of a case's measurements."""
        found = [entry["date"] for entry in self._first(case)]
        return sorted({min(found), max(found)}) if found else []

    def is_older(self, case: Case) -> bool:
        """Return True if a measurement of a case was made under other conditions than the present:
        the page shows it as long as there is no newer one."""
        return any(it["under"] != self._under(case, it["contestant"]) for it in self._first(case))

    def _first(self, case: Case) -> list[Part]:
        """Return the first entry of each of a case's contestants."""
        return [entry for name in case.contestants if (entry := self._entry(case, name, 0))]

    def _entry(self, case: Case, contestant: str, turn: int) -> Part | None:
        wanted = self._key(case, contestant, turn)
        known = (entry for entry in self.kept if self._replaces(wanted, entry))
        return next((it for it in known if it["settings"] == wanted["settings"]), None)

    def _replaces(self, wanted: Part, entry: Part) -> bool:
        place = ("case", "contestant", "turn")
        same = all(entry[name] == wanted[name] for name in place)
        return same and entry["under"]["machine"] == self.under["machine"]

    def _under(self, case: Case, contestant: str) -> Part:
        """Return a contestant's conditions: TRL's do not depend on this project's training, nor
        a single trial's on how sweeps are made."""
        left_out = set() if contestant.startswith(OWN) else {"code"}
        left_out |= set() if case.task == "sweep" else {"sweeping"}
        return {key: value for key, value in self.under.items() if key not in left_out}

    def _key(self, case: Case, contestant: str, turn: int) -> Part:
        settings = {key: value for key, value in asdict(case).items() if key not in SHOWN}
        return {"case": case.name, "contestant": contestant, "turn": turn, "settings": settings,
                "under": self._under(case, contestant)}  # fmt: skip
