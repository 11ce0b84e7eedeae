"""What the command lines of all modules have in common."""

import sys
from collections.abc import Callable, Iterable


class BadInput(Exception):
    """Input that cannot be used. The message says where, what was found, and what is allowed."""


def run(main: Callable[[], int], without: Iterable[str] = ()) -> None:
    """Exit with the code that `main` returns, or with 1 and a line on stderr for bad input.

    Parameters
    ----------
    without
        Packages to hide. They are not in the module's own env, but may be in the launcher's, where
        some library would import them, which takes longer than the module's own work.
    """
    # A module that is None here cannot be imported, and counts as not installed.
    sys.modules.update(dict.fromkeys(without))  # type: ignore[arg-type]
    try:
        code = main()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    sys.exit(code)
