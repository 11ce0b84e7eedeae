"""The answer in what a model wrote."""

from scripts.common.files import Row


def extracted(rows: list[Row], after: str | None, before: str | None) -> list[Row]:
    """Returns the answers, each cut at the first `before`, then to what follows the last `after`.

    A mark that is absent cuts nothing.
    """

    def part(text: str) -> str:
        text = text.partition(before)[0] if before else text
        return (text.rpartition(after)[2] if after else text).strip()

    return [row | {"text": part(row["text"])} for row in rows]
