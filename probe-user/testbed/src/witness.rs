//! The far end's own record of a request, and the line that it is written as.

use crate::{
    routers::Expiry,
    rules::{Decided, Form, MOST_REPLIES},
};
use echolot::base::Nanos;
use std::{fmt::Write as _, net::IpAddr};

/// What a far end knows of a request. Times are CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug)]
pub struct Witnessed {
    /// Whom it was sent to.
    pub address: IpAddr,
    /// Its sequence number; of a UDP datagram the identifier of its DNS question, else its IPv4 identification, else 0.
    pub sequence: u32,
    /// Its identifier; of a SYN or a UDP datagram the port that it was sent from.
    pub identifier: u16,
    /// Of a SYN or a UDP datagram the port that it was sent to; 0 of an echo request.
    pub port: u16,
    /// It is a UDP datagram.
    pub udp: bool,
    /// Its send stamp, as it says: a SYN only about ([`probe_ebpf::far::timestamp`]), a UDP datagram not, so that it is when it arrived.
    pub sent: Nanos,
    /// When it arrived.
    pub arrival: Nanos,
    /// Where routers are on the way: what they make of it, and the time to live that it was sent with.
    pub expiry: Option<(Expiry, u8)>,
    /// What was decided about it.
    pub decided: Decided,
    replies: [Departed; MOST_REPLIES],
    count: usize,
}

/// A reply. Zero: it never left.
#[derive(Clone, Copy, Debug, Default)]
struct Departed {
    form: Form,
    departure: Nanos,
}

impl Witnessed {
    /// An echo request that nobody has answered yet.
    pub fn new(address: IpAddr, sequence: impl Into<u32>, identifier: u16, sent: Nanos, arrival: Nanos) -> Self {
        let replies = [Departed::default(); MOST_REPLIES];
        let decided = Decided::default();
        let (sequence, port, udp) = (sequence.into(), 0, false);
        Self { address, sequence, identifier, port, udp, sent, arrival, expiry: None, decided, replies, count: 0 }
    }

    /// Adds a reply, which left at `departure`; None: it could not leave.
    pub fn departed(&mut self, form: Form, departure: Option<Nanos>) {
        if let Some(place) = self.replies.get_mut(self.count) {
            *place = Departed { form, departure: departure.unwrap_or(Nanos::ZERO) };
            self.count += 1;
        }
    }

    /// Appends the record as a line of JSON, being the `number`th.
    pub fn write(&self, number: u64, out: &mut String) {
        // Writing to a string can't fail.
        let _ = write!(
            out,
            r#"{{"number":{number},"address":"{}","sequence":{},"identifier":{},"port":{},"udp":{},"sent_ns":{},"arrival_ns":{},"decided":["#,
            self.address, self.sequence, self.identifier, self.port, self.udp, self.sent.0, self.arrival.0
        );
        for (i, name) in self.decided.names().enumerate() {
            let _ = write!(out, r#"{}"{name}""#, if i > 0 { "," } else { "" });
        }
        out.push_str(r#"],"replies":["#);
        for (i, reply) in self.replies[..self.count].iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let _ = write!(out, r#"{comma}{{"form":"{}","departure_ns":"#, reply.form.name());
            let _ = match reply.departure {
                Nanos::ZERO => write!(out, "null}}"),
                at => write!(out, "{}}}", at.0),
            };
        }
        out.push(']');
        if let Some((expiry, ttl)) = self.expiry {
            let _ = write!(out, r#","ttl":{ttl}"#);
            let _ = match expiry {
                Expiry::Arrives(back) => write!(out, r#","reply_ttl":{back}"#),
                Expiry::At(router, back) => write!(out, r#","router":"{router}","reply_ttl":{back}"#),
                Expiry::Nowhere => write!(out, r#","nobody":true"#),
            };
        }
        out.push_str("}\n");
    }
}

/// The last line: how many there ought to be, and what got lost on the way to the record.
pub fn write_end(requests: u64, lost: u64, out: &mut String) {
    let _ = writeln!(out, r#"{{"end":true,"requests":{requests},"lost":{lost}}}"#);
}
