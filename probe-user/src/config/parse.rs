//! From the YAML tree to a [`Config`].

use super::{
    Config, ConfigError, DEFAULT_RATE, FLOWS, GroupConfig, INTERVALS, PATH_INTERVALS, Placed, Places, ProbeSettings,
    Problem, TIMEOUTS, TTLS, dscp,
    keys::{ENRICH, GROUP, LIMITS, PATH, PER_TARGET, SETTINGS, TOP, UDP},
    read::{Field, Problems, Table, suggestion},
    sources::{exclude_files, http_sd, per_prefix, target_files},
};
use crate::{
    base::{Nanos, Sources},
    enrich::{self, AsnSource},
    nic::{Engine, Mode, SOURCE_PORTS},
    targets::{
        AddressRange, Exclusions, FAMILY, Families, Group, NAMES_REFUSED, PathSettings, PerTarget, Place, SeriesLimit,
        TargetSpec, labels, shorten, yaml,
    },
    wire::{Content, ContentError, Kind},
};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    path::Path,
};

/// Consecutive probes that a state may wait for.
const CONSECUTIVE: std::ops::RangeInclusive<u64> = 1..=1_000_000;
/// Series of a scrape.
const SERIES: std::ops::RangeInclusive<u64> = 1_000..=100_000_000;
/// Buckets of a histogram: each is a series.
const MOST_BUCKETS: usize = 64;
const BUCKETS: std::ops::RangeInclusive<Nanos> = Nanos::from_micros(1)..=Nanos::from_secs(60);

pub(super) fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
    let root = yaml::parse(text).map_err(|error| ConfigError::at(file, Some(error.place), "", error.reason))?;
    let Some(root) = root else {
        return Err(ConfigError::of_file(file, "the file is empty; write at least `groups` with one group"));
    };
    let mut problems = Problems::default();
    let config = config(file, &Field::root(root), &mut problems);
    match config {
        Some(config) if problems.0.is_empty() => Ok(config),
        _ => {
            problems.0.sort_by_key(|problem: &Problem| problem.place);
            Err(ConfigError { file: file.to_owned(), problems: problems.0 })
        }
    }
}

/// None only after a problem.
fn config(file: &Path, root: &Field, problems: &mut Problems) -> Option<Config> {
    let p = problems;
    let top = root.table(&TOP, "a table of keys, such as `groups`", p)?;
    let mut global = Settings::default();
    if let Some(table) = top.get("global").and_then(|field| field.table(&SETTINGS, "a table of settings", p)) {
        global.read(&table, p);
    }
    let limits = top.get("limits").and_then(|field| field.table(&LIMITS, "a table such as {rate: 500000}", p));
    let limit = |key| limits.as_ref().and_then(|table| table.get(key));
    let (rate, of_prefixes) = (limit("rate"), limit("per_prefix"));
    let source_port = top.get("source_port");
    let folder = file.parent().unwrap_or(Path::new(""));
    let config = Config {
        file: file.to_owned(),
        interface: top.get("interface").and_then(|f| f.parsed("the name of an interface", p, interface)),
        sources: top.get("source").map(|f| sources(&f, p)).unwrap_or_default(),
        source_port: source_port.as_ref().and_then(|f| f.number(SOURCE_PORTS, p)).and_then(|n| u16::try_from(n).ok()),
        listen: top.get("listen").and_then(|f| f.parsed("an address and port, such as 127.0.0.1:10816", p, listen)),
        vantage: top.get("vantage").and_then(|f| f.parsed("a name", p, group_name)),
        alerts: super::alerts::settings(&top, folder, p),
        events: top.get("events").and_then(|f| f.parsed("the path of a file", p, path)).map(|path| folder.join(path)),
        enrich: top.get("enrich").and_then(|f| enrich(&f, folder, p)).unwrap_or_default(),
        engine: top
            .get("engine")
            .and_then(|f| f.word(&Engine::ALL.map(|engine| (engine.name(), engine)), p))
            .unwrap_or_default(),
        mode: top.get("mode").and_then(|f| f.word(&Mode::ALL.map(|mode| (mode.name(), mode)), p)).unwrap_or_default(),
        identifier: top.get("identifier").and_then(|f| f.number(0..=0xffff, p)).and_then(|n| u16::try_from(n).ok()),
        seed: top.get("seed").and_then(|f| f.number(0..=u64::MAX, p)),
        rate_limit: rate.as_ref().and_then(|f| f.number(1..=1_000_000_000, p)).unwrap_or(DEFAULT_RATE),
        series_limit: limit("series").and_then(|f| f.number(SERIES, p)).map(SeriesLimit).unwrap_or_default(),
        per_prefix: of_prefixes.as_ref().map(|f| per_prefix(f, p)).unwrap_or_default(),
        allow_reserved: false,
        places: Places {
            groups: top.get("groups").map_or(top.place, |f| f.place()),
            rate: rate.map(|f| f.place()),
            per_prefix: of_prefixes.as_ref().map(Field::place),
            source_port: source_port.map(|f| f.place()),
        },
        groups: groups(&top, &global, folder, p),
        exclude: top.get("exclude").map(|f| exclude(&f, p)).unwrap_or_default(),
        exclude_files: top.get("exclude_files").map(|f| exclude_files(&f, folder, p)).unwrap_or_default(),
    };
    Some(config)
}

