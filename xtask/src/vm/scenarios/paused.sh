# The machine stands still for five seconds in the middle of a run, as when it is moved to another host: whether its clocks stand still
# too or not, each probe has one outcome, nobody goes down for it, and probing goes on.
#
# seconds: 600
# check the machine stood still: *.stood >= 3
# check each probe has its outcome: *.answered + *.unsent + *.unheard + *.unreachable + *.lost = *.probes
# check none is lost but by replies that came late: *.lost <= *.late
# check nothing is counted twice: *.duplicate = 0
# check nobody goes down: *.down = 0
# check most are answered: *.answered > 0.8 * *.probes
# check no program is left: *.left = "none"

# The clock on the board is the host's, and goes on.
board() { cat /sys/class/rtc/rtc0/since_epoch; }
uptime() { cut -d. -f1 /proc/uptime; }
# Seconds that this machine's clock has missed since both were read.
missed() { echo $(($(board) - board - $(uptime) + uptime)); }
has_missed() { [ "$(missed)" -ge 3 ]; }

for engine in afxdp live-frames; do
    clean
    lab
    start 500 --engine $engine
    more 1500
    board=$(board) uptime=$(uptime)
    host pause 5
    # Where clocks go on, there is a gap between two looks instead.
    last=$uptime gap=0
    until has_missed || [ $gap -ge 3 ]; do
        usleep 100000
        now=$(uptime)
        [ $((now - last)) -le $gap ] || gap=$((now - last))
        last=$now
        [ $now -lt $((uptime + 60)) ] || fail "the host does not pause this machine"
    done
    fact $engine.stood $(($(missed) > gap ? $(missed) : gap))
    more 3000
    fact $engine.down "$(metric 'echolot_targets{state="down"}')"
    stop $engine
    within 20 is_bare near0 || true
    fact $engine.left "$(attached near0)"
done
