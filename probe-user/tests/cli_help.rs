//! The command line as people meet it: help that shows an example, and errors that say what was expected.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use clap::{CommandFactory, Parser, error::ErrorKind};
use echolot::{
    base::{Nanos, Outcome},
    cli::args::{Cli, Command, PingArgs, Rate, SweepArgs},
    nic::Mode,
    results::Format,
    targets::Shard,
    wire::{Content, Kind},
};

const COMMANDS: [&str; 8] = ["run", "ping", "sweep", "doctor", "reflect", "check", "init", "trace"];

/// What stands between double quotes is one argument.
fn parse(line: &str) -> Result<Command, clap::Error> {
    let mut arguments: Vec<&str> = Vec::new();
    for (i, part) in line.split('"').enumerate() {
        if i % 2 == 1 { arguments.push(part) } else { arguments.extend(part.split_whitespace()) }
    }
    Cli::try_parse_from(arguments).map(|cli| cli.command)
}

/// What is printed when `line` is wrong. Exit status 2, always.
fn error(line: &str) -> String {
    let error = parse(line).expect_err(line);
    assert_eq!(error.exit_code(), 2, "{line}");
    error.to_string()
}

fn help(command: &str) -> String {
    let shown = parse(&format!("echolot {command} --help")).unwrap_err();
    assert_eq!((shown.kind(), shown.exit_code()), (ErrorKind::DisplayHelp, 0), "{command}");
    shown.to_string()
}

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_is_listed_and_nothing_that_is_not_built() {
    let cli = Cli::command();
    let shown = cli.get_subcommands().filter(|command| !command.is_hide_set());
    let mut listed: Vec<_> = shown.map(|command| command.get_name().to_owned()).collect();
    listed.sort();
    let mut commands = COMMANDS;
    commands.sort_unstable();
    assert_eq!(listed, commands);
}

