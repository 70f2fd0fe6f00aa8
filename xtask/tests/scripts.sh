#!/usr/bin/env bash
# The scripts' own promises, with stubs in the place of all that they start: xtask/tests/scripts.sh (the tests of xtask run it, too).
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset RLHF_DATA RLHF_BIN RLHF_PYTHON RUNS SWEEP RETRIES FAMILY_BIN CARGO_TARGET_DIR LIBTORCH ${!SLURM*}

failed=0
wrong() { echo "scripts.sh: $*" >&2; tail -n 5 "$work/said" >&2; failed=1; }
# exit code, command...: what it says is in $work/said
ends() {
  local code=$1 found=0
  shift
  "$@" >"$work/said" 2>&1 || found=$?
  [ "$found" = "$code" ] || wrong "$*: exit code $found, not $code"
}
has() { grep -qF -- "$2" "$1" || wrong "no \"$2\" in $1: $(head -c 500 "$1")"; }
lacks() { ! grep -qF -- "$2" "$1" 2>/dev/null || wrong "\"$2\" in $1"; }
is() { [ "$1" = "$2" ] || wrong "$3: \"$1\", not \"$2\""; }
stub() { # path, its text
  mkdir -p "$(dirname "$1")"
  printf '#!/usr/bin/env bash\n%s\n' "$2" >"$1"
  chmod +x "$1"
}

# A tree with the scripts and a recipe, and nothing behind them.
tree=$work/tree
mkdir -p "$tree"
cp -r "$root/scripts" "$tree/"
stub "$tree/scripts/setup.sh" "echo setup >>'$work/calls'"
stub "$work/bin/cargo" "echo cargo >>'$work/calls'; exit \${CARGO_CODE:-0}"
for name in pretrain sft reward ppo evaluate; do stub "$tree/target/release/$name" "echo \"$name \$*\" >>'$work/calls'"; done
mkdir -p "$tree/configs/demo" "$tree/runs/demo"
touch "$tree/configs/demo/"{pretrain,sft,reward,reward-other,ppo}.toml "$tree/runs/demo/kept"
pipeline() { env PATH="$work/bin:$PATH" "$tree/scripts/pipeline.sh" "$@"; }

# pipeline.sh looks at all arguments, and builds, before it deletes anything.
for mistake in "--what" "--set" "--nproc" "--set key" "--set nostage:a=1"; do ends 2 pipeline configs/demo --fresh $mistake; done
CARGO_CODE=101 ends 101 pipeline configs/demo --fresh
[ -f "$tree/runs/demo/kept" ] || wrong "pipeline.sh --fresh deleted the runs of a call that failed"
: >"$work/calls"
ends 0 pipeline configs/demo --fresh --set a.b=x:y --set ppo:c.d=1 --set reward-other:e=2 --nproc 3
[ ! -e "$tree/runs/demo/kept" ] || wrong "pipeline.sh --fresh kept the runs"
has "$work/calls" "sft --config configs/demo/sft.toml --out runs/demo/sft --resume --set a.b=x:y --nproc 3"
has "$work/calls" "ppo --config configs/demo/ppo.toml --out runs/demo/ppo --resume --set a.b=x:y --nproc 3 --set c.d=1"
is "$(grep -c 'c.d=1' "$work/calls") $(grep -c 'e=2' "$work/calls")" "1 1" "stages that --set STAGE:key=value reached"

# family.sh knows a chapter before it builds.
: >"$work/calls"
ends 2 "$tree/scripts/family.sh" nowhere
ends 2 "$tree/scripts/family.sh"
is "$(cat "$work/calls")" "" "what family.sh began without a chapter"
is "$(sed -n 's|^#   scripts/family.sh \([a-z0-9-]*\) .*|\1|p' "$root/scripts/family.sh" | sort)" "$(sed -n 's/^  \([a-z0-9-]*\))$/\1/p' "$root/scripts/family.sh" | sort)" \
  "chapters in the head of family.sh and in its body"

# setup.sh names a LIBTORCH that is not there.
LIBTORCH=/no/such/folder ends 2 "$root/scripts/setup.sh"
has "$work/said" /no/such/folder

# Slurm's pipeline: a recipe that is none, names with spaces, the options for every job.
slurm=$work/slurm
stub "$slurm/sbatch" "printf '<%s>' \"\$@\" >>'$work/calls'; echo >>'$work/calls'; echo 1"
: >"$work/calls"
ends 2 env PATH="$slurm:$PATH" "$tree/scripts/slurm/pipeline.sh" configs/dmeo
is "$(cat "$work/calls")" "" "jobs of a recipe that is none"
cp -r "$tree/configs/demo" "$tree/configs/my demo"
stub "$tree/configs/my demo/prepare.sh" true
ends 0 env PATH="$slurm:$PATH" "$tree/scripts/slurm/pipeline.sh" "configs/my demo" --partition long
is "$(grep -c '<--partition><long>' "$work/calls")" 7 "jobs with the options"
has "$work/calls" '<--wrap><configs/my\ demo/prepare.sh target/release runs/my\ demo >'

