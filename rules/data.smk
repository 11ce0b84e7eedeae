"""Data: raw snapshots, canonical splits, token splits.

Takes:
    the repositories and local files that the configuration names as datasets
    results/models/{model}/tokenizer/manifest.json

Makes:
    results/data/{dataset}/raw.parquet, raw.json       the source's rows, and where they came from
    results/data/{dataset}/{split}.parquet             canonical rows
    results/data/{dataset}/dropped.parquet             rows left out, with reasons
    results/tokens/{tokens}/{split}.parquet, report.json
    results/tokens/{tokens}/doctor.json                what would spoil a result
    results/overlaps/{overlap}.parquet, .json          items of one dataset in rows of another
"""


rule fetch_dataset:
    """The source's rows as they are written, and a record of where they came from."""
    input:
        lambda wildcards: PLAN.datasets[wildcards.dataset].files(),
        lambda wildcards: backend_checks(PLAN.datasets[wildcards.dataset]),
    output:
        rows="<results>/data/{dataset}/raw.parquet",
        record="<results>/data/{dataset}/raw.json",
        provenance="<results>/data/{dataset}/fetch.provenance.json",
    log:
        "<logs>/data/{dataset}/fetch.log",
    benchmark:
        "<benchmarks>/data/{dataset}/fetch.tsv"
    retries: 3
    localrule: True
    conda:
        env_file("data")
    params:
        source=lambda wildcards: as_json(PLAN.datasets[wildcards.dataset].source),
        columns=lambda wildcards: as_json(PLAN.datasets[wildcards.dataset].columns),
        sources=lambda wildcards: sources_digest(PLAN.datasets[wildcards.dataset].files()),
        code=code_digest("scripts/data/fetch.py"),
        env=env_digest("data"),
    shell:
        job(
            "fetch_dataset",
            "data",
            "env HF_HUB_OFFLINE=0 python -m scripts.data.fetch --source {params.source:q}"
            " --columns {params.columns:q} --rows {output.rows:q} --record {output.record:q}",
        )


rule prepare_dataset:
    """Canonical rows by split, and every row left out with its reason."""
    input:
        "<results>/data/{dataset}/raw.parquet",
    output:
        splits=expand("<results>/data/{{dataset}}/{split}.parquet", split=SPLITS),
        dropped="<results>/data/{dataset}/dropped.parquet",
        provenance="<results>/data/{dataset}/prepare.provenance.json",
    log:
        "<logs>/data/{dataset}/prepare.log",
    benchmark:
        "<benchmarks>/data/{dataset}/prepare.tsv"
    wildcard_constraints:
        dataset=only(PLAN.datasets),
    conda:
        env_file("data")
    params:
        dataset=lambda wildcards: as_json(PLAN.datasets[wildcards.dataset].rows),
        out=subpath(output.dropped, parent=True),
        code=code_digest("scripts/data/prepare.py"),
        env=env_digest("data"),
    shell:
        job(
            "prepare_dataset",
            "data",
            "python -m scripts.data.prepare --dataset {params.dataset:q}"
            " --rows {input:q} --out {params.out:q}",
        )


rule mix_dataset:
    """The rows of several datasets as one's, and those left out since two have them."""
    input:
        lambda wildcards: PLAN.mixtures[wildcards.mixture].inputs(),
    output:
        splits=expand("<results>/data/{{mixture}}/{split}.parquet", split=SPLITS),
        dropped="<results>/data/{mixture}/dropped.parquet",
        provenance="<results>/data/{mixture}/prepare.provenance.json",
    log:
        "<logs>/data/{mixture}/mix.log",
    benchmark:
        "<benchmarks>/data/{mixture}/mix.tsv"
    wildcard_constraints:
        mixture=only(PLAN.mixtures),
    conda:
        env_file("data")
    params:
        mixture=lambda wildcards: as_json(PLAN.mixtures[wildcards.mixture].settings),
        out=subpath(output.dropped, parent=True),
        code=code_digest("scripts/data/mix.py"),
        env=env_digest("data"),
    shell:
        job(
            "mix_dataset",
            "data",
            "python -m scripts.data.mix rows --mixture {params.mixture:q} --files {input:q}"
            " --out {params.out:q}",
        )


