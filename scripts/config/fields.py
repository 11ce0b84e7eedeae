"""The reference page of the configuration, made from its schema."""

import json
from typing import Any

from pydantic import BaseModel


def describe_fields(config: type[BaseModel]) -> str:
    """Returns docs/config.md: a table of keys for each part of the schema."""
    schema = config.model_json_schema()
    parts = [
        "# The configuration, key by key",
        "Made by `python -m scripts.config.check fields`; a test keeps it current. "
        "`defaults:` beside a list of `trials:` takes any key that a trial takes; a trial's own "
        "keys win.",
    ]
    sections = {config.__name__: schema, **schema["$defs"]}
    for name, section in sections.items():
        parts.append(f"## {name}")
        if "description" in section:
            parts.append(" ".join(section["description"].split()))
        rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
        required = section.get("required", [])
        for key, rule in section["properties"].items():
            default = "**required**" if key in required else f"`{_default(rule)}`"
            meaning = rule.get("description", "")
            rows.append(f"| `{key}` | {_type(rule)} | {default} | {meaning} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def values_of(rule: dict[str, Any]) -> dict[str, Any]:
    """Returns the rule of a mapping's values, whatever its keys; empty where it has none."""
    patterns = rule.get("patternProperties", {})
    return next(iter(patterns.values()), None) or rule.get("additionalProperties") or {}


def _default(rule: dict[str, Any]) -> str:
    return json.dumps(rule.get("default", {}))


def _type(rule: dict[str, Any]) -> str:
    """Returns a property's type and range in words."""
    if "$ref" in rule:
        name = rule["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    choices = rule.get("anyOf") or rule.get("oneOf")
    if choices:
        return " or ".join(_type(choice) for choice in choices)
    if "const" in rule:
        return f"`{_plain(rule['const'])}`"
    if "enum" in rule:
        return " or ".join(f"`{_plain(value)}`" for value in rule["enum"])
    if rule.get("type") == "array":
        return f"list of {_type(rule['items'])}"
    if rule.get("type") == "object":
        return f"mapping to {_type(values_of(rule))}"
    return " ".join([rule.get("type", "any"), *_bounds(rule)])


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bounds(rule: dict[str, Any]) -> list[str]:
    signs = {
        "minimum": "≥",
        "exclusiveMinimum": ">",
        "maximum": "≤",
        "exclusiveMaximum": "<",
    }
    return [f"{sign} {rule[key]}" for key, sign in signs.items() if key in rule]
