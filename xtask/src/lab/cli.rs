//! `cargo xtask lab ...`.

use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use super::services::{DNS_PORT, DROPPED_PORT, ECHO_PORT, OPEN_PORTS, Services};
use super::*;

/// What `cargo xtask lab --help` prints.
pub const USAGE: &str = "\
cargo xtask lab up     [--name NAME] [--answer kernel|silent|reflector] [--reflector PROGRAM]
cargo xtask lab answer [--name NAME] kernel|silent|reflector [--reflector PROGRAM]
cargo xtask lab exec   [--name NAME] [near|far] -- COMMAND...      near unless said
cargo xtask lab status [--name NAME]
cargo xtask lab down   [--name NAME]

Two network namespaces, NAME-near and NAME-far (NAME is echolot), joined by a veth pair with two queues on each end and
without a route out. 10.64.0.0/12 and fd00:64::/108 lie behind the far end, which answers echo requests for them from its
kernel's own stack, by `echolot reflect` (PROGRAM is target/release/echolot) or not at all. TCP and UDP are its kernel's: some
ports are open, one is dropped, all others are closed; `lab up` says which. Needs root.

Example:
  cargo build --release && cargo xtask lab up
  cargo xtask lab exec -- target/release/echolot ping 10.64.0.1 10.64.0.2
  cargo xtask lab down";

/// A lab command, read from its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabCommand {
    /// Print [`USAGE`].
    Help,
    /// Bring it up.
    Up(Name, Answer),
    /// Change who answers.
    Answer(Name, Answer),
    /// Run a command in it.
    Exec(Name, End, Vec<String>),
    /// Say how it is.
    Status(Name),
    /// Take it down.
    Down(Name),
    /// Serve TCP and UDP, which `lab up` starts in the far namespace: [`services`].
    Serve,
}

/// Reads the arguments after `lab`.
pub fn parse(arguments: &[String]) -> Result<LabCommand, String> {
    let mut name: Name = DEFAULT_NAME.parse()?;
    let (mut answer, mut reflector) = (None, PathBuf::from("target/release/echolot"));
    let mut words = Vec::new();
    let mut command = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "-h" | "--help" => return Ok(LabCommand::Help),
            "--name" => name = value()?.parse()?,
            "--answer" => answer = Some(value()?),
            "--reflector" => reflector = value()?.into(),
            "--" => {
                command = Some(rest.cloned().collect::<Vec<_>>());
                break;
            }
            option if option.starts_with('-') => return Err(format!("{option} is unknown\n\n{USAGE}")),
            word => words.push(word),
        }
    }
    let verb = *words.first().ok_or_else(|| format!("lab wants a command\n\n{USAGE}"))?;
    let who = |word: &str| match word {
        "kernel" => Ok(Answer::Kernel),
        "silent" => Ok(Answer::Silent),
        "reflector" => Ok(Answer::Reflector(reflector.clone())),
        _ => Err(format!("{word} can't answer: it is kernel, silent or reflector")),
    };
    if verb != "exec" && command.is_some() {
        return Err(format!("lab {verb} runs no command: use lab exec"));
    }
    if verb != "up" && answer.is_some() {
        return Err(format!("--answer goes with lab up, not with lab {verb}"));
    }
    match (verb, &words[1..]) {
        ("up", []) => Ok(LabCommand::Up(name, who(answer.as_deref().unwrap_or("kernel"))?)),
        ("answer", [word]) => Ok(LabCommand::Answer(name, who(word)?)),
        ("answer", _) => Err("lab answer wants one of kernel, silent, reflector".into()),
        ("exec", end) => {
            let end = match end {
                [] | ["near"] => End::Near,
                ["far"] => End::Far,
                _ => return Err("lab exec [near|far] -- COMMAND...: put -- in front of the command".into()),
            };
            let command = command.filter(|words| !words.is_empty()).ok_or("lab exec wants a command after --")?;
            Ok(LabCommand::Exec(name, end, command))
        }
        ("status", []) => Ok(LabCommand::Status(name)),
        ("down", []) => Ok(LabCommand::Down(name)),
        ("serve", []) => Ok(LabCommand::Serve),
        ("up" | "status" | "down" | "serve", [extra, ..]) => Err(format!("lab {verb} takes no {extra:?}\n\n{USAGE}")),
        _ => Err(format!("lab {verb} is unknown\n\n{USAGE}")),
    }
}

