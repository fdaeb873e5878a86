#!/bin/bash -l
#$ -N train.3fa9c1.tin
#$ -t 1-10
#$ -tc 3
#$ -o :/home/me/runs/tin/work/batch/001/train/output/0-$TASK_ID.txt
#$ -j y
#$ -cwd
#$ -r y
#$ -w e
#$ -S /bin/bash
#$ -pe smp 16
#$ -l h_rt=02:00:00
#$ -l h_vmem=2048M
#$ -l gpu=1
#$ -q gpu
#$ -P ab123
export LAMFLOW_BEGAN=$(date +%s)
index=$((${SGE_TASK_ID:-1} - 1))
element="${JOB_ID}_$index"
refuse() { mkdir -p /home/me/runs/tin/work/batch/001/train/seen; printf '%s\n' "$1" > /home/me/runs/tin/work/batch/001/train/seen/0-$index.refused; exit 3; }
cd /home/me/runs/tin/work/batch/001/train || { echo "this node does not see /home/me/runs/tin/work/batch/001/train"; exit 4; }
for file in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh; do
  command -v module >/dev/null || ! [ -r $file ] || . $file
done
load() {
  said=$(module load "$1" 2>&1 >/dev/null) && module load "$1" || refuse "module $1 cannot be loaded: $said"
  case "$said" in *[Ee][Rr][Rr][Oo][Rr]*|*"nable to locate"*) refuse "module $1 cannot be loaded: $said";; esac
}
load vasp/6.4
[ -r /opt/intel/setvars.sh ] || refuse "source: no /opt/intel/setvars.sh on this node"
. /opt/intel/setvars.sh
export OMP_NUM_THREADS=4
export DP_INTRA_OP_PARALLELISM_THREADS=4
export DP_INTER_OP_PARALLELISM_THREADS=1
export MODE='a b'
export CUDA_MPS_PIPE_DIRECTORY=$(mktemp -d) CUDA_MPS_LOG_DIRECTORY=$(mktemp -d)
nvidia-cuda-mps-control -d || refuse "mps: nvidia-cuda-mps-control does not start on this node"
trap 'echo quit | nvidia-cuda-mps-control' EXIT
ulimit -s unlimited
status=0
for lane in $(seq 0 1); do
  /opt/lamflow/bin/python -m lamflow.batch.element /home/me/runs/tin/work/batch/001/train 0 $index $lane "$element" &
done
for process in $(jobs -p); do wait $process || status=1; done
date
exit $status
