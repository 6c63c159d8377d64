//! The name servers, and what they say of an address.

use super::{asn::cymru, settings::Servers, text};
use crate::base::Family;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, Record, RecordType},
    system_conf::parse_resolv_conf,
};
use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Between two looks at it.
const LOOK: Duration = Duration::from_secs(5);
/// How long a server may take for an answer, whatever resolv.conf says, and how often it is asked.
const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));
const TRIES: (usize, usize) = (1, 2);
/// For how long an answer is good, whatever it says itself.
const GOOD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));
/// For how long there is no name, and what is taken if a server doesn't say.
const NONE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));
const NONE_UNSAID: Duration = Duration::from_secs(60);
/// Answers that are kept besides: of many addresses in an AS, its name is asked for once.
const CACHED: u64 = 4_096;

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer<T> {
    /// This, until then.
    Is(T, Instant),
    /// There is none, until then.
    None(Instant),
    /// Nobody said, or what was said made no sense.
    Failed,
}

/// Asks the name servers of the day.
pub(crate) struct Resolvers {
    source: Source,
    at_once: usize,
    /// By what `resolv.conf` said, and of which /etc/hosts.
    current: Option<((Vec<u8>, HostsFile), TokioResolver)>,
    looked: Option<Instant>,
}

enum Source {
    /// A file as resolv.conf, and whether what /etc/hosts says goes before.
    File(PathBuf),
    These(Vec<SocketAddr>),
}

/// When /etc/hosts was written, and how long it is.
type HostsFile = Option<(SystemTime, u64)>;

fn hosts_file() -> HostsFile {
    let file = fs::metadata("/etc/hosts").ok()?;
    Some((file.modified().ok()?, file.len()))
}

impl Resolvers {
    /// For so many questions at once.
    pub(crate) fn new(servers: Servers, at_once: usize) -> Self {
        let source = match servers {
            Servers::Host => Source::File(RESOLV_CONF.into()),
            Servers::These(addresses) => Source::These(addresses),
        };
        Self { source, at_once, current: None, looked: None }
    }

    /// A handle to the one to ask now. None: there is none to be had.
    pub(crate) fn get(&mut self, now: Instant) -> Option<TokioResolver> {
        if self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK) {
            self.looked = Some(now);
            self.look();
        }
        self.current.as_ref().map(|(_, resolver)| resolver.clone())
    }

    fn look(&mut self) {
        let said = match &self.source {
            // One that is missing says as much as an empty one: this host itself is asked (resolv.conf(5)).
            Source::File(path) => (fs::read(path).unwrap_or_default(), hosts_file()),
            Source::These(_) => (Vec::new(), None),
        };
        if self.current.as_ref().is_some_and(|(before, _)| *before == said) {
            return;
        }
        let (config, options) = match &self.source {
            Source::File(_) => parse_resolv_conf(&said.0).unwrap_or_else(|_| {
                let itself = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
                (ResolverConfig::from_name_servers(vec![itself]), ResolverOpts::default())
            }),
            Source::These(addresses) => {
                let mut options = ResolverOpts::default();
                options.use_hosts_file = ResolveHosts::Never;
                (ResolverConfig::from_name_servers(addresses.iter().copied().map(server).collect()), options)
            }
        };
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = bounded(options, self.at_once);
        match builder.build() {
            Ok(resolver) => self.current = Some((said, resolver)),
            Err(error) => tracing::warn!("names are not looked up: {error}"),
        }
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    NameServerConfig::new(address.ip(), true, vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())])
}

/// As the host has it, within bounds.
fn bounded(mut options: ResolverOpts, at_once: usize) -> ResolverOpts {
    options.timeout = options.timeout.clamp(TIMEOUTS.0, TIMEOUTS.1);
    // hickory counts those after the first.
    options.attempts = options.attempts.clamp(TRIES.0, TRIES.1) - 1;
    options.cache_size = CACHED;
    (options.positive_max_ttl, options.negative_max_ttl) = (Some(GOOD.1), Some(NONE.1));
    // Over one TCP connection, where answers are too long for UDP.
    options.max_active_requests = at_once;
    // From ip_local_port_range, as the C library does. hickory's own choice is any port from 1024 on: also one of those that probes are
    // sent from, and one that a service of this host is about to bind.
    options.os_port_selection = true;
    options
}

/// The name of an address: of several the first by the alphabet, so that it is the same at every look.
pub(super) async fn name_of(resolver: &TokioResolver, address: IpAddr) -> Answer<String> {
    ask(resolver, Name::from(address), RecordType::PTR, |records| {
        let name = |data: &RData| match data {
            RData::PTR(name) => text::dns_name(name.0.iter()),
            _ => None,
        };
        records.filter_map(name).min()
    })
    .await
}

/// The addresses of a name, of one family, in the order of the answer.
pub(crate) async fn addresses_of(resolver: &TokioResolver, name: Name, family: Family) -> Answer<Vec<IpAddr>> {
    let kind = match family {
        Family::V4 => RecordType::A,
        Family::V6 => RecordType::AAAA,
    };
    ask(resolver, name, kind, |records| {
        let found: Vec<IpAddr> = records.filter_map(RData::ip_addr).collect();
        (!found.is_empty()).then_some(found)
    })
    .await
}

