"""Chat templates by name: how messages become text."""

from pathlib import Path

_FOLDER = Path(__file__).parent.parent / "lm" / "templates"
TEMPLATES = {path.stem: path for path in sorted(_FOLDER.glob("*.jinja"))}

JUDGE = _FOLDER.parents[1] / "evaluate" / "judge.jinja"
"""How a judge is asked where the configuration names no other template."""


def template_path(template: str) -> Path | None:
    """Return the Jinja file of a template's name or path; None for `chat`, the tokenizer's own."""
    if template == "chat":
        return None
    return TEMPLATES.get(template, Path(template))


def template_name(template: str) -> str:
    """Return the template's name as used in paths."""
    return Path(template).stem if template.endswith(".jinja") else template