fn groups(top: &Table, global: &Settings, folder: &Path, problems: &mut Problems) -> Vec<GroupConfig> {
    let Some(field) = top.get("groups") else {
        problems.add(top.place, "", "`groups` is missing; write at least one group with `name` and `targets`");
        return Vec::new();
    };
    const WHAT: &str = "a list of groups, each with `name` and `targets`";
    let before = problems.0.len();
    let items = field.list(WHAT, problems);
    if items.is_empty() && problems.0.len() == before {
        field.wrong(problems, format!("found an empty list, expected {WHAT}"));
    }
    let groups: Vec<GroupConfig> = items.iter().filter_map(|item| group(item, global, folder, problems)).collect();
    let mut first: HashMap<&str, Place> = HashMap::new();
    for group in groups.iter().filter(|group| !group.group.name.is_empty()) {
        match first.get(&group.group.name[..]) {
            None => {
                first.insert(&group.group.name, group.place);
            }
            Some(place) => {
                let name = shorten(&group.group.name);
                let reason =
                    format!("a group `{name}` stands on line {} already; give each group its own name", place.line);
                problems.add(group.place, "groups", reason);
            }
        }
    }
    groups
}

fn group(field: &Field, global: &Settings, folder: &Path, p: &mut Problems) -> Option<GroupConfig> {
    let begin = p.0.len();
    let table = field.table(&GROUP, "a group: a table with `name` and `targets`", p)?;
    let misspelt = p.0.len() > begin;
    let mut settings = global.clone();
    let before = p.0.len();
    settings.read(&table, p);
    let mut group = settings.group();
    if p.0.len() == before
        && let Err(error) = group.check_window()
    {
        // Of the two that it follows from, the one that is the group's own.
        let own = ["timeout", "interval"].into_iter().find_map(|key| table.get(key));
        own.as_ref().unwrap_or(field).wrong(p, error.to_string());
    }
    let name = table.get("name");
    match &name {
        Some(name) => group.name = name.parsed("the group's name", p, group_name).unwrap_or_default(),
        None => field.wrong(p, "the group has no `name`; write one: metrics and results carry it"),
    }
    if let Some(field) = table.get("per_target") {
        group.per_target = per_target(&field, p);
    }
    group.path = table.get("path").and_then(|field| path_settings(&field, p));
    let labels = table.get("labels").map(|field| read_labels(&field, p)).unwrap_or_default();
    let before = p.0.len();
    let targets = table.get("targets").map(|field| targets(&field, p));
    let target_files = table.get("target_files").map(|field| target_files(&field, folder, p));
    let http_sd = table.get("http_sd").map(|field| http_sd(&field, folder, p));
    let all_addresses = table.get("all_addresses").and_then(|field| field.word(&[("true", true), ("false", false)], p));
    // Not said where the reason has been said: a list of the wrong type, or a key that may be meant for it.
    if !misspelt
        && p.0.len() == before
        && targets.as_ref().is_none_or(|(count, _)| *count == 0)
        && target_files.as_ref().is_none_or(|(count, _)| *count == 0)
        && http_sd.as_ref().is_none_or(|(count, _)| *count == 0)
    {
        field.wrong(p, "the group has no targets; write `targets`, `target_files` or `http_sd`");
    }
    let sum_by = table.get("sum_by");
    if let Some(field) = &sum_by {
        for item in field.list("a list of label names", p) {
            let Some(name) = item.text("the name of a label", p) else { continue };
            if group.sum_by.contains(&name) {
                item.wrong(p, format!("`{}` stands twice; remove one", shorten(&name)));
            } else if target_files.is_none() && http_sd.is_none() && name != FAMILY && !labels.contains_key(&name) {
                item.wrong(p, unknown_label(&name, labels.keys()));
            } else {
                group.sum_by.push(name);
            }
        }
    }
    Some(GroupConfig {
        group,
        labels,
        targets: targets.unwrap_or_default().1,
        target_files: target_files.unwrap_or_default().1,
        http_sd: http_sd.unwrap_or_default().1,
        all_addresses: all_addresses.unwrap_or_default(),
        place: name.map_or(field.place(), |name| name.place()),
        sum_by_place: sum_by.map_or(field.place(), |field| field.place()),
    })
}

