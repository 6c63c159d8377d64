# A card that is set down and up, or given another MTU, while echolot runs: its sockets stay, answers come again, and none is lost.
#
# seconds: 600
# check answers come after it was down: *.down > 2000
# check answers come with another MTU: *.mtu > 2000
# check none is lost but by replies that came late: *.run.lost <= *.run.late

answered='echolot_probes_settled_total{outcome="answered"}'
# answers KEY: how many answers come within a while.
answers() {
    within 60 is_metric echolot_interface_up -eq 1 || true
    local before
    before=$(metric "$answered")
    within 60 is_metric "$answered" -gt $((before + 3000)) || true
    fact "$1" $(($(metric "$answered") - before))
}
for mode in copy zero-copy; do
    clean
    lab
    has afxdp $mode || continue
    start 1000 --engine afxdp --mode $mode
    within 60 is_metric echolot_probes_total -gt 2000 || fail "it does not probe"
    ip link set near0 down
    within 30 is_metric echolot_interface_up -eq 0 || fail "the link is not seen down"
    ip link set near0 up
    # The kernel has forgotten both with the link.
    ip route add 10.64.0.0/12 via 10.63.0.2 2>/dev/null || true
    ip neigh replace 10.63.0.2 lladdr "$(mac far0)" dev near0 nud permanent
    answers "$mode.down"
    # Some refuse it while a program is attached.
    if ip link set near0 mtu 1400 2>/tmp/run/mtu; then answers "$mode.mtu"; else note "$(cat /tmp/run/mtu)"; fi
    stop "$mode.run"
    fact "table.$mode, down and up, another MTU" "$(figure answered) of $(figure probes) answered, $(figure lost) lost"
done