rule mix_tokens:
    """The tokens of a mixture: those of its datasets."""
    input:
        unpack(lambda wildcards: PLAN.tokens[wildcards.tokens].mixed_inputs()),
    output:
        splits=expand("<results>/tokens/{{tokens}}/{split}.parquet", split=SPLITS),
        report="<results>/tokens/{tokens}/report.json",
        provenance="<results>/tokens/{tokens}/tokenize.provenance.json",
    log:
        "<logs>/tokens/{tokens}.log",
    benchmark:
        "<benchmarks>/tokens/{tokens}.tsv"
    wildcard_constraints:
        tokens=only(name for name, it in PLAN.tokens.items() if it.parts),
    conda:
        env_file("data")
    params:
        parts=lambda wildcards: [part for part, _ in PLAN.tokens[wildcards.tokens].parts],
        out=subpath(output.report, parent=True),
        code=code_digest("scripts/data/mix.py"),
        env=env_digest("data"),
    shell:
        job(
            "mix_tokens",
            "data",
            "python -m scripts.data.mix tokens --rows {input.data:q} --parts {params.parts}"
            " --files {input.files:q} --reports {input.reports:q} --out {params.out:q}",
        )


rule tokenize:
    """Token ids of a dataset under one model's tokenizer, template and length."""
    input:
        unpack(lambda wildcards: PLAN.tokens[wildcards.tokens].inputs()),
    output:
        splits=expand("<results>/tokens/{{tokens}}/{split}.parquet", split=SPLITS),
        report="<results>/tokens/{tokens}/report.json",
        provenance="<results>/tokens/{tokens}/tokenize.provenance.json",
    log:
        "<logs>/tokens/{tokens}.log",
    benchmark:
        "<benchmarks>/tokens/{tokens}.tsv"
    wildcard_constraints:
        tokens=only(name for name, it in PLAN.tokens.items() if not it.parts),
    conda:
        env_file("data")
    params:
        rows=lambda wildcards: PLAN.tokens[wildcards.tokens].rows,
        options=lambda wildcards: PLAN.tokens[wildcards.tokens].options(),
        template=lambda wildcards, input: options(input, "template"),
        out=subpath(output.report, parent=True),
        sources=lambda wildcards: sources(PLAN.tokens[wildcards.tokens].inputs()),
        code=code_digest("scripts/data/tokenize.py"),
        env=env_digest("data"),
    shell:
        job(
            "tokenize",
            "data",
            "python -m scripts.data.tokenize --data {input.data:q} --model {input.model:q}"
            " --rows {params.rows} {params.options} {params.template}"
            " --out {params.out:q}",
        )


rule examine:
    """A dataset as one model's tokens, examined for what would spoil a result."""
    input:
        unpack(lambda wildcards: PLAN.examined_inputs(wildcards.tokens)),
    output:
        findings="<results>/tokens/{tokens}/doctor.json",
        provenance="<results>/tokens/{tokens}/doctor.provenance.json",
    log:
        "<logs>/tokens/{tokens}.doctor.log",
    benchmark:
        "<benchmarks>/tokens/{tokens}.doctor.tsv"
    conda:
        env_file("data")
    params:
        template=lambda wildcards, input: options(input, "template"),
        generation=lambda wildcards: PLAN.examined[wildcards.tokens],
        sources=lambda wildcards: sources(PLAN.examined_inputs(wildcards.tokens)),
        code=code_digest("scripts/data/doctor.py"),
        env=env_digest("data"),
    shell:
        job(
            "examine",
            "data",
            "python -m scripts.data.doctor --name {wildcards.tokens:q} --data {input.data:q}"
            " --dropped {input.dropped:q} --tokens {input.tokens:q} --report {input.report:q}"
            " --model {input.model:q} {params.template} --generation-template {params.generation:q}"
            " --out {output.findings:q}",
        )


rule doctor:
    """Every dataset that trials learn from, examined before a GPU is spent."""
    input:
        expand("<results>/tokens/{tokens}/doctor.json", tokens=PLAN.examined),


rule overlap:
    """The items of one dataset that are among the rows of another."""
    input:
        unpack(lambda wildcards: PLAN.overlaps[wildcards.overlap].inputs()),
    output:
        rows="<results>/overlaps/{overlap}.parquet",
        report="<results>/overlaps/{overlap}.json",
        provenance="<results>/overlaps/{overlap}.provenance.json",
    log:
        "<logs>/overlaps/{overlap}.log",
    benchmark:
        "<benchmarks>/overlaps/{overlap}.tsv"
    wildcard_constraints:
        overlap=only(PLAN.overlaps),
    conda:
        env_file("data")
    params:
        code=code_digest("scripts/data/overlap.py"),
        env=env_digest("data"),
    shell:
        job(
            "overlap",
            "data",
            "python -m scripts.data.overlap --rows {input.rows:q} --against {input.against:q}"
            " --out {output.rows:q} --report {output.report:q}",
        )
