"""Folders that are there whole or not at all, whatever kills the process or the machine."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.common.files import named, read_json, sha256

CONTENTS = "contents.json"
"""The file of a folder that lists all others with their digests."""
PARTIAL, GONE = ".partial-", ".gone-"
"""How a folder's name begins while it is written, and while it is removed."""


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `folder`, and moves it into place if the block succeeds.

    Before it is moved, all of it is on the disk, its list of contents too. A folder of that name
    that is there already is replaced.
    """
    temporary = folder.with_name(PARTIAL + folder.name)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        digests = {
            path.relative_to(temporary).as_posix(): sha256(path) for path in _files(temporary)
        }
        write_file(temporary / CONTENTS, as_json(digests))
        for path in [*temporary.rglob("*"), temporary]:
            sync(path)
        discard(folder)
        os.rename(temporary, folder)
        sync(folder.parent)
    except BaseException:
        # Perhaps the disk is full: what is half written is the first to go.
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def is_whole(folder: Path) -> bool:
    """Tells whether a folder is there with all that its list of contents names, unchanged."""
    try:
        digests = read_json(folder / CONTENTS)
        return all(sha256(folder / name) == digest for name, digest in digests.items())
    except (OSError, ValueError):
        return False


def discard(folder: Path) -> None:
    """Removes a folder, which is never seen half removed under its name."""
    gone = folder.with_name(GONE + folder.name)
    shutil.rmtree(gone, ignore_errors=True)
    if folder.is_dir():
        os.rename(folder, gone)
        shutil.rmtree(gone, ignore_errors=True)


def put(source: Path, target: Path) -> None:
    """Gives a file a second name, whole from the first moment; a copy where there are no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(PARTIAL + target.name)
    temporary.unlink(missing_ok=True)
    try:
        with named(target):
            try:
                os.link(source, temporary)
            except OSError as error:
                if error.errno in FULL:
                    raise
                shutil.copyfile(source, temporary)
                sync(temporary)
            os.replace(temporary, target)
            # A name of the same file is not moved onto it, but left.
            temporary.unlink(missing_ok=True)
            os.utime(target)
            sync(target.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_file(path: Path, content: bytes) -> None:
    """Writes a file of a folder that is moved into place later."""
    with named(path), open(path, "wb") as file:
        file.write(content)


def as_json(value: Any) -> bytes:
    """Returns a value as JSON in which every float, NaN too, is read back as it was."""
    return (json.dumps(value, indent=2) + "\n").encode()


def sync(path: Path) -> None:
    """Returns once a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with named(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space left, none within the user's quota, or none within the largest size of a file."""


def is_full(error: Exception) -> bool:
    """Tells whether an error is one of a full disk; safetensors' says so in its text alone."""
    if isinstance(error, OSError):
        return error.errno in FULL
    return any(f"(os error {number})" in str(error) for number in FULL)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
