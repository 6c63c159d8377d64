# Zero-copy queues that nobody transmits on are alive: 100, 1,000 and 20,000 probes a second on every queue are answered.
#
# Where a receive ring has run dry before the driver was woken, the queue is dead until somebody transmits on it; here nobody but
# echolot does. Addresses spread the answers over all queues. Fewer targets than a queue's ring has buffers would prove nothing of it:
# there are thousands.
#
# kernels: 6.18
# queues: 4
# seconds: 600
# check the mode is zero-copy: *.mode = "zero-copy"
# check every probe that was sent is answered: *.answered + *.unsent = *.probes
# check the probes are sent: *.answered >= 0.9 * *.probes
# check every receive queue has heard: queues.silent = 0

for rate in 100 1000 20000; do
    # What others send wakes up rings too: each rate begins with a card that has done nothing yet.
    clean
    # None to spare: see spare_queues.
    for end in '' 'ip netns exec far'; do
        port=near0; [ -n "$end" ] && port=far0
        most=$($end ethtool -l $port | awk '/^Combined:/ { print $2; exit }')
        [ "${most:-1}" = 1 ] || $end ethtool -L $port combined "$most" 2>/dev/null || true
    done
    lab
    if [ "$rate" = 100 ]; then seconds=20; else seconds=5; fi
    sweep "$rate" 10.64.0.1-"$(plus 10.64.0.1 $((rate * seconds - 1)))" $rate --mode zero-copy --engine afxdp
    fact "table.zero-copy, nobody else transmitting: $rate/s" "$(figure answered) of $(figure probes) answered" | tr ' ' '_' >/dev/null
done
# Of the last.
ethtool -S near0 | sed -n 's/^ *\(rx.*packets\): \([0-9]*\)$/\1 \2/p' >/tmp/run/queues
while read -r name packets; do note "$name $packets"; done </tmp/run/queues
fact queues.silent "$(grep -c '[0-9]_packets 0$' /tmp/run/queues || true)"
