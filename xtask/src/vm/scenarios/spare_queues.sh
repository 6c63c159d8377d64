# virtio_net with queue pairs to spare has more receive queues while a program is attached: all of them answer, and none is left behind.
#
# Zero-copy sockets on such a queue outlive it: the driver refuses to end zero-copy where no queue is in use, and keeps their buffers.
# So automatic mode is copy there, zero-copy is refused, and with no pairs to spare it works. A complaint of the kernel fails any scenario.
#
# drivers: virtio_net
# kernels: 6.18
# queues: 4
# seconds: 600
# check there are queues to spare: queues.before < queues.attached
# check automatic mode is copy: auto.mode = "copy"
# check every probe is answered: auto.answered = auto.probes
# check it is with none to spare: full.answered = full.probes
# check zero-copy is refused: refused.status = 2
# check the refusal names what to do: refused.advice = 1
# check with none to spare it is zero-copy: full.mode = "zero-copy"
# check nothing stays behind: queues.after = queues.before
# check nothing stays behind who is killed: queues.killed = queues.before
# check nor a program: killed.left = "none"

queues() { ls -d /sys/class/net/near0/queues/rx-* | wc -l; }
has_more() { [ "$(queues)" -gt "$before" ]; }
has_no_more() { [ "$(queues)" = "$before" ]; }

clean
lab
before=$(queues)
fact queues.before "$before"
start 1000 --engine afxdp
within 30 has_more || true
fact queues.attached "$(queues)"
stop run
fact queues.after "$(queues)"
sweep auto 10.64.0.1-10.64.15.160 1000 --engine afxdp

# A process that is killed lets go of program and sockets at once.
start 1000 --engine afxdp
died killed
within 30 has_no_more || true
fact queues.killed "$(queues)"

status=0
echolot sweep 10.64.0.1-10.64.0.9 -I near0 --mode zero-copy -f none 2>/tmp/run/refused || status=$?
fact refused.status $status
fact refused.advice "$(grep -c 'ethtool -L near0 combined 4' /tmp/run/refused)"

clean
ethtool -L near0 combined 4
lab
sweep full 10.64.0.1-10.64.15.160 1000 --engine afxdp --mode zero-copy
fact "table.queue_pairs_to_spare" "copy; with none zero-copy: $(figure answered) of $(figure probes)"
