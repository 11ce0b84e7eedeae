"""Folders that are either complete or absent, whatever kills the process or the machine."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.common.files import FULL, named, nearest, read_json, sha256

CONTENTS = "contents.json"
"""The file in a folder that lists all others with their digests."""
PARTIAL, GONE = ".partial-", ".gone-"
"""Prefixes of a folder's name while it is written and while it is removed."""


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`, and rename it to `folder` if the block succeeds.

    Before that, all of it is flushed to the disk, with a list of its contents. An existing folder
    of that name is replaced.
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
        # The disk may be full: free what was half written.
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def is_whole(folder: Path) -> bool:
    """Return True if a folder has every file in its list of contents, unchanged."""
    try:
        digests = read_json(folder / CONTENTS)
        return all(sha256(folder / name) == digest for name, digest in digests.items())
    except (OSError, ValueError):
        return False


def discard(folder: Path) -> None:
    """Remove a folder, which is never seen half removed under its name."""
    gone = folder.with_name(GONE + folder.name)
    shutil.rmtree(gone, ignore_errors=True)
    if folder.is_dir():
        os.rename(folder, gone)
        shutil.rmtree(gone, ignore_errors=True)


def unwritable(folder: str | Path) -> str | None:
    """Return in one line why no file can be written below a folder, which may not be there yet."""
    there = nearest(folder)
    # On a read-only disk the superuser has no access either.
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there}: no file can be written here: read-only, or another user's"
    if os.statvfs(there).f_bfree == 0:
        return f"{there}: {os.strerror(errno.ENOSPC)}"
    return None


def put(source: Path, target: Path) -> None:
    """Link or copy a file to `target`, which never exists in part."""
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
            # If both are links to the same file, `replace` does nothing and leaves both.
            temporary.unlink(missing_ok=True)
            os.utime(target)
            sync(target.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_file(path: Path, content: bytes) -> None:
    """Write a file in a folder that is renamed later."""
    with named(path), open(path, "wb") as file:
        file.write(content)


def as_json(value: Any) -> bytes:
    """Return a value as JSON that keeps every float, including NaN."""
    return (json.dumps(value, indent=2) + "\n").encode()


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with named(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_full(error: Exception) -> bool:
    """Return True if an error means a full disk; safetensors says so only in the message."""
    if isinstance(error, OSError):
        return error.errno in FULL
    return any(f"(os error {number})" in str(error) for number in FULL)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
