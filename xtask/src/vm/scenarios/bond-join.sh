# Members that a bond gets in the middle of a run: one that joins, one that was down at the start, one that leaves and comes back.
#
# Active-backup, at a bridge. Each time the bond then sends by the newcomer: probes leave by it and are answered by it, and nobody goes
# down. What is asked of a member that left is that it is left alone: no program stays on it.
#
# cards: 2
# modules: bonding bridge
# seconds: 900
# check nobody goes down: *.down = 0
# check hardly anything is lost: *.lost <= 0.02 * *.probes
# check nothing is counted twice: *.duplicate = 0
# check each probe has its outcome: *.answered + *.unsent + *.unheard + *.unreachable + *.lost = *.probes
# check most are answered: *.answered > 0.9 * *.probes
# check both members' queues are counted: *.queues > *.before
# check probes leave by the newcomer: *.moved > 1000
# check answers come in by the newcomer: *.heard > 1000
# check who leaves is left: *.alone = "none"
# check no program is left: *.left = "none"
# check the host's own traffic passes: carries = "yes"

prefer() {
    ip link set bond0 type bond active_slave "$1"
    within 60 is_active "$1" || fail "the bond does not go to $1"
}

switch
ip link add bond0 type bond mode active-backup miimon 100
enslave near0
ip addr add 10.63.0.1/24 dev bond0
ip link set bond0 up
within 60 is_active near0 || fail "near0 does not become active"
ip route add 10.64.0.0/12 via 10.63.0.2
within 60 ping -c 1 -W 1 10.63.0.2 || fail "the far end does not answer"

# afxdp: it is no member yet. live-frames: it is one, and down.
for engine in afxdp live-frames; do
    if [ $engine = live-frames ]; then
        ip link set near1 down
        prefer near0
    fi
    INTERFACE=bond0 PATIENCE=240 start 500 --engine $engine
    more 1500
    fact $engine.before "$(metric echolot_interface_queues)"
    case $engine in afxdp) enslave near1 ;; *) ip link set near1 up ;; esac
    within 60 is_attached near1 || fail "echolot does not go on near1"
    within 60 is_up near1 || fail "near1 has no carrier"
    # The bond takes its word for the link with a delay of its own.
    more 1500
    out=$(transmitted near1) in=$(heard near1)
    prefer near1
    more 3000
    fact $engine.moved $(($(transmitted near1) - out))
    fact $engine.heard $(($(heard near1) - in))
    fact $engine.queues "$(metric echolot_interface_queues)"
    prefer near0
    more 1000
    if [ $engine = afxdp ]; then
        ip link set near1 nomaster
        within 30 is_bare near1 || true
        fact $engine.alone "$(attached near1)"
        more 1000
        enslave near1
        within 60 is_attached near1 || fail "echolot does not go back on near1"
        within 60 is_up near1 || fail "near1 has no carrier"
        more 1500
        prefer near1
        more 2000
    fi
    fact $engine.down "$(metric 'echolot_targets{state="down"}')"
    stop $engine
    for near in near0 near1; do
        within 20 is_bare $near || true
        fact $engine.$near.left "$(attached $near)"
    done
done
carries carries
