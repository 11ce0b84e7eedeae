"""Packs a finished run for an archive: an RO-Crate with what it made and how each job made it.

    python -m scripts.provenance.crate results/demo --config demo/config.yaml --out demo.crate.zip

Follows RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) and the Provenance Run Crate profile
(https://w3id.org/ro/wfrun/provenance/0.5): an action for every job, with its instrument, what it
read and what it made. It holds tables, figures, metrics, scored rows, adapters, configurations,
locks, code and provenance. Rows of datasets and weights of base models are named by digest, and by
repository and commit where they have one, and are not copied.

A run is packed only while it is as it was made, and the code too: what is copied is what the
digests are of.
"""

import argparse
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import read_json
from scripts.provenance.chain import Job, jobs_in, read_job
from scripts.provenance.digests import ROOT, code_files, env_digest
from scripts.provenance.record import SUFFIX, Part
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
NAMED_ONLY = ("data/", "tokens/", "references/")
"""Folders of the results of which rows are named by digest and not copied."""
CODE = ("rules", "scripts", "envs")
AS_PACKED = (
    "Modules and locks are as the jobs ran them. Of the Snakefile, the rules and what no job ran "
    "there is no record but the commits: they are as they were when the crate was made."
)
FORMATS = {
    ".css": "text/css",
    ".csv": "text/csv",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".py": "text/x-python",
    ".safetensors": "application/octet-stream",
    ".sh": "application/x-sh",
    ".tex": "application/x-tex",
    ".yaml": "application/yaml",
}
DONE = "http://schema.org/CompletedActionStatus"


def one_or_many(entities: Iterable["Entity"]) -> Any:
    """Returns entities, each once, as JSON-LD has them: one alone stands without a list."""
    found = list({entity.id: entity for entity in entities}.values())
    return found[0] if len(found) == 1 else found


def moment(time: str) -> str:
    """Returns a time of provenance as the profile has it."""
    return time.replace("Z", "+00:00")


