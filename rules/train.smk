"""Training: reference log-probs and adapters; and before a GPU is spent, what they will take.

Takes:
    results/models/{model}/manifest.json, tokenizer/manifest.json
    results/tokens/{tokens}/{split}.parquet, report.json

Makes:
    results/checks/{model}/{adapter}.json              an adapter that the model can have
    results/plan.json                                  the estimate: steps, memory, hours
    results/probes/{trial}.json                        the first steps, timed
    results/references/{reference}/{split}.parquet     log-probs of pairs; .json: what they cost
    results/trials/{trial}/seed-{seed}/adapter/, trial.json, train.json, history.jsonl
"""


rule plan:
    """Steps, tokens, memory, downloads and hours of every trial, before a GPU is spent."""
    input:
        **PLAN.estimate_inputs(),
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
        trials=as_json([{"training": run.training.as_json()} for run in PLAN.runs.values()]),
        models=lambda wildcards, input: named_files(PLAN.trained_models(), input.models),
        tokens=lambda wildcards, input: named_files(
            PLAN.trained_tokens(), [Path(file).parent for file in input.tokens]
        ),
        probes=lambda wildcards, output: f"{Path(output[0]).parent}/probes",
        code=code_digest("scripts/train/estimate/sweep.py"),
        env=env_digest("train"),
    shell:
        job(
            "plan",
            "train",
            "python -m scripts.train.estimate.sweep --trials -"
            " --models {params.models:q} --tokens {params.tokens:q} --probes {params.probes:q}"
            " --out {output.plan:q}",
            # A thousand trials are too long for an argument.
            stdin="{params.trials}",
        )


rule probe:
    """The first steps of a trial on this machine, timed."""
    input:
        unpack(lambda wildcards: PLAN.probes[wildcards.trial].probe_inputs()),
    output:
        probe="<results>/probes/{trial}.json",
        provenance="<results>/probes/{trial}.provenance.json",
    log:
        "<logs>/probes/{trial}.log",
    benchmark:
        "<benchmarks>/probes/{trial}.tsv"
    wildcard_constraints:
        trial=only(PLAN.probes),
    conda:
        env_file("train")
    resources:
        gpu=1,
    params:
        trial=lambda wildcards: as_json(PLAN.probes[wildcards.trial].as_json()),
        code=code_digest("scripts/train/estimate/probe.py"),
        # It imports the method's module by its name.
        trainer=lambda wildcards: code_digest(PLAN.probes[wildcards.trial].trainer_file),
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
        expand("<results>/probes/{trial}.json", trial=PLAN.probes),


rule mix_reference:
    """A reference's log-probs of a mixture's pairs: those of its datasets' pairs."""
    input:
        unpack(lambda wildcards: PLAN.references[wildcards.reference].mixed_inputs(wildcards.split)),
    output:
        logps="<results>/references/{reference}/{split}.parquet",
        cost="<results>/references/{reference}/{split}.json",
        provenance="<results>/references/{reference}/{split}.provenance.json",
    log:
        "<logs>/references/{reference}/{split}.log",
    benchmark:
        "<benchmarks>/references/{reference}/{split}.tsv"
    wildcard_constraints:
        reference=only(name for name, it in PLAN.references.items() if it.parts),
        split=only(SPLITS),
    conda:
        env_file("data")
    params:
        parts=lambda wildcards: [part for part, _ in PLAN.references[wildcards.reference].parts],
        code=code_digest("scripts/data/mix.py"),
        env=env_digest("data"),
    shell:
        job(
            "mix_reference",
            "data",
            "python -m scripts.data.mix reference --rows {input.tokens:q} --parts {params.parts}"
            " --files {input.files:q} --out {output.logps:q}",
        )


