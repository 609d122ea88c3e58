#!/usr/bin/env bash
# One process of a run, started alike on every host: bash start.sh RUN_DIR [FLAGS of evo_jax.train]
#
# THE command line of every launcher. Training goes on from the newest checkpoint where RUN_DIR holds a run and starts new where it
# holds none; jax.distributed finds out by itself which of the processes this is. Signals reach the training process.
#
#   EVO_PYTHON  the interpreter (default: python)
#   EVO_HOSTS   how many processes the run has (default: 1)
#   EVO_BUCKET  gs://... where training itself keeps what it needs to go on (checkpoint.directory lies in it): when it ends, the rest
#               of RUN_DIR, report and exports, is copied there too, by the host that has it
set -euo pipefail

if [[ $# -lt 1 || $1 == -* ]]; then
  echo "usage: bash start.sh RUN_DIR [--config=FILE ...]" >&2
  exit 2
fi
run_dir=$1
shift
bucket=${EVO_BUCKET:-}
hosts=${EVO_HOSTS:-1}

command=("${EVO_PYTHON:-python}" -m evo_jax.train "$@" "--config.run_dir=$run_dir" --resume=auto)
if [[ $hosts -gt 1 ]]; then
  command+=(--distributed)
fi

if [[ -z $bucket ]]; then
  exec "${command[@]}"
fi

child=
told=
pass_on() {
  if [[ -z $child ]]; then
    told=1
  else
    kill -TERM "$child" 2>/dev/null || true
  fi
}
# Before the start, or a signal in between would end this shell alone.
trap pass_on TERM INT
"${command[@]}" &
child=$!
[[ -z $told ]] || pass_on
code=0
wait "$child" || code=$?
while kill -0 "$child" 2>/dev/null; do
  code=0
  wait "$child" || code=$?
done
# Nothing is deleted there: the checkpoints are the bucket's own.
if [[ -e $run_dir/config.json ]]; then
  gcloud storage rsync "$run_dir" "$bucket" --recursive ||
    echo "the copy to $bucket failed: $run_dir on this host is newer; the checkpoints are there" >&2
fi
exit "$code"
