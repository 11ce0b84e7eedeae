"""What a snapshot's files have to be like: refused by name, before transformers sees them."""

import json
from pathlib import Path

import pytest

from scripts.common.cli import BadInput
from scripts.lm.checks import read_object
from scripts.lm.tokenizers import load_tokenizer
from scripts.models.manifest import write_manifest
from tests.models.spoiled import edit


def listed(folder: Path) -> Path:
    """Return a new manifest of a folder."""
    write_manifest(folder.parent / "new.json", folder, {"source": "folder"})
    return folder.parent / "new.json"


CODE = {
    "AutoConfig": "evil.Config",
    "AutoModelForCausalLM": "evil.Model",
    "AutoTokenizer": [None, "evil.T"],
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", {"auto_map": CODE}),
        ("config.json", {"auto_map": {}}),
        ("config.json", {"auto_map": None}),
        ("config.json", {"model_type": "unheard-of", "auto_map": CODE}),
        ("config.json", {"text_config": {"auto_map": CODE}}),
        ("config.json", {"parts": [[{"auto_map": CODE}]]}),
        ("tokenizer_config.json", {"auto_map": CODE}),
        ("tokenizer_config.json", {"tokenizer_class": "Evil", "auto_map": ["evil.T", None]}),
        ("generation_config.json", {"auto_map": CODE}),
        ("processor_config.json", {"auto_map": CODE}),
        ("preprocessor_config.json", {"auto_map": CODE}),
    ],
)  # fmt: skip
def test_code_of_a_model_is_refused_and_never_run(
    snapshot: Path, name: str, content: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = snapshot / "ran"
    (snapshot / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    edit(name, **content)(snapshot)
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(BadInput, match=rf"^\S*/{name}: found auto_map, ") as refused:
        listed(snapshot)
    assert "trust" not in str(refused.value)
    # Nor where it came in after the manifest was made.
    (snapshot.parent / "manifest.json").write_text(json.dumps({"folder": "snapshot", "files": []}))
    with pytest.raises(BadInput, match="found auto_map"):
        load_tokenizer(snapshot.parent / "manifest.json")
    assert not ran.exists()


def test_escapes_do_not_hide_it(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(r'{"a": {"auto\u005fmap": 1}}')
    with pytest.raises(BadInput, match="found auto_map"):
        read_object(path)


@pytest.mark.parametrize("text", ['{"a": "auto_map"}', '{"auto_mapping": null, "b": ["auto_map"]}'])
def test_the_word_alone_is_no_code(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    assert read_object(path) == json.loads(text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON: Expecting value"),
        (b'{"a": 1', "not JSON: "),
        (b"\xff\xfe{\x00}\x00", "not JSON: 'utf-8' codec"),
        (b"\xef\xbb\xbf{}", "not JSON: Unexpected UTF-8 BOM"),
        (b"[]", "found list, allowed is a JSON object"),
        (b"null", "found NoneType"),
        (b"[" * 100_000, "not JSON: "),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "found the stand-in"),
    ],
)
def test_a_config_that_is_none_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(BadInput) as refused:
        read_object(path)
    assert str(refused.value).startswith(f"{path}: {said}")
