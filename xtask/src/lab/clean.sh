# Takes a lab down: ends what runs in its namespaces, deletes them, and with them the links between them.
# Arguments: state folder; "now" or "guard"; namespaces. A guard waits first for its standard input, and does nothing if that says
# "keep". So it also cleans up after a parent that was killed.
#
# A process is the lab's if it is in one of the lab's namespaces now: unlike a recorded pid, that can't be out of date.

trap '' INT TERM HUP
state=$1 mode=$2
shift 2

if [ "$mode" = guard ]; then
    word=
    read -r word || :
    [ "$word" = keep ] && exit 0
fi

inside() {
    for namespace; do
        [ ! -e "/run/netns/$namespace" ] || ip netns pids "$namespace"
    done 2>/dev/null
}

for signal in TERM KILL; do
    pids=$(inside "$@")
    [ -n "$pids" ] || break
    kill -s "$signal" $pids 2>/dev/null
    tries=0
    while [ -n "$(inside "$@")" ] && [ $tries -lt 50 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
done

status=0
for namespace; do
    if [ -e "/run/netns/$namespace" ]; then
        ip netns del "$namespace" || status=1
    fi
    # The files that its programs see in place of those of /etc.
    rm -rf "/etc/netns/$namespace" || status=1
done
rm -rf "$state" || status=1
exit $status