/// How the paths to a group's targets are kept.
fn path_settings(field: &Field, p: &mut Problems) -> Option<PathSettings> {
    let table = field.table(&PATH, "a table such as {interval: 5m, flows: 4}", p)?;
    let interval = table.get("interval").map_or(Some(PathSettings::INTERVAL), |f| f.duration(PATH_INTERVALS, p));
    let flows = table.get("flows").map_or(Some(1), |f| f.number(FLOWS, p));
    Some(PathSettings { interval: interval?, flows: u16::try_from(flows?).ok()? })
}

/// Said of a `sum_by` that no target has.
pub(super) fn unknown_label<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let hint = match suggestion(name, &known) {
        hint if !hint.is_empty() => hint,
        _ if known.is_empty() => "; write it into `labels`".into(),
        _ => format!("; its labels are {}", known.join(", ")),
    };
    format!("no target of the group has the label `{}`{hint}", shorten(name))
}

/// What `global` and groups have in common.
#[derive(Clone)]
struct Settings {
    /// All of a group but what follows from its probes.
    group: Group,
    probes: ProbeSettings,
    timeout: Option<Nanos>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { group: Group::named(""), probes: ProbeSettings::default(), timeout: None }
    }
}

impl Settings {
    /// Overlays what a table has.
    fn read(&mut self, table: &Table, p: &mut Problems) {
        if let Some(kind) = table.get("probe").and_then(|f| probe(&f, p)) {
            self.probes.kind = kind;
        }
        if let Some(timeout) = table.get("timeout").and_then(|f| f.duration(TIMEOUTS, p)) {
            self.timeout = Some(timeout);
        }
        self.read_looks(table, p);
        common(table, &mut self.group, p);
    }

    /// What probes look like.
    fn read_looks(&mut self, table: &Table, p: &mut Problems) {
        let probes = &mut self.probes;
        if let Some(field) = table.get("size") {
            match probes.sizes() {
                Ok(sizes) => probes.size = field.number(sizes, p).and_then(|n| u16::try_from(n).ok()).or(probes.size),
                Err(why) => field.wrong(p, format!("{why}: remove `size`")),
            }
        }
        if let Some(ttl) = table.get("ttl").and_then(|f| f.number(TTLS, p)).and_then(|n| u8::try_from(n).ok()) {
            probes.ttl = ttl;
        }
        if let Some(value) =
            table.get("dscp").and_then(|f| f.parsed("a number from 0 to 63, or a name such as EF", p, dscp))
        {
            probes.dscp = value;
        }
        if let Some(value) = table.get("dont_fragment").and_then(|f| f.word(&[("true", true), ("false", false)], p)) {
            probes.dont_fragment = value;
        }
        if let Some(field) = table.get("flows") {
            match probes.check_flows() {
                Ok(()) => {
                    probes.flows = field.number(FLOWS, p).and_then(|n| u16::try_from(n).ok()).unwrap_or(probes.flows);
                }
                Err(why) => field.wrong(p, format!("{why}: remove `flows`")),
            }
        }
    }

    /// A group that has them.
    fn group(&self) -> Group {
        self.probes.group(self.timeout, self.group.clone())
    }
}

