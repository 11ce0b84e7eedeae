"""Running Snakemake for a command, from any folder.

Snakemake's working directory is the caller's: paths are relative to it, and results go where
`snakemake` run from there would put them. Without a configuration it is the checkout's.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput

if TYPE_CHECKING:
    from scripts.config.plan import Plan
    from scripts.config.schema import Config

CHECKOUT = Path(__file__).resolve().parents[2]
PASSED_ON = (signal.SIGTERM, signal.SIGHUP)


class Failed(Exception):
    """Snakemake failed, and said why. Its only argument is the exit code."""


@dataclass(frozen=True)
class Sweep:
    """What a configuration asks for.

    Attributes
    ----------
    files
        Config files, later ones over earlier ones.
    profile
        A workflow profile, or None for Snakemake's default.
    values
        Values over those of the files.
    """

    files: list[Path]
    profile: Path | None = None
    values: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, files: list[Path] | None, profile: str | None = None) -> "Sweep":
        """Return the sweep of options: without config files, the profile's or the checkout's.

        Raise BadInput where there is no such profile.
        """
        folder = None if profile is None else _profile(profile)
        return cls(files or [_configured(folder) or CHECKOUT / "config.yaml"], folder)

    @cached_property
    def config(self) -> "Config":
        """The checked configuration. Raise BadInput with a line for each mistake in it."""
        from scripts.config.check import load
        from scripts.config.files import ConfigError

        try:
            return load([*self.files], self.values)
        except ConfigError as error:
            # Each mistake is a line of its own.
            raise BadInput("\nerror: ".join(str(error).splitlines())) from None

    @cached_property
    def plan(self) -> "Plan":
        """The configuration, resolved. Raises as `config` does."""
        from scripts.config.plan import make_plan

        return make_plan(self.config)

    @property
    def results(self) -> Path:
        """The folder of the results."""
        return Path(self.config.pathvars.get("results", "results"))

    def snakemake(self, *options: str, target: str | None = None, **config: Any) -> None:
        """Run Snakemake, with more values over the configuration. Raise Failed if it fails.

        Raise BadInput where the configuration has mistakes: Snakemake reads it before the project
        does, and breaks off with a traceback where it is nested too deep.
        """
        _ = self.config
        profile = [] if self.profile is None else ["--workflow-profile", str(self.profile)]
        values = [f"{it}={json.dumps(value)}" for it, value in (self.values | config).items()]
        command = [
            sys.executable, "-P", "-m", "snakemake", "--snakefile", str(CHECKOUT / "Snakefile"),
            *profile, *options, "--configfile", *map(str, self.files),
            *(["--config", *values] if values else []), *([] if target is None else ["--", target]),
        ]  # fmt: skip
        if code := run(command):
            raise Failed(code)


def run(command: list[str]) -> int:
    """Run a command with this interpreter's programs before the machine's; return its exit code.

    Ctrl-C reaches it from the terminal, and it ends its jobs first; other signals are passed on.
    """
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = os.environ | {"PATH": programs, "PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(command, env=environment) as process:
        before = {signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None)}
        for number in PASSED_ON:
            before[number] = signal.signal(number, lambda number, _: process.send_signal(number))
        try:
            return process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _profile(name: str) -> Path:
    """Return the folder of a profile: the name of one of the checkout, or a path."""
    places = [CHECKOUT / "profiles" / name, Path(name), CHECKOUT / name]
    found = next((place for place in places if (place / "config.yaml").is_file()), None)
    if found is None:
        allowed = sorted(it.name for it in (CHECKOUT / "profiles").iterdir())
        raise BadInput(f"--profile: found {name!r}; allowed: a folder, or {', '.join(allowed)}")
    return found


def _configured(profile: Path | None) -> Path | None:
    """Return the config file that a profile names, if any, relative to the checkout."""
    if profile is None:
        return None
    lines = (profile / "config.yaml").read_text(encoding="utf-8").splitlines()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("configfile:")]
    return CHECKOUT / named[0] if named else None
