# A Slurm of two nodes on this machine, for scripts/slurm-check.sh to source: a controller here, and two hosts n1 and n2, each a network namespace with a name
# of its own behind a bridge (10.77.0.254, .1, .2). Needs root, slurm-wlm, munge, iproute2.
#
#   cluster_start DIR     starts it; SLURM_CONF then names its configuration
#   node_power_cut NODE   the wire first, then every process of the node: nobody hears it die
#   node_wire NODE down|up
#   node_start NODE       (again)
#   cluster_stop          ends what was started, and only that

cluster_pids=()

node_start() {
  # nsenter, since `ip netns exec` would hide /sys/fs/cgroup, without which slurmd does not start.
  nsenter --net="/run/netns/rlhf-$1" unshare --uts --mount bash -c "
    hostname $1 && mount --bind '$cluster_dir/hosts' /etc/hosts && exec slurmd -D -f '$SLURM_CONF' -N $1" >>"$cluster_dir/log/$1.out" 2>&1 &
  cluster_pids+=($!)
  disown $! # the shell need not tell how it ends
}
node_wire() { ip link set "rlhf-$1" "$2"; }
node_pids() { ip netns pids "rlhf-$1" 2>/dev/null || true; }
node_power_cut() {
  node_wire "$1" down
  node_pids "$1" | xargs -r kill -KILL 2>/dev/null || true
}
nodes_ready() { # seconds
  for _ in $(seq $(($1 * 5))); do
    if [ "$(sinfo -h -N -p low -o %T 2>/dev/null | sort -u)" = idle ]; then return 0; fi
    scontrol update nodename=n1,n2 state=resume 2>/dev/null || true
    sleep 0.2
  done
  return 1
}

cluster_start() {
  cluster_dir=$1
  export SLURM_CONF=$cluster_dir/slurm.conf
  mkdir -p "$cluster_dir"/{state,spool/n1,spool/n2,log}
  local host
  host=$(hostname -s)
  printf '127.0.0.1 localhost\n10.77.0.254 %s\n10.77.0.1 n1\n10.77.0.2 n2\n' "$host" >"$cluster_dir/hosts"
  ip link add rlhf-br type bridge
  ip addr add 10.77.0.254/24 dev rlhf-br
  ip link set rlhf-br up
  for i in 1 2; do
    ip netns add "rlhf-n$i"
    ip link add "rlhf-n$i" type veth peer name eth0 netns "rlhf-n$i"
    ip link set "rlhf-n$i" master rlhf-br up
    ip -n "rlhf-n$i" addr add "10.77.0.$i/24" dev eth0
    ip -n "rlhf-n$i" link set eth0 up
    ip -n "rlhf-n$i" link set lo up
  done
  cat >"$SLURM_CONF" <<CONF
ClusterName=check
SlurmctldHost=$host(10.77.0.254)
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
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
# A node that does not answer for so long is down, and jobs whose script ran there are requeued; 300 s unless a site says otherwise.
SlurmdTimeout=30
StateSaveLocation=$cluster_dir/state
SlurmdSpoolDir=$cluster_dir/spool/%n
SlurmctldPidFile=$cluster_dir/slurmctld.pid
SlurmdPidFile=$cluster_dir/slurmd.%n.pid
SlurmctldLogFile=$cluster_dir/log/slurmctld.log
SlurmdLogFile=$cluster_dir/log/slurmd.%n.log
SlurmctldPort=16817
SlurmdPort=17001
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=5
MinJobAge=600
NodeName=n1 NodeHostname=n1 NodeAddr=10.77.0.1 CPUs=4 RealMemory=2000 State=UNKNOWN
NodeName=n2 NodeHostname=n2 NodeAddr=10.77.0.2 CPUs=4 RealMemory=2000 State=UNKNOWN
PartitionName=low Nodes=n[1-2] Default=YES MaxTime=60 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=n[1-2] MaxTime=60 State=UP PriorityTier=10 PreemptMode=OFF
CONF
  install -d -o munge -g munge -m755 /run/munge
  if ! pgrep -x munged >/dev/null; then
    runuser -u munge -- /usr/sbin/munged --foreground >"$cluster_dir/log/munged.log" 2>&1 &
    cluster_pids+=($!)
  fi
  for _ in $(seq 100); do [ ! -S /run/munge/munge.socket.2 ] || break; sleep 0.1; done
  slurmctld -D -f "$SLURM_CONF" >"$cluster_dir/log/ctl.out" 2>&1 &
  cluster_pids+=($!)
  node_start n1
  node_start n2
  nodes_ready 30
}

cluster_stop() {
  [ -z "${SLURM_CONF:-}" ] || scancel --full -u root >/dev/null 2>&1 || true
  for i in 1 2; do node_pids "n$i" | xargs -r kill -KILL 2>/dev/null || true; done
  for pid in "${cluster_pids[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
  for i in 1 2; do ip netns del "rlhf-n$i" 2>/dev/null || true; done
  ip link del rlhf-br 2>/dev/null || true
}
