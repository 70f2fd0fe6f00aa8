#!/usr/bin/env bash
# Shows the batch jobs at work on a real Slurm: a controller and two nodes, started here for the time of this script.
#
#   scripts/slurm-check.sh          needs root and slurm-wlm, munge (it installs them with apt-get), and target/release/pretrain
#
# 1. sbatch over 2 nodes x 2 tasks trains to the end, and takes the steps of a single process.
# 2. A job that is told to leave (USR1) writes a checkpoint, is requeued, goes on, and ends with the bytes of the job that was left alone.
# 3. A rank that is killed ends its job within seconds, is named in the log, and the requeued job ends with the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "SKIPPED: $*"; exit 0; }
fail() { echo "FAILED: $*" >&2; tail -n 30 "$dir"/*.log >&2 2>/dev/null || true; exit 1; }
[ "$(id -u)" = 0 ] || skip "starting Slurm needs root"
bin=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)
[ -x "$bin/pretrain" ] || skip "$bin/pretrain is not built"
if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
  apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null 2>&1 || skip "slurm-wlm and munge cannot be installed"
fi

dir=$(mktemp -d)
pids=()
finish() {
  [ -z "${SLURM_CONF:-}" ] || scancel --full -u root >/dev/null 2>&1 || true
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap finish EXIT

host=$(hostname -s)
export SLURM_CONF=$dir/slurm.conf
mkdir -p "$dir"/{state,spool/n1,spool/n2,log}
cat >"$SLURM_CONF" <<CONF
ClusterName=check
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
ReturnToService=2
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
SlurmctldPort=16817
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=5
MinJobAge=300
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=4 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=20 State=UP OverSubscribe=YES
CONF

install -d -o munge -g munge -m755 /run/munge
if ! pgrep -x munged >/dev/null; then
  runuser -u munge -- /usr/sbin/munged --foreground >"$dir/log/munged.log" 2>&1 & pids+=($!)
fi
for _ in $(seq 100); do [ ! -S /run/munge/munge.socket.2 ] || break; sleep 0.1; done
slurmctld -D -f "$SLURM_CONF" >"$dir/log/ctl.out" 2>&1 & pids+=($!)
for n in n1 n2; do slurmd -D -f "$SLURM_CONF" -N $n >"$dir/log/$n.out" 2>&1 & pids+=($!); done
for _ in $(seq 300); do [ "$(sinfo -h -o %T 2>/dev/null | sort -u)" != idle ] || break; sleep 0.1; done
sinfo -h -N -o '%N %T' || fail "Slurm did not start: $(tail -n 5 "$dir"/log/*)"

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
steps = ${STEPS:-400}
batch = 32
micro_batch = 8
[eval]
every = 100
max_rows = 16
[checkpoint]
every = 50
TOML

export RLHF_BIN=$bin MASTER_ADDR=127.0.0.1 # the nodes' names do not resolve here
job() { # name, further options of sbatch...
  local name=$1
  shift
  sbatch --parsable --chdir "$PWD" --job-name "$name" --output "$dir/$name.log" --nodes 2 --ntasks-per-node 2 "$@" \
    scripts/slurm/stage.sbatch pretrain "$dir/pretrain.toml" --out "$dir/$name"
}
state() { scontrol show job "$1" -o 2>/dev/null | grep -o 'JobState=[A-Z_]*' | cut -d= -f2; }
until_state() { # job, wanted states (a pattern), seconds
  for _ in $(seq $(($3 * 5))); do
    if state "$1" | grep -qxE "$2"; then return 0; fi
    # A requeued job waits two minutes before it may begin; not here.
    if [ "$(state "$1")" = PENDING ]; then scontrol update jobid="$1" StartTime=now 2>/dev/null || true; fi
    sleep 0.2
  done
  fail "job $1 is $(state "$1"), not $2, after $3 s"
}
steps() { grep -c '"lr"' "$dir/$1/metrics.jsonl" 2>/dev/null || true; }
until_steps() { for _ in $(seq 1200); do if [ "$(steps "$1")" -ge "$2" ] 2>/dev/null; then return 0; fi; sleep 0.1; done; fail "$1 has made $(steps "$1") steps"; }
same() { cmp -s "$dir/whole/model/model.safetensors" "$dir/$1/model/model.safetensors" || fail "$1 ended with other weights than whole"; }

began=$(date +%s%N)
whole=$(job whole)
until_state "$whole" COMPLETED 600
echo "1. 2 nodes x 2 tasks: job $whole done in $((($(date +%s%N) - began) / 1000000)) ms, $(steps whole) steps"
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

left=$(job left)
until_steps left 60
scancel --signal=USR1 "$left"
for _ in $(seq 300); do ! grep -q 'requeued' "$dir/left.log" 2>/dev/null || break; sleep 0.1; done
grep -q 'stopped with a checkpoint, requeued' "$dir/left.log" || fail "USR1 did not lead to exit code 75 and a requeue"
at=$(steps left)
until_state "$left" COMPLETED 600
restarts=$(scontrol show job "$left" -o | grep -o 'Restarts=[0-9]*')
same left
echo "2. USR1 after $at steps: requeued ($restarts), done, same bytes as the job left alone"

killed=$(job killed)
until_steps killed 120
victim=$(pgrep -f "^$bin/pretrain .*$dir/killed" | while read -r pid; do tr '\0' '\n' <"/proc/$pid/environ" | grep -qx SLURM_PROCID=2 && echo "$pid"; done | head -n 1)
[ -n "$victim" ] || fail "no process of rank 2"
began=$(date +%s%N)
kill -KILL "$victim"
for _ in $(seq 900); do ! grep -q 'exit code .*requeued' "$dir/killed.log" 2>/dev/null || break; sleep 0.1; done
took=$((($(date +%s%N) - began) / 1000000))
grep -q 'exit code .*requeued' "$dir/killed.log" || fail "the job did not end after rank 2 was killed"
grep -q 'no sign of life from rank 2' "$dir/killed.log" || fail "the log does not name rank 2"
until_state "$killed" COMPLETED 600
same killed
echo "3. rank 2 killed: job over and requeued after $took ms, named by the others, done, same bytes"
grep -h 'no sign of life' "$dir/killed.log" | head -n 1 | sed 's/^/   /'
