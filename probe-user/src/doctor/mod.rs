//! What this host can do and what is in the way, one file a check.
//!
//! Nothing is changed on the host, with one exception: for given targets the kernel is asked to resolve their next hops,
//! as the first packet to them would have it do.

mod accuracy;
mod attached;
mod clock;
mod cpus;
mod engine;
mod kernel;
mod link;
mod memory;
mod neighbours;
mod path;
mod privileges;
mod queues;
mod source_ports;
mod xdp;

use crate::base::Sources;
use crate::route::{self, Interface, RouteError, Routes, Stack};
use serde::Serialize;
use std::{fmt, fmt::Write as _, io, io::Write as _, net::IpAddr};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Echolot works, but not as well as it could.
    Warning,
    /// Echolot can't work.
    Problem,
    /// Could not be found out here.
    Skipped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warn",
            Self::Problem => "FAIL",
            Self::Skipped => "skip",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at; of an interface with its name in front.
    pub name: String,
    /// How it came out.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Check {
    fn new(name: impl Into<String>, status: Status, detail: impl Into<String>) -> Self {
        Self { name: name.into(), status, detail: detail.into(), advice: None }
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// What to look at besides the host itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The interface; else the one that routes to the targets; else all that carry Ethernet.
    pub interface: Option<String>,
    /// Where to: route, source address, gateway and its MAC address are looked up.
    pub targets: Vec<IpAddr>,
    /// The source addresses to use.
    pub sources: Sources,
}

/// All checks, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Never empty.
    pub checks: Vec<Check>,
}

/// Looks at this host. Blocks for up to about 4 seconds (gateways that don't answer); not to be called from async code.
///
/// # Errors
/// No tokio runtime can be made. All else that fails is a check that failed.
pub fn run(options: &Options) -> io::Result<Report> {
    let mut checks = vec![privileges::check(), memory::check()];
    checks.extend(kernel::checks());
    checks.push(clock::check());
    checks.push(cpus::check());
    checks.push(source_ports::check());
    checks.push(accuracy::check());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Err(error) = runtime.block_on(look_at_network(options, &mut checks)) {
        checks.push(Check::new("network", Status::Problem, error.to_string()));
    }
    Ok(Report { checks })
}

async fn look_at_network(options: &Options, checks: &mut Vec<Check>) -> Result<(), RouteError> {
    let handle = route::connect()?;
    let routes = if options.targets.is_empty() {
        None
    } else {
        let targets = options.targets.iter().copied();
        Some(Routes::discover(&handle, targets, options.interface.as_deref(), &options.sources).await)
    };
    let all = Interface::all(&handle).await?;
    let interfaces = match (&options.interface, &routes) {
        (Some(name), _) => vec![Interface::by_name(&handle, name).await?],
        (None, Some(Ok(routes))) => vec![routes.interface.clone()],
        // Members are looked at with their bonds.
        (None, _) => all
            .iter()
            .filter(|interface| !interface.loopback && interface.foreign.is_none() && interface.member.is_none())
            .cloned()
            .collect(),
    };
    if interfaces.is_empty() {
        let check =
            Check::new("interfaces", Status::Problem, "no interface that carries Ethernet in this network namespace");
        checks.push(check.advise("run it where the network interface is (`ip netns list`)"));
    }
    // Of several that nobody named, one that is unplugged stands in no one's way.
    let named = options.interface.is_some() || matches!(routes, Some(Ok(_)));
    for interface in &interfaces {
        let mut of_interface = vec![link::check(interface, &all)];
        // What probes leave by; for itself where there is nothing beneath.
        let stack = Stack::resolve(interface, &all).unwrap_or_else(|_| Stack::alone(interface));
        for port in &stack.ports {
            of_interface.extend([queues::check(port), xdp::check(port), engine::check(port), attached::check(port)]);
        }
        if !named && interfaces.len() > 1 {
            of_interface.iter_mut().filter(|check| check.status == Status::Problem).for_each(|check| {
                check.status = Status::Warning;
            });
        }
        checks.extend(of_interface);
    }
    if let Some(routes) = routes {
        path::look(routes, checks).await;
    }
    Ok(())
}

impl Report {
    /// Whether anything keeps echolot from working: exit status 1.
    pub fn has_problem(&self) -> bool {
        self.checks.iter().any(|check| check.status == Status::Problem)
    }

    /// To stdout: for people, or as a JSON array of objects with `name`, `status`, `detail` and `advice`.
    pub fn print(&self, json: bool) -> io::Result<()> {
        let text = if json { self.to_json()? } else { self.to_text() };
        io::stdout().lock().write_all(text.as_bytes())
    }

    /// A JSON array, with a line feed at its end.
    pub fn to_json(&self) -> io::Result<String> {
        Ok(serde_json::to_string_pretty(&self.checks)? + "\n")
    }

    /// A line a check, aligned; advice on a line of its own beneath.
    pub fn to_text(&self) -> String {
        let width = self.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for Check { name, status, detail, advice } in &self.checks {
            // Writing to a String can't fail.
            let _ = writeln!(text, "{status:<4}  {name:<width$}  {detail}");
            if let Some(advice) = advice {
                let _ = writeln!(text, "{:6}{:width$}  -> {advice}", "", "");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn report() -> Report {
        Report {
            checks: vec![
                Check::new("cpus", Status::Ok, "2"),
                Check::new("eth0 link", Status::Problem, "down").advise("bring it up"),
            ],
        }
    }

    #[test]
    fn text_is_aligned() {
        let expected = "ok    cpus       2\nFAIL  eth0 link  down\n                 -> bring it up\n";
        assert_eq!(report().to_text(), expected);
    }

    #[test]
    fn json_has_every_member() {
        let json: serde_json::Value = serde_json::from_str(&report().to_json().unwrap()).unwrap();
        assert_eq!(json[0], serde_json::json!({"name": "cpus", "status": "ok", "detail": "2", "advice": null}));
        assert_eq!(json[1]["status"], "problem");
    }

    #[test]
    fn only_a_problem_is_one() {
        assert!(report().has_problem());
        let mut fine = report();
        fine.checks[1].status = Status::Warning;
        assert!(!fine.has_problem());
    }

    #[test]
    fn an_unknown_interface_is_a_problem_that_names_those_there_are() {
        let options = Options { interface: Some("no-such-nic".to_owned()), ..Options::default() };
        let report = run(&options).unwrap();
        let last = report.checks.last().unwrap();
        assert_eq!(last.status, Status::Problem);
        assert!(last.detail.starts_with("no-such-nic: no such interface. This host has: "), "{last:?}");
    }
}
