"""Text as LaTeX with its standard fonts: every sign is printed, or stands as its code point."""

import unicodedata

from scripts.report.text import FELL, SELECTED, code_point, printable

SIGNS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "×": r"$\times$",
    FELL: r"$\downarrow$",
    SELECTED: r"$\dagger$",
    "±": r"$\pm$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "σ": r"$\sigma$",
    "`": r"\textasciigrave{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "•": r"\textbullet{}",
    "°": r"\textdegree{}",
    "£": r"\pounds{}",
    "€": r"\texteuro{}",
    "©": r"\textcopyright{}",
    "®": r"\textregistered{}",
    "™": r"\texttrademark{}",
    "·": r"\textperiodcentered{}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "œ": r"\oe{}",
    "ł": r"\l{}",
    "ı": r"\i{}",
    "¡": r"\textexclamdown{}",
    "¿": r"\textquestiondown{}",
    "÷": r"$\div$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "→": r"$\rightarrow$",
    "½": r"$\frac{1}{2}$",
    "¼": r"$\frac{1}{4}$",
    "¾": r"$\frac{3}{4}$",
    "²": r"$^{2}$",
    "³": r"$^{3}$",
    "§": r"\S{}",
}
ACCENTS = {
    "\u0300": r"\`", "\u0301": r"\'", "\u0302": r"\^", "\u0303": r"\~", "\u0304": r"\=",
    "\u0306": r"\u", "\u0307": r"\.", "\u0308": r"\"", "\u030a": r"\r", "\u030b": r"\H",
    "\u030c": r"\v", "\u0327": r"\c",
}  # fmt: skip
"""The accents that LaTeX puts on a letter."""


def latex(text: str) -> str:
    """Return text in which LaTeX sees no command.

    What the standard fonts lack stands as its code point, so that nothing is lost unseen.
    """
    return "".join(map(_sign, unicodedata.normalize("NFC", printable(text))))


def cell(text: str) -> str:
    r"""Return a line of text as a cell; no `\\` before it takes its first sign for an option."""
    found = latex(" ".join(text.split()))
    return f"{{}}{found}" if found.startswith(("[", "*")) else found


def _sign(character: str) -> str:
    if character in SIGNS:
        return SIGNS[character]
    if character.isascii():
        return character
    if character.isspace():
        return " "
    letter, *marks = list(unicodedata.normalize("NFD", character))
    if len(marks) == 1 and letter.isascii() and marks[0] in ACCENTS:
        return rf"{ACCENTS[marks[0]]}{{{letter}}}"
    return code_point(character)
