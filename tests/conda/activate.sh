# Sourced as Snakemake does it: source …/bin/activate 'ENV'
CONDA_PREFIX="$(cd "$1" && pwd)"
export CONDA_PREFIX
export CONDA_DEFAULT_ENV="$CONDA_PREFIX"
export PATH="$CONDA_PREFIX/bin:$PATH"
