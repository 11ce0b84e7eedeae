"""Report: tables, figures, and one page with all of them.

Takes metrics, training records, curves and answers of every trial and base, and published figures
to compare with; makes results/tables/, results/figures/ and results/report.html. It reads in
<metrics>, which no rule writes where it is not <results>: what was published of a run makes tables
and figures, and nothing else. What is marked `report` stands in Snakemake's own report too:
`snakemake --report report.html`.
"""


rule table:
    """One table, for machines, for a README and for a paper."""
    input:
        lambda wildcards: reported_files(*TABLES[wildcards.table]),
        failures=failures(),
        data=lambda wildcards: data_files(TABLES[wildcards.table][0]),
        references=lambda wildcards: list(reference_costs(wildcards.table)),
        claims=lambda wildcards: claims(wildcards.table),
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
        plan=lambda wildcards: as_json(reported(TABLES[wildcards.table][0])),
        root=lambda wildcards: metrics_root(),
        files=lambda wildcards, input: options(input, "claims", "data"),
        references=lambda wildcards, input: owned(wildcards.table, input.references),
        mark=mark(),
        states=states(),
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
        lambda wildcards: reported_files(*FIGURES[wildcards.figure]),
        failures=failures(),
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
        plan=lambda wildcards: as_json(reported(FIGURES[wildcards.figure][0])),
        root=lambda wildcards: metrics_root(),
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


rule list_reported:
    """The files that all tables and figures read, for `make publish` and `make paper`."""
    output:
        files="<results>/reported.json",
        provenance="<results>/reported.provenance.json",
    log:
        "<logs>/list_reported.log",
    benchmark:
        "<benchmarks>/list_reported.tsv"
    localrule: True
    conda:
        env_file("report")
    params:
        files=as_json(all_reported_files()),
        code=code_digest("scripts/common/listing.py"),
        env=env_digest("report"),
    shell:
        # Of a thousand trials, too long for an argument.
        job(
            "list_reported",
            "report",
            "python -m scripts.common.listing --out {output.files:q}",
            stdin="{params.files}",
        )


rule page:
    """Everything that people read of a run, in one file that needs nothing else."""
    input:
        reported_files(PAGE, [*SCORED, "seed-*/metrics.json", "trial.json", "train.json"]),
        prompts_rows(),
        tables("csv", "json"),
        figures("png"),
        look(),
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
        plan=as_json(reported(PAGE)),
        root=subpath(output[0], parent=True),
        tables=shlex.join(table_names()),
        figures=shlex.join(figure_names()),
        mark=mark(),
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
