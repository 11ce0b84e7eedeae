"""Models: base model snapshots, and the demo's own base model.

Takes hub repositories, local folders or the demo's corpus; makes results/models/.
"""


rule fetch_model:
    """A pinned snapshot, each file with its digest."""
    input:
        lambda wildcards: folder_files(wildcards.model),
    output:
        "<results>/models/{model}/manifest.json",
    log:
        "<logs>/models/{model}.log",
    benchmark:
        "<benchmarks>/models/{model}.tsv"
    wildcard_constraints:
        model=only(PLAN.models_from("hub") + PLAN.models_from("folder")),
    retries: 3
    conda:
        "../envs/data.yaml"
    params:
        source=lambda wildcards: as_json(PLAN.models[wildcards.model]["source"]),
        code=code_digest("scripts/models/fetch.py"),
        env=env_digest("data"),
    shell:
        "HF_HUB_OFFLINE=0 python -m scripts.models.fetch --source {params.source:q}"
        " --manifest {output:q} 2> {log:q}"


rule train_demo_model:
    """A byte-level BPE tokenizer and a small Llama, trained from scratch."""
    input:
        corpus=lambda wildcards: PLAN.models[wildcards.model]["source"]["demo"],
        template=shortest(Path(workflow.basedir, "scripts/models/demo_chat_template.jinja")),
    output:
        "<results>/models/{model}/manifest.json",
    log:
        "<logs>/models/{model}.log",
    benchmark:
        "<benchmarks>/models/{model}.tsv"
    wildcard_constraints:
        model=only(PLAN.models_from("demo")),
    conda:
        "../envs/train.yaml"
    params:
        model=lambda wildcards: as_json(without(PLAN.models[wildcards.model]["source"], "demo")),
        snapshot=lambda wildcards, output: Path(output[0]).with_name("snapshot"),
        origin=as_json({"source": "demo"}),
        code=[code_digest(f"scripts/models/{module}.py") for module in ("demo", "manifest")],
        env=env_digest("train"),
    shell:
        "python -m scripts.models.demo --corpus {input.corpus:q} --model {params.model:q}"
        " --out {params.snapshot:q} 2> {log:q}"
        " && python -m scripts.models.manifest --folder {params.snapshot:q}"
        " --origin {params.origin:q} --manifest {output:q} 2>> {log:q}"
