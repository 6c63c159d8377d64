//! A record as a line: JSON, CSV, bare address, or text for people.

use super::{
    fields::{Calendar, push_address, push_csv, push_json_string},
    line::{CSV_HEADER, GroupText, Line, Vantage},
    text::{self, Subject},
};
use crate::{
    base::{Nanos, Outcome, Settlement, Stamp, TargetIndex},
    enrich::Known,
    ledger::Ledger,
    targets::{Epochs, Group, Plan},
    wire::Kind,
};
use std::{
    net::IpAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A line for people a result
    Text,
    /// A JSON object a line
    Jsonl,
    /// Comma-separated values with a header line
    Csv,
    /// Only the addresses that answered, each once
    List,
    /// Nothing
    None,
}

/// How CLOCK_MONOTONIC relates to the time of day. Sampled once a run, so that times in one output never go backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// What to add to CLOCK_MONOTONIC to get nanoseconds since 1970, UTC.
    pub offset_ns: i64,
}

impl WallClock {
    /// From both clocks, read as close together as the caller can.
    pub fn new(monotonic: Nanos, wall: SystemTime) -> Self {
        let unix = Nanos::from(wall.duration_since(UNIX_EPOCH).unwrap_or_default());
        Self { offset_ns: unix.0.cast_signed().wrapping_sub(monotonic.0.cast_signed()) }
    }

    /// Nanoseconds since 1970, UTC.
    pub const fn unix_ns(self, monotonic: Nanos) -> u64 {
        monotonic.0.saturating_add_signed(self.offset_ns)
    }
}

/// What records of each group say of it.
fn texts(plan: &Plan) -> Vec<GroupText> {
    let text = |group: &Group| {
        let (mut json, mut csv) = (Vec::new(), Vec::new());
        push_json_string(&mut json, &group.name);
        push_csv(&mut csv, &group.name);
        let kind = group.shape.kind;
        let probe = (kind != Kind::Echo).then(|| kind.to_string());
        GroupText { shape: group.shape, json, csv, probe, flows: group.flow_count() }
    };
    plan.groups.iter().map(text).collect()
}

/// Turns records into lines. Appends to a buffer; allocates nothing a record.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    /// Text in the manner of ping, see [`Encoder::like_ping`].
    like_ping: bool,
    /// Lines have columns for names and networks.
    is_named: bool,
    tx_stamp: Stamp,
    plan: Arc<Plan>,
    /// Says whether another plan is in force.
    epochs: Option<Epochs>,
    /// The plan of before, for the last records of those that have been given up.
    before: Option<(Arc<Plan>, Vec<GroupText>)>,
    /// Knows the addresses of names that were resolved later.
    ledger: Option<Arc<Ledger>>,
    clock: WallClock,
    calendar: Calendar,
    groups: Vec<GroupText>,
    /// Where the place of measuring has a name.
    vantage: Option<Vantage>,
    /// One bit a target that the list has shown.
    listed: Vec<u64>,
}

impl Encoder {
    /// For records of `plan`'s targets.
    pub fn new(format: Format, plan: Arc<Plan>, clock: WallClock) -> Self {
        let groups = texts(&plan);
        let listed = if format == Format::List { vec![0; plan.targets.len().div_ceil(64)] } else { Vec::new() };
        let calendar = Calendar::new();
        Self {
            format,
            like_ping: false,
            is_named: false,
            tx_stamp: Stamp::User,
            plan,
            epochs: None,
            before: None,
            ledger: None,
            clock,
            calendar,
            groups,
            vantage: None,
            listed,
        }
    }

    /// Goes by whatever plan is in force.
    #[must_use]
    pub fn following(mut self, epochs: Epochs) -> Self {
        self.epochs = Some(epochs);
        self
    }

    /// Another plan may be in force.
    fn follow(&mut self) {
        let Some(plan) = self.epochs.as_ref().map(Epochs::plan) else { return };
        if !Arc::ptr_eq(&plan, &self.plan) {
            if self.format == Format::List {
                self.listed.resize(plan.targets.len().div_ceil(64), 0);
            }
            let groups = std::mem::replace(&mut self.groups, texts(&plan));
            self.before = Some((std::mem::replace(&mut self.plan, plan), groups));
        }
    }

    /// The plan that has a target.
    fn plan_of(&self, target: TargetIndex) -> &Plan {
        match &self.before {
            Some((plan, _)) if !self.plan.has(target) => plan,
            _ => &self.plan,
        }
    }

