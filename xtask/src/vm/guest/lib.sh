# What scenarios are written with. `sh lib.sh NAME` undoes what the scenario before has left, and runs /scenarios/NAME.sh with all of
# this at hand. A command that fails ends the scenario (set -e): `|| true` where it may.
set -eu
export PATH=/opt/bin:/bin
# This BusyBox would take its own `ip`, which knows no namespaces.
ip() { /opt/bin/ip "$@"; }

# ---- what the report is told ----

# fact KEY VALUE: something seen; the scenario's checks are about facts.
fact() { echo "fact $*" >/dev/ttyS1; }
# note TEXT: for people only.
note() { echo "note $*" >/dev/ttyS1; }
# fail TEXT: ends the scenario with this reason.
fail() {
    echo "fail $*" >/dev/ttyS1
    exit 1
}
# skip TEXT: ends the scenario: it can't be had here, and its checks don't count. What may be missing is a property of the kernel's
# driver, found out just before, and never something that echolot didn't do.
skip() {
    echo "skip $*" >/dev/ttyS1
    exit 0
}
# host COMMAND...: asks what runs this machine. `carrier PORT on|off`, `pause SECONDS`. Returns at once: wait for what it does.
host() { echo "host $*" >/dev/ttyS1; }

# ---- waiting ----

