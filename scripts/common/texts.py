"""Texts compared: normalized, by their n-grams, exactly and without comparing all with all."""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import chain
from math import ceil
from typing import Any

_WORD = re.compile(r"[^\W_]+")


def composed(text: str) -> str:
    """Return a text in the one Unicode form (NFC) in which texts are compared.

    Some tokenizers compose what they read, so an answer may come back in another form than its row.
    """
    return unicodedata.normalize("NFC", text)


def said(messages: list[dict[str, Any]]) -> str:
    """Return what canonical messages say, tool calls included, composed, without who says it."""
    parts = ([it["content"], *filter(None, [it.get("extra")])] for it in messages)
    return composed("\n".join(chain.from_iterable(parts)))


def spoken(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return canonical messages as chat templates take them."""
    return [
        {"role": it["role"], "content": it["content"], **json.loads(it.get("extra") or "{}")}
        for it in messages
    ]


def worded(message: dict[str, Any]) -> str:
    """Return what a canonical message says as a person reads it: content, then a line a call."""
    calls = json.loads(message.get("extra") or "{}").get("tool_calls", ())
    lines = (json.dumps(call["function"], ensure_ascii=False) for call in calls)
    return "\n".join(filter(None, [message["content"], *lines]))


def dialogue(messages: list[dict[str, Any]]) -> str:
    """Return messages as a person reads them: what is said, and by whom where there are several."""
    if len(messages) == 1:
        return worded(messages[0])
    return "\n\n".join(f"{it['role'].capitalize()}: {worded(it)}" for it in messages)


def cut(text: str, after: str | None, before: str | None) -> str:
    """Return an answer, composed, cut at the first `before`, then to what follows the last `after`.

    A mark that is absent cuts nothing; blanks around the answer go.
    """
    text = composed(text)
    text = text.partition(composed(before))[0] if before else text
    return (text.rpartition(composed(after))[2] if after else text).strip()


def normalized(text: str) -> str:
    """Return the words of a text, in lower case and NFKC, one space between them.

    Punctuation and white space only part words. A script that writes none between words is a
    single word from one mark to the next.
    """
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).lower()))


def ngrams(text: str, n: int) -> set[str]:
    """Return the word n-grams of a normalized text; a shorter text is one n-gram as a whole."""
    words = text.split()
    if len(words) <= n:
        return {text} if words else set()
    return {" ".join(words[start : start + n]) for start in range(len(words) - n + 1)}


class SharedNgrams:
    """Finds which of some texts share at least a share of their n-grams with another text.

    Exact, by prefix filtering (Bayardo, Ma & Srikant 2007, https://doi.org/10.1145/1242572.1242591):
    another text that holds `share` of g n-grams holds one of any g - ceil(share * g) + 1 of them.
    Only so many of each text are indexed, its rarest, so that words which all texts have in common,
    an instruction say, bring no candidates.
    """

    def __init__(self, texts: list[str], n: int, share: float):
        """Takes normalized texts and the least share, above 0 and up to 1."""
        self.share = share
        self.grams = [ngrams(text, n) for text in texts]
        counts = Counter(gram for grams in self.grams for gram in grams)
        self.index: dict[str, list[int]] = defaultdict(list)
        for place, grams in enumerate(self.grams):
            rarest = sorted(grams, key=lambda gram: (counts[gram], gram))
            # The small number guards against products such as 0.55 * 20 = 11.000000000000002.
            for gram in rarest[: len(grams) - ceil(share * len(grams) - 1e-9) + 1]:
                self.index[gram].append(place)

    def sharing(self, other: set[str]) -> Iterator[tuple[int, int]]:
        """Yield the place of each text found, and how many n-grams it shares with `other`."""
        places = {place for gram in other & self.index.keys() for place in self.index[gram]}
        for place in sorted(places):
            shared = len(self.grams[place] & other)
            if shared >= self.share * len(self.grams[place]) - 1e-9:
                yield place, shared
