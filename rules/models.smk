"""Models: base model snapshots, and the demo's own base model.

Takes hub repositories, local folders or the demo's corpus; makes results/models/.
"""


rule check_backends:
    """The backends that trials ask for run here; known before anything is downloaded."""
    output:
        "<results>/backends.json",
    log:
        "<logs>/backends.log",
    benchmark:
        "<benchmarks>/backends.tsv"
    conda:
        "../envs/train.yaml"
    resources:
        gpu=1,
    params:
        backends=PLAN.backends(),
        code=code_digest("scripts/lm/backends.py"),
        env=env_digest("train"),
    shell:
        "python -m scripts.lm.backends {params.backends:q} --out {output:q} 2> {log:q}"


rule fetch_tokenizer:
    """The tokenizer and the shape of a base model: all that counting tokens needs."""
    input:
        lambda wildcards: folder_files(wildcards.model),
        lambda wildcards: backend_checks(PLAN.models[wildcards.model]["source"]),
    output:
        "<results>/models/{model}/tokenizer/manifest.json",
    log:
        "<logs>/models/{model}.tokenizer.log",
    benchmark:
        "<benchmarks>/models/{model}.tokenizer.tsv"
    wildcard_constraints:
        model=only(PLAN.models_from("hub") + PLAN.models_from("folder")),
    retries: 3
    localrule: True
    conda:
        "../envs/data.yaml"
    params:
        source=lambda wildcards: as_json(PLAN.models[wildcards.model]["source"]),
        code=code_digest("scripts/models/fetch.py"),
        env=env_digest("data"),
    shell:
        "HF_HUB_OFFLINE=0 python -m scripts.models.fetch --source {params.source:q} --tokenizer"
        " --manifest {output:q} 2> {log:q}"


rule fetch_model:
    """A pinned snapshot, each file with its digest."""
    input:
        lambda wildcards: folder_files(wildcards.model),
        lambda wildcards: backend_checks(PLAN.models[wildcards.model]["source"]),
    output:
        "<results>/models/{model}/manifest.json",
    log:
        "<logs>/models/{model}.log",
    benchmark:
        "<benchmarks>/models/{model}.tsv"
    wildcard_constraints:
        model=only(PLAN.models_from("hub") + PLAN.models_from("folder")),
    retries: 3
    localrule: True
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
        manifest="<results>/models/{model}/manifest.json",
        tokenizer="<results>/models/{model}/tokenizer/manifest.json",
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
        source=lambda wildcards, output: as_json(
            {"folder": str(Path(output[0]).with_name("snapshot"))}
        ),
        origin=as_json({"source": "demo"}),
        code=[code_digest(f"scripts/models/{module}.py") for module in ("demo", "fetch")],
        env=env_digest("train"),
    shell:
        "python -m scripts.models.demo --corpus {input.corpus:q} --model {params.model:q}"
        " --out {params.snapshot:q} 2> {log:q}"
        " && python -m scripts.models.manifest --folder {params.snapshot:q}"
        " --origin {params.origin:q} --manifest {output.manifest:q} 2>> {log:q}"
        " && python -m scripts.models.fetch --source {params.source:q} --tokenizer"
        " --manifest {output.tokenizer:q} 2>> {log:q}"
