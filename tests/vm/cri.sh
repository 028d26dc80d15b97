# Sourced. The few calls of a kubelet to containerd's CRI: gRPC, by curl, so that nothing has to be built for the guest.
# The messages are those of k8s.io/cri-api, pkg/apis/runtime/v1/api.proto, written here in hexadecimal.

cri_text() { printf %s "$1" | od -An -v -tx1 | tr -d ' \n'; }
# A length in protobuf's base 128, below 16384.
cri_length() { if [ "$1" -lt 128 ]; then printf %02x "$1"; else printf %02x%02x $(($1 % 128 + 128)) $(($1 / 128)); fi; }
# NUMBER HEX…: a field that holds a message, all of HEX. NUMBER TEXT: one that holds text.
cri_message() { local n=$1 hex; shift; printf -v hex %s "$@"; printf %02x $((n * 8 + 2)); cri_length $((${#hex} / 2)); printf %s "$hex"; }
cri_string() { cri_message "$1" "$(cri_text "$2")"; }
cri_number() { printf %02x%02x $(($1 * 8)) "$2"; }
# An entry of a map of texts.
cri_pair() { cri_message "$1" "$(cri_string 1 "$2")" "$(cri_string 2 "$3")"; }

# METHOD HEX…: calls it, prints the ids of 64 digits in its answer.
cri_call() {
    local method=$1 hex
    shift
    printf -v hex %s "$@"
    # A frame of gRPC: not compressed, length, message.
    printf '00%08x%s' $((${#hex} / 2)) "$hex" | sed 's/../\\x&/g' | xargs -0 printf > /run/cri.request
    curl --silent --show-error --http2-prior-knowledge --unix-socket "${CRI_SOCKET:-/run/containerd/containerd.sock}" \
        --header 'content-type: application/grpc' --header 'te: trailers' --data-binary @/run/cri.request \
        --dump-header /run/cri.headers --output /run/cri.answer "http://cri/runtime.v1.RuntimeService/$method" || return
    # In the headers stand the trailers, too, in which gRPC tells how it went.
    grep -qi '^grpc-status: 0' /run/cri.headers || { cat /run/cri.headers >&2; return 1; }
    grep -aoE '[0-9a-f]{64}' /run/cri.answer || true
}

# NAME UID CGROUP_PARENT: PodSandboxConfig of a pod in the namespace prod, on the node's network.
cri_pod() {
    local namespaces
    namespaces=$(cri_number 1 2) # network: NODE
    cri_message 1 "$(cri_string 1 "$1")" "$(cri_string 2 "$2")" "$(cri_string 3 prod)"
    cri_string 3 /run/pods
    cri_pair 6 app web
    cri_pair 7 hostward.io/owner team-a
    cri_message 8 "$(cri_string 1 "$3")" "$(cri_message 2 "$(cri_message 1 "$namespaces")")"
}

# POD: starts its sandbox, prints the id.
cri_sandbox() { cri_call RunPodSandbox "$(cri_message 1 "$1")"; }

# POD SANDBOX NAME COMMAND…: starts a container, prints its id.
cri_start() {
    local pod=$1 sandbox=$2 name=$3 command='' id
    shift 3
    for id; do command+=$(cri_string 3 "$id"); done
    id=$(cri_call CreateContainer "$(cri_string 1 "$sandbox")" "$(cri_message 2 "$(cri_message 1 "$(cri_string 1 "$name")")" \
        "$(cri_message 2 "$(cri_string 1 docker.io/bench/busybox:1)")" "$command" "$(cri_pair 9 tier front)")" \
        "$(cri_message 3 "$pod")") || return
    cri_call StartContainer "$(cri_string 1 "$id")" && printf '%s\n' "$id"
}
