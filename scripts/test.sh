#!/usr/bin/env bash
# Sets up what is missing and runs every test. Safe to run again: nothing is fetched or built twice.
#
#   scripts/test.sh [arguments of cargo test, such as -p data]
#
# Tests on real data look into ${RLHF_DATA:-../shared/data}; tests against transformers and TensorBoard use the Python named by RLHF_PYTHON.
# Where either is absent they say SKIPPED and why.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
if [ $# -eq 0 ]; then set -- --workspace; fi
# Tests run side by side, one for each core: more threads in each would wait for one another in busy loops.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec cargo test --release "$@"
