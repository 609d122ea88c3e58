# The rest of a TPU VM's start-up script; the launcher writes the EVO_... settings above it. Runs as root at every boot, so
# that a run goes on by itself after maintenance. The run is a systemd unit of an ordinary user: at a shutdown systemd sends
# it SIGTERM and waits EVO_GRACE_SECONDS, and its output is in the journal.
unit="evo-jax-$EVO_RUN_NAME"
home=/home/evo
code="$home/EvoEnv"

if systemctl is-active --quiet "$unit"; then
  echo "$unit is running already: nothing to do"
  exit 0
fi
systemctl reset-failed "$unit" 2>/dev/null || true

id evo >/dev/null 2>&1 || useradd --create-home --shell /bin/bash evo
mkdir -p "$EVO_RUN_ROOT"
if [[ -n $EVO_NFS ]] && ! mountpoint --quiet "$EVO_RUN_ROOT"; then
  command -v mount.nfs >/dev/null || { apt-get update --quiet && apt-get install --yes --quiet nfs-common; }
  mount -t nfs -o hard "$EVO_NFS" "$EVO_RUN_ROOT"
fi
chown evo: "$EVO_RUN_ROOT"

install=$(mktemp)
printf '%s' "$EVO_INSTALL" > "$install"
chmod a+r "$install"
runuser --user evo -- env --chdir="$home" HOME="$home" bash "$install" "$EVO_REPOSITORY" "$EVO_COMMIT" "$code" tpu
rm "$install"

# A mistake in the config (exit code 2) is not tried again, nor is a run that was told to stop (143).
systemd-run --unit="$unit" --uid=evo --working-directory="$code" \
  --setenv=HOME="$home" --setenv=PATH="$home/.local/bin:$PATH" \
  --setenv=EVO_PYTHON="$code/.venv/bin/python" --setenv=EVO_HOSTS="$EVO_HOSTS" --setenv=EVO_BUCKET="$EVO_BUCKET" \
  --property=KillMode=mixed --property="TimeoutStopSec=$EVO_GRACE_SECONDS" \
  --property=Restart=on-failure --property=RestartSec=30 --property="RestartPreventExitStatus=2 143" \
  --property=StartLimitIntervalSec=86400 --property="StartLimitBurst=$((EVO_MAX_RESTARTS + 1))" \
  bash launch_tpu/start.sh "${EVO_START[@]}"
