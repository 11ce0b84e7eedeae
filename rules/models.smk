"""Models: base model snapshots, and the demo's own base model.

Takes:
    the repositories, local folders and corpora that the configuration names as models

Makes:
    results/backends.json                              the backends run here
    results/models/{model}/tokenizer/manifest.json     the tokenizer and the model's shape
    results/models/{model}/manifest.json               every file of the snapshot, with its digest
"""


rule check_backends:
    """The backends that trials ask for run here; known before the first download."""
    output:
        backends="<results>/backends.json",
        provenance="<results>/backends.provenance.json",
    log:
        "<logs>/backends.log",
    benchmark:
        "<benchmarks>/backends.tsv"
    conda:
        env_file("train")
    resources:
        gpu=1,
    shell:
        job(
            "check_backends",
            "train",
            f"python -m scripts.lm.backends {' '.join(PLAN.backends())} --out {{output.backends:q}}",
            code=code_digest("scripts/lm/backends.py"),
        )


rule fetch_tokenizer:
    """The tokenizer and the shape of a base model: all that counting tokens needs."""
    input:
        lambda wildcards: PLAN.models[wildcards.model].files(),
        lambda wildcards: backend_checks(PLAN.models[wildcards.model]),
    output:
        manifest="<results>/models/{model}/tokenizer/manifest.json",
        provenance="<results>/models/{model}/tokenizer/fetch.provenance.json",
    log:
        "<logs>/models/{model}.tokenizer.log",
    benchmark:
        "<benchmarks>/models/{model}.tokenizer.tsv"
    wildcard_constraints:
        model=only(PLAN.fetched_models()),
    retries: 3
    localrule: True
    conda:
        env_file("data")
    params:
        source=lambda wildcards: as_json(PLAN.models[wildcards.model].source),
        sources=lambda wildcards: sources_digest(PLAN.models[wildcards.model].files()),
        code=code_digest("scripts/models/fetch.py"),
        env=env_digest("data"),
    shell:
        job(
            "fetch_tokenizer",
            "data",
            "env HF_HUB_OFFLINE=0 python -m scripts.models.fetch --source {params.source:q} --tokenizer"
            " --manifest {output.manifest:q}",
        )


rule fetch_model:
    """A pinned snapshot, each file with its digest."""
    input:
        lambda wildcards: PLAN.models[wildcards.model].files(),
        lambda wildcards: backend_checks(PLAN.models[wildcards.model]),
    output:
        manifest="<results>/models/{model}/manifest.json",
        provenance="<results>/models/{model}/fetch.provenance.json",
    log:
        "<logs>/models/{model}.log",
    benchmark:
        "<benchmarks>/models/{model}.tsv"
    wildcard_constraints:
        model=only(PLAN.fetched_models()),
    retries: 3
    localrule: True
    conda:
        env_file("data")
    params:
        source=lambda wildcards: as_json(PLAN.models[wildcards.model].source),
        sources=lambda wildcards: sources_digest(PLAN.models[wildcards.model].files()),
        code=code_digest("scripts/models/fetch.py"),
        env=env_digest("data"),
    shell:
        job(
            "fetch_model",
            "data",
            "env HF_HUB_OFFLINE=0 python -m scripts.models.fetch --source {params.source:q}"
            " --manifest {output.manifest:q}",
        )


rule train_demo_model:
    """A byte-level BPE tokenizer and a small Llama, trained from scratch."""
    input:
        corpus=lambda wildcards: PLAN.models[wildcards.model].source["demo"],
        template=own_file("scripts/models/demo_chat_template.jinja"),
    output:
        manifest="<results>/models/{model}/manifest.json",
        tokenizer="<results>/models/{model}/tokenizer/manifest.json",
        provenance="<results>/models/{model}/train.provenance.json",
    log:
        "<logs>/models/{model}.log",
    benchmark:
        "<benchmarks>/models/{model}.tsv"
    wildcard_constraints:
        model=only(PLAN.models.keys() - PLAN.fetched_models()),
    conda:
        env_file("train")
    params:
        model=lambda wildcards: as_json(PLAN.models[wildcards.model].demo_settings()),
        snapshot=lambda wildcards, output: Path(output[0]).with_name("snapshot"),
        sources=lambda wildcards: sources_digest([PLAN.models[wildcards.model].source["demo"]]),
        code=code_digest("scripts/models/demo.py"),
        env=env_digest("train"),
    shell:
        job(
            "train_demo_model",
            "train",
            "python -m scripts.models.demo --corpus {input.corpus:q} --model {params.model:q}"
            " --out {params.snapshot:q} --manifest {output.manifest:q}"
            " --tokenizer-manifest {output.tokenizer:q}",
        )
