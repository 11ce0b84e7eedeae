"""Pages in a real headless Chromium, with every request that leaves the page refused and noted."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@dataclass(frozen=True)
class Opened:
    """A page that is open, and what went wrong in it."""

    page: "Page"
    requests: list[str] = field(default_factory=list)
    """Addresses that the page asked for, other than its own file: none may be."""
    errors: list[str] = field(default_factory=list)
    """What its scripts threw."""


def chromium() -> str:
    """Returns the program, or skips the test, with the reason."""
    found = shutil.which("chromium")
    if found is None:
        # Where everything is to be tested, a browser that is missing is a failure.
        (pytest.fail if os.environ.get("CI") else pytest.skip)("chromium is not installed")
    return found


@contextmanager
def browser() -> Iterator["Browser"]:
    """Yields a Chromium without a window."""
    from playwright.sync_api import sync_playwright

    program = chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield running
        running.close()


@contextmanager
def opened(running: "Browser", path: Path, **device: object) -> Iterator[Opened]:
    """Yields a file, opened as a reader opens it; `device` as in `PHONE`."""
    context = running.new_context(**device)
    context.set_default_timeout(60_000)
    found = Opened(context.new_page())
    address = path.absolute().as_uri()

    def only_own(route: "Route") -> None:
        if route.request.url.split("#")[0].split("?")[0] == address:
            route.continue_()
        else:
            found.requests.append(route.request.url)
            route.abort()

    context.route("**/*", only_own)
    found.page.on("pageerror", lambda error: found.errors.append(str(error)))
    found.page.goto(address)
    yield found
    context.close()