/// Does it, and prints what it did.
pub fn perform(command: LabCommand) -> Result<(), String> {
    match command {
        LabCommand::Help => println!("{USAGE}"),
        LabCommand::Up(name, answer) => {
            require_root()?;
            if name.is_up() {
                println!("lab {name} is up already, {} answers", name.answer_word().unwrap_or_default());
                return Ok(());
            }
            let own = std::env::current_exe().map_err(|e| format!("own path: {e}"))?;
            let mut lab = Lab::up(&name.to_string(), &answer)?;
            lab.serve(&own)?;
            lab.keep();
            let behind = format!("{TARGETS} is behind {FAR_ADDRESS}, {TARGETS_V6} behind {FAR_ADDRESS_V6}");
            println!("lab {name} is up: {behind}, {} answers echo requests", answer.word());
            print!("{}", served());
        }
        LabCommand::Answer(name, answer) => {
            require_up(&name)?;
            // A reflector stays behind when this process ends; `down` finds it.
            drop(name.set_answer(&answer)?);
            println!("lab {name}: {} answers", answer.word());
        }
        LabCommand::Exec(name, end, words) => {
            require_up(&name)?;
            let error = name.command(end, &words[0]).args(&words[1..]).exec();
            return Err(format!("ip netns exec: {error}"));
        }
        LabCommand::Status(name) => {
            if !name.is_up() {
                println!("lab {name} is down");
                return Ok(());
            }
            println!("lab {name} is up, {} answers for {TARGETS}", name.answer_word().unwrap_or_default());
            for (end, interface, address) in
                [(End::Near, NEAR_INTERFACE, NEAR_ADDRESS), (End::Far, FAR_INTERFACE, FAR_ADDRESS)]
            {
                let namespace = name.namespace(end);
                println!("  {namespace}: {interface} {address}, {} processes", name.processes(end).len());
            }
        }
        LabCommand::Down(name) => {
            require_root()?;
            let was_up = name.is_up();
            name.down()?;
            println!("lab {name} {}", if was_up { "is down" } else { "was down already" });
        }
        LabCommand::Serve => {
            let services = Services::bind()?;
            eprintln!("ready");
            services.run()?;
        }
    }
    Ok(())
}

/// What answers where beside echo replies, for people.
fn served() -> String {
    let list = |words: &mut dyn Iterator<Item = String>| words.collect::<Vec<_>>().join(", ");
    let open = list(&mut OPEN_PORTS.iter().map(u16::to_string));
    let hosts = list(&mut Services::hosts().filter(IpAddr::is_ipv4).map(|host| host.to_string()));
    let hosts_v6 = list(&mut Services::hosts().filter(IpAddr::is_ipv6).map(|host| host.to_string()));
    let names = list(&mut dns::NAMES.iter().map(|(name, ..)| (*name).to_owned()));
    format!(
        "  TCP {open:<10} open, at every address\n  TCP, UDP {DROPPED_PORT:<5} dropped\n  UDP {ECHO_PORT:<10} echoed at\n    \
         {hosts},\n    {hosts_v6}\n  UDP {DNS_PORT:<10} DNS, there too: {names}; no other name\n  any other port is closed\n"
    )
}

fn require_up(name: &Name) -> Result<(), String> {
    require_root()?;
    if name.is_up() {
        return Ok(());
    }
    Err(format!("lab {name} is down: `cargo xtask lab up` first"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that meets none fails")]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<LabCommand, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn commands() {
        assert_eq!(read("up"), Ok(LabCommand::Up(name("echolot"), Answer::Kernel)));
        assert_eq!(read("up --name x --answer silent"), Ok(LabCommand::Up(name("x"), Answer::Silent)));
        let reflector = Answer::Reflector("p".into());
        assert_eq!(read("up --answer reflector --reflector p"), Ok(LabCommand::Up(name("echolot"), reflector.clone())));
        assert_eq!(read("answer reflector --reflector p"), Ok(LabCommand::Answer(name("echolot"), reflector)));
        assert_eq!(read("--name y down"), Ok(LabCommand::Down(name("y"))));
        assert_eq!(read("serve"), Ok(LabCommand::Serve));
        assert_eq!(read("status"), Ok(LabCommand::Status(name("echolot"))));
        assert_eq!(read("up --help"), Ok(LabCommand::Help));
    }

    #[test]
    fn a_command_to_run_is_left_as_it_is() {
        let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        let expected = LabCommand::Exec(name("echolot"), End::Near, words(&["ping", "--name", "-h"]));
        assert_eq!(read("exec -- ping --name -h"), Ok(expected));
        let expected = LabCommand::Exec(name("z"), End::Far, words(&["true"]));
        assert_eq!(read("exec --name z far -- true"), Ok(expected));
    }

    #[test]
    fn errors_say_what_to_do() {
        for (line, part) in [
            ("", "wants a command"),
            ("upp", "lab upp is unknown"),
            ("up extra", "takes no \"extra\""),
            ("up --name", "--name needs a value"),
            ("up --name A/b", "is no lab name"),
            ("up --answer nobody", "kernel, silent or reflector"),
            ("up --fast", "--fast is unknown"),
            ("down --answer silent", "goes with lab up"),
            ("answer", "wants one of"),
            ("exec ping", "put -- in front"),
            ("exec near --", "wants a command after --"),
            ("down -- true", "use lab exec"),
        ] {
            let told = read(line).unwrap_err();
            assert!(told.contains(part), "{line}: {told}");
        }
    }

    #[test]
    fn names() {
        for good in ["echolot", "el-test-4711", "a"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a b", "../x", "A", &"a".repeat(41)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        assert_eq!(name("el").namespace(End::Far), "el-far");
    }
}
