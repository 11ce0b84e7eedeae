"""Report: tables and figures.

Takes metrics, training records and curves of every trial and base, and published figures to
compare with; makes results/tables/ and results/figures/.
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
        csv="<results>/tables/{table}.csv",
        md="<results>/tables/{table}.md",
        tex="<results>/tables/{table}.tex",
    log:
        "<logs>/tables/{table}.log",
    benchmark:
        "<benchmarks>/tables/{table}.tsv"
    wildcard_constraints:
        table=only(TABLES),
    conda:
        "../envs/report.yaml"
    params:
        plan=lambda wildcards: as_json(reported(TABLES[wildcards.table][0])),
        root=subpath(output.csv, ancestor=2),
        files=lambda wildcards, input: options(input, "claims", "data"),
        references=lambda wildcards, input: owned(wildcards.table, input.references),
        mark=mark(),
        states=states(),
        code=lambda wildcards: code_digest(f"scripts/report/{wildcards.table}.py"),
        env=env_digest("report"),
    shell:
        "python -m scripts.report.{wildcards.table} --root {params.root:q} --plan {params.plan:q}"
        " {params.files} {params.references} {params.mark} {params.states}"
        " --csv {output.csv:q} --md {output.md:q} --tex {output.tex:q} 2> {log:q}"


rule figure:
    """One figure, as vectors for a paper and as pixels for a page."""
    input:
        lambda wildcards: reported_files(*FIGURES[wildcards.figure]),
        failures=failures(),
    output:
        pdf="<results>/figures/{figure}.pdf",
        png="<results>/figures/{figure}.png",
    log:
        "<logs>/figures/{figure}.log",
    benchmark:
        "<benchmarks>/figures/{figure}.tsv"
    wildcard_constraints:
        figure=only(FIGURES),
    conda:
        "../envs/report.yaml"
    params:
        plan=lambda wildcards: as_json(reported(FIGURES[wildcards.figure][0])),
        root=subpath(output.pdf, ancestor=2),
        mark=mark(),
        states=states(),
        code=lambda wildcards: code_digest(f"scripts/report/{wildcards.figure}.py"),
        env=env_digest("report"),
    shell:
        "python -m scripts.report.{wildcards.figure} --root {params.root:q} --plan {params.plan:q}"
        " {params.mark} {params.states} --pdf {output.pdf:q} --png {output.png:q} 2> {log:q}"
