"""The command line `prefmake`: what is to be done around a run that no rule does.

Snakemake makes everything else: `snakemake --cores 1 --resources gpu=1`. Each command imports what
it needs when it is called, so that `--help` and completion are fast.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from scripts.common.cli import BadInput, one_line, printable
from scripts.terminal.workflow import Failed, Sweep, run

BEFORE, DURING, AFTER = "Before a run", "While it runs", "After it"
PEOPLE, PAPER = "What people prefer", "The paper"

app = typer.Typer(
    help="Preference tuning from raw data to the tables of a paper. "
    "[bold]snakemake --cores 1 --resources gpu=1[/bold] runs everything in config.yaml; "
    "these commands are what helps before, meanwhile and afterwards.",
    epilog="Paths are relative to the folder that you are in. "
    "Start with: prefmake check, prefmake doctor, prefmake plan.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

Config = Annotated[
    list[Path] | None,
    typer.Option("--config", "-c", metavar="FILE", show_default="the checkout's config.yaml",
                 help="Configuration; repeat it to lay one file over another."),
]  # fmt: skip
Profile = Annotated[
    str | None,
    typer.Option(metavar="NAME", show_default="default", help="Profile of the machine, such as "
                 "demo, or a folder. It may name the configuration."),
]  # fmt: skip
Files = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FILE]...", show_default="the checkout's config.yaml",
                   help="Configurations, later ones over earlier ones."),
]  # fmt: skip
Results = Annotated[
    Path, typer.Argument(metavar="RESULTS", help="The results folder of a run.", exists=False)
]


# ---------------------------------------------------------------------------------- before a run


@app.command(rich_help_panel=BEFORE)
def check(files: Files = None) -> None:
    """Check a configuration: every mistake is one line, with its place."""
    plan = Sweep.of(files).plan
    print(f"{len(plan.bases)} experiments, {len(plan.trials)} trials, {len(plan.runs)} runs: ok")


@app.command(rich_help_panel=BEFORE)
def show(
    files: Files = None,
    trial: Annotated[str | None, typer.Option(help="Only this one.", metavar="NAME")] = None,
) -> None:
    """Print the trials as JSON, every default filled in."""
    import json
    from dataclasses import asdict

    plan = Sweep.of(files).plan
    if trial is not None and trial not in plan.trials:
        raise BadInput(f"--trial: found {trial!r}; allowed: {', '.join(sorted(plan.trials))}")
    runs = [
        asdict(run) | {"training": run.training.as_json()}
        for run in plan.runs.values()
        if trial in (None, run.name)
    ]
    print(json.dumps(runs, indent=2))


@app.command(rich_help_panel=BEFORE)
def schema() -> None:
    """Print the JSON schema of the configuration, with which editors complete and check it."""
    import json

    from scripts.config.fields import json_schema

    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))


@app.command(
    "inspect",
    rich_help_panel=BEFORE,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def inspect_source(context: typer.Context) -> int:
    """Look at rows, a file or a hub repository: the config that reads them, and what is learned."""
    return run([sys.executable, "-P", "-m", "scripts.data.inspect", *context.args])


@app.command(rich_help_panel=BEFORE)
def doctor(config: Config = None, profile: Profile = None) -> None:
    """Examine the data: leaks between splits, odd rows, lost ends. Fetches data and tokenizers."""
    from scripts.terminal import doctor

    sweep = Sweep.of(config, profile)
    examined = [sweep.results / f"tokens/{name}/doctor.json" for name in sweep.plan.examined]
    sweep.snakemake(target="doctor")
    doctor.show(examined)


@app.command(rich_help_panel=BEFORE)
def plan(config: Config = None, profile: Profile = None) -> None:
    """Estimate what every trial will take: steps, memory, downloads; hours once it is probed."""
    from scripts.terminal import plan

    sweep = Sweep.of(config, profile)
    estimate = sweep.results / "plan.json"
    sweep.snakemake("--forcerun", "plan", target="plan")
    plan.show(estimate)


@app.command(
    "gpu-check",
    rich_help_panel=BEFORE,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def gpu_check(context: typer.Context) -> int:
    """Take a step and a resume with each backend and precision on this GPU, on random weights."""
    return run([sys.executable, "-P", "-m", "benchmarks.gpu_check", *context.args])


# ---------------------------------------------------------------------------------- while it runs


@app.command(rich_help_panel=DURING)
def status(
    config: Config = None,
    profile: Profile = None,
    once: Annotated[bool, typer.Option("--once", help="Print it once, and no more.")] = False,
) -> None:
    """Watch how far each run is. Ctrl-C ends the watching, and nothing else."""
    from scripts.terminal import status

    sweep = Sweep.of(config, profile)
    status.show(sweep.results, sweep.plan.runs, once)


# Rules that make tables and figures of rows that are there; above all, nothing is trained.
SO_FAR = ("all", "table", "figure", "measure", "aggregate", "compare", "lookup", "overlap")


@app.command("tables-so-far", rich_help_panel=DURING)
def tables_so_far(config: Config = None, profile: Profile = None) -> None:
    """Make tables and figures of what is done; what failed or has not run is a row that says so."""
    # A sweep may be running meanwhile, and holds the lock.
    sweep = Sweep.of(config, profile)
    sweep.snakemake("--nolock", "--allowed-rules", *SO_FAR, allow_failed=True)


# --------------------------------------------------------------------------------------- after it


@app.command(rich_help_panel=AFTER)
def tables(results: Results = Path("results")) -> None:
    """Print the main tables of a run, and where the others, the figures and the page lie."""
    from scripts.terminal import tables

    tables.show(results)


@app.command(rich_help_panel=AFTER)
def trace(
    item: Annotated[Path, typer.Argument(help="A table, a figure or any other result.")],
    row: Annotated[
        str | None, typer.Option(help="Of a table: a trial, and a set or seed where needed.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Of a table: a column, or a metric.")] = None,
    whole: Annotated[bool, typer.Option("--all", help="All of many that are alike.")] = False,
) -> None:
    """Follow a result, or one cell of a table, back to rows, code, packages and commits."""
    from scripts.provenance.trace import show

    show(item, row, column, whole)


@app.command(rich_help_panel=AFTER)
def verify(results: Results = Path("results")) -> int:
    """Hash everything of a run again, and name what has changed since it was made (exit code 1)."""
    from scripts.provenance import verify

    return 0 if verify.verify(results) else 1


@app.command(rich_help_panel=AFTER)
def crate(
    results: Results = Path("results"),
    config: Config = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder, or a file with .zip.", show_default="RESULTS.crate.zip"),
    ] = None,
    author: Annotated[str | None, typer.Option(metavar="NAME", help="Who ran it.")] = None,
) -> None:
    """Pack a finished run for an archive, as an RO-Crate."""
    from scripts.provenance.crate import pack

    out = out or results.with_name(f"{results.name}.crate.zip")
    print(pack(results, Sweep.of(config).files, out, author))


# ----------------------------------------------------------------------------- what people prefer


@app.command(rich_help_panel=PEOPLE)
def rate(
    results: Results = Path("results"),
    out: Annotated[
        Path | None, typer.Option(help="The folder to write.", show_default="RESULTS/rating")
    ] = None,
    experiment: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="A set of prompts; may be repeated.", show_default="all scored"),
    ] = None,
    trials: Annotated[
        list[str] | None,
        typer.Option(
            "--trial",
            help="A trial (its lowest seed) or trial/seed-1; may be repeated.",
            show_default="every trial",
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="What each is compared with: base, or a trial; may be repeated.",
            show_default="base",
        ),
    ] = None,
    most: Annotated[int, typer.Option("-n", "--most", help="Comparisons of two models.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the draw of prompts.")] = 0,
    question: Annotated[str, typer.Option(help="What raters are asked.")] = (
        "Which answer is better?"
    ),
) -> None:
    """Write a page on which people compare answers without knowing whose they are."""
    from scripts.rating.ask import Asked, write

    asked = Asked(experiment, sets, trials, against or ["base"], most, seed, question)
    write(results, out or results / "rating", asked)


@app.command(rich_help_panel=PEOPLE)
def ratings(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="What raters saved.")],
    results: Annotated[Path, typer.Option(help="The results folder of the run.")] = Path("results"),
    page: Annotated[
        Path | None,
        typer.Option(help="The folder that rate wrote.", show_default="RESULTS/rating"),
    ] = None,
    stale_ok: Annotated[
        bool, typer.Option("--stale-ok", help="Even if answers changed since the page was made.")
    ] = False,
) -> None:
    """Turn what raters chose into a table: win rates, strengths, agreement."""
    from scripts.rating.ratings import write

    write(files, results, page or results / "rating", stale_ok)


# -------------------------------------------------------------------------------------- the paper

Metrics = Annotated[
    Path | None,
    typer.Option(help="Small files that reports read, with a manifest.",
                 show_default="the run's folder beside paper/runs.yaml"),
]  # fmt: skip


@app.command(rich_help_panel=PAPER)
def publish(
    config: Config = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Of the run.", show_default="what the configuration says"),
    ] = None,
    metrics: Metrics = None,
) -> None:
    """Keep what the reports of a run read, so that paper can make them anywhere.

    Each experiment is published when all of it is finished; the others stay as they were.
    """
    from scripts.terminal import paper

    sweep = Sweep.of(config)
    paper.keep(sweep, results or sweep.results, metrics)


@app.command(rich_help_panel=PAPER)
def paper(
    config: Config = None,
    metrics: Metrics = None,
    report: Annotated[
        Path | None,
        typer.Option(help="The folder to write.", show_default="results/paper/ and the run's name"),
    ] = None,
) -> None:
    """Make tables, figures and page from what was published: no GPU, nothing is trained.

    Without options, of every run that is published beside paper/runs.yaml.
    """
    from scripts.terminal import paper

    if config or metrics or report:
        paper.remake(Sweep.of(config), metrics, report)
    else:
        paper.remake_all()


# ------------------------------------------------------------------------------------------- main


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code. An error is one line on stderr and exit code 1."""
    words: Any = sys.argv[1:] if arguments is None else arguments
    try:
        return app(words or ["--help"], prog_name="prefmake", standalone_mode=False) or 0
    except Failed as error:
        return int(error.args[0])
    except typer.TyperException as error:
        text = error.format_message()
    except Exception as error:
        text = one_line(error)
    print(f"error: {printable(text)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
