"""prefmake: preference-tuning experiments from raw data to the tables and figures of a paper.

snakemake --cores 1 --resources gpu=1                        # config.yaml
snakemake --workflow-profile profiles/demo                   # the embedded default, no GPU
"""

import sys

from snakemake.utils import min_version

min_version("9.27.1")
# Modules are found wherever the results go (-d), and nothing else is found by accident.
sys.path.insert(0, workflow.basedir)


pathvars:
    benchmarks="<logs>/benchmarks",
    # What reports read: elsewhere, where a paper is made again from what was published of a run.
    metrics="<results>",


include: "rules/common.smk"


# Snakemake merges config files: loaded beside a named one, the paper's trials would join it.
if not workflow.configfiles:
    # Of what is no YAML, Snakemake says no line.
    require_yaml(f"{workflow.basedir}/config.yaml")

    configfile: f"{workflow.basedir}/config.yaml"


PLAN = plan_of(workflow.configfiles, dict(workflow.config_settings.config))
REPORTS = reports_of(PLAN)
check_gpus()
check_hub()
check_folders()
check_targets()

if PLAN.container:

    containerized: PLAN.container


include: "rules/data.smk"
include: "rules/models.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


report: "report/workflow.rst"


rule all:
    """Every table and figure of the configuration, and the page that shows them."""
    default_target: True
    input:
        tables("csv", "md", "tex"),
        figures("pdf", "png", "md"),
        page(),
