#!/usr/bin/env bash
# A checkout of one commit with everything it needs: bash install.sh REPOSITORY COMMIT DIRECTORY EXTRA
#
# EXTRA is JAX's for the accelerator, tpu or cuda12, in the very version that requirements.txt pins. Called again with the same
# commit it changes nothing; a half-made environment is made again.
set -euo pipefail

if [[ $# -ne 4 ]]; then
  echo "usage: bash install.sh REPOSITORY COMMIT DIRECTORY EXTRA" >&2
  exit 2
fi
repository=$1 commit=$2 directory=$3 extra=$4

if [[ ! -d $directory/.git ]]; then
  git clone --quiet --no-checkout "$repository" "$directory"
fi
cd "$directory"
git cat-file -e "$commit^{commit}" 2>/dev/null || git fetch --quiet origin
git checkout --quiet --force "$commit"

if [[ $(cat .venv/.installed 2>/dev/null || true) != "$commit $extra" ]]; then
  # The machine's own Python may be older than 3.12: uv brings one.
  if ! command -v uv >/dev/null; then
    python3 -m pip install --quiet --user uv
    PATH="$HOME/.local/bin:$PATH"
  fi
  uv venv --quiet --clear --python 3.12 .venv
  pin=$(grep -m 1 '^jax==' requirements.txt)
  uv pip install --quiet --python .venv/bin/python -r requirements.txt -r requirements-bucket.txt "jax[$extra]${pin#jax}"
  echo "$commit $extra" > .venv/.installed
fi
