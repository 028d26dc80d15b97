# What programs at functions cost a call that they are not for, in instructions: see counting/.
exec 2>&1
echo "guest: $(uname -r), $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
cd "$SHARE" || exit 1
export HOSTWARD_REQUIRE=kernel HOSTWARD_TRAMPOLINES=1 HOSTWARD_COUNTS=1
./sensor-tests --exact cost::an_untouched_call_has_no_more_instructions --nocapture --test-threads=1 || exit 1
echo done