    /// Writes text as the ping that people know does.
    #[must_use]
    pub fn like_ping(mut self) -> Self {
        self.like_ping = true;
        self
    }

    /// Each line says what the place of measuring is called, where it has a name.
    #[must_use]
    pub fn at(mut self, vantage: Option<&str>) -> Self {
        self.vantage = vantage.map(|name| {
            let (mut json, mut csv) = (Vec::new(), Vec::new());
            push_json_string(&mut json, name);
            push_csv(&mut csv, name);
            Vantage { json, csv }
        });
        self
    }

    /// Has columns for what is known of addresses, see [`Encoder::encode_known`].
    #[must_use]
    pub fn named(mut self) -> Self {
        self.is_named = true;
        self
    }

    /// Says where send stamps are taken. Unless it is said: by userspace.
    #[must_use]
    pub fn stamped_by(mut self, tx_stamp: Stamp) -> Self {
        self.tx_stamp = tx_stamp;
        self
    }

    /// Finds the addresses of names that the plan has none for, because they were resolved later, in the ledger.
    #[must_use]
    pub fn resolved_in(mut self, ledger: Arc<Ledger>) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// A target's address, as soon as it has one.
    #[inline]
    pub(super) fn address(&self, index: TargetIndex) -> Option<IpAddr> {
        self.plan_of(index).address_of(index).or_else(|| self.ledger.as_ref()?.account(index).address())
    }

    /// Appends what stands before the first record. Returns whether that was anything.
    pub fn header(&self, out: &mut Vec<u8>) -> bool {
        if self.format == Format::Csv {
            out.extend_from_slice(CSV_HEADER.as_bytes());
            out.extend_from_slice(if self.vantage.is_some() { b",vantage" } else { b"" });
            out.extend_from_slice(if self.is_named { b",name,asn,as_name\n" } else { b"\n" });
        }
        self.format == Format::Csv
    }

    /// Appends a record's line, with its newline. Returns whether there was one: a list shows an address that answered
    /// once, and nothing shows a target that the plan doesn't have.
    pub fn encode(&mut self, record: &Settlement, out: &mut Vec<u8>) -> bool {
        self.encode_known(record, None, out)
    }

    /// The same, with what is known of the target's address.
    pub fn encode_known(&mut self, record: &Settlement, known: Option<&Known>, out: &mut Vec<u8>) -> bool {
        self.follow();
        match self.format {
            Format::None => return false,
            Format::List => return self.list(record, out),
            Format::Jsonl | Format::Csv | Format::Text => {}
        }
        if record.target.0 as usize >= self.plan.targets.len() {
            return false;
        }
        let address = self.address(record.target);
        let (plan, groups) = match &self.before {
            Some((plan, groups)) if !self.plan.has(record.target) => (plan, groups),
            _ => (&self.plan, &self.groups),
        };
        let found = plan.group_of(record.target).and_then(|position| Some((position, groups.get(position)?)));
        let Some((position, group)) = found else { return false };
        let name = if plan.names.is_empty() { None } else { plan.names.get(&record.target.0).map(|name| &*name.text) };
        let source = address.and_then(|address| group.source(&plan.sources, address, record.number));
        let unix_ns = self.clock.unix_ns(record.sent);
        let (calendar, vantage) = (&mut self.calendar, self.vantage.as_ref());
        match self.format {
            Format::Jsonl => {
                out.extend_from_slice(b"{\"time\":\"");
                calendar.push(out, unix_ns, 9);
                Line { record, tx_stamp: self.tx_stamp, group, name, address, source, vantage, known }.json(out);
            }
            Format::Csv => {
                calendar.push(out, unix_ns, 9);
                Line { record, tx_stamp: self.tx_stamp, group, name, address, source, vantage, known }
                    .csv(self.is_named, out);
            }
            _ => {
                let group_name = &plan.groups[position].name;
                let subject = Subject { group: group_name, name, address, shape: group.shape, known };
                if self.like_ping {
                    text::ping(record, &subject, out);
                } else {
                    calendar.push(out, unix_ns, 3);
                    out.push(b' ');
                    text::result(record, &subject, groups.len() > 1, out);
                }
            }
        }
        true
    }

    fn list(&mut self, record: &Settlement, out: &mut Vec<u8>) -> bool {
        let TargetIndex(index) = record.target;
        let address = self.address(record.target);
        let (Some(address), Outcome::Answered) = (address, record.outcome()) else { return false };
        let (word, bit) = (&mut self.listed[index as usize / 64], 1 << (index % 64));
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        push_address(out, address);
        out.push(b'\n');
        true
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
