"""Evaluation: rows scored by each model, and the metrics measured from them.

Takes:
    results/models/{model}/manifest.json
    results/tokens/{tokens}/{split}.parquet
    results/references/{reference}/{split}.parquet
    results/trials/{trial}/seed-{seed}/adapter/, trial.json
    results/data/{dataset}/{split}.parquet, results/overlaps/{overlap}.parquet

Makes, in trials/{trial}/seed-{seed}/ and in bases/{experiment}/ (the wildcard `subject`):
    results/{subject}/completions.parquet, pairs.parquet, generations.parquet, score.json
    results/{subject}/verdicts.parquet                 a judge's, of a trial's answers
    results/{subject}/metrics.json, items.parquet
and:
    results/trials/{trial}/metrics.json                over all seeds
    results/baselines/{lookup}/metrics.json, items.parquet
    results/comparisons/{experiment}.json              paired tests
"""


wildcard_constraints:
    subject=r"trials/[^/]+/seed-[^/]+|bases/[^/]+",


rule score:
    """Loads a model once and scores it on all that its experiment asks."""
    input:
        unpack(lambda wildcards: PLAN.subjects[wildcards.subject].score_inputs()),
    output:
        completions="<results>/{subject}/completions.parquet",
        pairs="<results>/{subject}/pairs.parquet",
        generations="<results>/{subject}/generations.parquet",
        cost="<results>/{subject}/score.json",
        provenance="<results>/{subject}/score.provenance.json",
    log:
        "<logs>/{subject}/score.log",
    benchmark:
        "<benchmarks>/{subject}/score.tsv"
    conda:
        env_file("evaluate")
    resources:
        gpu=1,
    params:
        settings=lambda wildcards: shlex.join(PLAN.subjects[wildcards.subject].score_options()),
        files=lambda wildcards, input: options(
            input, "adapters", "start", "completions", "pairs", "reference", "prompts"
        ),
        out=subpath(output.pairs, parent=True),
        code=code_digest("scripts/evaluate/score.py"),
        env=env_digest("evaluate"),
    shell:
        job(
            "score",
            "evaluate",
            "python -m scripts.evaluate.score --model {input.model:q} {params.settings}"
            " {params.files} --out {params.out:q}",
            keep=True,
        )


rule judge:
    """A judge compares a trial's answers with its base's, each pair in both orders."""
    input:
        unpack(lambda wildcards: PLAN.runs[wildcards.subject].judge_inputs()),
    output:
        verdicts="<results>/{subject}/verdicts.parquet",
        provenance="<results>/{subject}/judge.provenance.json",
    log:
        "<logs>/{subject}/judge.log",
    benchmark:
        "<benchmarks>/{subject}/judge.tsv"
    wildcard_constraints:
        subject=only(PLAN.judged()),
    conda:
        env_file("evaluate")
    resources:
        gpu=1,
    params:
        sets=lambda wildcards: as_json(PLAN.runs[wildcards.subject].duels()),
        files=lambda wildcards, input: options(input, "tuned", "base", "sets_rows", "models"),
        sources=lambda wildcards: sources(PLAN.runs[wildcards.subject].judge_inputs()),
        code=code_digest("scripts/evaluate/judge.py"),
        env=env_digest("evaluate"),
    shell:
        job(
            "judge",
            "evaluate",
            "python -m scripts.evaluate.judge --sets {params.sets:q} {params.files}"
            " --out {output.verdicts:q}",
            keep=True,
        )


