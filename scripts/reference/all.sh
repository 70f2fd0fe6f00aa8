#!/usr/bin/env bash
# Regenerates every golden fixture that another program computes: runs all generators of this folder with the pinned packages.
#
#   scripts/reference/all.sh
#
# RLHF_PYTHON names a Python that has the packages of requirements.txt in these very versions; without it they are installed into a virtual
# environment under target/. Two generators want real data: ${RLHF_DATA:-../shared/data}; where it is absent they leave out that part and say so.
# `git status` afterwards shows what has changed: nothing, on the machine kind that the fixtures were made on.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=scripts/reference
python=${RLHF_PYTHON:-target/reference/bin/python}
if [ -z "${RLHF_PYTHON:-}" ]; then
    [ -x "$python" ] || python3 -m venv target/reference
    "$python" -m pip install --quiet -r $here/requirements.txt
fi
"$python" - $here/requirements.txt <<'PY'
import importlib.metadata, sys
wrong = []
for line in open(sys.argv[1]):
    name, _, version = line.split("#")[0].strip().partition("==")
    if not name:
        continue
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found = "absent"
    if found.partition("+")[0] != version:
        wrong.append(f"{name} is {found}, not {version}")
if wrong:
    sys.exit("all.sh: " + "; ".join(wrong))
PY

# One thread, and no network: sums in one order, and nothing but what is here.
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
data=${RLHF_DATA:-../shared/data}
run() {
    echo "== $1"
    "$python" "$here/$1" "${@:2}"
}
# A generator that wants a file of the real data gets it as its argument.
with_data() {
    local found=("$data"/$2)
    if [ -e "${found[0]}" ]; then run "$1" "${found[0]}"; else
        echo "SKIPPED: the part of $1 that reads $2, because $data has none" >&2
        run "$1"
    fi
}

run model.py # first: others read its folders
for path in $here/*.py; do
    case $(basename "$path") in
    model.py | check_folder.py | label_counts.py | gguf_read.py) ;; # done; no generators
    tasks.py | metrics.py | scaling.py) ;; # other packages: each names them
    llama2c.py) ;; # wants llama2.c's program
    argilla_exports.py) ;; # two versions of Argilla, each with its own Python
    chat_templates.py) with_data chat_templates.py t03-minimind-hf-tokenizer ;;
    pretrain_curve.py) with_data pretrain_curve.py 'p01-tinyshakespeare/*.txt' ;;
    *) run "$(basename "$path")" ;;
    esac
done
