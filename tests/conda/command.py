"""A stand-in for the conda command: only the calls that Snakemake 9 makes.

CONDA_CHANNEL_ALIAS and CONDA_PKGS_DIRS are conda's own variables: where channels with a bare name
are, and where packages are unpacked once for all envs.
"""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

VERSION = "25.11.0"
SUBDIRS = ["linux-64", "noarch"]


def main(words: list[str]) -> int:
    """Answer one call; return the exit code, 2 for an unknown call."""
    if words == ["--version"]:
        print(f"conda {VERSION}")
    elif words == ["info", "--json"]:
        root = Path(sys.argv[0]).resolve().parent.parent
        print(json.dumps({"conda_prefix": str(root), "platform": "linux-64"}))
    elif words == ["config", "--get", "channel_priority", "--json"]:
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif words[:2] == ["env", "create"]:
        options = _options(words[2:])
        asyncio.run(create(options.file, options.prefix))
    elif words[:1] != ["clean"]:
        print(f"this stand-in for conda does not know: {words}", file=sys.stderr)
        return 2
    return 0


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conda env create")
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--prefix", type=Path, required=True)
    for ignored in ("--quiet", "--yes", "--no-default-packages"):
        parser.add_argument(ignored, action="store_true")
    return parser.parse_args(words)


async def create(file: Path, prefix: Path) -> None:
    """Solve a YAML's dependencies and link the packages into a new prefix."""
    import yaml
    from rattler import (
        Channel,
        ChannelConfig,
        ChannelPriority,
        Gateway,
        VirtualPackage,
        install,
        solve,
    )

    wanted = yaml.safe_load(file.read_text(encoding="utf-8"))
    config = ChannelConfig(channel_alias=os.environ["CONDA_CHANNEL_ALIAS"].rstrip("/") + "/")
    channels = [name for name in wanted["channels"] if name != "nodefaults"]
    records = await solve(
        [Channel(name, config) for name in channels],
        wanted["dependencies"],
        gateway=Gateway(),
        platforms=SUBDIRS,
        virtual_packages=VirtualPackage.detect(),
        channel_priority=ChannelPriority.Strict,
    )
    await install(
        records,
        target_prefix=prefix,
        cache_dir=os.environ["CONDA_PKGS_DIRS"],
        show_progress=False,
    )


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # py-rattler's threads may outlive the interpreter, which then crashes as it ends.
    os._exit(code)
