# A bond of two cards, active-backup, at a switch: the active member falls out in the middle of a run, and comes back.
#
# The far end is a bridge, as a switch would be: it learns by the bond's gratuitous ARP where the bond is now. Nobody goes down, nothing
# is lost (what the failover cost is unsent or unheard; where emulation is slow, a few that the bridge had not learned in time for), and the backup member's copies are counted nowhere: for a while the bridge
# doesn't learn and sends each frame to both.
#
# cards: 2
# modules: bonding bridge 8021q
# seconds: 900
# check nobody goes down: *.down = 0
# check hardly anything is lost: *.lost <= 0.02 * *.probes
# check nothing is counted twice: *.duplicate = 0
# check each probe has its outcome: *.answered + *.unsent + *.unheard + *.unreachable + *.lost = *.probes
# check most are answered: *.answered > 0.9 * *.probes
# check probes leave by the other member once it is active: moved > 1000
# check flooded copies reach the backup member: copies > 1000
# check no program is left: *.left = "none"
# check the host's own traffic passes: carries = "yes"

switch
ip link add bond0 type bond mode active-backup miimon 100 primary near0
for near in near0 near1; do enslave $near; done
ip addr add 10.63.0.1/24 dev bond0
ip link set bond0 up
within 60 is_up bond0 || fail "bond0 has no carrier"
within 60 is_active near0 || fail "near0 does not become active"
ip route add 10.64.0.0/12 via 10.63.0.2
within 60 ping -c 1 -W 1 10.63.0.2 || fail "the far end does not answer"

for engine in afxdp live-frames; do
    INTERFACE=bond0 PATIENCE=240 start 500 --engine $engine
    more 1500
    note "$engine: active $(active), $(attached near0) and $(attached near1) attached"
    was=$(active)
    case $was in near0) other=near1 ;; *) other=near0 ;; esac
    before=$(transmitted $other)
    host carrier $was off
    within 30 is_active $other || fail "the bond stays with $was"
    more 3000
    [ $engine != afxdp ] || fact moved $(($(transmitted $other) - before))
    host carrier $was on
    within 30 is_active near0 || fail "the bond does not go back to its primary"
    more 1500
    if [ $engine = afxdp ]; then
        # Each frame to both members, as a switch does that has forgotten where the bond is.
        before=$(heard near1)
        for far in far0 far1; do ip -n far link set $far type bridge_slave learning off; done
        ip -n far link set br0 type bridge fdb_flush
        more 3000
        for far in far0 far1; do ip -n far link set $far type bridge_slave learning on; done
        fact copies $(($(heard near1) - before))
    fi
    fact $engine.down "$(metric 'echolot_targets{state="down"}')"
    stop $engine
    fact $engine.near0.left "$(attached near0)"
    fact $engine.near1.left "$(attached near1)"
    within 60 is_active near0 || true
done
carries carries
