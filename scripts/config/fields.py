"""What can be said of the schema without a configuration: its reference page, and its JSON schema.

python -m scripts.config.fields page > docs/config.md
python -m scripts.config.fields schema > docs/config.schema.json
"""

import copy
import json
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from scripts.config.schema import Config

Node = dict[str, Any]
"""A part of a JSON schema."""


@cache
def _described() -> Node:
    """Return the JSON schema as pydantic makes it."""
    return Config.model_json_schema()


def json_schema() -> Node:
    """Return the JSON schema of a config file, with which editors complete and check it.

    It knows what the checked configuration does not have: a phase's `defaults` take every key of
    its trials. What only the validators know, such as keys that exclude each other, it does not.
    """
    schema = copy.deepcopy(_described())
    parts = schema["$defs"]
    for name, part in list(parts.items()):
        trials = part.get("properties", {}).get("trials")
        if trials is not None:
            parts[f"{name}Defaults"] = _defaults(trials["items"], parts)
            part["properties"]["defaults"] = {"$ref": f"#/$defs/{name}Defaults"}
    for node in _nodes(schema):
        if "patternProperties" in node:
            node["additionalProperties"] = False
    # Where an editor finds it.
    schema["properties"]["$schema"] = {"type": "string"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _defaults(trial: Node, parts: Node) -> Node:
    """Return the schema of what lies under all trials of a phase: the keys of any, none needed."""
    members = [_resolved(choice, parts) for choice in _choices(trial)]
    keys = {key: rule for member in members for key, rule in member["properties"].items()}
    return {
        "type": "object",
        "description": "Keys that all trials take; a trial's own keys win.",
        "properties": keys,
        "additionalProperties": False,
    }


def _nodes(node: Any) -> Iterator[Node]:
    """Yield every mapping in a JSON schema."""
    if isinstance(node, dict):
        yield node
    for inner in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from _nodes(inner)


def _resolved(node: Node, parts: Node) -> Node:
    return parts[node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node


def _choices(node: Node) -> list[Node]:
    """Return the members of a union, or the node alone."""
    return node.get("oneOf", []) + node.get("anyOf", []) or [node]


# --------------------------------------------------------------------------------- keys of a place


def allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the schema has at an error's location, unions resolved by their tag."""
    schema = _described()

    def members(node: Node) -> list[Node]:
        node = _resolved(node, schema["$defs"])
        choices = _choices(node)
        return [node] if choices == [node] else [it for one in choices for it in members(one)]

    nodes = parts = [schema]
    for part in location:
        below = []
        for node in nodes:
            if part in node.get("properties", {}):
                below += members(node["properties"][part])
            elif _values(node):
                below += members(_values(node))
            elif isinstance(part, int) and "items" in node:
                below += members(node["items"])
        # A union's tag is a step of the location, but not of the document.
        nodes = below or [node for node in nodes if _carries(node, part)] or nodes
        # The tag may be a key as well, as in `source: {hub: …}`.
        parts = [node for node in nodes if "properties" in node] or parts
    keys = dict.fromkeys(key for node in parts for key in node["properties"])
    return [*keys, *(["defaults"] if "trials" in keys else [])]


def _carries(node: Node, tag: int | str) -> bool:
    """Return True if a union's member is the one that `tag` stands for."""
    properties = node.get("properties", {})
    return tag in properties or any(
        tag == rule.get("const") or tag in rule.get("enum", []) for rule in properties.values()
    )


def _values(rule: Node) -> Node:
    """Return the rule of a mapping's values, whatever its keys; empty where it has none."""
    patterns = rule.get("patternProperties", {})
    return next(iter(patterns.values()), None) or rule.get("additionalProperties") or {}


# --------------------------------------------------------------------------------- reference page


def reference_page() -> str:
    """Return docs/config.md: a table of keys for each part of the schema."""
    schema = _described()
    parts = [
        "# The configuration, key by key",
        "Made by `python -m scripts.config.fields page`; a test keeps it current. "
        "`defaults:` beside a list of `trials:` takes any key that a trial takes; a trial's own "
        "keys win.",
    ]
    for name, section in {Config.__name__: schema, **schema["$defs"]}.items():
        parts.append(f"## {name}")
        if "description" in section:
            parts.append(" ".join(section["description"].split()))
        rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
        for key, rule in section["properties"].items():
            required = key in section.get("required", [])
            default = "**required**" if required else f"`{json.dumps(rule.get('default', {}))}`"
            rows.append(f"| `{key}` | {_type(rule)} | {default} | {rule.get('description', '')} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _type(rule: Node) -> str:
    """Return a property's type and range in words."""
    if "$ref" in rule:
        name = rule["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if _choices(rule) != [rule]:
        return " or ".join(_type(choice) for choice in _choices(rule))
    if "const" in rule:
        return f"`{_plain(rule['const'])}`"
    if "enum" in rule:
        return " or ".join(f"`{_plain(value)}`" for value in rule["enum"])
    if rule.get("type") == "array":
        return f"list of {_type(rule['items'])}"
    if rule.get("type") == "object":
        return f"mapping to {_type(_values(rule))}"
    return " ".join([rule.get("type", "any"), *_bounds(rule)])


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bounds(rule: Node) -> list[str]:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return [f"{sign} {rule[key]}" for key, sign in signs.items() if key in rule]


def main(arguments: list[str]) -> int:
    """Print the page or the schema; return 0, or 2 where neither is asked for."""
    if arguments == ["page"]:
        print(reference_page(), end="")
    elif arguments == ["schema"]:
        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
