"""Where the files of a run lie, as rules name them: Snakemake fills in the `<results>`."""

from scripts.common.splits import SPLITS

ADAPTER = ("adapter_model.safetensors", "adapter_config.json", "README.md")


def manifest(model: str) -> str:
    """Return the file by which jobs know a model."""
    return f"<results>/models/{model}/manifest.json"


def tokenizer(model: str) -> str:
    """Return the file by which jobs know a model's tokenizer and shape, without its weights."""
    return f"<results>/models/{model}/tokenizer/manifest.json"


def data_split(dataset: str, split: str) -> str:
    """Return the canonical rows of a split."""
    return f"<results>/data/{dataset}/{split}.parquet"


def token_split(tokens: str, split: str) -> str:
    """Return the token ids of a split."""
    return f"<results>/tokens/{tokens}/{split}.parquet"


def token_splits(tokens: str) -> list[str]:
    """Return the token ids of every split."""
    return [token_split(tokens, split) for split in SPLITS]


def reference_split(reference: str, split: str) -> str:
    """Return a reference's log-probs of a split's pairs."""
    return f"<results>/references/{reference}/{split}.parquet"


def run_folder(trial: str, seed: int | str) -> str:
    """Return the folder of a trial with one seed, below the results."""
    return f"trials/{trial}/seed-{seed}"


def adapter_files(folder: str) -> list[str]:
    """Return the files of a run's adapter that loading it reads."""
    return [f"<results>/{folder}/adapter/{file}" for file in ADAPTER[:2]]
