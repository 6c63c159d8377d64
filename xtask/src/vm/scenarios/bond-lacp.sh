# A bond of two cards by 802.3ad, and a VLAN on it: LACP goes on, and a member that falls out in the middle of a run is done without.
#
# Both ends are bonds, link by link. Nobody goes down, and what the lost member cost is unsent or unheard.
#
# cards: 2
# modules: bonding 8021q
# seconds: 900
# check nobody goes down: *.down = 0
# check hardly anything is lost: *.lost <= 0.02 * *.probes
# check nothing is counted twice: *.duplicate = 0
# check each probe has its outcome: *.answered + *.unsent + *.unheard + *.unreachable + *.lost = *.probes
# check most are answered: *.answered > 0.8 * *.probes
# check LACP has two members again beside echolot: *.ports = 2
# check no program is left: *.left = "none"
# check the host's own traffic passes: carries = "yes"

aggregated() { sed -n 's/.*Number of ports: //p' /proc/net/bonding/bond0; }
has_ports() { [ "$(aggregated)" = "$1" ]; }

# bond IP MEMBER...: `IP` is how to call ip there.
bond() {
    local in=$1 member
    shift
    $in link add bond0 type bond mode 802.3ad miimon 100 lacp_rate fast xmit_hash_policy layer2+3
    for member; do
        $in link set "$member" down
        $in link set "$member" master bond0
    done
    $in link set bond0 up
}

# virtio_net has no speed unless it is given one, and 802.3ad bundles only equals.
for port in near0 near1 far0 far1; do
    [ "$(driver)" != virtio_net ] || ethtool -s $port speed 1000 duplex full
done
ip netns add far
ip -n far link set lo up
for far in far0 far1; do ip link set $far netns far; done
bond 'ip -n far' far0 far1
bond ip near0 near1
ip addr add 10.63.0.1/24 dev bond0
ip -n far addr add 10.63.0.2/24 dev bond0
ip link add link bond0 name bond0.100 type vlan id 100
ip -n far link add link bond0 name bond0.100 type vlan id 100
ip addr add 10.63.1.1/24 dev bond0.100
ip -n far addr add 10.63.1.2/24 dev bond0.100
ip link set bond0.100 up
ip -n far link set bond0.100 up
ip -n far route add local 10.64.0.0/12 dev lo
ip -n far route add local 10.80.0.0/12 dev lo
within 90 has_ports 2 || fail "LACP does not bring up both members"
ip route add 10.64.0.0/12 via 10.63.0.2
ip route add 10.80.0.0/12 via 10.63.1.2
within 60 ping -c 1 -W 1 10.63.1.2 || fail "the far end does not answer"

for interface in bond0 bond0.100; do
    case $interface in bond0) first=10.64.0.1 key=plain ;; *) first=10.80.0.1 key=tagged ;; esac
    INTERFACE=$interface FIRST=$first PATIENCE=240 start 500
    within 90 has_ports 2 || fail "LACP has not come back since echolot was attached"
    more 1500
    for member in near0 near1; do
        # Both ends of a cable see it go. Would the far one not, it sent into it until LACP's timeout, 3 s.
        host carrier $member off
        host carrier far${member#near} off
        within 60 has_ports 1 || fail "$member stays in the aggregator"
        more 2000
        host carrier $member on
        host carrier far${member#near} on
        within 90 has_ports 2 || fail "$member does not come back"
        more 1500
    done
    fact $key.ports "$(aggregated)"
    fact $key.down "$(metric 'echolot_targets{state="down"}')"
    stop $key
    fact $key.near0.left "$(attached near0)"
    fact $key.near1.left "$(attached near1)"
done
within 90 has_ports 2 || true
carries carries
