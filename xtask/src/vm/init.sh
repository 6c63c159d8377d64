#!/bin/busybox sh
# The first and only process of a virtual machine of `cargo xtask vm test`: two ports of one emulated card, joined by a hub, one of
# them in a network namespace of its own. echolot probes from one to the other; what it says is reported beside what the card and
# the kernel say. The report goes to the second serial port, a fact a line; everything else goes to the first.
/bin/busybox mkdir -p /proc /sys /dev /run /tmp
/bin/busybox --install -s /bin
export PATH=/opt/bin:/bin
# This BusyBox would take its own `ip`, which knows no namespaces.
ip() { /opt/bin/ip "$@"; }
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tracefs tracing /sys/kernel/tracing
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
echo 1 >/proc/sys/net/core/bpf_jit_enable
exec </dev/null 3>/dev/ttyS1
stty -F /dev/ttyS1 -opost

say() { echo "$*" >&3; }
end() {
    say "$@"
    sync
    poweroff -f
}
# $1 is the name, $2 the default.
wanted() { tr ' ' '\n' </proc/cmdline | sed -n "s/^echolot\.$1=//p" | grep . || echo "$2"; }
tries=$(wanted tries live:live-frames:auto:1000:10)

say "kernel $(uname -r)"
while read -r module; do insmod "/modules/$module" || end "failed insmod $module: see the console"; done </modules/order

near=eth0 far=eth1
for port in $near $far; do [ -e /sys/class/net/$port ] || end "failed no $port: the driver found no card, see the console"; done
say "driver $(basename "$(readlink /sys/class/net/$near/device/driver)")"
mac() { cat /sys/class/net/$1/address; }
near_mac=$(mac $near) far_mac=$(mac $far)
# Neighbours are entries made by hand, and there is no IPv6: nothing but probes and answers is on the wire.
{
    ip link set lo up &&
    ip netns add far &&
    ip link set $far netns far &&
    ip addr add 10.0.0.1/24 dev $near &&
    ip link set $near up &&
    ip -n far link set lo up &&
    ip -n far addr add 10.0.0.2/24 dev $far &&
    ip -n far link set $far up &&
    ip -n far route add local 10.64.0.0/12 dev lo &&
    ip neigh add 10.0.0.2 lladdr $far_mac dev $near nud permanent &&
    ip -n far neigh add 10.0.0.1 lladdr $near_mac dev $far nud permanent &&
    ip route add 10.64.0.0/12 via 10.0.0.2
} || end "failed the network could not be made: see the console"
i=0
until [ "$(cat /sys/class/net/$near/operstate)" = up ] && ip -n far link show $far | grep -q "state UP"; do
    i=$((i + 1))
    [ $i -lt 300 ] || end "failed no carrier within 30 s"
    usleep 100000
done

# How many test runs the kernel has been asked for, and how many page pools were made and let go.
tracing=/sys/kernel/tracing
probe() {
    name=$1
    shift
    for symbol; do
        grep -q " [tT] $symbol\$" /proc/kallsyms && echo "p:$name $symbol" >>$tracing/kprobe_events && return
    done
    say "unknown $name: the kernel has none of $*"
}
probe calls bpf_prog_test_run_xdp
probe made page_pool_create_percpu page_pool_create
probe freed __page_pool_destroy page_pool_unlist page_pool_free
for event in calls made freed; do echo 1 >$tracing/events/kprobes/$event/enable; done
hits() { awk -v name="$1" '$1 == name { hits = $2 } END { print hits + 0 }' $tracing/kprobe_profile; }
sample() {
    say "memory $1 $2 $(awk '/^(MemAvailable|Slab|Percpu):/ { printf "%s ", $2 }' /proc/meminfo)$(hits calls) $(hits made) $(hits freed)"
}
counter() { cat "/sys/class/net/$near/statistics/$1"; }
far_counter() { ip netns exec far cat "/sys/class/net/$far/statistics/$1"; }
# Card statistics are brought up to date now and then: read until they stand still.
counters() {
    last=
    while :; do
        now="$(counter tx_packets) $(counter rx_packets) $(far_counter rx_packets) $(far_counter tx_packets)"
        [ "$now" = "$last" ] && break
        last=$now
        sleep 3
    done
    say "counters $1 $2 $now"
    ethtool -S $near | sed -n "s/^ *\(.*\): \([1-9][0-9]*\)\$/card $1 $2 \1 \2/p" >&3
}

echolot doctor -I $near 10.64.0.1 | sed 's/^/doctor /' >&3

# A try: LABEL:ENGINE:MODE:RATE:SECONDS.
for try in $(echo "$tries" | tr , ' '); do
    IFS=: read -r label engine mode rate seconds <<END
$try
END
    case $rate in max) targets=$((seconds * 20000)) ;; *) targets=$((seconds * rate)) ;; esac
    [ $targets -le 1048574 ] || targets=1048574
    highest=10.$((64 + targets / 65536)).$((targets / 256 % 256)).$((targets % 256))
    say "try $label $engine $mode $rate $targets"
    counters "$label" before
    sample "$label" -1
    echolot sweep 10.64.0.1-$highest -I $near --engine $engine --mode $mode -r $rate -f none --summary /tmp/summary >/tmp/told 2>&1 &
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
    wait $pid
    say "ended $label $?"
    wait $sampler
    sed "s/^/told $label /" /tmp/told >&3
    counters "$label" after
    sample "$label" after
    [ ! -e /tmp/summary ] || say "summary $label $(tr -d '\n' </tmp/summary)"
    rm -f /tmp/summary
done
dmesg | grep 'stalled pool\|page_pool\|WARNING:\|BUG:' | sed 's/^/kernel-log /' >&3
end "done"
