//! `echolot init`: a commented configuration for this host.

use super::{Failure, Status, args::InitArgs};
use crate::{
    base::Family,
    config,
    route::{Interface, Overview, RouteError, Stack, neighbours_at_most, share_of_kernel},
};
use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write as _},
    net::IpAddr,
    path::Path,
};

/// Where metrics are served: for this host alone.
const LISTEN: &str = "127.0.0.1:10816";

/// What is the same on all hosts.
const REST: &str = "  # Lists in files beside this one, as Prometheus' file_sd has them:
  #   [{\"targets\": [\"192.0.2.7\"], \"labels\": {\"site\": \"fra\"}}]
  # Whoever writes, changes or removes such a file changes what is probed, within a second.
  - name: from-files
    target_files: [targets-*.json, targets-*.yml]
    #sum_by: [site]    # sums and histograms by a label that targets have
    per_target: unhealthy

# Never probed, whoever asks for it.
exclude: []

limits:
  # Probes a second that all groups together may need. More is refused, with the sum of what each group needs.
  rate: 100000
";

/// Writes what fits this host, once `check` would take it.
pub(super) fn run(args: &InitArgs) -> Result<Status, Failure> {
    let host = Overview::take()?;
    let interface = chosen(&host, args.interface.as_deref())?;
    let text = text(&host, interface, &args.targets);
    let path = args.output.as_deref();
    if let Some(folder) = path.and_then(Path::parent)
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        return Err(Failure::new(format!("{}: its folder is not there: make it first", folder.display())));
    }
    // Whatever is wrong with it is one of the arguments.
    let config = config::parse(path.unwrap_or(Path::new("init")), text.clone().into_bytes())?;
    config.plan()?;
    match path {
        None => io::stdout().lock().write_all(text.as_bytes())?,
        Some(path) => {
            write(path, &text)?;
            let shown = path.display();
            eprintln!("{shown} is written. Next: `echolot check {shown}`, then `echolot run -c {shown}`");
        }
    }
    Ok(Status::Complete)
}

/// Writes a file that is not there yet.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let shown = path.display();
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| {
        Failure::new(match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{shown}: it is there already, and init overwrites nothing: name another file, or move it away")
            }
            ErrorKind::NotFound => format!("{shown}: its folder is not there: make it first"),
            _ => format!("{shown}: can't be written: {error}"),
        })
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a configuration would be in the way of the next try.
        let _ = fs::remove_file(path);
        Failure::new(format!("{shown}: can't be written: {error}"))
    })
}

/// The interface that was asked for, or the one by which this host reaches what is far away, if probes can leave by it.
fn chosen<'a>(host: &'a Overview, asked: Option<&str>) -> Result<Option<&'a Interface>, Failure> {
    if let Some(name) = asked {
        let known = || host.interfaces.iter().map(|interface| interface.name.clone()).collect();
        let found = host.interfaces.iter().find(|interface| interface.name == name);
        let interface = found.ok_or_else(|| RouteError::NoSuchInterface { name: name.to_owned(), known: known() })?;
        return match unusable(interface, host) {
            None => Ok(Some(interface)),
            Some(why) => Err(Failure::new(why)),
        };
    }
    let out = host.ways_out.iter().filter_map(|way| host.interfaces.iter().find(|i| i.index == way.interface));
    let usable = out.filter(|interface| unusable(interface, host).is_none());
    Ok(usable.into_iter().next())
}

/// Why probes can't leave by an interface; None if they can.
fn unusable(interface: &Interface, host: &Overview) -> Option<String> {
    let above = host.interfaces.iter().find(|other| Some(other.index) == interface.master);
    let above = above.filter(|above| matches!(above.kind.as_deref(), Some("bond" | "bridge" | "team")));
    match (interface.check(), Stack::resolve(interface, &host.interfaces), above) {
        (Err(error), ..) => Some(error.to_string()),
        (_, Err(error), _) => Some(error.to_string()),
        (.., Some(above)) => Some(format!("{} belongs to {}, which has the addresses", interface.name, above.name)),
        _ => None,
    }
}

