# The sensor's own tests on this kernel, which has trampolines: every system call is seen at its function.
exec 2>&1
echo "guest: $(uname -r), $(cat /sys/kernel/security/lsm)"
cd "$SHARE" || exit 1
export HOSTWARD_REQUIRE=kernel HOSTWARD_TRAMPOLINES=1
bad=0
# Attaching to all functions takes the emulated machine long, so not all of the tests run here, and some on one kernel.
tests='paths::paths_of_calls_are_those_that_the_kernel_used
    plans::the_ladder_tells_what_is_attached catalogue::every_call_of_the_table_is_told
    plans::programs_stay_within_their_verifier_budget calls::opens_are_told_with_flags_result_and_file
    calls::connects_are_told_with_addresses_and_result
    ignored::an_ignored_program_is_not_told_but_its_start_and_end_are
    closes::a_written_file_is_told_once_by_its_last_close'
case $(uname -r) in
    6.1.*) tests="$tests
        ignored::ignored_connects_are_those_that_went_out
        closes::closes_are_told_of_wanted_names_while_somebody_wants_them closes::ignored_closes_are_counted
        ignored::an_ignored_path_is_the_kernels_and_not_the_arguments
        paths::names_are_looked_for_in_the_paths_that_the_kernel_used
        laws::a_path_rewritten_during_an_unlink_does_not_hide_the_file network::a_connection_ends_with_its_bytes
        datagrams::a_process_sends_to_an_address_for_the_first_time_once
        datagrams::a_question_and_its_answer_are_the_askers plans::a_program_dies_at_exec_by_path_or_name" ;;
esac
for test in $tests; do
    began=$(date +%s)
    case $test in laws::*) program=./sensor-attacks ;; *) program=./sensor-tests ;; esac
    # What a kernel does not tell it cannot be asked.
    if said=$("$program" --exact $test --nocapture) &&
        ! printf '%s\n' "$said" | grep '^skipped' | grep -qv 'before 5.16) does not tell'; then
        echo "ok   $test ($(( $(date +%s) - began )) s)"
    else
        echo "FAIL $test"
        bad=1
    fi
    printf '%s\n' "$said" | sed 's/^/     /'
done
echo done
exit $bad
