# A card that is slower than the machine: `sweep -r max` sends every probe, about as fast as the card can, and waits nowhere behind itself.
#
# How fast that is, a bare loop of the same mechanism says: a prepared frame over and over, refused or not (in zero-copy mode each is
# written whole). The far end answers in XDP, and takes what is addressed to others: the bare loops' frames are. What its card receives
# in a stretch of time is the rate; both ends and the cards themselves share the processors of the machine that emulates them.
#
# programs: bench
# seconds: 1800
# check every probe is sent: *.max.unsent = 0
# check every probe is settled: *.max.answered + *.max.lost + *.max.unheard + *.max.in_flight = *.max.probes
# check most are answered: *.max.answered >= 0.99 * *.max.probes
# check it sends as fast as a flood gets through: *.max.rate >= 0.9 * *.bare.rate
# check no queue stands in the card: *.max.rtt_ns.p50 <= 10 * *.slow.rtt_ns.p50
# check each is answered at 1,000 a second: *.slow.answered = *.slow.probes

ready() {
    clean
    lab
    ip -n far link set far0 promisc on
    in_far echolot reflect -I far0 2>/tmp/run/reflect &
    reflector=$!
    within 60 grep -q ready /tmp/run/reflect || fail "the reflector is not ready"
    within 60 is_up near0
    within 60 far_is_up far0
}
received() { $2 cat "/sys/class/net/$1/statistics/rx_packets"; }
moves() {
    local before
    before=$(received far0 'ip netns exec far')
    sleep 1
    [ "$(received far0 'ip netns exec far')" -gt $((before + 500)) ]
}
# measure KEY: what the far card receives and the near card gets back, a second, over ten seconds from when it is under way.
measure() {
    local sent answered seconds=10
    within 60 moves || fail "$1: nothing arrives"
    sleep 2
    sent=$(received far0 'ip netns exec far') answered=$(received near0 '')
    sleep $seconds
    rate=$((($(received far0 'ip netns exec far') - sent) / seconds))
    fact "$1.rate" $rate
    fact "$1.back" $((($(received near0 '') - answered) / seconds))
}

for engine in live-frames afxdp; do
    for mode in zero-copy copy; do
        key=$engine.$mode
        ready
        has $engine $mode || continue
        sweep "$key.slow" 10.64.0.1-10.64.7.208 1000 --engine $engine --mode $mode

        case $key in
            live-frames.*) mechanism=live-frames ;;
            *.copy) mechanism=afxdp ;;
            *) mechanism=zero-copy ;;
        esac
        bench inside $mechanism 30 &
        flood=$!
        measure "$key.bare"
        bare=$rate
        kill $flood
        wait $flood 2>/dev/null || true

        ready
        rm -f /tmp/summary
        echolot sweep 10.64.0.1-10.71.255.254 -I near0 -r max -f none --summary /tmp/summary --engine $engine --mode $mode &
        running=$!
        measure "$key.max"
        status=0
        wait $running || status=$?
        fact "$key.max.status" $status
        summary "$key.max"
        fact "table.$engine/$mode,_-r_max" "$rate/s, bare $bare/s, median $(figure p50 | awk '{ printf "%.2f", $1 / 1000000 }') ms"
        kill $reflector
    done
done