/// The configuration.
fn text(host: &Overview, interface: Option<&Interface>, targets: &[String]) -> String {
    let mut text = format!(
        "# echolot's configuration, begun by `echolot init` {} for this host.\n\
         # `echolot check FILE` says whether it is right, what rate it comes to and how much memory; `echolot doctor` looks\n\
         # at the host. docs/configuration.md has every key.\n\n",
        env!("CARGO_PKG_VERSION")
    );
    text += "# The interfaces of this host:\n";
    let others = host.interfaces.iter().filter(|interface| !interface.loopback);
    others.for_each(|interface| text += &about(interface, host));
    text += "# Left out, it is the one that routes to the targets.\n";
    match interface {
        Some(interface) => text += &format!("interface: {}\n", quoted(&interface.name)),
        None => text += "#interface: eth0\n",
    }
    text += &format!(
        "\n# Metrics for a Prometheus, and a page for people, at http://{LISTEN}/. Without authentication: so for this host\n\
         # alone, unless you write an address of this host that others reach, or 0.0.0.0.\n\
         listen: {LISTEN}\n\n\
         # Inherited by all groups.\n\
         global:\n  interval: 1s    # each target gets a probe in this time\n  timeout: 1s     # so long may an answer take\n  \
         down_after: 3   # so many failed ones in a row, and a target is down\n\n\
         groups:\n"
    );
    if !targets.is_empty() {
        let list: String = targets.iter().map(|target| format!("      - {}\n", quoted(target))).collect();
        text += &format!(
            "  # Addresses, networks (198.51.100.0/24), ranges (192.0.2.1-192.0.2.9) and names.\n  \
             - name: targets\n    targets:\n{list}    \
             per_target: all    # series of their own for each; from some thousand targets on, rather: unhealthy\n\n"
        );
    }
    let gateways = gateways(host, interface);
    if !gateways.is_empty() {
        text += &format!(
            "  # The first router: while it does not answer, nobody behind it can be judged.\n  \
             - name: gateways\n    targets: [{}]\n    per_target: all\n\n",
            gateways.join(", ")
        );
    }
    text += REST;
    for advice in interface.into_iter().flat_map(|interface| on_link(interface, host)) {
        text += &advice;
    }
    text
}

/// One interface: what it has, and whether probes can leave by it.
fn about(interface: &Interface, host: &Overview) -> String {
    let mut line = format!("#   {}:", interface.name);
    let addresses: Vec<String> =
        host.addresses_of(interface).map(|(address, length)| format!("{address}/{length}")).collect();
    let addresses = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
    // Writing to a String can't fail.
    let _ = write!(line, " {addresses}");
    match unusable(interface, host) {
        Some(why) => {
            let _ = write!(line, "; not to be used: {why}");
        }
        None => {
            let driver = interface.driver.as_deref().unwrap_or("driver unknown");
            let _ = write!(line, "; {driver}, MTU {}, {} receive queues", interface.mtu, interface.rx_queues);
        }
    }
    for way in host.ways_out.iter().filter(|way| way.interface == interface.index) {
        match way.gateway {
            Some(gateway) => line += &format!("; the default route, by {gateway}"),
            None => line += "; the default route",
        }
    }
    line + "\n"
}

/// The routers that this host's default routes lead to by the interface, as targets.
fn gateways(host: &Overview, interface: Option<&Interface>) -> Vec<String> {
    let Some(interface) = interface else { return Vec::new() };
    let by = host.ways_out.iter().filter(|way| way.interface == interface.index).filter_map(|way| way.gateway);
    by.map(|gateway| match gateway {
        IpAddr::V6(address) if address.is_unicast_link_local() => quoted(&format!("{address}%{}", interface.name)),
        // In the list of a line a colon may stand where it does in an address.
        _ => gateway.to_string(),
    })
    .collect()
}

/// What many targets on the interface's own networks would mean, where there is room for many.
fn on_link(interface: &Interface, host: &Overview) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for family in Family::ALL {
        let (most, share) = (neighbours_at_most(family), share_of_kernel().of(family));
        let networks = host.addresses_of(interface).filter(|(address, length)| {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let is_link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
            Family::of(*address) == family && !is_link_local && bits - u32::from(*length) > share.max(1).ilog2()
        });
        let networks: Vec<String> = networks.map(|(address, length)| format!("{address}/{length}")).collect();
        if networks.is_empty() {
            continue;
        }
        let (version, asked) = match family {
            Family::V4 => ("ipv4", "ARP, broadcasts that everybody there hears"),
            Family::V6 => ("ipv6", "neighbour discovery, by multicast"),
        };
        told.push(format!(
            "  # On the network of {} there may be more than {share} targets. echolot asks for those by itself\n  \
             # ({asked}), at the pace of the probes: begin with a long interval. Each that answers\n  \
             # takes an entry of this host's table of neighbours, which holds {most}: for more of them\n  \
             # `sysctl net.{version}.neigh.default.gc_thresh3=N`, and gc_thresh2 to half of it.\n",
            networks.join(" and ")
        ));
    }
    told
}

