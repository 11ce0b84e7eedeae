#!/bin/sh
# Make a stage's env in a container image, in the folder where Snakemake looks for it:
#
#   install.sh STAGE ACCELERATOR FOLDER
#
# The folder's name is Snakemake's digest of the env's files. An image with other locks has other
# names, so that a run finds no env instead of using the wrong one.
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