rule reference:
    """A reference's log-probs of pairs, once for all trials that share it."""
    input:
        unpack(lambda wildcards: PLAN.references[wildcards.reference].inputs(wildcards.split)),
    output:
        logps="<results>/references/{reference}/{split}.parquet",
        cost="<results>/references/{reference}/{split}.json",
        provenance="<results>/references/{reference}/{split}.provenance.json",
    log:
        "<logs>/references/{reference}/{split}.log",
    benchmark:
        "<benchmarks>/references/{reference}/{split}.tsv"
    wildcard_constraints:
        reference=only(name for name, it in PLAN.references.items() if not it.parts),
        split=only(SPLITS),
    conda:
        env_file("train")
    resources:
        gpu=1,
    params:
        precision=lambda wildcards: PLAN.references[wildcards.reference].model.precision,
        quantization=lambda wildcards: PLAN.references[wildcards.reference].model.quantization,
        backend=lambda wildcards: PLAN.references[wildcards.reference].backend,
        files=lambda wildcards, input: options(input, "start", "tokens", "reference"),
        rows=lambda wildcards: PLAN.references[wildcards.reference].options(),
        code=code_digest("scripts/train/reference.py"),
        env=env_digest("train"),
    shell:
        job(
            "reference",
            "train",
            "python -m scripts.train.reference --model {input.model:q} {params.files} {params.rows}"
            " --backend {params.backend} --precision {params.precision}"
            " --quantization {params.quantization} --out {output.logps:q}",
            keep=True,
        )


rule check_adapter:
    """A model has its tensors, and the modules that trials adapt; known before one is trained."""
    input:
        model=lambda wildcards: checked(f"<results>/models/{wildcards.model}/manifest.json"),
    output:
        check="<results>/checks/{model}/{adapter}.json",
        provenance="<results>/checks/{model}/{adapter}.provenance.json",
    log:
        "<logs>/checks/{model}/{adapter}.log",
    benchmark:
        "<benchmarks>/checks/{model}/{adapter}.tsv"
    wildcard_constraints:
        model=only(PLAN.trained_models()),
    conda:
        env_file("train")
    params:
        # The name is their digest, so that they never change.
        lora=lambda wildcards: as_json(PLAN.adapters[f"{wildcards.model}/{wildcards.adapter}"]),
    shell:
        job(
            "check_adapter",
            "train",
            "python -m scripts.train.check --model {input.model:q} --lora {params.lora:q}"
            " --out {output.check:q}",
            code=code_digest("scripts/train/check.py"),
        )


rule train:
    """One trial with one seed, by the trainer of its method.

    What an earlier run made stays until this one is whole.
    """
    input:
        unpack(lambda wildcards: PLAN.training(**wildcards).inputs()),
        check=lambda wildcards: checked(PLAN.training(**wildcards).check),
    output:
        adapter=update(
            expand("<results>/trials/{{trial}}/seed-{{seed}}/adapter/{file}", file=ADAPTER)
        ),
        trial=update("<results>/trials/{trial}/seed-{seed}/trial.json"),
        run=update("<results>/trials/{trial}/seed-{seed}/train.json"),
        history=update("<results>/trials/{trial}/seed-{seed}/history.jsonl"),
        provenance=update("<results>/trials/{trial}/seed-{seed}/train.provenance.json"),
    log:
        "<logs>/trials/{trial}/seed-{seed}/train.log",
    benchmark:
        "<benchmarks>/trials/{trial}/seed-{seed}/train.tsv"
    wildcard_constraints:
        trial=only(PLAN.trials),
    conda:
        env_file("train")
    resources:
        gpu=lambda wildcards: PLAN.training(**wildcards).processes,
        # How often is up to the machine: a change of it retrains nothing.
        checkpoint_minutes=5,
        # Nor does a change of what stops it: it changes no adapter that is made.
        stop_when=lambda wildcards: ",".join(PLAN.training(**wildcards).stop_when),
    params:
        program=lambda wildcards: PLAN.training(**wildcards).program,
        trial=lambda wildcards: as_json(PLAN.training(**wildcards).as_json()),
        files=lambda wildcards, input: options(
            input, "tokens", "start", "reference", "valid_tokens", "valid_reference"
        ),
        out=subpath(output.trial, parent=True),
        code=lambda wildcards: code_digest(PLAN.training(**wildcards).trainer_file),
        env=env_digest("train"),
    shell:
        job(
            "train",
            "train",
            "python -m {params.program} --trial {params.trial:q} --model {input.model:q}"
            " {params.files} --out {params.out:q}"
            " --checkpoint-minutes {resources.checkpoint_minutes}"
            " --stop-when={resources.stop_when}",
            keep=True,
        )