/// What is asked: a word, or of UDP a table that says what is sent.
fn probe(field: &Field, p: &mut Problems) -> Option<Kind> {
    if !field.is_table() {
        return field.parsed("icmp, tcp:PORT or udp:PORT, such as tcp:443", p, |text| {
            text.parse::<Kind>().map_err(|error| format!("`{}`: {error}", shorten(text)))
        });
    }
    let table = field.table(&["udp"], "icmp, tcp:PORT, udp:PORT or a table with `udp`", p)?;
    let Some(udp) = table.get("udp") else {
        field.wrong(
            p,
            "a table is for what a UDP probe carries; write it such as {udp: {port: 53, dns: \"example.com AAAA\"}}",
        );
        return None;
    };
    let field = udp;
    let udp = field.table(&UDP, "a table such as {port: 53, dns: \"example.com AAAA\"}", p)?;
    let Some(port) = udp.get("port") else {
        field.wrong(p, "`port` is missing; write the port that is asked, such as `port: 53`");
        return None;
    };
    let port = port.number(1..=65_535, p).and_then(|port| u16::try_from(port).ok());
    let said: Vec<(&str, Field)> = UDP[1..].iter().filter_map(|key| Some((*key, udp.get(key)?))).collect();
    let content = match &said[..] {
        [] => Content::of_port(port?),
        [(key, field)] => content(key, field, p)?,
        [_, (_, second), ..] => {
            second
                .wrong(p, "a probe carries one thing: leave one of `dns`, `payload` and `hex`, and remove the others");
            return None;
        }
    };
    Some(Kind::Udp { port: port?, content })
}

/// What a UDP probe carries, by the key that says it.
fn content(key: &str, field: &Field, p: &mut Problems) -> Option<Content> {
    type Read = fn(&str) -> Result<Content, ContentError>;
    let (what, read): (_, Read) = match key {
        "dns" => ("a DNS question, such as \"example.com AAAA\"", Content::dns),
        "hex" => ("pairs of hexadecimal digits, such as \"00ff17\"", Content::hex),
        _ => ("a text", Content::text),
    };
    let text = field.any_text(what, p)?;
    let shortened = |error| match error {
        ContentError::Name(name) => ContentError::Name(shorten(&name)),
        ContentError::Type(kind) => ContentError::Type(shorten(&kind)),
        other => other,
    };
    read(&text).map_err(|error| field.wrong(p, shortened(error).to_string())).ok()
}

/// What does not depend on the kind of probe.
fn common(table: &Table, group: &mut Group, p: &mut Problems) {
    if let Some(interval) = table.get("interval").and_then(|f| f.duration(INTERVALS, p)) {
        group.interval = interval;
    }
    if let Some(family) =
        table.get("family").and_then(|f| f.word(&Families::ALL.map(|family| (family.name(), family)), p))
    {
        group.family = family;
    }
    for (key, to) in [("down_after", &mut group.down_after), ("up_after", &mut group.up_after)] {
        if let Some(count) = table.get(key).and_then(|f| f.number(CONSECUTIVE, p)).and_then(|n| n.try_into().ok()) {
            *to = count;
        }
    }
    if let Some(field) = table.get("buckets") {
        group.buckets = buckets(&field, p);
    }
}

fn buckets(field: &Field, p: &mut Problems) -> Vec<f64> {
    let items = field.list("a list of durations, such as [1ms, 10ms, 100ms]", p);
    if items.len() > MOST_BUCKETS {
        field.wrong(p, format!("found {} buckets; write at most {MOST_BUCKETS}, each is a series", items.len()));
    }
    let bounds: Vec<Option<Nanos>> = items.iter().map(|item| item.duration(BUCKETS, p)).collect();
    for (pair, item) in bounds.windows(2).zip(items.iter().skip(1)) {
        if let [Some(before), Some(bound)] = pair
            && before >= bound
        {
            item.wrong(p, "a bucket is not longer than the one before it; write them ascending");
        }
    }
    bounds.into_iter().flatten().map(Nanos::as_secs_f64).collect()
}

fn read_labels(field: &Field, p: &mut Problems) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, place, value) in field.map("a table of labels, such as {site: fra}", p) {
        match labels::check(&name) {
            Err(reason) => p.add(place, &field.path, reason),
            Ok(()) => {
                if let Some(text) = value.text("the label's value, a text", p) {
                    all.insert(name, text);
                }
            }
        }
    }
    all
}

