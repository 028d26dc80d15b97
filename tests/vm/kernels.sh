# The sensor's own tests on this kernel, which has trampolines: every system call is seen at its function.
exec 2>&1
echo "guest: $(uname -r), $(cat /sys/kernel/security/lsm)"
cd "$SHARE" || exit 1
export HOSTWARD_REQUIRE=kernel HOSTWARD_TRAMPOLINES=1
# What a kernel does not tell it cannot be asked.
passes() { # PROGRAM THREADS TEST…
    local program=$1 threads=$2 began said
    shift 2
    began=$(date +%s)
    said=$("$program" --exact "$@" --show-output --test-threads="$threads") || bad=1
    printf '%s\n' "$said"
    ! printf '%s\n' "$said" | grep '^skipped' | grep -v 'before 5.16) does not tell' || bad=1
    printf '%s\n' "$said" | grep -q "^test result: ok. $# passed" || bad=1
    [ $bad = 0 ] && echo "ok   $program ($(($(date +%s) - began)) s)" || echo "FAIL $program"
}

bad=0
# Attaching to all functions takes the emulated machine long, so not all of the tests run here, and some on one kernel.
tests='paths::paths_of_calls_are_those_that_the_kernel_used
    plans::the_ladder_tells_what_is_attached_within_its_verifier_budget catalogue::every_call_of_the_table_is_told
    calls::opens_are_told_with_flags_result_and_file names::opens_are_told_by_the_names_on_their_way_up
    preempted::calls_of_tasks_that_preempt_each_other_are_told_apart
    calls::connects_are_told_with_addresses_and_result
    ia32::calls_of_i386_are_told_as_the_machines_own
    ignored::an_ignored_program_is_not_told_but_its_start_and_end_are
    closes::a_written_file_is_told_once_by_its_last_close
    network::a_connection_ends_with_its_bytes network::an_accepted_connection_is_the_servers
    persist_calls::the_next_agent_brings_its_plan_and_what_both_want_stays_attached'
# Where a task is preempted in the middle of a program, the kernel skips that of the next one and counts it: of thousands of
# events some are missed, so those that are to be told to the last are tried where nothing is. And alone: whenever a program
# comes to a function or goes, the kernel tells none there of the return of a call that is under way, and counts nothing.
case $(uname -r) in
5.10.* | 6.1.*)
    passes ./sensor-tests 1 names::an_open_is_told_though_another_thread_closes_it_meanwhile
    passes ./sensor-tests 1 \
        persist_takeover::what_is_done_again_and_again_is_told_as_often_while_programs_are_taken_over
    ;;
esac
case $(uname -r) in
6.1.* | 6.12.*) tests="$tests
    persist_takeover::of_a_connection_that_stood_before_programs_are_taken_over_all_is_known
    persist_kinds::dns_signals_written_files_and_io_uring_are_told_that_nobody_read" ;;
esac
case $(uname -r) in
6.1.*) tests="$tests
    ignored::ignored_connects_are_those_that_went_out closes::ignored_closes_are_counted
    closes::closes_are_told_of_wanted_names_while_somebody_wants_them
    ignored::an_ignored_path_is_the_kernels_and_not_the_arguments
    paths::names_are_looked_for_in_the_paths_that_the_kernel_used network::what_an_unseen_end_left_behind_is_nobody_elses
    datagrams::a_process_sends_to_an_address_for_the_first_time_once
    persist_calls::opens_connects_calls_and_sockets_are_told_that_nobody_read
    persist_calls::a_process_with_the_number_of_a_killed_agent_is_told
    datagrams::a_question_and_its_answer_are_the_askers plans::a_program_dies_at_exec_by_path_or_name
    process::a_process_ends_once_however_its_threads_do" ;;
esac
# Each waits for the kernel half of its time, so two run at once.
# shellcheck disable=SC2086
passes ./sensor-tests 2 $tests
case $(uname -r) in
6.1.*) passes ./sensor-attacks 2 laws::a_path_rewritten_during_an_unlink_does_not_hide_the_file ;;
esac
# A fault of the kernel's in a program ends a task, and may end no test.
! dmesg | grep -E 'BUG:|Oops|general protection' || bad=1
echo done
exit $bad
