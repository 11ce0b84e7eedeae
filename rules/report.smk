"""Report: tables, figures, and one page with all of them.

Takes, in <metrics>, which is <results>, or what was published of a run:
    metrics.json, items.parquet, generations.parquet, score.json, trial.json, train.json and
    history.jsonl of trials, their seeds, bases and baselines, as a report reads them
    comparisons/{experiment}.json, data/{dataset}/dropped.parquet, tokens/{tokens}/report.json,
    references/{reference}/{split}.json
    the published figures that the configuration names as claims

Makes:
    results/tables/{table}.csv, .md, .tex, .json
    results/figures/{figure}.pdf, .png, .md
    results/report.html

What is marked `report` stands in Snakemake's own report too: `snakemake --report report.html`.
"""


rule table:
    """One table, for machines, for a README and for a paper."""
    input:
        lambda wildcards: REPORTS.files(TABLES[wildcards.table]),
        failures=REPORTS.failures(),
        data=lambda wildcards: REPORTS.data_files(TABLES[wildcards.table]),
        references=lambda wildcards: list(REPORTS.reference_costs(TABLES[wildcards.table])),
        claims=lambda wildcards: REPORTS.claims(TABLES[wildcards.table]),
    output:
        csv=report(
            "<results>/tables/{table}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        md="<results>/tables/{table}.md",
        tex="<results>/tables/{table}.tex",
        json="<results>/tables/{table}.json",
        provenance="<results>/tables/{table}.provenance.json",
    log:
        "<logs>/tables/{table}.log",
    benchmark:
        "<benchmarks>/tables/{table}.tsv"
    wildcard_constraints:
        table=only(TABLES),
    conda:
        env_file("report")
    params:
        caption=lambda wildcards: TABLES[wildcards.table].caption,
        plan=lambda wildcards: as_json(REPORTS.experiments(TABLES[wildcards.table])),
        root=lambda wildcards: folder("metrics"),
        files=lambda wildcards, input: options(input, "claims", "data"),
        references=lambda wildcards, input: owned(TABLES[wildcards.table], input.references),
        mark=mark(),
        states=states(),
        sources=lambda wildcards: sources_digest(REPORTS.claims(TABLES[wildcards.table])),
        code=lambda wildcards: code_digest(f"scripts/report/tables/{wildcards.table}.py"),
        env=env_digest("report"),
    shell:
        job(
            "table",
            "report",
            "python -m scripts.report.tables.{wildcards.table} --root {params.root:q} --plan {params.plan:q}"
            " {params.files} {params.references} {params.mark} {params.states}"
            " --csv {output.csv:q} --md {output.md:q} --tex {output.tex:q} --json {output.json:q}",
        )


rule figure:
    """One figure, as vectors for a paper and as pixels for a page, and its caption."""
    input:
        lambda wildcards: REPORTS.files(FIGURES[wildcards.figure]),
        failures=REPORTS.failures(),
    output:
        pdf="<results>/figures/{figure}.pdf",
        png=report(
            "<results>/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        md="<results>/figures/{figure}.md",
        provenance="<results>/figures/{figure}.provenance.json",
    log:
        "<logs>/figures/{figure}.log",
    benchmark:
        "<benchmarks>/figures/{figure}.tsv"
    wildcard_constraints:
        figure=only(FIGURES),
    conda:
        env_file("report")
    params:
        caption=lambda wildcards: FIGURES[wildcards.figure].caption,
        plan=lambda wildcards: as_json(REPORTS.experiments(FIGURES[wildcards.figure])),
        root=lambda wildcards: folder("metrics"),
        mark=mark(),
        states=states(),
        code=lambda wildcards: code_digest(f"scripts/report/figures/{wildcards.figure}.py"),
        env=env_digest("report"),
    shell:
        job(
            "figure",
            "report",
            "python -m scripts.report.figures.{wildcards.figure} --root {params.root:q} --plan {params.plan:q}"
            " {params.mark} {params.states}"
            " --pdf {output.pdf:q} --png {output.png:q} --md {output.md:q}",
        )


rule page:
    """Everything that people read of a run, in one file that needs nothing else."""
    input:
        REPORTS.files(PAGE),
        REPORTS.prompts_rows(),
        tables("csv", "json"),
        figures("png"),
        page_files(),
    output:
        page="<results>/report.html",
        provenance="<results>/report.provenance.json",
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    conda:
        env_file("report")
    params:
        plan=as_json(REPORTS.experiments(PAGE)),
        root=folder("metrics"),
        tables=shlex.join(REPORTS.tables()),
        figures=shlex.join(REPORTS.figures()),
        mark=mark(),
        sources=sources_digest(page_files()),
        code=code_digest("scripts/report/page/make.py"),
        env=env_digest("report"),
    shell:
        job(
            "page",
            "report",
            "python -m scripts.report.page.make --root {params.root:q} --plan {params.plan:q}"
            " --tables {params.tables} --figures {params.figures}"
            " {params.mark} --html {output.page:q}",
        )
