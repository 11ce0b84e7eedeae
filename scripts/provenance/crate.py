"""Pack a finished run for an archive, as an RO-Crate: what it made, and how each job made it.

Follows RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) and the profile Provenance Run Crate 0.5
(https://w3id.org/ro/wfrun/provenance/0.5): one action per job, with its instrument, its inputs and
its outputs. The crate holds tables, figures, metrics, scored rows, adapters, configurations, locks,
code and records. Rows of datasets and weights of base models are not copied: they are named by
digest, and by repository and commit if they have one.

A run is packed only if its files and its code are what its records say.
"""

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from mimetypes import MimeTypes
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile, is_zipfile

from scripts.common.cli import BadInput
from scripts.common.files import ROOT, named
from scripts.provenance.digests import code_files
from scripts.provenance.environment import env_digest
from scripts.provenance.record import SUFFIX, Job, Part, read_job, records_in
from scripts.provenance.verify import BARE, findings

if TYPE_CHECKING:
    from rocrate.model.contextentity import ContextEntity
    from rocrate.model.entity import Entity
    from rocrate.rocrate import ROCrate

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
LICENCE = "https://spdx.org/licenses/MIT"
HUB = "https://huggingface.co"
METADATA = "ro-crate-metadata.json"
NAMED_ONLY = ("data/", "tokens/", "references/")
"""Folders of the results whose rows are named by digest and not copied."""
CODE = ("rules", "scripts", "envs")
AS_PACKED = (
    "Modules and locks are as the jobs ran them. Of the Snakefile, the rules and code that no job "
    "ran only the commits are recorded: they are as they were when the crate was made."
)
FORMATS = MimeTypes()
"""The system's own tables are not read, so that every machine makes the same crate."""
for _suffix, _kind in {
    ".js": "text/javascript",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".safetensors": "application/octet-stream",
    ".yaml": "application/yaml",
}.items():
    FORMATS.add_type(_kind, _suffix)


def pack(results: Path, configs: list[Path], out: Path, author: str | None = None) -> str:
    """Write the crate of a finished run and return a line that says what it holds.

    Parameters
    ----------
    configs
        The run's configurations.
    out
        A folder, or a file whose name ends in .zip. An older crate is replaced.
    author
        Who ran it.

    Raises
    ------
    BadInput
        If the run is not finished, is not as its records say, or something that is no crate is in
        the way.
    """
    if out.exists() and not _is_crate(out):
        raise BadInput(
            f"{out}: is no RO-Crate, and is not replaced by one; name another folder, or file with "
            ".zip"
        )
    jobs = _finished_jobs(results)
    _check_as_made(results, jobs)
    crate = Packer(jobs, configs, results.name, author).pack()
    _write(crate, out)
    files = sum(hasattr(entity, "source") for entity in crate.data_entities)
    return f"{out}: {len(jobs)} jobs, {files} files"


