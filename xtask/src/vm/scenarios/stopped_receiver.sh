# A receiver that stands still in zero-copy mode costs nobody else a frame: TCP through the same queue goes on.
#
# The far end holds answers back for ten seconds, so that those of ten seconds' probes arrive while echolot is stopped: on the one queue
# that there is, more than its ring holds. Those that find no room are dropped by the XDP program, and counted: each excuses a probe.
# The rest lies in the ring until echolot goes on, and is answered by its stamp. A driver that had met a full ring would have stopped
# receiving: no TCP, and round trips longer by the time that it stood still.
#
# kernels: 6.18
# modules: sch_netem
# programs: tc
# seconds: 600
# check the mode is zero-copy: run.mode = "zero-copy"
# check answers found the ring full: run.ring_full > 0
# check TCP goes on meanwhile: tcp.during >= 0.5 * tcp.before
# check TCP was there to go on: tcp.before > 10
# check it goes on afterwards: run.answered > 5000
# check no round trip is longer by the stop: run.rtt_ns.max < 14000000000
# check none is lost but by replies that came late: run.lost <= run.late
# check unheard are no more than were dropped: run.unheard <= run.ring_full + run.vanished + run.driver

ethtool -L near0 combined 1 2>/dev/null || true
lab
# Before anything is under way: what waits in the queue of before is thrown away.
in_far tc qdisc add dev far0 root netem delay 10s limit 100000
cat >/tmp/run/echolot.yml <<END
interface: near0
listen: 127.0.0.1:10816
groups:
- {name: vm, targets: [10.64.0.1-10.64.7.208], interval: 1s, timeout: 25s}
END
echolot run -c /tmp/run/echolot.yml --summary /tmp/summary --mode zero-copy --engine afxdp &
running=$!
within 60 is_ready || fail "run is not ready after 60 s"
within 60 is_up near0 || fail "near0 has no carrier"
# Ten words a second, to this end.
in_far sh -c 'while :; do echo tick; usleep 100000; done | nc -l -p 5000' &
sleep 1
sleep 600 | nc 10.63.0.2 5000 >/tmp/run/ticks 2>/dev/null &
ticks() { wc -l </tmp/run/ticks; }
has_ticks() { [ "$(ticks)" -gt 5 ]; }
within 120 has_ticks || fail "no TCP connection"
answered='echolot_probes_settled_total{outcome="answered"}'
within 120 is_metric "$answered" -gt 3000 || fail "too few answers before the stop"

start=$(ticks)
sleep 10
before=$(ticks)
kill -STOP $running
sleep 10
during=$(ticks)
kill -CONT $running
fact tcp.before $((before - start))
fact tcp.during $((during - before))
before=$(metric "$answered")
within 120 is_metric "$answered" -gt $((before + 3000)) || fail "no answers after it went on"
for cause in ring_full vanished driver; do
    fact run.$cause "$(scrape | awk -v cause="cause=\"$cause\"" '
        /^echolot_local_drops_total/ && /direction="receive"/ && index($0, cause) { sum += $NF } END { printf "%.0f", sum }')"
done
stop run
