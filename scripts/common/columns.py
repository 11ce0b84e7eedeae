"""The columns of a data file, without reading its rows."""

import csv
import json
from pathlib import Path


def column_names(path: Path) -> list[str]:
    """Return the columns of a Parquet, JSONL (its first row's keys) or CSV file.

    Raises
    ------
    ValueError
        When the file does not hold what its suffix says.
    """
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return pq.read_schema(path).names
        with open(path, encoding="utf-8-sig", newline="") as lines:
            if path.suffix == ".csv":
                return next(csv.reader(lines), [])
            return list(json.loads(next(lines, "{}")))
    except (ValueError, OSError, TypeError, csv.Error) as error:
        raise ValueError(f"not readable as {path.suffix}: {error}") from None
