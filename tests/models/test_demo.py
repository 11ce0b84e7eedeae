"""The demo's base model: the same bytes each time, a safe chat template, an ordinary snapshot."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from scripts.common.cli import BadInput
from scripts.common.files import read_json, sha256
from scripts.config.check import load
from scripts.config.plan import make_plan
from scripts.models import demo
from tests.conftest import ROOT, contents, no_file_grows

DEMO = ROOT / "demo"
CORPUS = DEMO / "corpora" / "pretraining.jsonl"
README = (DEMO / "README.md").read_text(encoding="utf-8")
SETTINGS = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 300,
    "max_position_embeddings": 64,
    "steps": 4,
    "batch_size": 2,
    "sequence_length": 32,
    "learning_rate": 0.01,
    "warmup_steps": 1,
    "seed": 3,
}
TEXTS = [f"Ada has {n} apples. Ben gives Ada 3 more.\n{n} + 3 = {n + 3} apples" for n in range(40)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return demo.train_tokenizer(TEXTS, 300)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in [*TEXTS, "", "\n"]))
    return path


@pytest.fixture(scope="module")
def snapshot(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(corpus, tmp_path_factory.mktemp("one") / "model")


def train(corpus: Path, out: Path, **changes: object) -> Path:
    """Return the folder of a snapshot made by the command line."""
    settings = json.dumps(SETTINGS | changes)
    demo.main(arguments(corpus, settings, out))
    return out


def arguments(corpus: Path, settings: str, out: Path) -> list[str]:
    return [
        "--corpus", str(corpus), "--model", settings, "--out", str(out),
        "--manifest", str(out.parent / f"{out.name}.json"),
        "--tokenizer-manifest", str(out.parent / f"{out.name}.tokenizer.json"),
    ]  # fmt: skip


def render(tokenizer: PreTrainedTokenizerFast, messages: list[dict], prompt: bool) -> list[int]:
    """Return the ids of the rendered messages."""
    return tokenizer.apply_chat_template(
        messages, add_generation_prompt=prompt, tokenize=True, return_dict=False
    )


def turns(*contents: str) -> list[dict]:
    """Return the contents as user and assistant turns by turn."""
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]


def test_both_manifests_are_of_the_snapshot(snapshot: Path) -> None:
    whole = read_json(snapshot.parent / "model.json")
    assert [file["name"] for file in whole["files"]] == sorted(demo.SNAPSHOT)
    assert (whole["source"], whole["folder"]) == ("demo", "model")
    small = read_json(snapshot.parent / "model.tokenizer.json")
    names = {file["name"] for file in small["files"]}
    assert names == set(demo.SNAPSHOT) - {"model.safetensors"}
    assert small["snapshot_bytes"] == sum(file["bytes"] for file in whole["files"])


def test_two_runs_write_the_same_bytes(corpus: Path, snapshot: Path, tmp_path: Path) -> None:
    torch.manual_seed(99)
    again = train(corpus, tmp_path / "again")
    for name in demo.SNAPSHOT:
        assert (again / name).read_bytes() == (snapshot / name).read_bytes(), name


def test_another_seed_gives_other_weights(corpus: Path, snapshot: Path, tmp_path: Path) -> None:
    other = train(corpus, tmp_path / "other", seed=4) / "model.safetensors"
    assert other.read_bytes() != (snapshot / "model.safetensors").read_bytes()


def test_training_leaves_the_process_as_it_was(tokenizer: PreTrainedTokenizerFast) -> None:
    def state() -> tuple:
        return (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
            torch.get_rng_state().tolist(),
        )

    before = state()
    demo.pretrain(demo.ModelSettings(**SETTINGS), demo.pack(TEXTS, tokenizer, 32), tokenizer)
    assert state() == before


def test_training_lowers_the_loss(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = demo.pack(TEXTS, tokenizer, 32)
    losses = []
    for steps in (1, 60):
        settings = demo.ModelSettings(**SETTINGS | {"steps": steps, "warmup_steps": 0})
        model = demo.pretrain(settings, rows, tokenizer)
        with torch.no_grad():
            losses.append(model(input_ids=rows, labels=rows).loss.item())
    assert losses[1] < losses[0] - 1


def test_snapshot_is_whole_and_holds_nothing_else(snapshot: Path) -> None:
    assert sorted(path.name for path in snapshot.iterdir()) == sorted(demo.SNAPSHOT)


def test_snapshot_loads_and_generates_greedily(snapshot: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(snapshot, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(snapshot, local_files_only=True)
    assert model.dtype == torch.float32
    assert model.get_input_embeddings().weight.shape == (len(tokenizer), SETTINGS["hidden_size"])
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    assert tokenizer.model_max_length == SETTINGS["max_position_embeddings"]
    settings = model.generation_config
    assert settings.do_sample is False
    assert settings.eos_token_id == tokenizer.eos_token_id
    assert settings.pad_token_id == tokenizer.pad_token_id
    ids = torch.tensor([render(tokenizer, turns("Ada has 3 apples."), prompt=True)])
    first, second = (model.generate(ids, max_new_tokens=5) for _ in range(2))
    assert torch.equal(first, second)


def test_snapshot_keeps_the_chat_template(snapshot: Path) -> None:
    template = (snapshot / "chat_template.jinja").read_text(encoding="utf-8")
    assert template.strip() == demo.CHAT_TEMPLATE.read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("text", [*TEXTS[:2], " two  spaces\n\n\tand tabs ", "Grüße, 東京 🙂", ""])
def test_tokenizer_round_trip(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_tokenizer_adds_no_special_tokens_by_itself(tokenizer: PreTrainedTokenizerFast) -> None:
    assert not set(tokenizer("Ada has 3 apples.")["input_ids"]) & set(tokenizer.all_special_ids)


@pytest.mark.parametrize("completion", ["12", " 12", "\n\n#### 12", "Ada", "", "."])
@pytest.mark.parametrize("prompt", ["How many?", "How many? ", "How many?\n", "9", ""])
def test_prompt_is_a_prefix_in_ids(
    tokenizer: PreTrainedTokenizerFast, prompt: str, completion: str
) -> None:
    head = render(tokenizer, turns(prompt), prompt=True)
    whole = render(tokenizer, turns(prompt, completion), prompt=False)
    assert whole[: len(head)] == head
    assert whole[len(head) :] == [*tokenizer(completion)["input_ids"], tokenizer.eos_token_id]


def test_template_renders_every_role(tokenizer: PreTrainedTokenizerFast) -> None:
    messages = [{"role": "system", "content": "S"}, *turns("a", "b", "c", "d")]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == "<s><|system|>S<|user|>a<|assistant|>b</s><|user|>c<|assistant|>d</s>"


def test_template_refuses_an_unknown_role(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(Exception, match="unknown role: tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_corpus_writes_its_chats_as_the_template_does(tokenizer: PreTrainedTokenizerFast) -> None:
    chats = [text for text in demo.read_texts(CORPUS) if text.startswith("<|user|>")]
    assert {text.count("<|user|>") for text in chats} == {1, 2}
    for text in chats:
        parts = text.replace("</s>", "").replace("<|assistant|>", "<|user|>").split("<|user|>")
        rendered = tokenizer.apply_chat_template(turns(*parts[1:]), tokenize=False)
        assert rendered == f"<s>{text}</s>"


def test_packing_separates_the_texts(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = demo.pack(["ab", "c"], tokenizer, 3)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    stream = [bos, *tokenizer("ab")["input_ids"], eos, bos, *tokenizer("c")["input_ids"], eos]
    assert rows.flatten().tolist() == stream[: len(stream) // 3 * 3]
    with pytest.raises(ValueError, match="not fill one row"):
        demo.pack(["ab"], tokenizer, 100)


def test_batches_show_every_row_before_any_comes_again() -> None:
    settings = demo.ModelSettings(**SETTINGS | {"steps": 7, "batch_size": 3})
    seen = torch.cat(list(demo.batches(torch.arange(7), settings))).tolist()
    assert len(seen) == 21
    for start in (0, 7, 14):
        assert sorted(seen[start : start + 7]) == list(range(7))


def test_rate_warms_up_and_falls() -> None:
    settings = demo.ModelSettings(**SETTINGS | {"steps": 10, "warmup_steps": 4})
    rates = [demo.rate(step, settings) for step in range(10)]
    assert max(rates) == rates[3] == rates[4] == settings.learning_rate
    assert rates[:4] == sorted(rates[:4])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < settings.learning_rate / 5


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"step": 4}, "unknown model settings: step"),
        ({"steps": 0}, "steps: 0 is too small"),
        ({"steps": 1.5}, "steps: expected a whole number"),
        ({"steps": True}, "steps: expected a whole number"),
        ({"learning_rate": "high"}, "learning_rate: expected a number"),
        ({"num_attention_heads": 3}, "hidden_size"),
        ({"sequence_length": 65}, "sequence_length"),
        ({"warmup_steps": 4}, "warmup_steps"),
    ],
)
def test_settings_are_checked(changes: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        demo.read_settings(json.dumps(SETTINGS | changes))


def test_missing_settings_are_named() -> None:
    with pytest.raises(ValueError, match="missing model settings: seed, steps"):
        demo.read_settings(
            json.dumps({k: v for k, v in SETTINGS.items() if k not in ("seed", "steps")})
        )


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 262"):
        demo.train_tokenizer(TEXTS, 261)


@pytest.mark.parametrize(
    ("text", "settings", "complaint"),
    [
        (" ", json.dumps(SETTINGS), "no text at all"),
        ("a", "{}", "missing model settings"),
        ("a", "{", "Expecting property name"),
    ],
)
def test_a_corpus_or_settings_that_cannot_be_used(
    tmp_path: Path, text: str, settings: str, complaint: str
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(json.dumps({"text": text}) + "\n", encoding="utf-8")
    with pytest.raises(BadInput, match=complaint):
        demo.main(arguments(corpus, settings, tmp_path))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (b'["a"]', "line 2: found a list, ['a']; allowed: an object"),
        (b'{"text": 3}', "line 2: column text: found a number, 3; allowed: text"),
        (b'{"texts": "a"}', "line 2: no text"),
        (b"{", "line 2: no JSON: expecting property name"),
        (b'{"text": "\xff"}', "line 2: found byte 0xff; allowed: text in UTF-8"),
        (b'{"text": "\\ud800"}', "line 2: column text: found half a character"),
    ],
)
def test_a_row_of_a_corpus_that_is_none_is_named(tmp_path: Path, row: bytes, said: str) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes(b'{"text": "a"}\n' + row)
    with pytest.raises(BadInput) as error:
        demo.read_texts(corpus)
    assert str(error.value).startswith(f"{corpus}: {said}")


def test_a_full_disk_is_one_line_and_leaves_the_old_snapshot(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = demo.new_model(demo.ModelSettings(**SETTINGS), len(tokenizer), 0, 1, 2)
    (tmp_path / "config.json").write_text("old", encoding="utf-8")
    for beyond in (10_000, 1_000):
        with (
            no_file_grows(beyond),
            pytest.raises(BadInput, match=f"^{tmp_path}: the disk is full .*File too large"),
        ):
            demo.save(model, tokenizer, tmp_path)
        assert contents(tmp_path) == {"config.json": b"old"}


@pytest.fixture(scope="module")
def recipe() -> demo.ModelSettings:
    """Return the settings that demo/config.yaml has of the base that is in the repository."""
    plan = make_plan(load([DEMO / "config.yaml"]))
    return demo.ModelSettings(**plan.models["from-scratch"].demo_settings())


def loss_on_corpus(folder: Path) -> float:
    """Return a snapshot's mean loss on the first 100 packed rows of the demo's corpus."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    rows = demo.pack(demo.read_texts(CORPUS), tokenizer, 128)[:100]
    with torch.no_grad():
        return model(input_ids=rows, labels=rows).loss.item()


