//! How many flows see all branches.

use std::{fmt, str::FromStr};

/// Over how many flows a target is traced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flows {
    /// So many, at least one.
    Exactly(u16),
    /// As many as it takes to have seen every branch where one has been seen, with 95 % probability.
    Auto,
}

/// Flows that must have been sent through one hop, after which 95 of 100 times there is no further branch than the 1, 2, 3 … that were seen,
/// if routers spread flows evenly (Veitch, Augustin, Teixeira, Friedman, "Failure control in multipath route tracing", INFOCOM 2009,
/// at 95 %).
const NEEDED: [u16; 16] = [6, 11, 16, 21, 27, 33, 38, 44, 51, 57, 63, 70, 76, 83, 90, 96];

impl Flows {
    /// The most that are sent.
    pub const MOST: u16 = 256;

    /// The most that this may come to.
    pub const fn most(self) -> u16 {
        match self {
            Self::Exactly(flows) => flows,
            Self::Auto => NEEDED[NEEDED.len() - 1],
        }
    }

    /// How many are needed where at most so many branches have been seen at any distance.
    pub fn needed(self, branches: usize) -> u16 {
        match self {
            Self::Exactly(flows) => flows,
            Self::Auto => NEEDED[branches.clamp(1, NEEDED.len()) - 1],
        }
    }
}

/// `auto`, or a number from 1 to 256.
impl FromStr for Flows {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => match text.parse() {
                Ok(flows @ 1..=Self::MOST) => Ok(Self::Exactly(flows)),
                _ => Err("flows are a number from 1 to 256, or auto: as many as show every branch"),
            },
        }
    }
}

impl fmt::Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(flows) => flows.fmt(f),
            Self::Auto => f.write_str("auto"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exact for routers that spread evenly: the probability that so many flows miss one of `branches`, by inclusion and exclusion.
    fn misses(branches: i32, flows: i32) -> f64 {
        let choose = |k: i32| (0..k).map(|i| f64::from(branches - i) / f64::from(i + 1)).product::<f64>();
        (1..branches)
            .map(|k| (-1f64).powi(k + 1) * choose(k) * (f64::from(branches - k) / f64::from(branches)).powi(flows))
            .sum()
    }

    #[test]
    fn so_many_flows_miss_a_branch_once_in_twenty() {
        for (seen, flows) in (1i32..).zip(NEEDED) {
            let missed = misses(seen + 1, flows.into());
            assert!(missed < 0.05, "{seen} seen, {flows} sent: one more is missed with {missed}");
        }
    }

    #[test]
    fn flows_are_read_as_they_are_shown() {
        for text in ["1", "16", "256", "auto"] {
            assert_eq!(text.parse::<Flows>().map(|flows| flows.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "0", "257", "-1", "Auto", "1.5"] {
            assert!(text.parse::<Flows>().is_err(), "{text}");
        }
    }
}