/// A word, or a table that says which targets.
fn per_target(field: &Field, p: &mut Problems) -> PerTarget {
    const LABELLED: &str = "a table of labels, such as {labelled: {tier: gold}}";
    if !field.is_table() {
        let words = [("none", 0), ("unhealthy", 1), ("all", 2)];
        return match field.word(&words, p) {
            Some(1) => PerTarget::Unhealthy,
            Some(2) => PerTarget::All,
            _ => PerTarget::None,
        };
    }
    let labelled = field.table(&PER_TARGET, LABELLED, p).and_then(|table| table.get("labelled"));
    let labels = labelled.map(|field| read_labels(&field, p)).unwrap_or_default();
    if labels.is_empty() {
        field.wrong(p, format!("no label is named; write {LABELLED}, or `all`"));
    }
    PerTarget::Labelled(labels)
}

/// How many entries there are, and those that are right.
fn targets(field: &Field, p: &mut Problems) -> (usize, Vec<Placed<TargetSpec>>) {
    let items = field.list("a list of targets", p);
    const WHAT: &str = "an address, a CIDR, a range or a host name";
    let read = |item: &Field| Some(Placed { value: item.parsed(WHAT, p, str::parse)?, place: item.place() });
    (items.len(), items.iter().filter_map(read).collect())
}

fn exclude(field: &Field, p: &mut Problems) -> Exclusions {
    let items = field.list("a list of addresses, CIDRs and ranges", p);
    let read = |item: &Field| item.parsed("an address, a CIDR or a range", p, excluded);
    items.iter().filter_map(read).collect()
}

fn enrich(field: &Field, folder: &Path, p: &mut Problems) -> Option<enrich::Settings> {
    let table = field.table(&ENRICH, "a table such as {names: true, asn: dns}", p)?;
    let names = table.get("names").and_then(|f| f.word(&[("true", true), ("false", false)], p)).unwrap_or_default();
    let asn = table.get("asn").and_then(|f| f.parsed("a file, dns or off", p, str::parse::<AsnSource>));
    Some(enrich::Settings { names, asn: asn.unwrap_or_default().within(folder), ..enrich::Settings::default() })
}

fn excluded(text: &str) -> Result<AddressRange, String> {
    match text.parse().map_err(|error: crate::targets::SpecError| error.to_string())? {
        TargetSpec::Addresses(range) => Ok(range),
        TargetSpec::Name(name) => Err(format!("`{name}` {NAMES_REFUSED}")),
    }
}

fn group_name(text: &str) -> Result<String, String> {
    if text.len() > 128 {
        return Err(format!("the name has {} bytes; write at most 128", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("`{}` contains control characters; remove them", shorten(text)));
    }
    Ok(text.to_owned())
}

/// The kernel's rule (`dev_valid_name`).
fn interface(text: &str) -> Result<String, String> {
    let fits = text.len() <= 15 && text != "." && text != "..";
    if !fits || text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
        let shown = shorten(text);
        return Err(format!("`{shown}` cannot be an interface's name; see `ip link` for those that there are"));
    }
    Ok(text.to_owned())
}

fn path(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the path is empty; write one such as events.jsonl".to_owned());
    }
    Ok(text.to_owned())
}

/// One address, or a list of those that probes leave from in turn.
fn sources(field: &Field, p: &mut Problems) -> Sources {
    const WHAT: &str = "an address of this host, or a list of several that probes leave from in turn";
    let items = if field.is_list() { field.list(WHAT, p) } else { vec![field.clone()] };
    let addresses: Vec<IpAddr> = items.iter().filter_map(|item| item.parsed(WHAT, p, source)).collect();
    Sources::from_addresses(addresses).unwrap_or_else(|error| {
        field.wrong(p, error);
        Sources::default()
    })
}

fn source(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        format!("`{}` is not an address; write one of this host's, such as 192.0.2.1 or 2001:db8::1", shorten(text))
    })
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.strip_prefix(':').unwrap_or(text);
        if port.parse::<u16>().is_ok() {
            format!(
                "`{}` has no address; write 127.0.0.1:{port} for this host alone, 0.0.0.0:{port} for all",
                shorten(text)
            )
        } else {
            format!("`{}` is not an address and port; write one such as 127.0.0.1:10816", shorten(text))
        }
    })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