STATED = float(re.search(r"of the corpus is (\S+) nats", README)[1])


def test_the_base_in_the_repository_is_the_one_that_its_page_describes() -> None:
    stated = dict(re.findall(r"^\| `(\S+)` \| `([0-9a-f]{64})` \|$", README, re.MULTILINE))
    assert stated == {path.name: sha256(path) for path in (DEMO / "base").iterdir()}
    assert stated.keys() == set(demo.SNAPSHOT)
    assert loss_on_corpus(DEMO / "base") == pytest.approx(STATED, abs=0.005)


def test_the_base_in_the_repository_was_made_from_its_recipe(recipe: demo.ModelSettings) -> None:
    """The tokenizer by training it again, the model by its shape."""
    made = demo.train_tokenizer(demo.read_texts(CORPUS), recipe.vocab_size)
    kept = AutoTokenizer.from_pretrained(DEMO / "base", local_files_only=True)
    assert kept.backend_tokenizer.to_str() == made.backend_tokenizer.to_str()
    model = AutoModelForCausalLM.from_pretrained(DEMO / "base", local_files_only=True)
    ids = (made.bos_token_id, made.eos_token_id, made.pad_token_id)
    fresh = demo.new_model(recipe, len(made), *ids)
    saved = {"architectures": ["LlamaForCausalLM"]}
    assert model.config.to_diff_dict() == fresh.config.to_diff_dict() | saved
    assert {name: it.shape for name, it in model.state_dict().items()} == {
        name: it.shape for name, it in fresh.state_dict().items()
    }


@pytest.mark.all
@pytest.mark.timeout(3600)
def test_its_recipe_makes_a_base_that_is_as_good(
    recipe: demo.ModelSettings, tmp_path: Path
) -> None:
    """The same bytes on the processor that made it; another one rounds differently."""
    settings = json.dumps(asdict(recipe))
    demo.main(arguments(CORPUS, settings, tmp_path / "base"))
    assert loss_on_corpus(tmp_path / "base") == pytest.approx(STATED, abs=0.05)
