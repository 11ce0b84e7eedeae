"""One preference trial with TRL as its documentation shows it, from texts to an adapter.

    python -m benchmarks.stock_trial '{"data": …, "model": …, "lora": {…}, "arguments": {…}}'

The last line of its output is what it measured, as JSON.
"""

import json
import sys
from typing import Any


def main(settings: dict[str, Any]) -> dict[str, Any]:
    """Train and save the adapter; return its losses and the batches of the reference pass."""
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import set_seed
    from trl import DPOConfig, DPOTrainer

    batches = 0

    class Counted(DPOTrainer):
        def compute_ref_log_probs(self, *args: Any) -> Any:
            nonlocal batches
            batches += 1
            return super().compute_ref_log_probs(*args)

    arguments = DPOConfig(**settings["arguments"])
    # Only newer versions seed before they draw the adapter's weights.
    set_seed(arguments.seed)
    trainer = Counted(
        model=settings["model"],
        args=arguments,
        train_dataset=load_dataset(settings["data"], split="train"),
        peft_config=LoraConfig(**settings["lora"]),
    )
    trainer.train()
    trainer.save_model()
    log = trainer.state.log_history
    losses = [float(entry["loss"]) for entry in log if "loss" in entry]
    return {"losses": losses, "reference_batches": batches}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
