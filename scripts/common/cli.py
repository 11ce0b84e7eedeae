"""What the command lines of all modules have in common."""

import errno
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from typing import Any


class BadInput(Exception):
    """Input that cannot be used. The message says where, what was found, and what is allowed."""


MAKE_ROOM = "make room on this disk, and run it again"
NO_FOLDER = "a folder is needed there: move the file away, or name another place"
REMEDIES = {
    errno.ENOSPC: MAKE_ROOM,
    errno.EDQUOT: MAKE_ROOM,
    errno.EFBIG: MAKE_ROOM,
    errno.EACCES: "its owner can allow it, with chmod",
    errno.EROFS: "name a place on a disk that can be written",
    errno.EEXIST: NO_FOLDER,
    errno.ENOTDIR: NO_FOLDER,
    errno.EISDIR: "a file is needed there: move the folder away, or name another place",
}
"""What can be done about an error of the system."""

_reading = ""


def note_reading(path: object) -> None:
    """Remember which file is read, for the message of an error that nobody foresaw."""
    global _reading
    _reading = str(path)


def run(main: Callable[[], int], without: Iterable[str] = ()) -> None:
    """Exit with the code that `main` returns, or with 1 and a line on stderr for an error.

    Parameters
    ----------
    without
        Packages to hide. They are not in the module's own env, but may be in the launcher's, where
        some library would import them, which takes longer than the module's own work.
    """
    # A module that is None here cannot be imported, and counts as not installed.
    sys.modules.update(dict.fromkeys(without))  # type: ignore[arg-type]
    code = 1
    try:
        code = main()
    except Exception as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
    sys.exit(code)


def printable(text: str) -> str:
    """Return text as it may be shown: without secrets, and with escapes for control characters,
    which a terminal would obey, but new lines.

    Names and texts in messages are anybody's.
    """
    text = without_secrets(text)
    if text.isprintable():
        return text
    return "".join(it if it.isprintable() or it == "\n" else ascii(it)[1:-1] for it in text)


def without_secrets(text: str) -> str:
    """Return text without the token, passwords in addresses, and keys in their queries."""
    token = secret()
    text = text.replace(token, f"${TOKEN}") if token else text
    return _KEY.sub("…", _PASSWORD.sub("…", text))


def secret() -> str:
    """Return the token that the environment holds; nothing where there is none."""
    found = os.environ.get(TOKEN, "").strip()
    # What is so short is none, and stands in any text.
    return found if len(found) >= SHORTEST else ""


TOKEN, SHORTEST = "HF_TOKEN", 8
"""The variable of the only token that is used, and how many characters a token has at least."""
_PASSWORD = re.compile(r"(?<=://)[^\s/@'\"]+(?=@(?!sha256:))")
_KEY = re.compile(
    r"(?i)(?<=[?&])(?:[\w.-]*(?:token|secret|password|signature|key)[\w.-]*)=[^\s&#'\"]+"
)


def one_line(error: Exception) -> str:
    """Return what went wrong; of what nobody foresaw, also what was read last, and the file that
    holds the traceback.
    """
    return printable(_said(error))


def _said(error: Exception) -> str:
    if isinstance(error, BadInput):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {system_error(error)}"
    if isinstance(error, MemoryError):
        said = "not enough memory"
    else:
        said = " ".join(f"{type(error).__name__}: {error}".split())
    after = f", after reading {_reading}" if _reading else ""
    return f"{said[:LONGEST]}{after}; traceback in {_keep_traceback(error)}"


def system_error(error: OSError) -> str:
    """Return what the system says, and what can be done; not what a library writes around it."""
    if error.errno is None:
        return str(error)
    remedy = REMEDIES.get(error.errno)
    return os.strerror(error.errno) + (f"; {remedy}" if remedy else "")


LONGEST = 500
"""Characters of an unforeseen error that are shown."""


def _keep_traceback(error: Exception) -> str:
    """Write a traceback beside the log, or else to a temporary file; return its path."""
    text = without_secrets("".join(traceback.format_exception(error)))
    encoding: Any = {"encoding": "utf-8", "errors": "backslashreplace"}
    try:
        # A job's standard error is its log.
        log = os.readlink(f"/proc/self/fd/{sys.stderr.fileno()}")
        if os.path.isfile(log):
            with open(f"{log}.traceback", "w", **encoding) as file:
                file.write(text)
            return os.path.relpath(file.name)
    except (OSError, ValueError):
        # No such link, or no room beside the log.
        pass
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="prefmake-", suffix=".traceback", delete=False, **encoding
        ) as kept:
            kept.write(text)
        return kept.name
    except OSError as full:
        return f"no file ({full.strerror})"
