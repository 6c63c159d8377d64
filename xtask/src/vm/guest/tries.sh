# Sweeps, each beside what the card and the kernel say of it: frames sent, memory, page pools. One a line of /scenarios/tries:
# LABEL ENGINE MODE RATE SECONDS.
say() { echo "$*" >/dev/ttyS1; }

# How many test runs the kernel has been asked for, and how many page pools were made and let go.
tracing=/sys/kernel/tracing
probe() {
    name=$1
    shift
    for symbol; do
        grep -q " [tT] $symbol\$" /proc/kallsyms && echo "p:$name $symbol" >>$tracing/kprobe_events && return
    done
    note "unknown $name: the kernel has none of $*"
}
hits() { awk -v name="$1" '$1 == name { hits = $2 } END { print hits + 0 }' $tracing/kprobe_profile; }
sample() {
    say "try-memory $1 $2 $(awk '/^(MemAvailable|Slab|Percpu):/ { printf "%s ", $2 }' /proc/meminfo)$(hits calls) $(hits made) $(hits freed)"
}
counters() {
    set -- "$1" "$2" $(counted near0) $(counted far0)
    say "try-counters $1 $2 $3 $4 $6 $5"
    ethtool -S near0 | sed -n "s/^ *\(.*\): \([1-9][0-9]*\)\$/try-card $1 $2 \1 \2/p" >/dev/ttyS1
}

lab
probe calls bpf_prog_test_run_xdp
probe made page_pool_create_percpu page_pool_create
probe freed __page_pool_destroy page_pool_unlist page_pool_free
for event in calls made freed; do
    [ ! -e $tracing/events/kprobes/$event ] || echo 1 >$tracing/events/kprobes/$event/enable
done
echolot doctor -I near0 10.64.0.1 || true

while read -r label engine mode rate seconds; do
    case $rate in max) targets=$((seconds * 20000)) ;; *) targets=$((seconds * rate)) ;; esac
    [ $targets -le 1048574 ] || targets=1048574
    highest=10.$((64 + targets / 65536)).$((targets / 256 % 256)).$((targets % 256))
    say "try $label $engine $mode $rate $targets"
    counters "$label" before
    sample "$label" -1
    rm -f /tmp/summary
    echolot sweep 10.64.0.1-$highest -I near0 --engine $engine --mode $mode -r $rate -f none --summary /tmp/summary >/tmp/run/told 2>&1 &
    pid=$!
    (
        second=0
        while kill -0 $pid 2>/dev/null; do
            sample "$label" $second
            second=$((second + 1))
            sleep 1
        done
    ) &
    sampler=$!
    status=0
    wait $pid || status=$?
    say "try-ended $label $status"
    wait $sampler || true
    sed "s/^/try-told $label /" /tmp/run/told >/dev/ttyS1
    counters "$label" after
    sample "$label" after
    [ ! -e /tmp/summary ] || say "try-summary $label $(tr -d '\n' </tmp/summary)"
done </scenarios/tries
