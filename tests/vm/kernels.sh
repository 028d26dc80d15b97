# The sensor's own tests on this kernel, which has trampolines: every system call is seen at its function.
exec 2>&1
echo "guest: $(uname -r), $(cat /sys/kernel/security/lsm)"
cd "$SHARE" || exit 1
export HOSTWARD_REQUIRE=kernel HOSTWARD_TRAMPOLINES=1
bad=0
# Attaching to all functions takes the emulated machine long, so not all of the tests run here.
for test in plans::the_ladder_tells_what_is_attached catalogue::every_call_of_the_table_is_told \
    plans::programs_stay_within_their_verifier_budget calls::opens_are_told_with_flags_result_and_file \
    calls::connects_are_told_with_addresses_and_result; do
    began=$SECONDS
    if said=$(./sensor-tests --exact $test --nocapture) && ! grep -q '^skipped' <<< "$said"; then
        echo "ok   $test ($((SECONDS - began)) s)"
    else
        echo "FAIL $test"
        bad=1
    fi
    printf '%s\n' "$said" | sed 's/^/     /'
done
echo done
exit $bad
