#!/bin/busybox sh
# The first process of a virtual machine of `cargo xtask vm test`: mounts, modules, and then one scenario after the other, each a
# process group of its own with an end in time. The report goes to the second serial port, a fact a line; everything else goes to
# the first. Scenarios and their functions (lib.sh) are in /scenarios.
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /var/run
/bin/busybox --install -s /bin
export PATH=/opt/bin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tracefs tracing /sys/kernel/tracing
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p /run/netns
echo 1 >/proc/sys/net/core/bpf_jit_enable
exec </dev/null
stty -F /dev/ttyS1 -opost

say() { echo "$*" >/dev/ttyS1; }
end() {
    say "$@"
    sync
    poweroff -f
}
say "kernel $(uname -r)"
while read -r module; do insmod "/modules/$module" || end "failed insmod $module: see the console"; done </modules/order

[ -e /sys/class/net/eth1 ] || end "failed no eth0 and eth1: the driver found no cards, see the console"
basename "$(readlink /sys/class/net/eth0/device/driver)" >/run/driver
ls -d /sys/class/net/*/device | wc -l >/run/ports
say "driver $(cat /run/driver)"

# With /scenarios/order: NAME SECONDS a line.
while read -r name seconds; do
    say "scenario $name"
    setsid sh /scenarios/lib.sh "$name" >/tmp/told 2>&1 &
    pid=$! begun=$(cut -d. -f1 /proc/uptime) status=
    while kill -0 $pid 2>/dev/null; do
        if [ $(($(cut -d. -f1 /proc/uptime) - begun)) -ge "$seconds" ]; then
            status="nothing: it has not ended within $seconds s"
            kill -9 -$pid
            break
        fi
        usleep 200000
    done
    wait $pid 2>/dev/null
    code=$?
    # What it has left at work.
    kill -9 -$pid 2>/dev/null
    cat /tmp/told
    tail -n 60 /tmp/told | sed "s/^/told /" >/dev/ttyS1
    say "ended ${status:-$code}"
done </scenarios/order
dmesg | grep 'stalled pool\|page_pool\|WARNING:\|BUG:\|Oops\|RIP:' | sed 's/^/kernel-log /' >/dev/ttyS1
end "done"
