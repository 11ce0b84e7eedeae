"""Training: reference log-probs, SFT and DPO adapters.

Takes token splits and models; makes results/references/ and results/trials/; and, before a GPU is
spent, results/plan.json on what they will take.
"""

check_gpus()


rule list_trials:
    """Every trial as it is resolved, for `plan`."""
    output:
        trials="<results>/trials.json",
        provenance="<results>/trials.provenance.json",
    log:
        "<logs>/list_trials.log",
    benchmark:
        "<benchmarks>/list_trials.tsv"
    localrule: True
    conda:
        env_file("data")
    params:
        trials=as_json(list(PLAN.trials.values())),
        code=code_digest("scripts/common/listing.py"),
        env=env_digest("data"),
    shell:
        # Of a thousand trials, too long for an argument.
        job(
            "list_trials",
            "data",
            "python -m scripts.common.listing --out {output.trials:q}",
            stdin="{params.trials}",
        )


rule plan:
    """Steps, tokens, memory, downloads and hours of every trial, before a GPU is spent."""
    input:
        trials="<results>/trials.json",
        models=expand("<results>/models/{model}/tokenizer/manifest.json", model=TRAINED["model"]),
        tokens=expand("<results>/tokens/{tokens}/report.json", tokens=TRAINED["tokens"]),
    output:
        plan="<results>/plan.json",
        provenance="<results>/plan.provenance.json",
    log:
        "<logs>/plan.log",
    benchmark:
        "<benchmarks>/plan.tsv"
    conda:
        env_file("train")
    resources:
        gpu=1,
    params:
        models=lambda wildcards, input: named_files(TRAINED["model"], input.models),
        tokens=lambda wildcards, input: named_folders(TRAINED["tokens"], input.tokens),
        probes=lambda wildcards, output: f"{Path(output[0]).parent}/probes",
        code=code_digest("scripts/train/estimate/sweep.py"),
        env=env_digest("train"),
    shell:
        job(
            "plan",
            "train",
            "python -m scripts.train.estimate.sweep --trials {input.trials:q}"
            " --models {params.models:q} --tokens {params.tokens:q} --probes {params.probes:q}"
            " --out {output.plan:q}",
        )


rule probe:
    """The first steps of a trial on this machine, timed."""
    input:
        model=lambda wildcards: manifest(PROBES[wildcards.trial]["model"]),
        tokens=lambda wildcards: token_split(
            PROBES[wildcards.trial]["tokens"], PROBES[wildcards.trial]["train"]
        ),
    output:
        probe="<results>/probes/{trial}.json",
        provenance="<results>/probes/{trial}.provenance.json",
    log:
        "<logs>/probes/{trial}.log",
    benchmark:
        "<benchmarks>/probes/{trial}.tsv"
    wildcard_constraints:
        trial=only(PROBES),
    conda:
        env_file("train")
    resources:
        gpu=1,
    params:
        trial=lambda wildcards: as_json(PROBES[wildcards.trial]),
        code=code_digest("scripts/train/estimate/probe.py"),
        # It imports the method's module by its name.
        trainer=lambda wildcards: code_digest(
            f"scripts/train/{PROBES[wildcards.trial]['method']}.py"
        ),
        env=env_digest("train"),
    shell:
        job(
            "probe",
            "train",
            "python -m scripts.train.estimate.probe --trial {params.trial:q} --model {input.model:q}"
            " --tokens {input.tokens:q} --out {output.probe:q}",
        )


rule probes:
    """One trial of each pace on this machine, timed."""
    input:
        expand("<results>/probes/{trial}.json", trial=PROBES),


rule reference:
    """A reference's log-probs of pairs, once for all trials that share it."""
    input:
        unpack(reference_inputs),
    output:
        logps="<results>/references/{reference}/{split}.parquet",
        cost="<results>/references/{reference}/{split}.json",
        provenance="<results>/references/{reference}/{split}.provenance.json",
    log:
        "<logs>/references/{reference}/{split}.log",
    benchmark:
        "<benchmarks>/references/{reference}/{split}.tsv"
    wildcard_constraints:
        split=only(SPLITS),
    conda:
        env_file("train")
    resources:
        gpu=1,
    params:
        precision=lambda wildcards: model_of(wildcards)["precision"],
        quantization=lambda wildcards: model_of(wildcards)["quantization"],
        backend=lambda wildcards: PLAN.references[wildcards.reference]["backend"],
        files=lambda wildcards, input: options(input, "start", "tokens"),
        code=code_digest("scripts/train/reference.py"),
        env=env_digest("train"),
    shell:
        job(
            "reference",
            "train",
            "python -m scripts.train.reference --model {input.model:q} {params.files}"
            " --backend {params.backend} --precision {params.precision}"
            " --quantization {params.quantization} --out {output.logps:q}",
        )


rule train:
    """One trial with one seed, by the trainer of its method."""
    input:
        unpack(training_inputs),
    output:
        adapter=expand("<results>/trials/{{trial}}/seed-{{seed}}/adapter/{file}", file=ADAPTER),
        trial="<results>/trials/{trial}/seed-{seed}/trial.json",
        run="<results>/trials/{trial}/seed-{seed}/train.json",
        history="<results>/trials/{trial}/seed-{seed}/history.jsonl",
        provenance="<results>/trials/{trial}/seed-{seed}/train.provenance.json",
    log:
        "<logs>/trials/{trial}/seed-{seed}/train.log",
    benchmark:
        "<benchmarks>/trials/{trial}/seed-{seed}/train.tsv"
    wildcard_constraints:
        trial=only(SEEDS),
    conda:
        env_file("train")
    resources:
        gpu=lambda wildcards: training(wildcards)["processes"],
        # How often is the machine's matter; no change of it trains anything anew.
        checkpoint_minutes=5,
    params:
        program=lambda wildcards: program(wildcards),
        trial=lambda wildcards: as_json(training(wildcards)),
        files=lambda wildcards, input: options(
            input, "tokens", "start", "reference", "valid_tokens", "valid_reference"
        ),
        out=subpath(output.trial, parent=True),
        code=lambda wildcards: code_digest(f"{trainer(wildcards).replace('.', '/')}.py"),
        env=env_digest("train"),
    shell:
        job(
            "train",
            "train",
            "python -m {params.program} --trial {params.trial:q} --model {input.model:q}"
            " {params.files} --out {params.out:q}"
            " --checkpoint-minutes {resources.checkpoint_minutes}",
        )
