#!/bin/bash
# The package's life from install to purge. Beside it: common.sh and hostward.deb.
. ./common.sh

main_pid() { systemctl show -P MainPID $unit; }
status_line() { systemctl show -P StatusText $unit; }
says_something() { [ -n "$(status_line)" ]; }
new_pid() { local now; now=$(main_pid); [ "$now" != 0 ] && [ "$now" != "$1" ]; }

# --- install
must "apt installs" apt-get install -y ./hostward.deb
check "the service is enabled" systemctl is-enabled $unit
must "the service becomes active" soon systemctl is-active $unit
check "it has a status line" soon says_something
echo "     $(status_line)"
systemctl status $unit --no-pager --lines 5 | sed 's/^/     /'
check "the group is there" getent group hostward
check "hostward status says ok" soon exits_with 0 hostward status
hostward status | sed 's/^/     /'
check "the unit is sound" systemd-analyze verify hostward.service

# --- an alert: a program that nobody installed, run from /tmp
cp /bin/true /tmp/canary
check "the canary runs" /tmp/canary
check "its alert is in the feed" soon alert_of /tmp/canary

# --- and one from another hook: the password file, opened by a program that has no business there
cp /bin/cat /usr/local/bin/stray
check "the stray reader reads" sh -c '/usr/local/bin/stray /etc/shadow > /dev/null'
check "its alert is in the feed" soon alert_of /etc/shadow

# --- reload: the same process, good files; bad files are refused and the agent goes on
before=$(main_pid)
check "reload" systemctl reload $unit
sleep 1
check "reload keeps the process" test "$(main_pid)" = "$before"
mkdir -p /etc/hostward/conf.d
echo 'unknown_key = 1' > /etc/hostward/conf.d/bad.toml
check "reload of a faulty file fails" exits_with 1 systemctl reload $unit
check "the agent goes on" test "$(main_pid)" = "$before"
check "restart with a faulty file fails" exits_with 1 systemctl restart $unit
sleep 5
check "it stays failed" test "$(systemctl show -P SubState $unit)" = failed
check "it is not restarted" test "$(systemctl show -P NRestarts $unit)" = 0
check "the journal says which file and key" sh -c "journalctl -u $unit --no-pager | grep -q 'bad.toml.*unknown_key'"
rm /etc/hostward/conf.d/bad.toml
systemctl reset-failed $unit
check "start after the repair" systemctl start $unit

# --- alerts in the journal, and the spool between; a layer's sinks replace those below it
cat > /etc/hostward/conf.d/sinks.toml <<'TOML'
[[sink]]
type = "file"
[[sink]]
name = "journal"
type = "journald"
filter = "event.kind = alert"
TOML
check "the journal is reached" hostward config check --connect
check "restart with two sinks" systemctl restart $unit
cp /bin/true /tmp/canary-journal
check "the canary of the journal runs" /tmp/canary-journal
# As docs/sinks.md has it; without --all a value above 4 KiB is null. A grep that ends early would break the pipe.
alert_entry() { journalctl --no-pager -o json --all "$@" | grep 'HOSTWARD_RECORD.*canary-journal' > /dev/null; }
check "its alert is in the journal" soon alert_entry -t hostward
check "it is found by its kind" alert_entry MESSAGE_ID=4b3cf7b8a7dd4d878978430a6645fbc2
check "it is found by its rule" alert_entry HOSTWARD_RULE="Execution from a world-writable directory"
check "it is found by its priority" alert_entry -t hostward -p warning
check "it is not found among what is worse" exits_with 1 alert_entry -t hostward -p err
check "status tells its delivery" soon sh -c "hostward status | grep -q 'sink journal .* ok (healthy); [1-9].* 0 waiting + 0 in flight'"
check "nothing waits in the spool" soon sh -c "hostward spool status | grep 'sink journal' | grep -q ' 0 waiting'"
check "the spool is whole" hostward spool check
# For the test to compare: what the sink says it delivered, before and after, and what is there.
hostward status --json > "$OUT/before.json"
journalctl -u $unit -o json --all --no-pager > "$OUT/journal.json"
sleep 2 # a status is made once a second
hostward status --json > "$OUT/after.json"
rm /etc/hostward/conf.d/sinks.toml

# --- restart and kill
before=$(main_pid)
# The sinks are those of the package again.
check "restart" systemctl restart $unit
check "another process" new_pid "$before"
before=$(main_pid)
kill -9 "$before"
check "systemd brings it back after kill -9" soon new_pid "$before"
check "active again" soon systemctl is-active $unit
check "hostward status says ok again" soon exits_with 0 hostward status
cp /bin/true /tmp/canary-2
check "the second canary runs" /tmp/canary-2
check "it sees events again" soon alert_of /tmp/canary-2
check "the first alert is still there" alert_of '/tmp/canary"'

# --- pinned programs go on while no agent runs
printf '[sensor]\npersist = true\n' > /etc/hostward/conf.d/persist.toml
check "restart with pins" systemctl restart $unit
check "the programs are pinned" test -d /sys/fs/bpf/hostward
check "hostward status says so" sh -c "hostward status | grep -q 'pinned at /sys/fs/bpf/hostward'"
check "stop" systemctl stop $unit
cp /bin/true /tmp/canary-alone
check "the canary runs while no agent does" /tmp/canary-alone
check "start" systemctl start $unit
check "its alert is in the feed" soon alert_of /tmp/canary-alone
check "what was read is told" in_feed backlog_read

# --- a configuration edited by hand survives the same package again
echo '# edited by hand' >> /etc/hostward/hostward.toml
check "install again" apt-get install -y --reinstall ./hostward.deb
check "the edited file is kept" grep -q 'edited by hand' /etc/hostward/hostward.toml
check "active after the upgrade" soon systemctl is-active $unit

cp $state/events.jsonl "$OUT/events.jsonl"
ls -la $state /run/hostward > "$OUT/files.txt"
systemd-analyze security $unit --no-pager > "$OUT/security.txt"
systemctl show -p MemoryCurrent,MemoryPeak,CPUUsageNSec,TasksCurrent $unit > "$OUT/usage.txt"

# --- remove keeps the state and the configuration, purge deletes both
check "remove" apt-get remove -y hostward
check "not active" exits_with 3 systemctl is-active $unit
check "removal keeps the state" test -s $state/events.jsonl
check "removal takes the pins away" test ! -e /sys/fs/bpf/hostward
check "removal keeps the configuration" test -f /etc/hostward/hostward.toml
check "purge" apt-get purge -y hostward
check "purge deletes the state" test ! -e $state
check "purge deletes the configuration" test ! -e /etc/hostward
check "nothing of it runs" exits_with 1 pgrep -x hostward

journalctl -u $unit --no-pager > "$OUT/journal.txt"
echo done
exit $bad
