"""Pages in a real headless Chromium, which refuses and records every request for another file."""

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
    """An open page, and what went wrong in it."""

    page: "Page"
    requests: list[str] = field(default_factory=list)
    """Addresses other than its own file that the page asked for: there must be none."""
    errors: list[str] = field(default_factory=list)
    """Errors that its scripts threw."""


def chromium() -> str:
    """Return the path of Chromium, or skip the test."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed; `make browser` installs it")
    return found


@contextmanager
def browser() -> Iterator["Browser"]:
    """Yield a Chromium without a window."""
    from playwright.sync_api import sync_playwright

    program = chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield running
        running.close()


@contextmanager
def opened(running: "Browser", path: Path, **device: object) -> Iterator[Opened]:
    """Yield a file that is open as for a reader, on a device such as `PHONE`."""
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
