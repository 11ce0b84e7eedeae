"""A stand-in for conda and its channel, so that tests run `snakemake --sdm conda` for real.

The channel holds the running interpreter and its uv; `bin/conda` understands the few calls that
Snakemake makes, and solves and links with py-rattler, which conda-forge's own tools use.
docs/environments.md says what this proves and what it does not.
"""

import os
import shutil
import sys
from pathlib import Path

from tests.conda.channel import make_channel

HERE = Path(__file__).parent


def stand_in(folder: Path) -> dict[str, str]:
    """Make a conda with its channel in a folder; return the environment in which it is found.

    A plain `python` fails there outside an env, so that no rule runs in the launcher's.
    """
    programs = folder / "bin"
    programs.mkdir(parents=True)
    shutil.copy2(HERE / "activate.sh", programs / "activate")
    command = programs / "conda"
    # Isolated, since rules export a PYTHONPATH; it uses the launcher's packages.
    command.write_text(
        f"#!{sys.executable} -I\n" + (HERE / "command.py").read_text("utf-8"), "utf-8"
    )
    command.chmod(0o755)
    outside = programs / "python"
    outside.write_text("#!/bin/sh\necho 'python was called outside an env' >&2; exit 1\n", "utf-8")
    outside.chmod(0o755)
    make_channel(folder / "channels" / "conda-forge")
    # A machine without PyTorch's index may have pip's variable set.
    links = os.environ.get("UV_FIND_LINKS") or ",".join(
        os.environ.get("PIP_FIND_LINKS", "").split()
    )
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "CONDA_CHANNEL_ALIAS": (folder / "channels").as_uri(),
        "CONDA_PKGS_DIRS": str(folder / "packages"),
        **({"UV_FIND_LINKS": links} if links else {}),
    }
