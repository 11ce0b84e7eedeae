#!/bin/sh
# Slurm runs this as each task begins, in the task's environment, and keeps what the task may see.
echo "${SLURM_JOB_ID} ${SLURM_RESTART_COUNT:-0} ${SLURM_STEP_ID:-batch} ${CUDA_VISIBLE_DEVICES:-none}" \
  >> @DIR@/tasks
