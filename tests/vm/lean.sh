#!/bin/bash
# The reduced sensor, and the package with it, on a kernel that lets no program read its memory. Beside it: common.sh,
# hostward.deb and the sensor's tests.
. ./common.sh

says() { # PATTERN COMMAND…
    local pattern=$1
    shift
    "$@" | grep -q -- "$pattern"
}

must "the kernel is locked down" grep -q '\[confidentiality\]' /sys/kernel/security/lockdown
export HOSTWARD_REQUIRE=kernel HOSTWARD_LEAN=1
# Whenever a program comes to a function, the kernel tells none there of the return of a call that is under way. So this one
# goes alone, and the others at once, as each waits for the kernel most of the time.
connects=lean::connects_and_their_ends_are_told
check "the sensor's test of connects" ./sensor-tests --exact $connects
check "the sensor's other tests" ./sensor-tests lean:: --skip $connects --test-threads=5

must "apt installs" apt-get install -y ./hostward.deb
must "the service becomes active" soon systemctl is-active $unit
check "status says that the sensor is reduced" soon says 'reduced sensor' hostward status
check "so does the journal" says 'reduced sensor' journalctl -u $unit --no-pager
check "doctor says why" says 'lockdown.*confidentiality' hostward doctor
hostward status | sed 's/^/     /'

cp /bin/true /tmp/canary
check "the canary runs" /tmp/canary
check "its alert is in the feed" soon alert_of /tmp/canary
cp /bin/cat /usr/local/bin/stray
check "the stray reader reads" sh -c '/usr/local/bin/stray /etc/shadow > /dev/null'
check "its alert is in the feed" soon alert_of /etc/shadow

before=$(systemctl show -P MainPID $unit)
check "reload" systemctl reload $unit
check "reload keeps the process" test "$(systemctl show -P MainPID $unit)" = "$before"
check "stop" systemctl stop $unit
check "it ended well" test "$(systemctl show -P Result $unit)" = success
echo done
exit $bad