#[test]
fn every_help_shows_examples_that_parse() {
    for command in COMMANDS {
        let help = help(command);
        let (_, after) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{command}: no examples\n{help}"));
        let examples: Vec<_> = after.lines().take_while(|line| line.starts_with("  echolot ")).collect();
        assert!(!examples.is_empty(), "{command}");
        for example in examples {
            // What an example does stands behind it, after some blanks.
            let line = example.trim_start().split("  ").next().unwrap();
            assert!(line.starts_with(&format!("echolot {command} ")) || line == format!("echolot {command}"), "{line}");
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}

#[test]
fn help_groups_options_and_shows_defaults() {
    let sweep = help("sweep");
    for heading in ["Targets:", "Probes:", "Network:", "Output:"] {
        assert!(sweep.contains(&format!("\n{heading}\n")), "{heading}\n{sweep}");
    }
    for default in
        ["[default: 10000]", "[default: 1s; of TCP 3s]", "[default: icmp]", "[default: text]", "[default: auto]"]
    {
        assert!(sweep.contains(default), "{default}\n{sweep}");
    }
    assert!(help("ping").contains("[default: of ping's echo 56"));
}

#[test]
fn ping_takes_what_the_ping_that_people_know_takes() {
    let Command::Ping(args) = parse("echolot ping -c 3 -i 0.2 -W 250ms -s 18 -q 10.64.0.1 host.example").unwrap()
    else {
        panic!("not ping")
    };
    assert_eq!((args.count, args.probes.size, args.quiet), (Some(3), Some(18), true));
    assert_eq!((args.interval, args.probes.timeout), (Nanos::from_millis(200), Some(Nanos::from_millis(250))));
    assert_eq!(args.targets.targets, ["10.64.0.1", "host.example"]);
    let Command::Ping(args) = parse("echolot ping 10.64.0.1").unwrap() else { panic!("not ping") };
    assert_eq!((args.count, args.interval, args.probes.timeout), (None, Nanos::from_secs(1), None));
    assert_eq!((args.probes.size, args.format, args.probes.probe), (None, Format::Text, Kind::Echo));
    assert_eq!((args.network.engine, args.network.mode), (None, None));
}

#[test]
fn sweep_takes_rates_shards_and_outcomes() {
    let line = "echolot sweep 10.64.0.0/12 -r 1.5M --only lost,unreachable --shard 2/4 --targets - --targets more.txt \
                --exclude a --exclude b -I eth0 -S 192.0.2.1 --mode zero-copy --engine afxdp --identifier 0xbeef --seed 7 \
                --dry-run -f csv -o out.csv --summary sum.json";
    let Command::Sweep(args) = parse(line).unwrap() else { panic!("not sweep") };
    assert_eq!(args.rate, Rate::PerSecond(std::num::NonZeroU64::new(1_500_000).unwrap()));
    assert_eq!(args.shard, Shard::new(2, 4));
    let chosen = Outcome::ALL.map(|outcome| args.outcomes().contains(outcome));
    assert_eq!(chosen, [false, true, true, false, false]);
    assert_eq!((args.targets.target_files.len(), args.targets.exclude_files.len()), (2, 2));
    assert_eq!(
        (args.network.mode, args.network.identifier, args.network.seed),
        (Some(Mode::ZeroCopy), Some(0xbeef), Some(7))
    );
    assert!(args.network.dry_run && args.format == Format::Csv);
    let Command::Sweep(args) = parse("echolot sweep --rate max --targets hosts.txt").unwrap() else {
        panic!("not sweep")
    };
    assert_eq!(args.rate, Rate::Max);
    assert!(Outcome::ALL.iter().all(|outcome| args.outcomes().contains(*outcome)));
}

#[test]
fn ping_and_sweep_take_the_kind_of_probe() {
    for command in ["ping", "sweep"] {
        let line = format!("echolot {command} -p tcp:443 -W 2 --source-port 61000 10.64.0.1");
        let (Command::Ping(PingArgs { probes, .. }) | Command::Sweep(SweepArgs { probes, .. })) = parse(&line).unwrap()
        else {
            panic!("another command")
        };
        assert_eq!((probes.probe, probes.source_port), (Kind::Tcp { port: 443 }, Some(61_000)));
        assert_eq!(probes.timeout, Some(Nanos::from_secs(2)));
    }
}

#[test]
fn ping_and_sweep_take_what_a_probe_carries_and_looks_like() {
    for command in ["ping", "sweep"] {
        let probes = |options: &str| match parse(&format!("echolot {command} {options} 10.64.0.1")).unwrap() {
            Command::Ping(PingArgs { probes, .. }) | Command::Sweep(SweepArgs { probes, .. }) => probes,
            other => panic!("{other:?}"),
        };
        let plain = probes("");
        assert_eq!((plain.ttl, plain.dscp, plain.dont_fragment, plain.flows), (64, 0, true, 1));
        assert_eq!((plain.size, plain.dns, plain.payload, plain.hex), (None, None, None, None));
        let looks = probes("-s 1000 --ttl 255 --dscp AF41 -M dont --flows 64");
        assert_eq!((looks.size, looks.ttl, looks.dscp), (Some(1_000), 255, 34));
        assert_eq!((looks.dont_fragment, looks.flows), (false, 64));
        assert_eq!(probes("-p udp:53 --dns \". NS\"").dns, Some(Content::of_port(53)));
        assert_eq!(probes("-p udp:7 --payload -x").payload, Content::text("-x").ok());
        assert_eq!(probes("-p udp:7 --payload \"\"").payload, Content::text("").ok());
        assert_eq!(probes("-p udp:7 --hex 00ff17").hex, Content::hex("00ff17").ok());
    }
}

#[test]
fn run_writes_no_results_unless_asked() {
    let Command::Run(args) = parse("echolot run -c echolot.yml").unwrap() else { panic!("not run") };
    assert_eq!((args.format, args.progress_interval), (Format::None, Nanos::ZERO));
}

#[test]
fn wrong_arguments_say_what_was_expected() {
    for (line, expected) in [
        (
            "echolot sweep 10.64.0.0/24 --only anwered",
            "[possible values: answered, unreachable, lost, unheard, unsent]",
        ),
        ("echolot sweep 10.64.0.0/24 --only anwered", "a similar value exists: 'answered'"),
        ("echolot sweep 10.64.0.0/24 -r fast", "a rate is a number of probes a second"),
        ("echolot sweep 10.64.0.0/24 --shard 5/4", "is not a shard; write I/N with I from 1 to N"),
        ("echolot sweep", "TARGET"),
        ("echolot ping -i 1ms 10.64.0.1", "it must be 10ms to 1h"),
        ("echolot ping -W 2m 10.64.0.1", "it must be 1ms to 60s"),
        ("echolot ping -i soon 10.64.0.1", "a time is a number of seconds such as 1 or 0.2, or has a unit"),
        ("echolot ping -c 0 10.64.0.1", "-c"),
        ("echolot ping -p tcp 10.64.0.1", "a TCP probe goes to a port from 1 to 65535; write one such as tcp:443"),
        ("echolot ping -p tcp:0 10.64.0.1", "a port from 1 to 65535"),
        ("echolot sweep -p udp 10.64.0.1", "a UDP probe goes to a port from 1 to 65535; write one such as udp:53"),
        ("echolot sweep --probe arp 10.64.0.1", "the kinds of probe are icmp, tcp:PORT and udp:PORT, such as tcp:443"),
        ("echolot ping -p udp:53 --dns example.com 10.64.0.1", "a DNS question is a name and a type"),
        ("echolot ping -p udp:53 --payload a --hex 00 10.64.0.1", "cannot be used with"),
        ("echolot ping -p udp:7 --hex 0 10.64.0.1", "hexadecimal bytes are pairs of the digits"),
        ("echolot ping -s 0 10.64.0.1", "0 is not in 1..=1472"),
        ("echolot ping --ttl 0 10.64.0.1", "0 is not in 1..=255"),
        ("echolot ping --dscp AF44 10.64.0.1", "`AF44` is no DSCP; write a number from 0 to 63, or EF, CS0 to CS7"),
        ("echolot ping -M want 10.64.0.1", "[possible values: do, dont]"),
        ("echolot ping --flows 65 10.64.0.1", "65 is not in 1..=64"),
        ("echolot ping -p tcp:80 --source-port 1023 10.64.0.1", "1023 is not in 1024..=65534"),
        ("echolot ping -q -f csv 10.64.0.1", "cannot be used with"),
        ("echolot ping -S host 10.64.0.1", "invalid IP address"),
        ("echolot ping --identifier 70000 10.64.0.1", "an identifier is a number from 0 to 65535"),
        ("echolot ping --mode native 10.64.0.1", "[possible values: auto, zero-copy, copy, generic]"),
        ("echolot ping --engine pf_ring 10.64.0.1", "[possible values: auto, afxdp, live-frames]"),
        ("echolot run", "--config <FILE>"),
        ("echolot run -c a.yml --progress-interval 1ms", "0, or 100ms to 1h"),
        ("echolot reflect", "--interface <IFACE>"),
        ("echolot reflect -I veth1 --tcp 80,65536", "a port from 0 to 65535, or a range such as 8000-8099"),
        ("echolot check", "<FILE>"),
        ("echolot chase 10.64.0.1", "unrecognized subcommand 'chase'"),
        ("echolot", "Usage"),
    ] {
        let text = error(line);
        assert!(text.contains(expected), "{line}: no {expected:?} in\n{text}");
    }
}

/// docs/commands.md, made of the definitions that `--help` is made of.
fn reference() -> String {
    let mut all = String::from(
        "# Commands\n\nEvery command and what it takes, as `echolot COMMAND --help` says it. This page is made of the same definitions \
         (`ECHOLOT_WRITE_DOCS=1 cargo test --test cli_help` writes it anew).\n",
    );
    let cell = |text: String| text.replace('|', "\\|").replace('\n', " ");
    let mut cli = Cli::command();
    cli.build();
    for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        all += &format!("\n## `echolot {}`\n\n{about}.\n\n| | what | default |\n|---|---|---|\n", command.get_name());
        for argument in
            command.get_arguments().filter(|argument| !argument.is_hide_set() && argument.get_id() != "help")
        {
            let values: Vec<_> =
                argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
            let takes = argument.get_action().takes_values();
            let names = match (argument.get_short(), argument.get_long()) {
                (Some(short), Some(long)) => format!(
                    "`-{short}`, `--{long}{}`",
                    if takes { format!(" {}", values.join(" ")) } else { String::new() }
                ),
                (None, Some(long)) => {
                    format!("`--{long}{}`", if takes { format!(" {}", values.join(" ")) } else { String::new() })
                }
                _ => format!("`{}`", values.join(" ")),
            };
            let possible = argument.get_possible_values();
            let possible: Vec<_> = possible.iter().filter(|_| takes).map(|value| value.get_name().to_owned()).collect();
            let possible = if possible.is_empty() { String::new() } else { format!(": {}", possible.join(", ")) };
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let default: Vec<_> =
                argument.get_default_values().iter().filter(|_| takes).filter_map(|v| v.to_str()).collect();
            let default = if argument.is_hide_default_value_set() { String::new() } else { default.join(",") };
            let default = if default.is_empty() { default } else { format!("`{default}`") };
            all += &format!("| {} | {} | {} |\n", cell(names), cell(help + &possible), cell(default));
        }
    }
    all
}

#[test]
fn every_command_and_option_is_documented_and_nothing_else_is() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands.md");
    if std::env::var_os("ECHOLOT_WRITE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(written == reference(), "docs/commands.md is not what --help says; ECHOLOT_WRITE_DOCS=1 writes it anew");
}
