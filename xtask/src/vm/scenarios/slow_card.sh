# A card that is slower than the machine: `sweep -r max` sends every probe, about as fast as the card can, and waits nowhere behind itself.
#
# How fast that is, a bare loop of the same mechanism says: a prepared frame over and over, refused or not (in zero-copy mode each is
# written whole). The far end answers in XDP, and takes what is addressed to others: the bare loops' frames are. What its card receives
# in a stretch of time is the rate; both ends and the cards themselves share the processors of the machine that emulates them.
#
# programs: bench
# seconds: 1800
# check every probe is sent: *.max.unsent = 0
# check every probe is settled: *.max.answered + *.max.lost + *.max.unheard + *.max.in_flight = *.max.probes
# check most are answered: *.max.answered >= 0.99 * *.max.probes
# check it sends as fast as a flood gets through: *.max.rate >= 0.9 * *.bare.rate
# check no queue stands in the card: *.max.rtt_ns.p50 <= 10 * *.slow.rtt_ns.p50
# check each is answered at 1,000 a second: *.slow.answered = *.slow.probes

flooded
