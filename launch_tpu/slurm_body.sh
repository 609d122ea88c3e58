# The rest of a Slurm job; the launcher writes the options, the settings and ${start[@]} above it.
set -euo pipefail
at_limit=0
# Without --batch or --full scancel reaches the job's steps alone: the training processes.
trap 'at_limit=1; scancel --signal=TERM "$SLURM_JOB_ID"' USR1

if [[ -x .venv/bin/python && -z ${EVO_PYTHON:-} ]]; then
  export EVO_PYTHON="$PWD/.venv/bin/python"
fi
# A task that dies takes the others with it, so that nobody waits for it in a collective.
srun --kill-on-bad-exit=1 "${start[@]}" &
step=$!
code=0
wait "$step" || code=$?
while kill -0 "$step" 2>/dev/null; do
  code=0
  wait "$step" || code=$?
done

if [[ $at_limit -eq 1 && $code -ne 0 && ${SLURM_RESTART_COUNT:-0} -lt $max_restarts ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
