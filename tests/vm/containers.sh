#!/bin/bash
# Pods of a real containerd under systemd, and the package that names them, on the cgroups that the guest was booted
# with. Beside it: common.sh, cri.sh, hostward.deb, busybox.tar, pause.tar. The test reads the events.
. ./common.sh
. ./cri.sh

case $(stat -fc %T /sys/fs/cgroup) in
cgroup2fs) mode=v2 ;;
*) mode=$(stat -fc %T /sys/fs/cgroup/unified 2>/dev/null | grep -qx cgroup2fs && echo hybrid || echo v1) ;;
esac
echo "cgroups: $mode"

# --- the runtime, as a node has it: the driver that makes systemd's scopes
mkdir -p /etc/containerd
cat > /etc/containerd/config.toml <<'TOML'
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.6"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
TOML
must "containerd starts" systemctl start containerd
for image in busybox pause; do
    must "the image $image is there" ctr -n k8s.io images import $image.tar
done

# --- the agent, installed beside it (by apt, which takes longer, it is in life.sh). Emulated, containerd takes ten
# times as long to answer: so long may it take, and events wait.
mkdir -p /etc/hostward/conf.d
printf '[enrich]\ncontext_wait_ms = 20000\n[runtime]\ntimeout_ms = 20000\n[telemetry]\ncgroup = true\n' > /etc/hostward/conf.d/emulated.toml
must "dpkg installs" dpkg --install hostward.deb
must "the service becomes active" soon systemctl is-active $unit
source_is_ok() { hostward workloads --json | tr -d ' \n' | grep -q '"source":"cri","at":"/run/containerd/containerd.sock","state":"ok"'; }
must "it found the socket of containerd" soon source_is_ok
check "hostward status says ok" soon exits_with 0 hostward status
hostward status | sed 's/^/     /'

# --- a pod with a container that stays, and one that is gone at once
uid=f4bcdb5f-4b5b-4b5b-9d5c-0123456789ab
pod=$(cri_pod web-1 $uid kubepods-besteffort-pod${uid//-/_}.slice)
into() { local file=$1; shift; "$@" > "$file" && [ -s "$file" ]; }
must "the pod runs" into "$OUT/sandbox" cri_sandbox "$pod"
sandbox=$(cat "$OUT/sandbox")
must "its container runs" into "$OUT/stays" cri_start "$pod" "$sandbox" stays /bin/sleep 1000
check "another one starts" cri_start "$pod" "$sandbox" short /bin/uname

# --- and programs of the host: in a unit, and in the session of a user
cp /bin/true /usr/local/bin/in-unit
cp /bin/true /usr/local/bin/in-session
check "a unit runs" systemd-run --quiet --wait --unit=probe /usr/local/bin/in-unit
useradd --create-home alice
check "a session runs" systemd-run --quiet --wait --property=PAMName=login --property=User=alice /usr/local/bin/in-session

check "the container's event is in the feed" soon in_feed '"name":"short"'
check "the unit's event is in the feed" soon in_feed '"executable":"/usr/local/bin/in-unit"'
check "the session's event is in the feed" soon in_feed '"executable":"/usr/local/bin/in-session"'
hostward workloads --json > "$OUT/workloads.json"
hostward workloads | sed 's/^/     /'
hostward status --json > "$OUT/status.json"
cp $state/events.jsonl "$OUT/events.jsonl"
journalctl -u $unit --no-pager > "$OUT/journal.txt"
echo done
exit $bad
