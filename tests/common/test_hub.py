"""The hub, where it cannot be reached."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_hub_out_of_reach_is_one_line(kind: str) -> None:
    """In a process of its own, because the endpoint is read once; port 9 refuses at once."""
    code = (
        "from scripts.common.cli import run\n"
        "from scripts.common.hub import download\n"
        f"run(lambda: download('owner/name', 'main', '{kind}') and 0)"
    )
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {kind} owner/name@main: ")
    assert "Traceback" not in done.stderr
