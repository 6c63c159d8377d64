# The Debian package starts under systemd on a fresh system, is upgraded with its state kept, and goes.
#
# The unit is as it is installed. The near card's other end is the network namespace `far`, which answers for 10.64.0.0/12.
#
# seconds: 1500
# check installed it waits for targets, and touches nothing: fresh = "active,Waiting,unattached"
# check with a list it probes, as nobody: probing = "active,Probing,attached,unprivileged"
# check killed it is started anew: killed = "active,1"
# check a reload starts nothing anew: reloaded = "active,same"
# check an upgrade starts it anew: upgraded = "active,other,0.1.1"
# check an upgrade keeps events and configuration: kept = "events,configuration"
# check removed it has stopped, and taken its program off: removed = "inactive,unattached,events"
# check purged nothing of it is left but a person's lists: purged = "/etc/echolot,/etc/echolot/targets,/etc/echolot/targets/edge.json"
set -eu
stty -F /dev/ttyS1 -opost
# fact KEY WORD...: the words are one, with commas, as checks have them.
fact() {
    _key=$1
    shift
    echo "fact $_key $(echo $* | tr ' ' ,)" >/dev/ttyS1
}
fail() {
    echo "fail $*" >/dev/ttyS1
    journalctl -u echolot --no-pager | tail -n 40
    exit 1
}
within() {
    _until=$(($(cut -d. -f1 /proc/uptime) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(cut -d. -f1 /proc/uptime)" -lt $_until ] || return 1
        sleep 0.2
    done
}
property() { systemctl show --value -p "$1" echolot; }
is() { [ "$(property "$1")" = "$2" ]; }
status() { property StatusText | cut -d' ' -f1; }
attached() { if ip link show near0 | grep -q xdp; then echo attached; else echo unattached; fi; }
events() { if [ -s /var/lib/private/echolot/events.jsonl ]; then echo events; else echo none; fi; }
metric() { /opt/busybox wget -q -O - http://127.0.0.1:10816/metrics | grep -Fqx "$1"; }
eight() { metric 'echolot_targets{group="edge",state="up"} 8'; }

echo 'scenario package' >/dev/ttyS1
ip netns add far
for port in eth0 eth1; do
    case $(cat /sys/class/net/$port/address) in
        52:54:00:00:01:*) ip link set $port name near0 ;;
        52:54:00:00:02:*) ip link set $port name far0 netns far ;;
    esac
done
ip -n far link set lo up
ip -n far addr add 10.63.0.2/24 dev far0
ip -n far link set far0 up
ip -n far route add local 10.64.0.0/12 dev lo
ip addr add 10.63.0.1/24 dev near0
ip link set near0 up
ip route add 10.64.0.0/12 via 10.63.0.2

# What a service takes to start here: its own timeout is for machines that are not emulated.
export SYSTEMD_LOG_LEVEL=warning DEBIAN_FRONTEND=noninteractive
dpkg -i /opt/old.deb || fail "it does not install"
fact fresh "$(property ActiveState) $(status) $(attached)"
echo '[{"targets": ["10.64.0.1-10.64.0.8"], "labels": {"site": "fra"}}]' >/etc/echolot/targets/edge.json
within 120 eight || fail "it does not probe"
user=$(stat -c %u "/proc/$(property MainPID)")
fact probing "$(property ActiveState) $(status) $(attached) $([ "$user" = 0 ] || echo unprivileged)"

kill -9 "$(property MainPID)"
within 120 is NRestarts 1 || fail "nobody started it anew"
within 120 eight || fail "it does not probe after it was killed"
fact killed "$(property ActiveState) $(property NRestarts)"

pid=$(property MainPID)
sed -i 's/per_target: unhealthy/per_target: all/' /etc/echolot/echolot.yml
systemctl reload echolot
within 120 metric 'echolot_target_up{group="edge",target="10.64.0.8"} 1' || fail "it was not reloaded"
fact reloaded "$(property ActiveState) $([ "$(property MainPID)" = "$pid" ] && echo same)"

sed -i 's/^#events:/events:/' /etc/echolot/echolot.yml
systemctl restart echolot
within 120 grep -q 10.64.0.8 /var/lib/private/echolot/events.jsonl || fail "no events"
cp /var/lib/private/echolot/events.jsonl /run/events
cp /etc/echolot/echolot.yml /run/configuration
pid=$(property MainPID)
dpkg -i --force-confold /opt/new.deb || fail "it can't be upgraded"
within 120 eight || fail "it does not probe after an upgrade"
other=$([ "$(property MainPID)" = "$pid" ] || echo other)
fact upgraded "$(property ActiveState) $other $(dpkg-query -W -f '${Version}' echolot)"
size=$(stat -c %s /run/events)
same() { if cmp -s -n "$1" "$2" "$3"; then echo "$4"; else echo "not the $4"; fi; }
fact kept "$(same "$size" /run/events /var/lib/private/echolot/events.jsonl events) $(same 1000000 /run/configuration \
    /etc/echolot/echolot.yml configuration)"

dpkg -r echolot
fact removed "$(property ActiveState) $(attached) $(events)"
dpkg -P echolot
fact purged "$(find / -xdev -name '*echolot*' ! -path '/opt/*' ! -path '/var/log/*' -prune -exec find {} + | sort | xargs)"
