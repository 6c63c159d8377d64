# A VLAN on a card, and a VLAN in a VLAN: probes leave tagged by the card beneath, with each engine and the card's own stripping on and off.
#
# The far end has VLAN devices of its own, whose kernel takes no other frames. An address of the card itself, without tag, is the control:
# it must not be answered through the VLAN.
#
# modules: 8021q
# seconds: 600
# check every probe is answered: *.answered = *.probes
# check probes are sent: *.probes = 1000
# check nothing is counted twice: *.duplicate = 0
# check the mode is native: *.mode != "generic"
# check no program is left on the card: left = "none"
# check the host's own traffic passes on the VLAN: carries = "yes"

# vlan NEAR FAR NAME ID NET PROTOCOL: NAME on both ends, .1 and .2 of that network, with a /16 behind it.
vlan() {
    local near=$1 far=$2 name=$3 id=$4 net=$5 protocol=$6
    ip link add link "$near" name "near.$name" type vlan protocol "$protocol" id "$id"
    ip -n far link add link "$far" name "far.$name" type vlan protocol "$protocol" id "$id"
    ip addr add "10.$net.0.1/30" dev "near.$name"
    ip -n far addr add "10.$net.0.2/30" dev "far.$name"
    ip link set "near.$name" up
    ip -n far link set "far.$name" up
    ip neigh add "10.$net.0.2" lladdr "$(mac far0)" dev "near.$name" nud permanent
    ip -n far neigh add "10.$net.0.1" lladdr "$(mac near0)" dev "far.$name" nud permanent
    within 60 is_up "near.$name" || fail "near.$name has no carrier"
}
# through KEY INTERFACE TARGETS [ARGUMENT...]: a sweep.
through() {
    local key=$1 interface=$2 targets=$3
    shift 3
    rm -f /tmp/summary
    echolot sweep "$targets" -I "$interface" -r 500 -f none --summary /tmp/summary "$@" || true
    summary "$key"
    within 60 is_up near0 || true
}

lab
vlan near0 far0 v100 100 100 802.1Q
vlan near.v100 far.v100 v7 7 101 802.1Q
vlan near0 far0 s5 5 102 802.1ad
for net in 100 101 102; do
    ip route add 10.$net.64.0/18 via 10.$net.0.2
    ip -n far route add local 10.$net.64.0/18 dev lo
done
for rxvlan in on off; do
    # virtio_net's can't be changed.
    ethtool -K near0 rxvlan $rxvlan 2>/dev/null || true
    within 60 is_up near0 || fail "near0 has no carrier after ethtool"
    for engine in afxdp live-frames; do
        through rxvlan-$rxvlan.$engine near.v100 10.100.64.1-10.100.67.232 --engine $engine
    done
done
through inner near.v7 10.101.64.1-10.101.67.232
through service near.s5 10.102.64.1-10.102.67.232 --engine live-frames
fact left "$(attached near0)"
carries carries 10.100.0.2
