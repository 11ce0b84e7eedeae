# make setup      the launcher environment, .venv
# make demo       the embedded default, from corpora to tables and figures
# make rehearse   the paper's DAG on a CPU, with tiny stand-in models and few rows
# make tables-so-far  tables and figures of what is done, with what failed; PROFILE=profiles/demo
# make status     how far each trial is, live; of another sweep: CONFIG=demo/config.yaml
# make paper      the paper's tables and figures from paper/metrics/: no GPU, nothing is trained
# make publish    fills paper/metrics/ from a finished run
# make trace ITEM=results/tables/dpo.csv  where it comes from; a cell: ROW=dpo-1 COLUMN="train loss"
# make verify     hashes a run again and names what is not as it was made; RESULTS=results/demo
# make crate      a finished run as an RO-Crate for an archive
# make plan       what the paper's trials will take: steps, memory, downloads; hours once probed
# make doctor     what is wrong with the paper's data
# make rating     a page on which people compare answers blindly: docs/rating.md
# make ratings    what they chose, as a table: make ratings FILES="a.json b.json"
# make gpu-check  one step and one resume of each backend and precision on this GPU
# make bench      what trials take, beside TRL's own trainers: docs/benchmarks.md (hours; goes on)
# make test       checks, and all tests but those marked `all`, which take long
# make test-all   checks and all tests
# make browser    Chromium, and `make slurm` Slurm, which some tests need: as root, from Debian
# make lock       envs/ from its .in files; UPGRADE=yes takes the newest versions
# make check-locks  whether envs/ is what make lock would write, package index asked

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile
TORCH := $(shell grep '^torch==' envs/train.in)
# The launcher's programs go before the machine's; rules call plain `python`.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: setup demo rehearse tables-so-far status paper publish trace verify crate plan doctor rating ratings gpu-check bench test test-all check browser slurm lock check-locks docs corpora

setup: $(VENV)/ready

$(VENV)/ready: envs/launcher.lock envs/torch.txt envs/train.in
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("prefmake needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	@# torch first: which build it is, is this machine's choice; what that build brings is locked.
	$(PIP) --constraint envs/torch.txt $(TORCH)
	$(PIP) --no-deps --require-hashes -r envs/launcher.lock
	@# Compiling is two thirds of the work, and pip would use one core. Some packages carry templates
	@# that are no Python.
	@$(VENV)/bin/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true
	@touch $@

demo: setup
	snakemake --workflow-profile profiles/demo
	@python -m scripts.terminal.tables results/demo

rehearse: setup
	python -m tests.rehearsal
	@python -m scripts.terminal.tables results/rehearsal

# The rules that make figures from rows that are there; nothing else may run, above all no training.
SO_FAR := all table figure measure aggregate compare lookup overlap

# A sweep may be running meanwhile, and holds the lock.
tables-so-far: setup
	snakemake $(if $(PROFILE),--workflow-profile $(PROFILE)) --nolock --config allow_failed=true --allowed-rules $(SO_FAR)

status: setup
	@python -m scripts.terminal.status --config $(CONFIG)

# Of which run: its configuration, its results, what is kept of them, and where reports go.
CONFIG := config.yaml
RESULTS := results
METRICS := paper/metrics
REPORT := results/paper
REPORTED := snakemake --cores 1 --configfile $(CONFIG) --config

publish: setup
	$(REPORTED) pathvars='{results: "$(RESULTS)"}' --allowed-rules list_reported \
	  --forcerun list_reported --quiet all -- $(RESULTS)/reported.json
	@python -m scripts.provenance.publish --files $(RESULTS)/reported.json --root $(RESULTS) \
	  --out $(METRICS)

# Only the rules of reports may run, so that nothing is ever trained here.
PAPER = $(REPORTED) pathvars='{results: "$(REPORT)", logs: "logs/paper", metrics: "$(METRICS)"}'

paper: setup
	$(PAPER) --allowed-rules list_reported --forcerun list_reported --quiet all -- \
	  $(REPORT)/reported.json
	@python -m scripts.provenance.check_published --files $(REPORT)/reported.json --root $(METRICS)
	$(PAPER) --allowed-rules table figure all

# ALL=yes shows all of many that are alike.
trace: setup
	@python -m scripts.provenance.trace "$(ITEM)" $(if $(ROW),--row "$(ROW)") \
	  $(if $(COLUMN),--column "$(COLUMN)") $(if $(ALL),--all)

verify: setup
	@python -m scripts.provenance.verify $(RESULTS)

CRATE := $(RESULTS).crate.zip

# CRATE may be a folder, too; AUTHOR says who ran it.
crate: setup
	@python -m scripts.provenance.crate $(RESULTS) --config $(CONFIG) --out $(CRATE) \
	  $(if $(AUTHOR),--author "$(AUTHOR)")

plan: setup
	snakemake plan --forcerun plan
	@python -m scripts.terminal.plan results/plan.json

doctor: setup
	snakemake doctor
	@python -m scripts.terminal.doctor $$(ls results/tokens/*/doctor.json)

RATING := $(RESULTS)/rating

rating: setup
	@python -m scripts.rating.ask --root $(RESULTS) --out $(RATING) \
	  $(if $(EXPERIMENT),--experiment "$(EXPERIMENT)") $(if $(SETS),--sets $(SETS)) \
	  $(if $(TRIALS),--trials $(TRIALS)) $(if $(AGAINST),--against $(AGAINST)) \
	  $(if $(N),--most $(N)) $(if $(QUESTION),--question "$(QUESTION)")

ratings: setup
	@python -m scripts.rating.ratings --root $(RESULTS) --key $(RATING)/key.json \
	  --out $(RATING)/ratings.json --csv $(RESULTS)/tables/ratings.csv \
	  --md $(RESULTS)/tables/ratings.md --tex $(RESULTS)/tables/ratings.tex \
	  $(if $(STALE_OK),--stale-ok) $(FILES)

gpu-check: setup
	python -m benchmarks.gpu_check

bench: setup
	python -m benchmarks.fast_path

PYTEST := pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test: check
	$(PYTEST)

test-all: check
	$(PYTEST) -m "not timed"
	pytest -m timed

# What some tests need and no package index has: a browser for the pages, and Slurm for its profile.
# As root only, and only where it is missing; without it, these tests are skipped.
browser: PACKAGES := chromium fonts-dejavu-core
browser: PROGRAM := chromium
slurm: PACKAGES := slurmctld slurmd slurm-client munge
slurm: PROGRAM := slurmctld
browser slurm:
	@command -v $(PROGRAM) || { export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -qq --no-install-recommends $(PACKAGES) >/dev/null; } || \
	  echo "$(PROGRAM) could not be installed"

check: setup
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	snakemake --lint --workflow-profile profiles/demo
	python -m scripts.config.check check config.yaml
	python -m scripts.config.check check demo/config.yaml

lock: setup
	python -m envs.lock $(if $(UPGRADE),--upgrade)

check-locks: setup
	python -m envs.lock --check

docs: setup
	python -m scripts.config.check fields > docs/config.md

corpora: setup
	python demo/make_corpora.py --out demo/corpora --sets paper