rule measure:
    """Every metric of one model with its intervals, from the rows alone."""
    input:
        unpack(lambda wildcards: REPORTS.measure_inputs(wildcards.subject)),
    output:
        metrics="<results>/{subject}/metrics.json",
        scores="<results>/{subject}/items.parquet",
        provenance="<results>/{subject}/measure.provenance.json",
    log:
        "<logs>/{subject}/measure.log",
    benchmark:
        "<benchmarks>/{subject}/measure.tsv"
    conda:
        env_file("evaluate")
    params:
        subject=lambda wildcards: as_json(PLAN.subjects[wildcards.subject].identity()),
        sets=lambda wildcards: as_json(PLAN.subjects[wildcards.subject].prompt_sets()),
        files=lambda wildcards, input: options(
            input,
            "completions",
            "completions_rows",
            "pairs",
            "pairs_rows",
            "base_metrics",
            "start_metrics",
            "generations",
            "verdicts",
            "sets_rows",
            "overlaps",
        ),
        root=lambda wildcards: folder("results"),
        code=code_digest("scripts/evaluate/measure.py"),
        env=env_digest("evaluate"),
    shell:
        job(
            "measure",
            "evaluate",
            "python -m scripts.evaluate.measure --subject {params.subject:q}"
            " --sets {params.sets:q} {params.files}"
            " --root {params.root:q} --metrics {output.metrics:q} --items {output.scores:q}",
        )


rule lookup:
    """How far the pairs of a test split can be told from train alone, with no model."""
    input:
        unpack(lambda wildcards: PLAN.lookups[wildcards.lookup].inputs()),
    output:
        metrics="<results>/baselines/{lookup}/metrics.json",
        scores="<results>/baselines/{lookup}/items.parquet",
        provenance="<results>/baselines/{lookup}/lookup.provenance.json",
    log:
        "<logs>/baselines/{lookup}.log",
    benchmark:
        "<benchmarks>/baselines/{lookup}.tsv"
    conda:
        env_file("evaluate")
    params:
        dataset=lambda wildcards: PLAN.lookups[wildcards.lookup].dataset,
        root=lambda wildcards: folder("results"),
        code=code_digest("scripts/evaluate/lookup.py"),
        env=env_digest("evaluate"),
    shell:
        job(
            "lookup",
            "evaluate",
            "python -m scripts.evaluate.lookup --train {input.train:q} --test {input.test:q}"
            " --dataset {params.dataset:q} --root {params.root:q}"
            " --metrics {output.metrics:q} --items {output.scores:q}",
        )


rule aggregate:
    """Every metric of a trial: mean over seeds, deviation, and an interval of seeds and groups."""
    input:
        metrics=lambda wildcards: PLAN.trials[wildcards.trial].files("metrics.json"),
        scores=lambda wildcards: PLAN.trials[wildcards.trial].files("items.parquet"),
    output:
        metrics="<results>/trials/{trial}/metrics.json",
        provenance="<results>/trials/{trial}/aggregate.provenance.json",
    log:
        "<logs>/trials/{trial}/aggregate.log",
    benchmark:
        "<benchmarks>/trials/{trial}/aggregate.tsv"
    wildcard_constraints:
        trial=only(PLAN.trials),
    conda:
        env_file("evaluate")
    params:
        subject=lambda wildcards: as_json(PLAN.trials[wildcards.trial].identity()),
        code=code_digest("scripts/evaluate/aggregate.py"),
        env=env_digest("evaluate"),
    shell:
        job(
            "aggregate",
            "evaluate",
            "python -m scripts.evaluate.aggregate --subject {params.subject:q}"
            " --metrics {input.metrics:q} --items {input.scores:q} --out {output.metrics:q}",
        )


rule compare:
    """Paired tests of an experiment's models with each other, on the same items."""
    input:
        lambda wildcards: REPORTS.compared_files(wildcards.experiment),
    output:
        comparison="<results>/comparisons/{experiment}.json",
        provenance="<results>/comparisons/{experiment}.provenance.json",
    log:
        "<logs>/comparisons/{experiment}.log",
    benchmark:
        "<benchmarks>/comparisons/{experiment}.tsv"
    wildcard_constraints:
        experiment=only(PLAN.bases),
    conda:
        env_file("evaluate")
    params:
        plan=lambda wildcards: as_json(REPORTS.compared(wildcards.experiment)),
        root=lambda wildcards: folder("results"),
        code=code_digest("scripts/evaluate/compare.py"),
        env=env_digest("evaluate"),
    shell:
        job(
            "compare",
            "evaluate",
            "python -m scripts.evaluate.compare --root {params.root:q} --plan {params.plan:q}"
            " --out {output.comparison:q}",
        )
