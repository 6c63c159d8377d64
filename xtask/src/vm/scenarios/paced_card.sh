# A card of 8,000 frames a second, which is far less than the machine can: `sweep -r max` sends every probe, at the card's own pace,
# and waits nowhere behind itself.
#
# The near port takes 16 frames every 2 ms, a few less on a busy host, and answers come from the far end's XDP. QEMU takes a burst more for
# each time that it is woken while its timer runs: a flood of live frames wakes it without end, so what the card carries is what a flood
# by AF_XDP gets through.
#
# drivers: virtio_net
# pace: 8000
# programs: bench
# seconds: 1800
# check every probe is sent: *.max.unsent = 0
# check every probe is settled: *.max.answered + *.max.lost + *.max.unheard + *.max.in_flight = *.max.probes
# check most are answered: *.max.answered >= 0.99 * *.max.probes
# check it sends about as fast as a flood gets through: *.max.rate >= 0.85 * afxdp.copy.bare.rate
# check no queue stands in the card: *.max.rtt_ns.p50 <= 10 * *.slow.rtt_ns.p50
# check each is answered at 1,000 a second: *.slow.answered = *.slow.probes

SWEPT=10.64.0.1-10.65.255.254 flooded
