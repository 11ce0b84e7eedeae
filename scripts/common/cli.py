"""What every module's command line does the same way."""

import sys
from collections.abc import Callable, Iterable


class BadInput(Exception):
    """Input that cannot be used. Its text is one line: where, what was found, what is allowed."""


def run(main: Callable[[], int], without: Iterable[str] = ()) -> None:
    """Ends the process with main's exit code; bad input is one line on stderr and exit code 1.

    Parameters
    ----------
    without
        Packages that are not in the module's env. Another env may have them, where a library would
        import them whenever it finds them, which takes longer than the module's own work.
    """
    # What is None here cannot be imported, and counts as not installed.
    sys.modules.update(dict.fromkeys(without))
    try:
        code = main()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    sys.exit(code)
