"""The options that every table and figure takes."""

import argparse
from pathlib import Path

from scripts.report.results import PLAN_KEYS, Results, parse_plan, parse_states


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of the options that say what to read; what to write is for the caller."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--root", type=Path, required=True, help="the results folder")
    made.add_argument(
        "--plan", type=parse_plan, required=True,
        help=f"JSON list of experiments: {', '.join(PLAN_KEYS)}",
    )  # fmt: skip
    made.add_argument("--mark", help="what must be known before any number is read")
    made.add_argument(
        "--states", type=parse_states,
        help="JSON object of folders whose results are not awaited, with the state of each",
    )  # fmt: skip
    made.add_argument("--logs", type=Path, default=Path("logs"), help="the folder of logs")
    return made


def results_of(arguments: argparse.Namespace) -> Results:
    """Return the results that the options name."""
    return Results(arguments.root, arguments.plan, arguments.states, arguments.logs)