@dataclass
class Packer:
    """Builds the crate of a run."""

    jobs: list[Job]
    """In the order in which they started."""
    configs: list[Path]
    name: str
    author: str | None = None
    entities: dict[str, "Entity"] = field(default_factory=dict)
    """The crate's entities by their id."""

    @cached_property
    def crate(self) -> "ROCrate":
        """The crate, empty at first."""
        from rocrate.rocrate import ROCrate

        return ROCrate(version="1.1")

    @cached_property
    def agent(self) -> Part:
        """The property of an action that says who ran it; empty if nobody is named."""
        if self.author is None:
            return {}
        return {"agent": self.context("#author", "Person", name=self.author)}

    @property
    def times(self) -> Part:
        """When the first job started and the last one ended."""
        return {
            "startTime": min(_time(job, "started") for job in self.jobs),
            "endTime": max(_time(job, "ended") for job in self.jobs),
        }

    def pack(self) -> "ROCrate":
        """Return the crate with everything in it."""
        self._describe()
        workflow = self._add_workflow()
        self._add_run(workflow, [(job, self._add_action(job)) for job in self.jobs])
        return self.crate

    def file(self, path: Path, name: str, /, **properties: Any) -> "Entity":
        """Add a file to the crate if it is not there yet, and return its entity."""
        if name not in self.entities:
            kind = FORMATS.guess_type(path.name)[0] or "text/plain"
            whole = {"name": name, "encodingFormat": kind, **properties}
            self.entities[name] = self.crate.add_file(str(path), name, properties=whole)
        return self.entities[name]

    def context(self, identifier: str, kind: str, /, **properties: Any) -> "ContextEntity":
        """Add an entity that is no file if it is not there yet, and return it."""
        from rocrate.model.contextentity import ContextEntity

        if identifier not in self.entities:
            made = ContextEntity(self.crate, identifier, properties={"@type": kind, **properties})
            self.entities[identifier] = self.crate.add(made)
        return self.entities[identifier]

    def of_part(self, job: Job, part: Part) -> "Entity":
        """Return the entity of a job's input or output: a copied file, or its name and digest."""
        file, path = part["file"], job.at(part)
        digest = {"sha256": part["sha256"], "contentSize": str(part["bytes"])}
        if part.get("outside"):
            # Absolute paths stay private. Two sources may have the same name.
            name = path.name if os.path.isabs(file) else file
            identifier = f"#source/{part['sha256'][:12]}/{name}"
            return self.context(identifier, "CreativeWork", name=name, **digest)
        rows = file.startswith(NAMED_ONLY) and path.suffix == ".parquet"
        if path.is_file() and not rows:
            return self.file(path, f"results/{file}", **digest)
        return self.context(f"#results/{file}", "CreativeWork", name=file, **digest)

    def _describe(self) -> None:
        root = self.crate.root_dataset
        self.crate.metadata.extra_contexts.append(TERMS)
        root["name"] = self.name
        root["description"] = (
            f"{len(self.jobs)} jobs of a Snakemake workflow that fine-tunes language models: what "
            "each read, made and ran on, and all tables, figures, metrics and adapters."
        )
        root["datePublished"] = self.times["endTime"]
        if self.agent:
            root["author"] = self.agent["agent"]
        root["license"] = self.context(
            LICENCE,
            "CreativeWork",
            name="MIT License",
            description="Of the code. Models and datasets have their own.",
        )
        root["conformsTo"] = [
            self.context(url, "CreativeWork", name=name, version=number)
            for url, (name, number) in PROFILES.items()
        ]

    def _add_workflow(self) -> "Entity":
        """Add configurations, locks and code; return the workflow."""
        commits = {(job.content["git"] or {}).get("commit") or "unknown" for job in self.jobs}
        workflow = self.crate.add_workflow(
            str(ROOT / "Snakefile"),
            "Snakefile",
            main=True,
            lang="snakemake",
            properties={
                "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
                "name": "prefmake",
                "encodingFormat": "text/plain",
                "version": ", ".join(sorted(commits)),
                "description": AS_PACKED,
            },
        )
        for folder in CODE:
            for path in sorted((ROOT / folder).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    self.file(path, path.relative_to(ROOT).as_posix())
        if (ROOT / "README.md").is_file():
            self.file(ROOT / "README.md", "README.md", about=self.crate.root_dataset)
        for name, path in named_apart(self.configs).items():
            about = "configuration of the run, as it was when the crate was made"
            self.file(path, f"config/{name}", description=about)
        return workflow

    def _add_action(self, job: Job) -> "Entity":
        name = job.file.removesuffix(SUFFIX)
        made = [self.of_part(job, part) for part in job.outputs]
        made.append(self.file(job.path, f"results/{job.file}", description="provenance"))
        read = [self.of_part(job, part) for part in job.inputs]
        return self.context(
            f"#job/{name}",
            "CreateAction",
            name=f"{job.rule}: {name}",
            description=_ran_on(job),
            instrument=self._tool(job),
            object=_unique([*read, *self._origins(job)]),
            result=_unique(made),
            startTime=_time(job, "started"),
            endTime=_time(job, "ended"),
            actionStatus="http://schema.org/CompletedActionStatus",
            **self.agent,
        )

    def _tool(self, job: Job) -> "Entity":
        code = job.content["code"]
        module = code["module"] or job.content["command"][0]
        return self.context(
            f"#tool/{module}@{code['digest']}",
            "SoftwareApplication",
            name=module,
            softwareVersion=code["digest"] or "unknown",
        )

    def _origins(self, job: Job) -> Iterable["Entity"]:
        """Yield the repositories that a job fetched from, each at its commit."""
        for origin in job.origins:
            kind = "datasets/" if origin["file"] == "raw.json" else ""
            url = f"{HUB}/{kind}{origin['repository']}"
            properties = {"name": origin["repository"]}
            # A folder in the hub's place knows none.
            if commit := origin["commit"]:
                url, properties = f"{url}/tree/{commit}", properties | {"version": commit}
            yield self.context(url, "CreativeWork", **properties)

    def _add_run(self, workflow: "Entity", actions: list[tuple[Job, "Entity"]]) -> None:
        """Add the whole run, the steps of the workflow, and which job belongs to which step."""
        by_rule: dict[str, list[tuple[Job, Entity]]] = defaultdict(list)
        for job, action in actions:
            by_rule[job.rule].append((job, action))
        steps, controls = [], []
        for position, (rule, own) in enumerate(by_rule.items()):
            tools = _unique(self._tool(job) for job, _ in own)
            properties = {"name": rule, "position": str(position), "workExample": tools}
            step = self.context(f"#step/{rule}", "HowToStep", **properties)
            control = self.context(
                f"#control/{rule}",
                "ControlAction",
                name=f"jobs of the rule {rule}",
                instrument=step,
                object=_unique(action for _, action in own),
            )
            steps.append(step)
            controls.append(control)
        workflow["step"] = steps
        workflow["hasPart"] = _unique(self._tool(job) for job, _ in actions)
        sources = [(job, part) for job in self.jobs for part in job.inputs if part.get("outside")]
        reports = [job for job in self.jobs if job.rule in ("table", "figure", "page")]
        run = self.context(
            "#run",
            "CreateAction",
            name=f"run of {self.name}",
            description="From the start of the first job to the end of the last.",
            instrument=workflow,
            object=_unique(self.of_part(job, part) for job, part in sources),
            result=_unique(self.of_part(job, part) for job in reports for part in job.outputs),
            actionStatus="http://schema.org/CompletedActionStatus",
            **self.times,
            **self.agent,
        )
        engine = self.context(
            "https://snakemake.github.io",
            "SoftwareApplication",
            name="Snakemake",
            url="https://snakemake.github.io",
            softwareVersion=version("snakemake"),
        )
        organize = self.context(
            "#organize",
            "OrganizeAction",
            name="Snakemake runs the workflow",
            instrument=engine,
            object=controls,
            result=run,
            **self.times,
            **self.agent,
        )
        self.crate.root_dataset["mentions"] = [run, organize, *(it for _, it in actions)]


def named_apart(paths: list[Path]) -> dict[str, Path]:
    """Return files by unique names: those with the same name get a folder with their number."""
    names = [path.name for path in paths]
    return {
        path.name if names.count(path.name) == 1 else f"{number}/{path.name}": path
        for number, path in enumerate(paths, 1)
    }


def _unique(entities: Iterable["Entity"]) -> Any:
    """Return entities without duplicates, and a single one without a list, as JSON-LD has it."""
    found = list({entity.id: entity for entity in entities}.values())
    return found[0] if len(found) == 1 else found


def _time(job: Job, key: str) -> str:
    """Return when a job started or ended, in the profile's form."""
    return job.content[key].replace("Z", "+00:00")


def _ran_on(job: Job) -> str:
    """Return in words on which commit and in which env a job ran."""
    git, env = job.content["git"], job.content["env"]
    commit = "no git" if git is None else f"commit {git['commit']}"
    changed = f" with changes in {', '.join(git['changed'])}" if git and git["dirty"] else ""
    drift = f"; drifted: {', '.join(env['drift'])}" if env["drift"] else ""
    return f"{commit}{changed}; env {env['form']} {env['digest']}{drift}"


def _is_crate(path: Path) -> bool:
    """Return True if a folder or a zip file holds what describes a crate."""
    if path.is_dir():
        return (path / METADATA).is_file()
    if not is_zipfile(path):
        return False
    with ZipFile(path) as packed:
        return METADATA in packed.namelist()


def _finished_jobs(results: Path) -> list[Job]:
    """Return the jobs of a run by their start. Raises BadInput if there are no tables yet."""
    root = os.path.abspath(results)
    jobs = [job for job in map(read_job, records_in(Path(root))) if job.results == root]
    if not any(job.rule == "table" for job in jobs):
        raise BadInput(f"{results}: no tables with provenance; a finished run has them")
    return sorted(jobs, key=lambda job: (job.content["started"], job.file))


def _check_as_made(results: Path, jobs: list[Job]) -> None:
    """Check that results, sources, modules and locks are what the jobs read, made and ran.

    Raises
    ------
    BadInput
        If they are not. A file that no job made does not matter, since it is not packed.
    """
    wrong = {what for kind, what in findings(results)[0] if kind != BARE}
    if wrong:
        raise BadInput(
            f"{results}: {len(wrong)} files or links are not as they were made, and a crate would "
            f"pack them as if they were; `prefmake verify {results}` names them"
        )
    ran = {item for job in jobs for item in job.content["code"]["files"].items()}
    envs = {(job.content["env"]["form"], job.content["env"]["digest"]) for job in jobs}
    edited = {file for file, digest in ran if _module_now(file) != digest}
    edited |= {f"envs/{form}" for form, digest in envs if _env_now(form) != digest}
    if edited:
        raise BadInput(
            f"{results}: its jobs ran other code than there is now, which a crate would pack as "
            f"theirs; check out what they ran, or run snakemake again: {', '.join(sorted(edited))}"
        )


def _module_now(file: str) -> str | None:
    """Return the digest of a module now, or None if it is gone."""
    return code_files(file)[file] if (ROOT / file).is_file() else None


def _env_now(form: str) -> str | None:
    """Return the digest of an env's form now, or None if it is gone."""
    try:
        # For CUDA the name of the form is the name of the env, so any form can be asked for.
        return env_digest(form, "cuda")
    except FileNotFoundError:
        return None


def _write(crate: "ROCrate", out: Path) -> None:
    """Write the crate as a zip file or a folder; an error leaves nothing half written."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with named(out), tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as work:
        made = Path(work, "crate")
        crate.write(made)
        if out.suffix == ".zip":
            # Where the disk is full, the library's own zip has other errors than that.
            made = Path(shutil.make_archive(str(Path(work, "packed")), "zip", made))
        if out.is_dir():
            shutil.rmtree(out)
        os.replace(made, out)
