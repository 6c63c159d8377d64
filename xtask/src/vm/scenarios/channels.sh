# A receive queue that comes while echolot runs (`ethtool -L`) gets a socket: its answers are unheard until then, and none is lost.
#
# drivers: igb
# kernels: 6.12, 6.18
# seconds: 400
# check echolot sees the new queue: *.queues = 2
# check answers come after it: *.more > 2000
# check none is lost but by replies that came late: *.run.lost <= *.run.late

for mode in copy zero-copy; do
    clean
    ethtool -L near0 combined 1
    ethtool -L far0 combined 1
    lab
    has afxdp $mode || continue
    start 1000 --engine afxdp --mode $mode
    within 60 is_metric echolot_probes_total -gt 2000 || fail "it does not probe"
    if ! ethtool -L near0 combined 2 >/tmp/run/ethtool 2>&1; then
        note "$mode: $(cat /tmp/run/ethtool)"
        fail "the driver does not change its channels: $(tail -n 1 /tmp/run/ethtool)"
    fi
    within 60 is_metric echolot_interface_queues -eq 2 || true
    fact "$mode.queues" "$(metric echolot_interface_queues)"
    within 60 is_metric echolot_interface_up -eq 1 || true
    before=$(metric 'echolot_probes_settled_total{outcome="answered"}')
    within 60 is_metric 'echolot_probes_settled_total{outcome="answered"}' -gt $((before + 3000)) || true
    fact "$mode.more" $(($(metric 'echolot_probes_settled_total{outcome="answered"}') - before))
    stop "$mode.run"
    fact "table.$mode, a queue more" "$(figure answered) of $(figure probes) answered, $(figure lost) lost"
done
