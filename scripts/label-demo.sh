#!/usr/bin/env bash
# From people's hands to a reward model: two labellers rank answers in a headless browser, and what they said trains a reward model.
#
#   scripts/label-demo.sh [OUT]          (default: runs/label-demo; what is there is replaced)
#
# Needs a browser: apt-get install -y --no-install-recommends chromium chromium-driver. Binaries come from ${CARGO_TARGET_DIR:-target}/release, or
# from the folder named by LABEL_DEMO_BIN. The model is tiny and knows nothing: the demo shows that the parts fit, not what can be learnt.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/label-demo}
command -v chromedriver > /dev/null || { echo "label-demo: no chromedriver: apt-get install -y --no-install-recommends chromium chromium-driver" >&2; exit 2; }

bin=${LABEL_DEMO_BIN:-}
if [ -z "$bin" ]; then
  scripts/setup.sh
  cargo build --release -p pretrain -p reward
  bin=${CARGO_TARGET_DIR:-target}/release
fi
rm -rf "$out"
mkdir -p "$out"
out=$(cd "$out" && pwd)

LABEL_BROWSER_OUT="$out" cargo test --release -p label --test suite -- browser
[ -s "$out/labels.arrow" ] || { echo "label-demo: the browser test wrote no labels" >&2; exit 1; }

# A base model from a few lines of text, for a reward model to begin with.
for _ in $(seq 200); do printf 'Bees make honey. The sun sets in the west. Seven is prime.\n'; done > "$out/text.txt"
cat > "$out/pretrain.toml" << TOML
[model]
layers = 1
heads = 2
width = 32
context = 128
[tokenizer]
vocab_size = 300
[data]
split = "end"
[[data.sources]]
path = "$out/text.txt"
[train]
epochs = 1
batch = 8
TOML
"$bin/pretrain" --config "$out/pretrain.toml" --out "$out/base"

# Rows that order nothing (skips, rejected without an order, gold keys) are left out, counted.
cat > "$out/reward.toml" << TOML
[model]
init = "$out/base"
[[data.sources]]
path = "$out/labels.arrow"
[loss]
kind = "plackett-luce"
[train]
epochs = 4
batch = 4
[eval]
valid_fraction = 0.34
TOML
"$bin/reward" --config "$out/reward.toml" --out "$out/reward"
