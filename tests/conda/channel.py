"""A conda channel of two packages: the interpreter that runs this, and its uv.

The packages work on this machine only: the interpreter finds its shared libraries where it was
installed. They have their own copy of the standard library, and empty site-packages.
"""

import hashlib
import io
import json
import os
import stat
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

SUBDIR = "linux-64"
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter"}
# Seconds since 1970 of all that is made here: the same interpreter makes the same packages.
MOMENT = 1_700_000_000


@dataclass(frozen=True)
class Link:
    """A symbolic link in a package."""

    target: str


@dataclass(frozen=True)
class File:
    """A file in a package."""

    content: bytes
    mode: int = 0o644
    modified: int = MOMENT


Files = dict[str, File | Link]


def make_channel(folder: Path) -> None:
    """Make a channel of python and uv, with its index, in a folder."""
    (folder / SUBDIR).mkdir(parents=True)
    packages = [
        _package(folder / SUBDIR, "python", sys.version.split()[0], interpreter()),
        _package(folder / SUBDIR, "uv", version("uv"), uv()),
    ]
    for subdir, entries in ((SUBDIR, dict(packages)), ("noarch", {})):
        index = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": entries}
        (folder / subdir).mkdir(exist_ok=True)
        (folder / subdir / "repodata.json").write_text(json.dumps(index), encoding="utf-8")


def interpreter() -> Files:
    """Return the running interpreter and its standard library, by path in an env."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    program = Path(sys.base_prefix, "bin", name).resolve()
    files: Files = {
        f"bin/{name}": File(program.read_bytes(), 0o755),
        "bin/python": Link(name),
        "bin/python3": Link(name),
        f"lib/{name}/site-packages/README.txt": File(b"Packages go here.\n"),
    }
    library = Path(sysconfig.get_path("stdlib"))
    for place, folders, names in os.walk(library):
        folders[:] = [it for it in folders if it not in LEFT_OUT and not it.startswith("config-")]
        for path in (Path(place, it) for it in names):
            inside = f"lib/{name}/{path.relative_to(library).as_posix()}"
            status = path.stat()
            # With its time, which bytecode must match to be used.
            files[inside] = File(
                path.read_bytes(), stat.S_IMODE(status.st_mode), int(status.st_mtime)
            )
    return files


def uv() -> Files:
    """Return the launcher's uv, by path in an env."""
    from uv import find_uv_bin

    return {"bin/uv": File(Path(find_uv_bin()).read_bytes(), 0o755)}


def _package(folder: Path, name: str, number: str, files: Files) -> tuple[str, dict[str, Any]]:
    """Write a package in conda's second format: a zip of two compressed archives.

    Return the file's name and its entry in the channel's index.
    """
    stem = f"{name}-{number}-0_local"
    index = {
        "name": name,
        "version": number,
        "build": "0_local",
        "build_number": 0,
        "depends": [],
        "subdir": SUBDIR,
        "arch": "x86_64",
        "platform": "linux",
        "timestamp": MOMENT * 1000,
    }
    paths = {"paths": [_entry(path, files) for path in files], "paths_version": 1}
    about: Files = {
        "info/index.json": File(json.dumps(index).encode()),
        "info/paths.json": File(json.dumps(paths).encode()),
        "info/about.json": File(b"{}"),
        "info/files": File("".join(f"{path}\n" for path in files).encode()),
    }
    file = folder / f"{stem}.conda"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as package:
        package.writestr("metadata.json", json.dumps({"conda_pkg_format_version": 2}))
        package.writestr(f"pkg-{stem}.tar.zst", _compressed(files))
        package.writestr(f"info-{stem}.tar.zst", _compressed(about))
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return file.name, index | {"sha256": digest, "size": len(content)}


def _entry(path: str, files: Files) -> dict[str, str | int]:
    """Return a package's entry of one of its files; of a link with its target's content."""
    file, kind = files[path], "hardlink"
    if isinstance(file, Link):
        file, kind = files[f"{Path(path).parent}/{file.target}"], "softlink"
    digest = hashlib.sha256(file.content).hexdigest()
    return {
        "_path": path,
        "path_type": kind,
        "sha256": digest,
        "size_in_bytes": len(file.content),
    }


def _compressed(files: Files) -> bytes:
    import zstandard

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, file in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            if isinstance(file, Link):
                entry.type, entry.linkname = tarfile.SYMTYPE, file.target
                archive.addfile(entry)
            else:
                entry.size, entry.mode = len(file.content), file.mode
                entry.mtime = file.modified
                archive.addfile(entry, io.BytesIO(file.content))
    return zstandard.ZstdCompressor(level=1).compress(buffer.getvalue())
