//! What a line says of a record, as JSON and as CSV.

use super::fields::{push_address, push_csv, push_json_string, push_u64};
use crate::{
    base::{Family, Outcome, PortState, ProbeNumber, Rcode, Settlement, Sources, Stamp},
    enrich::Known,
    wire::Shape,
};
use std::net::IpAddr;

/// The columns of CSV, in order; JSON has the same members. Behind them may come that of the vantage, and those of names.
pub(super) const CSV_HEADER: &str = "time,sent_ns,group,target,address,seq,outcome,rtt_ns,reply_ttl,tx_stamp,rx_stamp,reason,from,probe,port,rcode,flow,source";

/// What a group's lines share.
#[derive(Debug)]
pub(super) struct GroupText {
    pub(super) shape: Shape,
    /// The name, already quoted.
    pub(super) json: Vec<u8>,
    pub(super) csv: Vec<u8>,
    /// What is asked, where it is not an echo.
    pub(super) probe: Option<String>,
    /// How many flows its probes walk.
    pub(super) flows: u16,
}

impl GroupText {
    /// Which of the flows a probe belonged to, where there are several.
    #[inline]
    fn flow(&self, record: &Settlement) -> Option<u64> {
        (self.flows > 1).then(|| record.number.flow(self.flows).into())
    }

    /// Which of the sources in turn a probe to an address left from, where there are several.
    #[inline]
    pub(super) fn source(&self, sources: &Sources, to: IpAddr, number: ProbeNumber) -> Option<IpAddr> {
        let family = Family::of(to);
        let turns = sources.turns(family);
        if turns == 1 {
            return None;
        }
        sources.of_turn(number.turn(self.flows, turns)).of(family)
    }
}

/// What the place of measuring is called.
#[derive(Debug)]
pub(super) struct Vantage {
    /// Already quoted.
    pub(super) json: Vec<u8>,
    pub(super) csv: Vec<u8>,
}

/// All of a line but the time, which it begins with.
pub(super) struct Line<'a> {
    pub(super) record: &'a Settlement,
    /// Where send stamps are taken.
    pub(super) tx_stamp: Stamp,
    pub(super) group: &'a GroupText,
    pub(super) name: Option<&'a str>,
    pub(super) address: Option<IpAddr>,
    /// Where probes leave from several in turn: from which.
    pub(super) source: Option<IpAddr>,
    /// What the place of measuring is called.
    pub(super) vantage: Option<&'a Vantage>,
    /// What is known of the address.
    pub(super) known: Option<&'a Known>,
}