/// A word as YAML has to have it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/:-".contains(c);
    if word.starts_with(|c: char| c.is_ascii_alphanumeric()) && word.chars().all(plain) && !word.ends_with(':') {
        return word.to_owned();
    }
    // A JSON string is one of YAML.
    serde_json::Value::from(word).to_string()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::route::WayOut;

    fn host() -> Overview {
        let interface = Interface::example();
        let (v4, v6) = ("10.0.0.9".parse().unwrap(), "2001:db8::9".parse().unwrap());
        Overview {
            addresses: vec![(interface.index, v4, 16), (interface.index, v6, 64)],
            ways_out: vec![
                WayOut { interface: interface.index, gateway: Some("10.0.0.1".parse().unwrap()) },
                WayOut { interface: interface.index, gateway: Some("fe80::1".parse().unwrap()) },
            ],
            interfaces: vec![
                Interface { name: "eth1".into(), index: 9, carrier: false, ..interface.clone() },
                interface,
            ],
        }
    }

    fn checked(text: &str) -> config::Config {
        let config =
            config::parse(Path::new("init"), text.to_owned().into_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}"));
        config.plan().unwrap_or_else(|e| panic!("{e}\n{text}"));
        config
    }

    #[test]
    fn the_interface_of_the_default_route_is_chosen_and_its_routers_are_the_first_targets() {
        let host = host();
        let interface = chosen(&host, None).unwrap();
        assert_eq!(interface.map(|interface| &*interface.name), Some("eth0"));
        let text = text(&host, interface, &[]);
        let config = checked(&text);
        assert_eq!(config.interface.as_deref(), Some("eth0"));
        assert_eq!(config.plan().unwrap().targets.len(), 2, "{text}");
        for part in [
            "eth1: no address; not to be used: eth1 has no carrier",
            "the default route, by 10.0.0.1; the default route, by fe80::1",
            "On the network of 10.0.0.9/16 there may be more than",
            "net.ipv6.neigh.default.gc_thresh3",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }

    #[test]
    fn a_host_without_a_way_out_gets_a_file_that_is_right_too() {
        let host = Overview { ways_out: vec![], ..host() };
        assert_eq!(chosen(&host, None).unwrap(), None);
        let nothing = checked(&text(&host, None, &[]));
        assert_eq!((nothing.interface.as_deref(), nothing.plan().unwrap().targets.len()), (None, 0));
        let targets = ["192.0.2.7", "198.51.100.0/24", "2001:db8::7", "host.example"].map(String::from);
        assert_eq!(checked(&text(&Overview::default(), None, &targets)).plan().unwrap().targets.len(), 259);
        assert_eq!(chosen(&host, Some("eth0")).unwrap().unwrap().name, "eth0");
        assert!(chosen(&host, Some("eth1")).unwrap_err().message.contains("no carrier"));
        assert!(chosen(&host, Some("eth7")).unwrap_err().message.contains("This host has: eth1, eth0"));
    }

    #[test]
    fn words_are_yaml_whatever_is_in_them() {
        assert_eq!(["eth0.100", "2001:db8::7", "10.0.0.0/8"].map(quoted), ["eth0.100", "2001:db8::7", "10.0.0.0/8"]);
        assert_eq!(
            ["fe80::1%eth0", "::1", "a#b", "a:"].map(quoted),
            ["\"fe80::1%eth0\"", "\"::1\"", "\"a#b\"", "\"a:\""]
        );
    }

    #[test]
    fn nothing_is_overwritten() {
        let file = std::env::temp_dir().join(format!("echolot-init-{}.yml", std::process::id()));
        write(&file, "one").unwrap();
        let refused = write(&file, "two").unwrap_err().message;
        assert!(refused.contains("it is there already"), "{refused}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "one");
        fs::remove_file(&file).unwrap();
        let refused = write(&file.join("beneath"), "two").unwrap_err().message;
        assert!(refused.contains("its folder is not there"), "{refused}");
    }
}
