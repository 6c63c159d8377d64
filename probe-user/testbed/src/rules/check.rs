//! Whether what a rule file says can be.

use super::{CLEARANCE, MOST_REPLIES, Range, Routers, RuleFile};
use crate::read::Span;
use echolot::base::Nanos;
use probe_ebpf::routers::MAX_DISTANCE;

impl RuleFile {
    /// Whether all of it can be: shares are shares, no delay comes too near a timeout.
    ///
    /// # Errors
    /// What is wrong and why.
    pub fn check(&self) -> Result<(), String> {
        if self.timeouts.is_empty() {
            return Err("timeouts: there is none; name the prober's, such as [250ms]".into());
        }
        if let Some(Routers { nearest, furthest, common, common_v6, silent }) = self.routers {
            if !(1..=furthest).contains(&nearest) || furthest > MAX_DISTANCE || common > 28 || common_v6 > 124 {
                return Err(format!(
                    "routers: destinations are 1 to {MAX_DISTANCE} hops away, the nearest no further than the furthest; common is at most \
                     28 and common_v6 124"
                ));
            }
            if !(0.0..=1.0).contains(&silent) {
                return Err(format!("routers: silent: the share {silent} is not from 0 to 1"));
            }
            if let Some(number) = self.ranges.iter().position(Range::is_harmless) {
                return Err(format!(
                    "ranges[{number}]: nothing happens to its probes, so the program answers them, which knows no routers: add a delay"
                ));
            }
        }
        for (number, range) in self.ranges.iter().enumerate() {
            range.check(&self.timeouts).map_err(|why| format!("ranges[{number}]: {why}"))?;
        }
        Ok(())
    }
}

impl Range {
    fn check(&self, timeouts: &[Span]) -> Result<(), String> {
        let optional = [
            ("late", self.late.map(|late| late.share)),
            ("duplicate", self.duplicate.map(|duplicate| duplicate.share)),
            ("reorder", self.reorder.map(|reorder| reorder.share)),
            ("forged", self.forged.map(|forged| forged.share)),
            ("unreachable", self.unreachable.map(|error| error.share)),
            ("error_then_reply", self.error_then_reply.map(|error| error.share)),
            ("loss", Some(self.loss)),
            ("corrupt_payload", Some(self.corrupt_payload)),
            ("corrupt_cookie", Some(self.corrupt_cookie)),
            ("stranger", Some(self.stranger)),
        ];
        for (name, share) in optional {
            if let Some(share) = share
                && !(0.0..=1.0).contains(&share)
            {
                return Err(format!("{name}: the share {share} is not from 0 to 1"));
            }
        }
        if self.unrecorded && !self.is_harmless() {
            return Err(
                "unrecorded: what happens to its probes would be known to nobody; leave one or the other out".into()
            );
        }
        if self.addresses.is_empty() {
            return Err("addresses: there are none; name at least one prefix".into());
        }
        let copies = self.duplicate.map_or(0, |duplicate| duplicate.copies);
        let forged = self.forged.map_or(0, |forged| forged.copies);
        if usize::from(copies) + usize::from(forged) + 2 > MOST_REPLIES {
            return Err(format!("a request would have more than {MOST_REPLIES} replies; lower the copies"));
        }
        for timeout in timeouts {
            for (what, from, to) in self.times(copies) {
                if to + CLEARANCE > timeout.0 && timeout.0 + CLEARANCE > from {
                    return Err(format!(
                        "{what}: replies from {from} to {to} would come within {CLEARANCE} of the timeout {}; move them",
                        timeout.0
                    ));
                }
            }
        }
        if let Some(late) = self.late
            && !timeouts.iter().any(|timeout| late.delay.0 > timeout.0)
        {
            return Err(format!("late: {} is not past any timeout", late.delay.0));
        }
        Ok(())
    }

    /// Every stretch in which a reply may leave, after its request.
    fn times(&self, copies: u8) -> Vec<(&'static str, Nanos, Nanos)> {
        let (first, last) = (self.delay.0, self.delay.0 + self.jitter.0);
        let mut times = vec![("delay and jitter", first, last)];
        if let Some(reorder) = self.reorder {
            times.push(("reorder", first + reorder.by.0, last + reorder.by.0));
        }
        if let Some(late) = self.late {
            times.push(("late", late.delay.0, late.delay.0));
        }
        if let Some(error) = self.error_then_reply {
            let later: Vec<_> = times
                .iter()
                .map(|(_, from, to)| ("error_then_reply", *from + error.after.0, *to + error.after.0))
                .collect();
            times.extend(later);
        }
        if let Some(duplicate) = self.duplicate {
            let once = times.clone();
            for copy in 1..=u64::from(copies) {
                let after = Nanos(duplicate.after.0.0 * copy);
                times.extend(once.iter().map(|(_, from, to)| ("duplicate", *from + after, *to + after)));
            }
        }
        times
    }
}
