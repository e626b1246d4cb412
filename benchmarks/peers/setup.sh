#!/usr/bin/env bash
# One virtual environment a peer: benchmarks/peers/setup.sh [FOLDER] [PEER...]   (FOLDER: $AQUIN_PEERS, else .peers)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-${AQUIN_PEERS:-$here/../../.peers}}
if [ "$#" -gt 0 ]; then shift; fi
peers=${*:-sparsify sae_lens dictionary_learning llamascopium mi_crow}
mkdir -p "$folder"
failed=""
for peer in $peers; do
  env="$folder/$peer"
  if [ -e "$env/.ready" ]; then
    echo "== $peer is there"
    continue
  fi
  echo "== $peer"
  "${PYTHON:-python3}" -m venv "$env"
  pip=("$env/bin/python" -m pip install --quiet --disable-pip-version-check)
  # torch first and alone, then held where it is: all peers are timed on the same build.
  # dictionary-learning asks for an nnsight that no longer resolves; its trainers never call it (run_dictionary_learning.py stubs it).
  nodeps=()
  if [ "$peer" = dictionary_learning ]; then nodeps=(--no-deps); fi
  if "${pip[@]}" --requirement "$here/requirements/torch.txt" numpy safetensors \
    && "${pip[@]}" ${nodeps[@]+"${nodeps[@]}"} --constraint "$here/requirements/torch.txt" \
      --requirement "$here/requirements/$peer.txt"; then
    touch "$env/.ready"
  else
    failed="$failed $peer"
  fi
done
if [ -n "$failed" ]; then
  echo "could not be installed:$failed" >&2
  exit 1
fi
