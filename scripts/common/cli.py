"""What every module's command line does the same way."""

import sys
from collections.abc import Callable


class BadInput(Exception):
    """Input that cannot be used. Its text is one line: where, what was found, what is allowed."""


def run(main: Callable[[], int]) -> None:
    """Ends the process with main's exit code; bad input is one line on stderr and exit code 1."""
    try:
        code = main()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    sys.exit(code)