impl Line<'_> {
    /// As JSON.
    pub(super) fn json(&self, out: &mut Vec<u8>) {
        let Self { record, group, name, address, .. } = *self;
        let [tx_stamp, rx_stamp] = self.stamps();
        out.extend_from_slice(b"\",\"sent_ns\":");
        push_u64(out, record.sent.0);
        out.extend_from_slice(b",\"group\":");
        out.extend_from_slice(&group.json);
        match (name, address) {
            (Some(name), _) => {
                out.extend_from_slice(b",\"target\":");
                push_json_string(out, name);
            }
            (None, Some(address)) => {
                out.extend_from_slice(b",\"target\":\"");
                push_address(out, address);
                out.push(b'"');
            }
            (None, None) => {}
        }
        if let Some(address) = address {
            out.extend_from_slice(b",\"address\":\"");
            push_address(out, address);
            out.push(b'"');
        }
        out.extend_from_slice(b",\"seq\":");
        push_u64(out, record.number.0);
        out.extend_from_slice(b",\"outcome\":\"");
        out.extend_from_slice(record.outcome().name().as_bytes());
        out.push(b'"');
        if let Some(rtt) = record.rtt() {
            out.extend_from_slice(b",\"rtt_ns\":");
            push_u64(out, rtt.0);
        }
        if let Some(ttl) = record.reply_ttl() {
            out.extend_from_slice(b",\"reply_ttl\":");
            push_u64(out, ttl.into());
        }
        if let Some(stamp) = tx_stamp {
            push_member(out, b",\"tx_stamp\":\"", stamp);
        }
        if let Some(stamp) = rx_stamp {
            push_member(out, b",\"rx_stamp\":\"", stamp);
        }
        if let Some(reason) = record.ended.reason() {
            push_member(out, b",\"reason\":\"", reason);
        }
        if let Some(from) = record.from() {
            out.extend_from_slice(b",\"from\":\"");
            push_address(out, from);
            out.push(b'"');
        }
        if let Some(probe) = &group.probe {
            push_member(out, b",\"probe\":\"", probe);
        }
        if let Some(port) = record.port() {
            push_member(out, b",\"port\":\"", port.name());
        }
        if let Some(rcode) = record.rcode() {
            push_member(out, b",\"rcode\":\"", rcode.name());
        }
        if let Some(flow) = group.flow(record) {
            out.extend_from_slice(b",\"flow\":");
            push_u64(out, flow);
        }
        if let Some(source) = self.source {
            out.extend_from_slice(b",\"source\":\"");
            push_address(out, source);
            out.push(b'"');
        }
        if let Some(vantage) = self.vantage {
            out.extend_from_slice(b",\"vantage\":");
            out.extend_from_slice(&vantage.json);
        }
        if let Some(Known { name, asn, as_name }) = self.known {
            if let Some(name) = name {
                out.extend_from_slice(b",\"name\":");
                push_json_string(out, name);
            }
            if let Some(asn) = asn {
                out.extend_from_slice(b",\"asn\":");
                push_u64(out, (*asn).into());
            }
            if let Some(name) = as_name {
                out.extend_from_slice(b",\"as_name\":");
                push_json_string(out, name);
            }
        }
        out.extend_from_slice(b"}\n");
    }

    /// As CSV; with columns for names where they are wanted.
    pub(super) fn csv(&self, is_named: bool, out: &mut Vec<u8>) {
        let Self { record, group, name, address, .. } = *self;
        let [tx_stamp, rx_stamp] = self.stamps();
        out.push(b',');
        push_u64(out, record.sent.0);
        out.push(b',');
        out.extend_from_slice(&group.csv);
        out.push(b',');
        match (name, address) {
            (Some(name), _) => push_csv(out, name),
            (None, Some(address)) => push_address(out, address),
            (None, None) => {}
        }
        out.push(b',');
        if let Some(address) = address {
            push_address(out, address);
        }
        out.push(b',');
        push_u64(out, record.number.0);
        out.push(b',');
        out.extend_from_slice(record.outcome().name().as_bytes());
        out.push(b',');
        if let Some(rtt) = record.rtt() {
            push_u64(out, rtt.0);
        }
        out.push(b',');
        if let Some(ttl) = record.reply_ttl() {
            push_u64(out, ttl.into());
        }
        for word in [tx_stamp, rx_stamp, record.ended.reason()] {
            out.push(b',');
            out.extend_from_slice(word.unwrap_or_default().as_bytes());
        }
        out.push(b',');
        if let Some(from) = record.from() {
            push_address(out, from);
        }
        for word in [group.probe.as_deref(), record.port().map(PortState::name), record.rcode().map(Rcode::name)] {
            out.push(b',');
            out.extend_from_slice(word.unwrap_or_default().as_bytes());
        }
        out.push(b',');
        if let Some(flow) = group.flow(record) {
            push_u64(out, flow);
        }
        out.push(b',');
        if let Some(source) = self.source {
            push_address(out, source);
        }
        if let Some(vantage) = self.vantage {
            out.push(b',');
            out.extend_from_slice(&vantage.csv);
        }
        if is_named {
            let known = self.known;
            out.push(b',');
            push_csv(out, known.and_then(|known| known.name.as_deref()).unwrap_or_default());
            out.push(b',');
            if let Some(asn) = known.and_then(|known| known.asn) {
                push_u64(out, asn.into());
            }
            out.push(b',');
            push_csv(out, known.and_then(|known| known.as_name.as_deref()).unwrap_or_default());
        }
        out.push(b'\n');
    }

    /// Where its stamps were taken, that of sending and that of arrival. What was never sent has no send stamp: its `time` and `sent_ns` say
    /// when it was given up.
    fn stamps(&self) -> [Option<&'static str>; 2] {
        let sent = self.record.outcome() != Outcome::Unsent;
        [sent.then(|| self.tx_stamp.name()), self.record.rtt().map(|_| Stamp::Xdp.name())]
    }
}

/// A member whose value needs no escapes: one of our own words.
fn push_member(out: &mut Vec<u8>, opening: &[u8], word: &str) {
    out.extend_from_slice(opening);
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
}
