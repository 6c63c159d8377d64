# A card that takes whatever it gets: `sweep -r max` sends every probe, and the figures say what that does where the processors, which
# both ends and the cards themselves share, are the limit.
#
# How fast that is, a bare loop of the same mechanism says: a prepared frame over and over, refused or not (in zero-copy mode each is
# written whole). The far end answers in XDP, and takes what is addressed to others: the bare loops' frames are. What its card receives
# in a stretch of time is the rate. Rates and medians are for people to look at: what stands in QEMU or is dropped at the far end is not
# for a sender to see. paced_card holds them to something.
#
# programs: bench
# seconds: 1800
# check every probe is sent: *.max.unsent = 0
# check every probe is settled: *.max.answered + *.max.lost + *.max.unheard + *.max.in_flight = *.max.probes
# check each is answered at 1,000 a second: *.slow.answered = *.slow.probes

flooded