@dataclass
class Packer:
    """A run on its way into a crate."""

    jobs: list[Job]
    configs: list[Path]
    name: str
    author: str | None = None
    entities: dict[str, "Entity"] = field(default_factory=dict)
    """What the crate holds, by its id."""

    @cached_property
    def crate(self) -> "ROCrate":
        """The crate, empty at first."""
        from rocrate.rocrate import ROCrate

        return ROCrate(version="1.1")

    @property
    def started(self) -> str:
        """When the first job began."""
        return moment(min(job.content["started"] for job in self.jobs))

    @property
    def ended(self) -> str:
        """When the last job ended."""
        return moment(max(job.content["ended"] for job in self.jobs))

    @cached_property
    def agent(self) -> Part:
        """Who ran it, as a property of what was done; none where nobody is named."""
        if self.author is None:
            return {}
        return {"agent": self.context("#author", "Person", name=self.author)}

    def pack(self) -> "ROCrate":
        """Returns the crate with everything in it."""
        self._describe()
        workflow = self._add_code()
        actions = [(job, self._add_action(job)) for job in self.jobs]
        self._add_run(workflow, actions)
        return self.crate

    def _describe(self) -> None:
        root = self.crate.root_dataset
        self.crate.metadata.extra_contexts.append(TERMS)
        root["name"] = self.name
        root["description"] = (
            f"{len(self.jobs)} jobs of a Snakemake workflow that fine-tunes language models: what "
            "each read, made and ran on, and all tables, figures, metrics and adapters."
        )
        root["datePublished"] = self.ended
        if self.agent:
            root["author"] = self.agent["agent"]
        root["license"] = self.context(
            LICENCE,
            "CreativeWork",
            name="MIT License",
            description="Of the code. Models and datasets carry their own.",
        )
        root["conformsTo"] = [
            self.context(url, "CreativeWork", name=name, version=version)
            for url, (name, version) in PROFILES.items()
        ]
        self.crate.metadata["conformsTo"] = [
            {"@id": "https://w3id.org/ro/crate/1.1"},
            {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
        ]

    def _add_code(self) -> "Entity":
        """Adds configurations, locks and code; returns the workflow."""
        from rocrate.model.computationalworkflow import ComputationalWorkflow

        language = self.context(
            "https://w3id.org/workflowhub/workflow-ro-crate#snakemake",
            "ComputerLanguage",
            name="Snakemake",
            identifier={"@id": "https://doi.org/10.12688/f1000research.29032.2"},
            url={"@id": "https://snakemake.github.io"},
        )
        commits = {(job.content["git"] or {}).get("commit") or "unknown" for job in self.jobs}
        properties = {
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            "name": "prefmake",
            "encodingFormat": "text/plain",
            "programmingLanguage": language,
            "version": ", ".join(sorted(commits)),
            "description": AS_PACKED,
        }
        source = str(ROOT / "Snakefile")
        workflow = self.crate.add(
            ComputationalWorkflow(self.crate, source, "Snakefile", properties=properties)
        )
        self.crate.mainEntity = workflow
        for folder in CODE:
            for path in sorted((ROOT / folder).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    self.file(path, path.relative_to(ROOT).as_posix())
        if (ROOT / "README.md").is_file():
            self.file(ROOT / "README.md", "README.md", about=self.crate.root_dataset)
        for where, path in named_apart(self.configs).items():
            about = "configuration of the run, as it was when the crate was made"
            self.file(path, f"config/{where}", description=about)
        return workflow

    def file(self, path: Path, where: str, /, **properties: Any) -> "Entity":
        """Adds a file, once, and returns its entity."""
        if where not in self.entities:
            known = FORMATS.get(path.suffix, "text/plain")
            whole = {"name": where, "encodingFormat": known, **properties}
            self.entities[where] = self.crate.add_file(str(path), where, properties=whole)
        return self.entities[where]

    def context(self, identifier: str, kind: str, /, **properties: Any) -> "ContextEntity":
        """Adds an entity that is no file, once, and returns it."""
        from rocrate.model.contextentity import ContextEntity

        if identifier not in self.entities:
            made = ContextEntity(self.crate, identifier, properties={"@type": kind, **properties})
            self.entities[identifier] = self.crate.add(made)
        return self.entities[identifier]

    def of_part(self, job: Job, part: Part) -> "Entity":
        """Returns the entity of a file that a job read or made: copied, or named by its digest."""
        file, path = part["file"], job.at(part)
        digest = {"sha256": part["sha256"], "contentSize": str(part["bytes"])}
        rows = file.startswith(NAMED_ONLY) and path.suffix == ".parquet"
        if not part.get("outside") and not rows and path.is_file():
            return self.file(path, f"results/{file}", **digest)
        if not part.get("outside"):
            return self.context(f"#results/{file}", "CreativeWork", name=file, **digest)
        # Where it lay on this machine is nobody's business, and two may have one name.
        name = file if not os.path.isabs(file) else path.name
        identifier = f"#source/{part['sha256'][:12]}/{name}"
        return self.context(identifier, "CreativeWork", name=name, **digest)

    def _add_action(self, job: Job) -> "Entity":
        content = job.content
        made = [self.of_part(job, part) for part in job.outputs]
        made.append(self.file(job.path, f"results/{job.file}", description="provenance"))
        return self.context(
            f"#job/{job.file.removesuffix(SUFFIX)}",
            "CreateAction",
            name=f"{job.rule}: {job.file.removesuffix(SUFFIX)}",
            description=_how(job),
            instrument=self._tool(job),
            object=one_or_many(
                [self.of_part(job, part) for part in job.inputs] + self._origins(job)
            ),
            result=one_or_many(made),
            startTime=moment(content["started"]),
            endTime=moment(content["ended"]),
            actionStatus=DONE,
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

    def _origins(self, job: Job) -> list["Entity"]:
        """Returns the repositories that a job fetched from, each at its commit."""
        found = []
        for part in job.outputs:
            path = job.at(part)
            if path.name in ("raw.json", "manifest.json") and path.is_file():
                origin = read_json(path)
                if origin.get("repository"):
                    kind = "datasets/" if path.name == "raw.json" else ""
                    url = f"{HUB}/{kind}{origin['repository']}/tree/{origin['commit']}"
                    name = origin["repository"]
                    found.append(
                        self.context(url, "CreativeWork", name=name, version=origin["commit"])
                    )
        return found

    def _add_run(self, workflow: "Entity", actions: list[tuple[Job, "Entity"]]) -> None:
        """Adds the run as a whole, the steps of the workflow, and which job was of which."""
        by_rule: dict[str, list[tuple[Job, Entity]]] = defaultdict(list)
        for job, action in actions:
            by_rule[job.rule].append((job, action))
        steps, controls = [], []
        for position, (rule, mine) in enumerate(by_rule.items()):
            tools = one_or_many(self._tool(job) for job, _ in mine)
            step = self.context(
                f"#step/{rule}", "HowToStep", name=rule, position=str(position), workExample=tools
            )
            steps.append(step)
            control = self.context(
                f"#control/{rule}",
                "ControlAction",
                name=f"jobs of the rule {rule}",
                instrument=step,
                object=one_or_many(action for _, action in mine),
            )
            controls.append(control)
        workflow["step"] = steps
        workflow["hasPart"] = one_or_many(self._tool(job) for job, _ in actions)
        whole = self.context(
            "#run",
            "CreateAction",
            name=f"run of {self.name}",
            description="From the first job that began to the last that ended.",
            instrument=workflow,
            object=self._of("inputs", _is_source),
            result=self._of("outputs", _is_last),
            startTime=self.started,
            endTime=self.ended,
            actionStatus=DONE,
            **self.agent,
        )
        engine = self.context(
            "https://snakemake.github.io",
            "SoftwareApplication",
            name="Snakemake",
            url="https://snakemake.github.io",
            softwareVersion=_snakemake(),
        )
        organize = self.context(
            "#organize",
            "OrganizeAction",
            name="Snakemake runs the workflow",
            instrument=engine,
            object=controls,
            result=whole,
            startTime=self.started,
            endTime=self.ended,
            **self.agent,
        )
        self.crate.root_dataset["mentions"] = [whole, organize, *(it for _, it in actions)]

    def _of(self, key: str, wanted: Callable[[Job, Part], bool]) -> Any:
        """Returns all inputs or outputs of jobs that are wanted."""
        return one_or_many(
            self.of_part(job, part)
            for job in self.jobs
            for part in job.content[key]
            if wanted(job, part)
        )


def _is_source(job: Job, part: Part) -> bool:
    """Tells whether an input is no job's output."""
    return part.get("outside", False)


def _is_last(job: Job, part: Part) -> bool:
    """Tells whether an output is what people read of a run."""
    return job.rule in ("table", "figure", "page")


def _how(job: Job) -> str:
    """Returns in words on what a job ran."""
    content = job.content
    git, env = content["git"], content["env"]
    commit = "no git" if git is None else f"commit {git['commit']}"
    changed = f" with changes in {', '.join(git['changed'])}" if git and git["dirty"] else ""
    drift = f"; drifted: {', '.join(env['drift'])}" if env["drift"] else ""
    return f"{commit}{changed}; env {env['form']} {env['digest']}{drift}"


def _snakemake() -> str:
    from importlib.metadata import version

    return version("snakemake")


def finished_jobs(results: Path) -> list[Job]:
    """Returns the jobs of a run in the order in which they began.

    Raises
    ------
    BadInput
        Where there are none, or no tables yet.
    """
    root = Path(os.path.abspath(results))
    jobs = [job for job in map(read_job, jobs_in(root)) if job.results == root]
    if not any(job.rule == "table" for job in jobs):
        raise BadInput(f"{results}: no tables with provenance; a finished run has them")
    return sorted(jobs, key=lambda job: (job.content["started"], job.file))


def named_apart(paths: list[Path]) -> dict[str, Path]:
    """Returns files by names of their own: those of one name lie in folders, numbered as given."""
    names = [path.name for path in paths]
    return {
        path.name if names.count(path.name) == 1 else f"{number}/{path.name}": path
        for number, path in enumerate(paths, 1)
    }


def check_as_made(results: Path, jobs: list[Job]) -> None:
    """Checks that results, sources, modules and locks are what the jobs read, made and ran.

    Raises
    ------
    BadInput
        Where they are not. A file that no job made is no reason: it is not packed.
    """
    found, _ = findings(results)
    wrong = {what for kind, what in found if kind != BARE}
    if wrong:
        raise BadInput(
            f"{results}: {len(wrong)} files or links are not as they were made, and a crate would "
            f"pack them as if they were; `make verify RESULTS={results}` names them"
        )
    edited = edited_since(jobs)
    if edited:
        raise BadInput(
            f"{results}: its jobs ran other code than there is now, which a crate would pack as "
            f"theirs; check out what they ran, or run snakemake again: {', '.join(edited)}"
        )


def edited_since(jobs: list[Job]) -> list[str]:
    """Returns the modules and envs that are no longer as jobs ran them."""
    ran = {item for job in jobs for item in job.content["code"]["files"].items()}
    envs = {(job.content["env"]["form"], job.content["env"]["digest"]) for job in jobs}
    modules = {file for file, digest in ran if _module_now(file) != digest}
    return sorted(modules | {f"envs/{form}" for form, digest in envs if _env_now(form) != digest})


def _module_now(file: str) -> str | None:
    """Returns the digest that a module has now; None where it is not there."""
    return code_files(file)[file] if (ROOT / file).is_file() else None


def _env_now(form: str) -> str | None:
    """Returns the digest that a form of an env has now; None where it is not there."""
    try:
        # A form's name is what CUDA's is called by: no accelerator is added to it.
        return env_digest(form, "cuda")
    except FileNotFoundError:
        return None


def write(crate: "ROCrate", out: Path) -> None:
    """Writes the crate, as a zip where its name ends so, else as a folder; whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as work:
        made = Path(work, out.name)
        if out.suffix == ".zip":
            crate.write_zip(made)
        else:
            crate.write(made)
        if out.is_dir():
            shutil.rmtree(out)
        os.replace(made, out)


def check_free(out: Path) -> None:
    """Raises BadInput where a folder is in the way that is no crate."""
    if out.is_dir() and not (out / "ro-crate-metadata.json").is_file():
        raise BadInput(f"{out}: a folder that is no RO-Crate is in the way")


def main(argv: list[str] | None = None) -> int:
    """Writes the crate and says what is in it; returns 0.

    Raises
    ------
    BadInput
        For no finished run, one that is not as it was made, or a folder in the way.
    """
    parser = argparse.ArgumentParser(
        prog="python -m scripts.provenance.crate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=Path, help="the results folder of a finished run")
    parser.add_argument("--config", type=Path, nargs="+", default=[], help="its configuration")
    parser.add_argument("--author", help="who ran it")
    parser.add_argument("--out", type=Path, required=True, help="folder, or file with .zip")
    arguments = parser.parse_args(argv)
    check_free(arguments.out)
    jobs = finished_jobs(arguments.results)
    check_as_made(arguments.results, jobs)
    packer = Packer(jobs, arguments.config, arguments.results.name, arguments.author)
    crate = packer.pack()
    write(crate, arguments.out)
    files = sum(hasattr(entity, "source") for entity in crate.data_entities)
    print(f"{arguments.out}: {len(jobs)} jobs, {files} files")
    return 0


if __name__ == "__main__":
    run(main)
