#!/usr/bin/env bash
# Shows the batch jobs at work on a real Slurm: a controller and two hosts, started here for the time of this script (scripts/slurm/cluster.sh).
#
#   scripts/slurm-check.sh          needs root and slurm-wlm, munge, iproute2 (it installs them with apt-get), and built binaries in target/release
#   ONLY="2 5" scripts/slurm-check.sh     some of the checks; DEMO=full runs the demo as it is instead of a third of it
#
# Jobs over 2 nodes x 2 tasks each:
# 1. One trains to the end, and takes the steps of a single process.
# 2. USR1: a checkpoint, requeued, goes on, and ends with the bytes of the job that was left alone.
# 3. A job of a better partition takes the nodes: the same.
# 4. A rank is killed: its job is over within seconds, the log names it, and the requeued job ends with the same bytes.
# 5. A node loses its power: over within a minute, a rank of it named, same bytes.  6. So does the node where the job's script and rank 0 ran.
# 7. The link between the nodes is cut: the same.
# 8. scancel: a checkpoint, and the job does not come back.
# 9. The demo pipeline as a chain of jobs, to its report.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "SKIPPED: $*"; exit 0; }
fail() { echo "FAILED: $*" >&2; tail -n 40 "$dir"/*.log "$dir"/log/*.log >&2 2>/dev/null || true; exit 1; }
[ "$(id -u)" = 0 ] || skip "starting Slurm needs root"
bin=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)
[ -x "$bin/pretrain" ] || skip "$bin/pretrain is not built"
if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null || ! command -v ip >/dev/null; then
  apt-get install -y -qq --no-install-recommends slurm-wlm munge iproute2 >/dev/null 2>&1 || skip "slurm-wlm, munge and iproute2 cannot be installed"
fi
only=${ONLY:-1 2 3 4 5 6 7 8 9}
wanted() { case " $only " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

dir=$(mktemp -d)
. scripts/slurm/cluster.sh
trap 'cluster_stop; rm -rf "$dir"' EXIT
cluster_start "$dir" || fail "Slurm did not start"
echo "nodes: $(sinfo -h -N -p low -o '%N %T' | tr '\n' ' ')"

# A small model over a text of its own.
for i in $(seq 2000); do echo "The cat number $i sat on mat $((i * 7 % 13)) and said $((i * i % 97))."; done >"$dir/text.txt"
cat >"$dir/pretrain.toml" <<TOML
seed = 5
device = "cpu"
threads = 1
[model]
layers = 2
heads = 2
width = 64
context = 64
[tokenizer]
kind = "byte"
[data]
cache = "$dir/cache"
[[data.sources]]
path = "$dir/text.txt"
[train]
steps = ${STEPS:-240}
batch = 32
micro_batch = 8
[eval]
every = 60
max_rows = 16
[checkpoint]
every = 50
[distributed]
shard = "${SHARD:-none}"
TOML

export RLHF_BIN=$bin
job() { # name, further options of sbatch...
  local name=$1
  shift
  sbatch --parsable --chdir "$PWD" --job-name "$name" --output "$dir/$name.log" --nodes 2 --ntasks-per-node 2 "$@" \
    scripts/slurm/stage.sbatch pretrain "$dir/pretrain.toml" --out "$dir/$name"
}
state() { scontrol show job "$1" -o 2>/dev/null | grep -o 'JobState=[A-Z_]*' | cut -d= -f2; }
until_state() { # job, wanted states (a pattern), seconds
  local now waits=0
  for _ in $(seq $(($3 * 5))); do
    now=$(state "$1")
    if grep -qxE "$2" <<<"$now"; then return 0; fi
    case $now in FAILED | CANCELLED | TIMEOUT) fail "job $1: $now" ;; esac
    # A requeued job waits two minutes before it may begin; here four seconds, for its old credential to be gone.
    if [ "$now" = PENDING ]; then waits=$((waits + 1)); fi
    if [ "$waits" = 20 ]; then waits=0; scontrol update jobid="$1" StartTime=now 2>/dev/null || true; fi
    sleep 0.2
  done
  fail "job $1 is $(state "$1"), not $2, after $3 s"
}
steps() { grep -c '"lr"' "$dir/$1/metrics.jsonl" 2>/dev/null || true; }
until_steps() { for _ in $(seq 1800); do if [ "$(steps "$1")" -ge "$2" ] 2>/dev/null; then return 0; fi; sleep 0.1; done; fail "$1 has made $(steps "$1") steps"; }
until_said() { # name, pattern, seconds
  for _ in $(seq $(($3 * 10))); do if grep -qE "$2" "$dir/$1.log" 2>/dev/null; then return 0; fi; sleep 0.1; done
  fail "the log of $1 does not say \"$2\" after $3 s"
}
same() { cmp -s "$dir/whole/model/model.safetensors" "$dir/$1/model/model.safetensors" || fail "$1 ended with other weights than whole"; }
restarts() { scontrol show job "$1" -o | grep -o 'Restarts=[0-9]*'; }
clock() { date +%s%N; }
since() { awk -v a="$1" -v b="$(clock)" 'BEGIN { printf "%.1f s", (b - a) / 1e9 }'; }
words() { # what the log names, or where the script's own host is gone, what the controller does
  { grep -hoE "(no sign of life|no answer from|the process that serves)[^;]*" "$dir/$1.log" || grep -hE "[Nn]odes? n[12] not resp|JobId.*requeu" "$dir/log/slurmctld.log" | tail -n 2; } |
    sort -u | head -n 2 | sed 's/^/     /' || true
}

if [ "$only" != 9 ]; then
  began=$(clock)
  whole=$(job whole)
  until_state "$whole" COMPLETED 900
fi
if wanted 1; then
  echo "1. 2 nodes x 2 tasks: job $whole done in $(since "$began"), $(steps whole) steps"
  grep -q '"processes": 4' "$dir/whole/inputs.json" || fail "there were not four processes"
  "$bin/pretrain" --config "$dir/pretrain.toml" --out "$dir/single" 2>/dev/null
  python3 - "$dir" <<'PY'
import json, sys
def losses(run): return [r["loss"] for r in map(json.loads, open(f"{sys.argv[1]}/{run}/metrics.jsonl")) if "loss" in r]
one, four = losses("single"), losses("whole")
assert len(one) == len(four) > 0
first = max(abs(a - b) for a, b in zip(one[:20], four[:20]))
print(f"   against one process: losses of the first 20 steps differ by at most {first:.1e}, of all {len(one)} by at most "
      f"{max(abs(a - b) for a, b in zip(one, four)):.1e}")
assert first < 1e-4
PY
fi

if wanted 2; then
  left=$(job left)
  until_steps left 60
  began=$(clock)
  scancel --signal=USR1 "$left"
  until_said left 'stopped with a checkpoint, requeued' 60
  took=$(since "$began")
  at=$(steps left)
  until_state "$left" COMPLETED 900
  same left
  echo "2. USR1 after $at steps: checkpoint and requeue after $took ($(restarts "$left")), done, same bytes as the job left alone"
fi

if wanted 3; then
  low=$(job preempted)
  until_steps preempted 60
  began=$(clock)
  high=$(sbatch --parsable --partition high --nodes 2 --exclusive --output /dev/null --wrap 'sleep 2')
  until_said preempted 'stopped with a checkpoint, requeued' 60
  took=$(since "$began")
  until_state "$high" COMPLETED 120
  until_state "$low" COMPLETED 900
  same preempted
  echo "3. preempted by a job of a better partition: checkpoint and requeue after $took ($(restarts "$low")), done, same bytes"
fi

if wanted 4; then
  killed=$(job killed)
  until_steps killed 80
  victim=
  for pid in $(node_pids n2); do
    if grep -qx pretrain "/proc/$pid/comm" 2>/dev/null && tr '\0' '\n' <"/proc/$pid/environ" | grep -qx SLURM_PROCID=2; then victim=$pid; fi
  done
  [ -n "$victim" ] || fail "no process of rank 2"
  began=$(clock)
  kill -KILL "$victim"
  until_said killed 'exit code .*requeued' 90
  took=$(since "$began")
  grep -q 'no sign of life from rank 2' "$dir/killed.log" || fail "the log does not name rank 2"
  until_state "$killed" COMPLETED 900
  same killed
  echo "4. rank 2 killed: job over and requeued after $took, named by the others, done, same bytes"
  words killed
fi

ranks_left() {
  local pid
  for pid in $(node_pids n1) $(node_pids n2); do
    if grep -qx pretrain "/proc/$pid/comm" 2>/dev/null; then return 0; fi
  done
  return 1
}
# name, node, how it goes: the job must be over within a minute, and its log name what is gone; then all comes back.
lost() {
  local name=$1 node=$2 how=$3 number took said
  number=$(job "$name")
  until_steps "$name" 80
  began=$(clock)
  if [ "$how" = power ]; then node_power_cut "$node"; else node_wire "$node" down; fi
  # Over: no rank of it is left on any node that has power.
  for _ in $(seq 900); do
    if ! ranks_left; then break; fi
    sleep 0.1
  done
  took=$(since "$began")
  [ "${took%.*}" -lt 60 ] || fail "$name: ranks were still there after $took"
  until_state "$number" 'PENDING|COMPLETING|REQUEUED|RUNNING' 120
  node_wire "$node" up
  [ "$how" != power ] || node_start "$node"
  nodes_ready_or_busy
  until_state "$number" COMPLETED 900
  same "$name"
  echo "   all ranks gone after $took, $(restarts "$number"), went on with the node back, done after $(since "$began"), same bytes"
  words "$name"
}
nodes_ready_or_busy() { # a node that was lost must register again
  for _ in $(seq 300); do
    if ! sinfo -h -N -p low -o %T | grep -qE 'down|unk|\*'; then return 0; fi
    scontrol update nodename=n1,n2 state=resume 2>/dev/null || true
    sleep 0.2
  done
  fail "nodes did not come back: $(sinfo -h -N -o '%N %T')"
}
if wanted 5; then echo "5. node n2 (ranks 2 and 3) without power"; lost node2 n2 power; fi
if wanted 6; then echo "6. node n1 (ranks 0 and 1, the job's script) without power"; lost node1 n1 power; fi
if wanted 7; then echo "7. link to n2 cut"; lost link n2 wire; fi

if wanted 8; then
  ended=$(job ended)
  until_steps ended 60
  scancel "$ended"
  until_state "$ended" CANCELLED 60
  [ "$(restarts "$ended")" = Restarts=0 ] || fail "ended came back: $(restarts "$ended")"
  ls "$dir"/ended/checkpoints/* >/dev/null 2>&1 || fail "ended left no checkpoint"
  echo "8. scancel after $(steps ended) steps: a checkpoint, and the job is cancelled ($(restarts "$ended"))"
fi

if wanted 9; then
  cp -r configs/demo "$dir/demo"
  sed -i "s#runs/demo#$dir/runs/demo#" "$dir"/demo/*.toml
  if [ "${DEMO:-short}" != full ]; then
    sed -i 's/^epochs = .*/epochs = 1/; s/^rounds = .*/rounds = 10/' "$dir"/demo/*.toml
  fi
  nodes_ready 120 || fail "nodes are not idle"
  began=$(clock)
  RUNS=$dir/runs scripts/slurm/pipeline.sh "$dir/demo" --nodes 2 --ntasks-per-node 2 --cpus-per-task 1 >"$dir/chain.txt"
  last=$(tail -n 1 "$dir/chain.txt" | cut -d' ' -f1)
  until_state "$last" COMPLETED 3600
  [ -f "$dir/runs/demo/report.json" ] || fail "the pipeline ended without a report"
  grep -q '"processes": 4' "$dir/runs/demo/ppo/inputs.json" || fail "ppo was not run by four processes"
  echo "9. demo pipeline (${DEMO:-short}), $(wc -l <"$dir/chain.txt") dependent jobs: report after $(since "$began")"
  python3 - "$dir/runs/demo/report.json" <<'PY'
import json, sys
r = json.load(open(sys.argv[1]))
print("   " + ", ".join(f"{s}.{k} = {r[s][k]:.3f}" for s, k in [("pretrain", "bits_per_byte"), ("sft", "eval_loss"), ("reward", "accuracy"), ("ppo", "win_rate")]))
PY
fi
