#!/bin/bash
#SBATCH --job-name=task-codes
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append

# Two nodes of 8 GPUs: 32 examples x 4 accumulation steps x 16 GPUs = 2,048 examples a step. Five minutes before the
# time is up the processes get a SIGTERM, save and stop; submitted or queued again, the job goes on from there.
set -euo pipefail
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=280  # seconds until torchrun kills what has not saved; otherwise 30

head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun \
    --nnodes "$SLURM_NNODES" --nproc_per_node 8 \
    --rdzv_backend c10d --rdzv_endpoint "$head_node:29500" --rdzv_id "$SLURM_JOB_ID" \
    run_ctr.py examples/scaling/stage1.yaml \
    --gradient_accumulation_steps 4
