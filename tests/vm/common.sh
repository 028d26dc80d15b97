# Sourced by the scripts that run as root in a guest. Every step prints `ok` or `FAIL`; a script that came to its end
# prints `done` last.
exec 2>&1
unit=hostward
state=/var/lib/hostward
bad=0

check() { # NAME COMMAND…
    local name=$1 began=$SECONDS said
    shift
    if said=$("$@" 2>&1); then
        echo "ok   $name ($((SECONDS - began)) s)"
    else
        echo "FAIL $name: $*"
        printf '%s\n' "$said" | tail -n 40 | sed 's/^/     /'
        bad=1
    fi
}
# For what the rest cannot go without.
must() {
    check "$@"
    [ $bad = 0 ] || { journalctl -u $unit --no-pager | tail -n 30; exit 1; }
}
# Under emulation everything takes ten times longer: wait, up to half a minute.
soon() {
    local n=0
    until "$@" >/dev/null 2>&1; do
        n=$((n + 1))
        [ $n -lt 60 ] || { "$@"; return; }
        sleep 0.5
    done
}
exits_with() { # CODE COMMAND…
    local wanted=$1 got=0
    shift
    "$@" || got=$?
    [ "$got" = "$wanted" ] || { echo "exit code $got, not $wanted"; return 1; }
}
in_feed() { grep -q "$1" $state/events.jsonl; }
alert_of() { grep '"kind":"alert"' $state/events.jsonl | grep -q "$1"; }

echo "guest: $(uname -r), systemd $(systemctl --version | awk 'NR == 1 {print $2}')"
# apt resolves the dependencies from what is installed: there is no network.
export DEBIAN_FRONTEND=noninteractive
