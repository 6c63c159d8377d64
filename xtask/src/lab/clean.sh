# Takes a lab down: ends what runs in its namespaces, deletes them, and with them the veth pair between them.
# Arguments: near namespace, far namespace, state folder. With a fourth, "guard": waits first for its standard input, and
# does nothing if that says "keep". So it also cleans up after a parent that was killed.
#
# A process is the lab's if it is in one of the lab's namespaces now: unlike a recorded pid, that can't be out of date.

trap '' INT TERM HUP
near=$1 far=$2 state=$3

if [ "${4-}" = guard ]; then
    word=
    read -r word || :
    [ "$word" = keep ] && exit 0
fi

inside() {
    { ip netns pids "$near"; ip netns pids "$far"; } 2>/dev/null
}

for signal in TERM KILL; do
    pids=$(inside)
    [ -n "$pids" ] && kill -s "$signal" $pids 2>/dev/null
    tries=0
    while [ -n "$(inside)" ] && [ $tries -lt 50 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
done

status=0
for namespace in "$near" "$far"; do
    if [ -e "/run/netns/$namespace" ]; then
        ip netns del "$namespace" || status=1
    fi
done
rm -rf "$state" || status=1
exit $status
