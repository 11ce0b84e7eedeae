#!/bin/sh
# Makes a stage's env in a container image, where Snakemake looks for it in one:
#
#   install.sh STAGE ACCELERATOR FOLDER
#
# The place is named by Snakemake's digest of the env's files. An image of other locks has another
# name there, and a run says that it found no env instead of using the wrong one.
set -eu
stage=$1 accelerator=$2 folder=$3
case $accelerator in
  cuda | cpu) ;;
  *) echo "accelerator: found $accelerator; allowed: cuda, cpu" >&2; exit 2 ;;
esac
form=$(dirname "$0")/$stage
[ ! -e "$form.$accelerator.yaml" ] || form=$form.$accelerator
digest=$(cat "$form.post-deploy.sh" "$form.yaml" | md5sum | cut -d ' ' -f 1)
conda env create --quiet --prefix "$folder/$digest" --file "$form.yaml"
CONDA_PREFIX=$folder/$digest PATH=$folder/$digest/bin:$PATH sh "$form.post-deploy.sh"
conda clean --all --yes