/// The number of the AS that an address' prefix comes from, by DNS.
pub(super) async fn origin_of(resolver: &TokioResolver, address: IpAddr) -> Answer<u32> {
    let Ok(name) = Name::from_ascii(cymru::origin_name(address)) else { return Answer::Failed };
    ask(resolver, name, RecordType::TXT, |records| {
        let records: Vec<String> = records.filter_map(txt).collect();
        cymru::origin(records.iter().map(String::as_str))
    })
    .await
}

/// The name of an AS, by DNS.
pub(super) async fn as_name(resolver: &TokioResolver, asn: u32) -> Answer<String> {
    let Ok(name) = Name::from_ascii(cymru::as_name(asn)) else { return Answer::Failed };
    ask(resolver, name, RecordType::TXT, |records| {
        records.filter_map(txt).find_map(|record| text::free_text(cymru::name_of(&record)?.as_bytes()))
    })
    .await
}

/// A record's strings, joined.
fn txt(data: &RData) -> Option<String> {
    match data {
        RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
        _ => None,
    }
}

/// What is read of the records of a name, aliases followed.
async fn ask<T>(
    resolver: &TokioResolver,
    name: Name,
    kind: RecordType,
    read: impl FnOnce(&mut dyn Iterator<Item = &RData>) -> Option<T>,
) -> Answer<T> {
    let result = resolver.lookup(name.clone(), kind).await;
    let now = Instant::now();
    match result {
        Ok(lookup) => {
            // With a domain of the host's behind it, if that was what there is.
            let owners = owners(lookup.query().name(), lookup.answers());
            let mut records =
                lookup.answers().iter().filter(|record| owners.contains(&record.name)).map(|record| &record.data);
            match read(&mut records) {
                Some(value) => Answer::Is(value, lookup.valid_until().clamp(now + GOOD.0, now + GOOD.1)),
                None => Answer::None(now + NONE_UNSAID),
            }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            let said = none.negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
            Answer::None(now + said.unwrap_or(NONE_UNSAID).clamp(NONE.0, NONE.1))
        }
        Err(error) => {
            tracing::debug!("{name} {kind}: {error}");
            Answer::Failed
        }
    }
}

/// The names whose records are the answer: the one that was asked for and those that it is an alias of. A server may add others.
fn owners<'a>(name: &'a Name, answers: &'a [Record]) -> HashSet<&'a Name> {
    let mut owners = HashSet::from([name]);
    // In whatever order they stand: each turn finds one more, or none.
    while let Some(alias) = answers.iter().find_map(|record| match &record.data {
        RData::CNAME(alias) if owners.contains(&record.name) && !owners.contains(&alias.0) => Some(&alias.0),
        _ => None,
    }) {
        owners.insert(alias);
    }
    owners
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_changes_is_seen_within_seconds_and_kept_within_bounds() {
        let path = std::env::temp_dir().join(format!("echolot-resolv-{}.conf", std::process::id()));
        let mut resolvers = Resolvers { source: Source::File(path.clone()), at_once: 7, current: None, looked: None };
        let start = Instant::now();
        let options = |resolvers: &mut Resolvers, after: u64| {
            let resolver = resolvers.get(start + Duration::from_secs(after)).unwrap();
            (resolver.options().timeout.as_secs(), resolver.options().attempts)
        };
        // One that is missing says that this host is asked, as one that names nobody.
        assert_eq!(options(&mut resolvers, 0), (3, 1));
        std::fs::write(&path, "nameserver 192.0.2.53\noptions timeout:2 attempts:1\n").unwrap();
        assert_eq!(options(&mut resolvers, 4), (3, 1), "not looked at yet");
        assert_eq!(options(&mut resolvers, 5), (2, 0));
        std::fs::write(&path, "nameserver fe80::1%eth0\nnonsense\noptions timeout:30 attempts:9\n").unwrap();
        assert_eq!(options(&mut resolvers, 9), (2, 0));
        assert_eq!(options(&mut resolvers, 10), (3, 1));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(options(&mut resolvers, 20), (3, 1));
        let resolver = resolvers.get(start + Duration::from_secs(20)).unwrap();
        assert!(resolver.options().os_port_selection, "no port of probes or services");
        assert_eq!(resolver.options().max_active_requests, 7);
    }

    #[test]
    fn records_that_are_not_of_the_name_are_no_answer() {
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let record = |owner: &str, data| Record::from_rdata(name(owner), 60, data);
        let alias = |to: &str| RData::CNAME(hickory_resolver::proto::rr::rdata::CNAME(name(to)));
        let asked = name("a.example.");
        // In no order, with a circle and somebody else's.
        let answers = [
            record("b.example.", alias("c.example.")),
            record("x.example.", alias("y.example.")),
            record("A.example.", alias("b.example.")),
            record("c.example.", alias("a.example.")),
        ];
        let found = owners(&asked, &answers);
        assert_eq!(found, HashSet::from([&asked, &name("b.example."), &name("c.example.")]));
    }
}
