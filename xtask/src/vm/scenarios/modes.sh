# Each engine and mode that kernel and driver have: sweep, run, kill -9.
#
# What is asked for and can't be had is refused with an error, exit status 2; `auto` always works. Of what works, every probe is
# answered, as the summary of a sweep and as the metrics of a run say; after kill -9 no program is left on the port, and the host's own
# traffic passes. (Some cards restart when a program is attached, and their link may go once more while the first probes are due: those
# are unsent, and no more than a few.)
#
# seconds: 900
# check every probe that a sweep sends is answered: *.sweep.answered + *.sweep.unsent = *.sweep.probes
# check a sweep sends its probes: *.sweep.answered >= 0.9 * *.sweep.probes
# check run answers what it sends: *.run.answered + *.run.in_flight + *.run.unsent = *.run.probes
# check run goes on probing: *.run.answered > 1000
# check no program is left by kill -9: *.left = "none"
# check the link carries traffic after kill -9: *.carries = "yes"
# check the mode is the one that was asked for: *.mode-asked = *.sweep.mode
# check auto takes one of them: auto.sweep.answered = auto.sweep.probes

for engine in live-frames afxdp; do
    for mode in zero-copy copy generic; do
        # Frames made in the kernel need the driver's own XDP.
        [ "$engine $mode" != 'live-frames generic' ] || continue
        key=$engine.$mode
        clean
        lab
        if ! has $engine $mode; then
            fact "table.$engine/$mode" "refused: $(sed 's/^echolot: //; s/|/,/g' /tmp/run/first | tail -n 1 | cut -c 1-160)"
            continue
        fi
        sweep "$key.sweep" 10.64.0.1-10.64.7.208 500 --engine $engine --mode $mode
        fact "table.$engine/$mode" "$(figure answered) of $(figure probes) answered"
        fact "$key.mode-asked" $mode
        start 500 --engine $engine --mode $mode
        within 60 is_metric echolot_probes_total -gt 2000 || true
        metrics "$key.run"
        died "$key"
    done
done
clean
lab
sweep auto.sweep 10.64.0.1-10.64.7.208 500
fact table.auto "$(sed -n 's/.*"engine": *"\([a-z-]*\)".*"mode": *"\([a-z-]*\)".*/\1, \2/p' /tmp/run/summary): $(figure answered) of $(figure probes) answered"
