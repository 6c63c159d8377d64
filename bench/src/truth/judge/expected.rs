//! What must have come of a probe, by when its replies left and what they looked like.

use crate::truth::evidence::{Form, Outcome, Seen};

/// A reply that left so shortly before the timeout may have arrived after it, nanoseconds.
pub(super) const NEAR: u64 = 5_000_000;

/// What must have come of a probe.
pub(super) struct Expected {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) borderline: bool,
    /// When the first reply of the far end or a router left that may count for the round-trip time.
    pub(super) departure: Option<u64>,
}

/// What must have come of a probe whose replies left when they did.
pub(super) fn expected(seen: &Seen, timeout: u64) -> Expected {
    let mut expected = Expected { outcomes: Vec::new(), borderline: false, departure: None };
    let mut replies: Vec<(u64, Form)> =
        seen.replies.iter().filter_map(|reply| Some((reply.departure_ns?, reply.form))).collect();
    replies.sort_by_key(|(departure, _)| *departure);
    for (departure, form) in replies {
        let outcome = match form {
            // A router's.
            Form::Good | Form::Error | Form::ShortError if seen.router.is_some() => Outcome::Hop,
            Form::Good => Outcome::Answered,
            Form::Error | Form::ShortError => Outcome::Unreachable,
            Form::CorruptPayload | Form::CorruptCookie | Form::CorruptError | Form::Forged | Form::Stranger => continue,
        };
        let took = departure.saturating_sub(seen.sent_ns);
        if took > timeout {
            break;
        }
        if matches!(outcome, Outcome::Answered | Outcome::Hop) && expected.departure.is_none() {
            expected.departure = Some(departure);
        }
        if !expected.outcomes.contains(&outcome) {
            expected.outcomes.push(outcome);
        }
        if took.saturating_add(NEAR) <= timeout {
            return expected;
        }
        expected.borderline = true;
    }
    expected.outcomes.push(Outcome::Lost);
    expected
}
