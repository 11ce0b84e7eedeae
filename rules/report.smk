"""Report: tables and figures.

Takes metrics, training records and curves of every trial and base; makes results/tables/ and
results/figures/.
"""


def of_method(*methods):
    """Returns the reported trials and bases of some methods."""
    return [row for row in reported() if row["method"] in methods]


def reported_files(rows):
    """Returns the files that a table or figure of these trials and bases reads."""
    trained = [row["folder"] for row in rows if row["method"] != "base"]
    return [
        *(f"<results>/{row['folder']}/metrics.json" for row in rows),
        *(
            f"<results>/{folder}/{file}"
            for folder in trained
            for file in ("trial.json", "train.json", "history.jsonl")
        ),
    ]


# The rows of each table and figure; one with no trial of its kind is not made.
TABLES = {
    "sft": of_method("base", "sft") if of_method("sft") else [],
    "dpo": of_method("dpo"),
    "summary": reported(),
    "results": of_method("dpo"),
}
FIGURES = {
    "curves": of_method("sft", "dpo"),
    "accuracy": of_method("dpo"),
    "before_after": reported(),
}


def tables():
    names = [name for name, rows in TABLES.items() if rows]
    return expand("<results>/tables/{table}.{kind}", table=names, kind=["csv", "md", "tex"])


def figures():
    names = [name for name, rows in FIGURES.items() if rows]
    return expand("<results>/figures/{figure}.{kind}", figure=names, kind=["pdf", "png"])


rule table:
    """One table, for machines, for a README and for a paper."""
    input:
        lambda wildcards: reported_files(TABLES[wildcards.table]),
    output:
        csv="<results>/tables/{table}.csv",
        md="<results>/tables/{table}.md",
        tex="<results>/tables/{table}.tex",
    wildcard_constraints:
        table=only(TABLES),
    params:
        plan=lambda wildcards: as_json(TABLES[wildcards.table]),
        root=subpath(output.csv, ancestor=2),
        code=lambda wildcards: code_digest(f"scripts/report/{wildcards.table}.py"),
        env=env_digest("report"),
    log:
        "<logs>/tables/{table}.log",
    benchmark:
        "<benchmarks>/tables/{table}.tsv"
    conda:
        "../envs/report.yaml"
    shell:
        "python -m scripts.report.{wildcards.table} --root {params.root:q} --plan {params.plan:q}"
        " --csv {output.csv:q} --md {output.md:q} --tex {output.tex:q} 2> {log:q}"


rule figure:
    """One figure, as vectors for a paper and as pixels for a page."""
    input:
        lambda wildcards: reported_files(FIGURES[wildcards.figure]),
    output:
        pdf="<results>/figures/{figure}.pdf",
        png="<results>/figures/{figure}.png",
    wildcard_constraints:
        figure=only(FIGURES),
    params:
        plan=lambda wildcards: as_json(FIGURES[wildcards.figure]),
        root=subpath(output.pdf, ancestor=2),
        code=lambda wildcards: code_digest(f"scripts/report/{wildcards.figure}.py"),
        env=env_digest("report"),
    log:
        "<logs>/figures/{figure}.log",
    benchmark:
        "<benchmarks>/figures/{figure}.tsv"
    conda:
        "../envs/report.yaml"
    shell:
        "python -m scripts.report.{wildcards.figure} --root {params.root:q} --plan {params.plan:q}"
        " --pdf {output.pdf:q} --png {output.png:q} 2> {log:q}"