# within SECONDS COMMAND...: tries it until it succeeds; 1 if it didn't in that time.
within() {
    local _until=$(($(cut -d. -f1 /proc/uptime) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(cut -d. -f1 /proc/uptime)" -lt $_until ] || return 1
        usleep 100000
    done
}
is_up() { [ "$(cat "/sys/class/net/$1/operstate")" = up ]; }
far_is_up() { ip -n far link show "$1" | grep -q 'state UP'; }

# ---- the network ----

driver() { cat /run/driver; }
mac() { printf '52:54:00:00:%02x:%02x' "$([ "${1%%[0-9]*}" = near ] && echo 1 || echo 2)" "${1##*[a-z]}"; }
# in_far COMMAND...: in the far end's network namespace.
in_far() { ip netns exec far "$@"; }

# Back to bare ports that are down: whatever a scenario has made is gone, and the driver is loaded anew, because some leave a card
# behind in a state that no setting undoes.
clean() {
    local space link path port address driver
    for space in $(ip netns list | cut -d' ' -f1); do ip netns del "$space"; done
    for link in $(ls /sys/class/net); do
        # bonding_masters is a file, and what has a device is a port.
        [ -d "/sys/class/net/$link" ] && [ "$link" != lo ] && [ ! -e "/sys/class/net/$link/device" ] || continue
        ip link del "$link" 2>/dev/null || true
    done
    driver=$(cat /run/driver)
    # A namespace's ports come back some time after it has gone, and a module can't go while they are elsewhere.
    within 30 rmmod "$driver" || fail "$driver can't be unloaded"
    insmod "/modules/$driver" || fail "$driver can't be loaded again"
    within 30 all_ports || fail "the driver found other cards than before: $(ls /sys/class/net | tr '\n' ' ')"
    # Ports are told apart by their addresses: 52:54:00:00:END:PAIR, where END is 1 (near) or 2 (far).
    for path in /sys/class/net/*/device; do
        port=${path%/device} && port=${port##*/}
        address=$(cat "/sys/class/net/$port/address")
        case $address in
            52:54:00:00:01:*) ip link set "$port" name near$((0x${address##*:})) ;;
            52:54:00:00:02:*) ip link set "$port" name far$((0x${address##*:})) ;;
            *) fail "$port has the address $address, which is not one of the machine's" ;;
        esac
    done
    ip link set lo up
    rm -rf /tmp/run /tmp/summary
    mkdir -p /tmp/run
}
all_ports() { [ "$(ls -d /sys/class/net/*/device | wc -l)" = "$(cat /run/ports)" ]; }

# lab [PAIR...]: nearN 10.63.N.1/24 with farN 10.63.N.2/24 in the namespace `far`, whose kernel answers for 10.64.0.0/12 (pair 0),
# 10.80.0.0/12 (pair 1) and so on. Neighbours are entries made by hand, and there is no IPv6: nothing but probes and answers is on
# the wire. Pair 0 unless said.
lab() {
    local pair near far net behind
    [ -e /run/netns/far ] || ip netns add far
    ip -n far link set lo up
    for pair in ${*:-0}; do
        near=near$pair far=far$pair net=10.63.$pair
        ip link set "$far" netns far
        ip addr add "$net.1/24" dev "$near"
        ip -n far addr add "$net.2/24" dev "$far"
        ip link set "$near" up
        ip -n far link set "$far" up
        behind=10.$((64 + 16 * pair)).0.0/12
        ip -n far route add local "$behind" dev lo
        ip neigh add "$net.2" lladdr "$(mac "$far")" dev "$near" nud permanent
        ip -n far neigh add "$net.1" lladdr "$(mac "$near")" dev "$far" nud permanent
        ip route add "$behind" via "$net.2"
        within 60 is_up "$near" || fail "$near has no carrier after 60 s"
        within 60 far_is_up "$far" || fail "$far has no carrier after 60 s"
    done
}

# carries KEY [ADDRESS]: whether the host's own traffic passes: KEY is yes or no.
carries() {
    if within 20 ping -c 1 -W 1 "${2:-10.63.0.2}"; then fact "$1" yes; else fact "$1" no; fi
}
# attached PORT: the id of the XDP program there, or none.
attached() { ip link show "$1" | sed -n 's/.*prog\/xdp id \([0-9]*\).*/\1/p' | grep . || echo none; }
is_bare() { [ "$(attached "$1")" = none ]; }
is_attached() { ! is_bare "$1"; }

# What the cards count: frames that PORT has sent and received. Statistics are brought up to date now and then: read until they stand
# still.
counted() {
    local where= last= now=
    case $1 in far*) where='ip netns exec far' ;; esac
    while :; do
        now=$($where cat "/sys/class/net/$1/statistics/tx_packets" "/sys/class/net/$1/statistics/rx_packets" | tr '\n' ' ')
        [ "$now" != "$last" ] || break
        last=$now
        sleep 3
    done
    echo "$now"
}

# ---- echolot ----

# summary KEY: each figure of echolot's summary as a fact: KEY.probes, KEY.answered, KEY.mode, KEY.rtt_ns.p50 and so on.
summary() {
    [ -s /tmp/summary ] || return 0
    tr -d '\n' </tmp/summary >/tmp/run/summary
    rm /tmp/summary
    echo "summary $1 $(cat /tmp/run/summary)" >/dev/ttyS1
}
# figure NAME: a number of the last summary, such as answered.
figure() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" /tmp/run/summary | head -n 1; }
# sweep KEY TARGETS RATE [ARGUMENT...]: a sweep through near0 to its end. Facts: KEY.status, its summary.
sweep() {
    local key=$1 targets=$2 rate=$3 status=0
    shift 3
    rm -f /tmp/summary
    echolot sweep "$targets" -I near0 -r "$rate" -f none --summary /tmp/summary "$@" || status=$?
    fact "$key.status" $status
    summary "$key"
}
# has ENGINE MODE: whether kernel and driver have them, which a sweep of one address finds out (exit status 2: refused, and why is in
# /tmp/run/first). Waits for near0, which attaching may have restarted.
has() {
    local status=0
    echolot sweep 10.64.0.1 -I near0 --engine "$1" --mode "$2" -f none >/tmp/run/first 2>&1 || status=$?
    within 60 is_up near0 || fail "near0 has no carrier after 60 s"
    [ $status != 2 ]
}
# plus ADDRESS N: the address N behind it.
plus() { echo "$1 $2" | awk '{ split($1, b, "."); n = ((b[1] * 256 + b[2]) * 256 + b[3]) * 256 + b[4] + $2
    printf "%d.%d.%d.%d\n", n / 16777216 % 256, n / 65536 % 256, n / 256 % 256, n % 256 }'; }
# start RATE [ARGUMENT...]: starts `echolot run` of so many targets, each once a second, through near0 (or what INTERFACE says, of
# what FIRST says is the first address), and waits until it probes. $running is its process.
start() {
    local rate=$1 last
    shift
    last=$(plus "${FIRST:-10.64.0.1}" $((rate - 1)))
    cat >/tmp/run/echolot.yml <<END
interface: ${INTERFACE:-near0}
listen: 127.0.0.1:10816
limits: {rate: 10000000}
groups:
- {name: vm, targets: [${FIRST:-10.64.0.1}-$last], interval: 1s, timeout: 1s${GROUP:+, $GROUP}}
END
    rm -f /tmp/summary
    # Some cards lose it when a program is taken off, for longer than echolot waits for it under emulation.
    within 60 is_up "${INTERFACE:-near0}" || fail "${INTERFACE:-near0} has no carrier"
    echolot run -c /tmp/run/echolot.yml --summary /tmp/summary "$@" &
    running=$!
    within "${PATIENCE:-60}" is_ready || fail "run is not ready after ${PATIENCE:-60} s"
}
is_ready() {
    kill -0 "$running" || fail "run has ended: its words are below"
    timeout 5 wget -q -O /dev/null http://127.0.0.1:10816/-/ready
}
scrape() { timeout 20 wget -q -O - http://127.0.0.1:10816/metrics; }
# metric NAME: the sum of its samples now, or of those with a label, as in echolot_probes_settled_total{outcome="lost"}.
metric() {
    scrape | awk -v name="${1%%{*}" -v label="$(echo "$1" | sed -n 's/.*{\(.*\)}/\1/p')" '
        { split($1, word, "{") }
        word[1] == name && (label == "" || index($0, label)) { sum += $NF; seen = 1 }
        END { if (seen) printf "%.0f\n", sum; else print "none" }'
}
is_metric() { [ "$(metric "$1")" "$2" "$3" ]; }
# more N: waits for so many probes more than at this moment.
more() {
    local _now
    _now=$(metric echolot_probes_total)
    within 180 is_metric echolot_probes_total -gt $((_now + $1)) || fail "run has stopped probing"
}
# metrics KEY: from one scrape, the facts KEY.probes, KEY.in_flight, and KEY.answered and the other outcomes.
metrics() {
    scrape >/tmp/run/scrape
    awk -v key="$1" '
        /^echolot_probes_total[{ ]/ { of["probes"] += $NF }
        /^echolot_probes_in_flight[{ ]/ { of["in_flight"] += $NF }
        /^echolot_probes_settled_total[{]/ { match($0, /outcome="[a-z]*"/); of[substr($0, RSTART + 9, RLENGTH - 10)] += $NF }
        /^echolot_probes_skipped_total[{ ]/ { of["skipped"] += $NF }
        END { for (name in of) printf "fact %s.%s %.0f\n", key, name, of[name] }' /tmp/run/scrape >/dev/ttyS1
}
# stop KEY: ends the running echolot as a person would. Facts: KEY.status, its summary.
stop() {
    kill -TERM "$running"
    local status=0
    wait "$running" || status=$?
    fact "$1.status" $status
    summary "$1"
}
# died KEY: kill -9. Facts: KEY.left, the program left on near0 (none as it should be), and KEY.carries.
died() {
    kill -9 "$running"
    wait "$running" 2>/dev/null || true
    within 20 is_bare near0 || true
    fact "$1.left" "$(attached near0)"
    within 60 is_up near0 || true
    carries "$1.carries"
}

# ---- bonds ----

# Two far ports on a bridge of the namespace `far`, as on a switch; the bridge is 10.63.0.2/24 and answers for 10.64.0.0/12.
switch() {
    local far
    ip netns add far
    ip -n far link set lo up
    ip -n far link add br0 type bridge stp_state 0 forward_delay 0
    for far in far0 far1; do
        ip link set $far netns far
        ip -n far link set $far master br0
        ip -n far link set $far up
    done
    ip -n far addr add 10.63.0.2/24 dev br0
    ip -n far link set br0 up
    ip -n far route add local 10.64.0.0/12 dev lo
}
# enslave PORT: makes it a member of bond0, which sets it up.
enslave() {
    ip link set "$1" down
    ip link set "$1" master bond0
}
active() { cat /sys/class/net/bond0/bonding/active_slave; }
is_active() { [ "$(active)" = "$1" ]; }
# What a near port's far end has received and sent: virtio_net's own statistics leave zero-copy frames out.
transmitted() { in_far cat "/sys/class/net/far${1#near}/statistics/rx_packets"; }
heard() { in_far cat "/sys/class/net/far${1#near}/statistics/tx_packets"; }

# ---- a card at its limit ----

# Both ends anew, the far one answering in XDP.
answering() {
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
# What the processors have had nothing to do for, hundredths of a second.
idle() { awk '/^cpu / { print $5 + $6 }' /proc/stat; }
# measure KEY: what the far card receives and the near card gets back, a second, over ten seconds from when it is under way, and how much
# of the processors was idle meanwhile, %.
measure() {
    local sent answered seconds=10 idle
    within 60 moves || fail "$1: nothing arrives"
    sleep 2
    idle=$(idle)
    sent=$(received far0 'ip netns exec far') answered=$(received near0 '')
    sleep $seconds
    rate=$((($(received far0 'ip netns exec far') - sent) / seconds))
    fact "$1.rate" $rate
    fact "$1.back" $((($(received near0 '') - answered) / seconds))
    fact "$1.idle" $((($(idle) - idle) / seconds / $(grep -c ^processor /proc/cpuinfo)))
}
# flooded: with each engine and mode a sweep at 1,000 a second, a bare loop of its mechanism, and a sweep as fast as the card takes it.
flooded() {
    local engine mode key mechanism flood bare running status
    for engine in live-frames afxdp; do
        for mode in zero-copy copy; do
            key=$engine.$mode
            answering
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

            answering
            rm -f /tmp/summary
            echolot sweep "${SWEPT:-10.64.0.1-10.71.255.254}" -I near0 -r max -f none --summary /tmp/summary --engine $engine --mode $mode &
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
}

clean
# shellcheck disable=SC1090
. "/scenarios/$1.sh"