# A stage as a batch job: what is requeued, and how often.
stub "$slurm/srun" "echo \"srun \$*\" >>'$work/calls'; exit \$CODE"
stub "$slurm/scontrol" "if [ \$1 = requeue ]; then echo requeued >>'$work/calls'; else echo host; fi"
stub "$slurm/squeue" 'echo $STATE'
stage() { # srun's exit code, state of the job, more variables...
  : >"$work/calls"
  (cd "$work" && env PATH="$slurm:$PATH" CODE="$1" STATE="$2" SLURM_JOB_ID=7 SLURM_JOB_NODELIST=host "${@:3}" "$tree/scripts/slurm/stage.sbatch" pretrain a.toml)
}
requeued() { is "$(grep -c requeued "$work/calls")" "$1" "requeues of $2"; }
ends 75 stage 75 RUNNING SLURM_RESTART_COUNT=9; requeued 1 "a checkpoint"
ends 75 stage 75 COMPLETING; requeued 0 "a cancelled job"
ends 2 stage 2 RUNNING; requeued 0 "wrong input"
for try in 1 2; do ends 1 stage 1 RUNNING SLURM_RESTART_COUNT=$((try + 8)); requeued 1 "failure $try"; done
ends 1 stage 1 RUNNING; requeued 0 "failure 3"
ls "$work"/*.failures >/dev/null 2>&1 && wrong "a finished job left its count of failures"
echo "--set a=1" >"$work/sweep"
ends 2 stage 0 RUNNING SWEEP="$work/sweep"; lacks "$work/calls" srun
ends 2 stage 0 RUNNING SWEEP="$work/sweep" SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=2; lacks "$work/calls" srun
ends 0 stage 0 RUNNING SWEEP="$work/sweep" SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=1; has "$work/calls" "--resume --set a=1"

# Preparations: data that are not there are named, and what a failed one left is not taken for data.
for recipe in family-bert family-distill family-gpt1 family-harmless family-safety restaurants tasks; do
  RLHF_DATA=$work/nowhere ends 2 "$root/configs/$recipe/prepare.sh" "$work/bin" "$work/prepared/$recipe"
  has "$work/said" "$work/nowhere/"
done
data=$work/data
mkdir -p "$data"/{p02-tinystories-944k,c01-sst2,c05-copa-xcopa,s08-e2e-nlg-sft,r02-e2e-rankme-k5}
for i in 1 2 3 4; do
  echo "Once upon a time there was cat number $i. She sat on the mat all day long and said nothing at all."
done >"$data/p02-tinystories-944k/tiny_stories.txt"
for part in train dev test; do echo "1 a fine film ." >"$data/c01-sst2/stsa.binary.$part"; done
for part in train val; do echo '{"premise": "It rained.", "choice1": "a"}' >"$data/c05-copa-xcopa/$part.jsonl"; done
for file in s08-e2e-nlg-sft/devel-fixed.no-ol r02-e2e-rankme-k5/quality r02-e2e-rankme-k5/naturalness; do echo "name[Blue Spice]" >"$data/$file.csv"; done
stub "$work/bin/safety" 'cat "$3" >"$5" && echo secret >"$7"'
stub "$work/bin/recipes" 'case $1 in e2e) cat "$4" >"$6" ;; pairs) echo row >"$4/similarity-test.jsonl" ;; esac'
stub "$work/broken/sed" 'exit 1'
stub "$work/broken/iconv" 'exit 1'
for recipe in family-bert family-distill family-gpt1 family-safety restaurants tasks; do
  export RLHF_DATA=$data
  ends 1 env PATH="$work/broken:$PATH" "$root/configs/$recipe/prepare.sh" "$work/bin" "$work/prepared/$recipe"
  ends 0 "$root/configs/$recipe/prepare.sh" "$work/bin" "$work/prepared/$recipe"
  is "$(find "$work/prepared/$recipe" -empty -o -name '*.part')" "" "empty or half files of $recipe"
done

# The generators of fixtures: those that need a package which is not pinned are not among them.
stub "$work/bin/python" "[ \$1 = - ] || basename \$1 >>'$work/calls'"
: >"$work/calls"
RLHF_PYTHON=$work/bin/python ends 0 "$tree/scripts/reference/all.sh"
lacks "$work/calls" gguf_read.py
has "$work/calls" optimisers.py
has "$root/scripts/reference/requirements.txt" scikit-learn==

exit $failed
