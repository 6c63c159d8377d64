//! An alert. Its labels are who it is; all else may change.

use crate::{base::Nanos, results::rfc3339};
use serde::{Deserialize, Serialize, Serializer};
use std::{collections::BTreeMap, sync::Arc};

/// What an alert is called: the label `alertname`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Name {
    /// A target is down.
    TargetDown,
    /// Many targets of a row of sums are down.
    TargetsDown,
    /// This machine can't measure.
    CannotMeasure,
    /// It measures: a dead man's switch.
    Alive,
}

impl Name {
    /// All.
    pub const ALL: [Self; 4] = [Self::TargetDown, Self::TargetsDown, Self::CannotMeasure, Self::Alive];

    /// As in the label.
    pub const fn text(self) -> &'static str {
        match self {
            Self::TargetDown => "EcholotTargetDown",
            Self::TargetsDown => "EcholotTargetsDown",
            Self::CannotMeasure => "EcholotCannotMeasure",
            Self::Alive => "EcholotAlive",
        }
    }

    /// The label `severity`, unless those that it is about have one.
    pub const fn severity(self) -> &'static str {
        match self {
            Self::TargetDown => "warning",
            Self::TargetsDown | Self::CannotMeasure => "critical",
            Self::Alive => "none",
        }
    }
}

/// A moment by both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// CLOCK_MONOTONIC.
    pub at: Nanos,
    /// Nanoseconds since 1970, UTC.
    pub unix_ns: u64,
}

/// Labels of an alert.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub struct Labels(#[serde(serialize_with = "whole")] Arc<BTreeMap<String, String>>);

/// What is said for people.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub struct Annotations(#[serde(serialize_with = "whole")] Arc<BTreeMap<String, String>>);

fn whole<S: Serializer>(map: &Arc<BTreeMap<String, String>>, serializer: S) -> Result<S::Ok, S::Error> {
    BTreeMap::serialize(map, serializer)
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(map: BTreeMap<String, String>) -> Self {
        Self(Arc::new(map))
    }
}

impl From<BTreeMap<String, String>> for Annotations {
    fn from(map: BTreeMap<String, String>) -> Self {
        Self(Arc::new(map))
    }
}

impl Annotations {
    /// What is said under a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The same with something else said under a key.
    #[must_use]
    pub fn with(&self, key: &str, value: String) -> Self {
        let mut map = BTreeMap::clone(&self.0);
        map.insert(key.to_owned(), value);
        Self(Arc::new(map))
    }
}

/// Which target an alert is about: what tells it from all others, whatever else its labels say.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Who {
    /// The group's name.
    pub group: String,
    /// What it is called there.
    pub target: String,
    /// Its family, where its labels say that.
    pub family: String,
}

impl Labels {
    /// Those of `of`, overlaid with `own`. An empty one is none, as Alertmanager has it. `severity` is the alert's own unless `of` has one.
    pub fn new<'a>(
        name: Name,
        of: &BTreeMap<String, String>,
        own: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut labels = of.clone();
        labels.entry("severity".into()).or_insert_with(|| name.severity().into());
        labels.extend(own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
        labels.insert("alertname".into(), name.text().into());
        labels.retain(|_, value| !value.is_empty());
        Self(Arc::new(labels))
    }

    /// A label's value, "" where there is none.
    pub fn get(&self, label: &str) -> &str {
        self.0.get(label).map_or("", String::as_str)
    }

    /// Whether it is called so.
    pub fn is(&self, name: Name) -> bool {
        self.get("alertname") == name.text()
    }

    /// Which target it is about, where it is about one.
    pub fn who(&self) -> Option<Who> {
        let of = |label| self.get(label).to_owned();
        self.is(Name::TargetDown).then(|| Who { group: of("group"), target: of("target"), family: of("family") })
    }
}

/// An alert as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alert {
    /// Who it is.
    pub labels: Labels,
    /// What is said for people.
    pub annotations: Annotations,
    /// Since when it has fired, nanoseconds since 1970.
    pub starts_unix_ns: u64,
    /// When it ended; None: it fires.
    pub ends_unix_ns: Option<u64>,
}

/// As Alertmanager's API has it, version 2.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted<'a> {
    labels: &'a Labels,
    annotations: &'a Annotations,
    starts_at: String,
    ends_at: String,
}

impl Alert {
    /// A request's body. What fires ends by itself at `until_unix_ns`, should nobody send it again.
    pub fn body(alerts: &[Self], until_unix_ns: u64) -> Vec<u8> {
        let posted = alerts.iter().map(|alert| {
            // A clock may have been set back since; an alert that ends before it starts would be refused.
            let ends = alert.ends_unix_ns.unwrap_or(until_unix_ns).max(alert.starts_unix_ns);
            let (starts_at, ends_at) = (rfc3339(alert.starts_unix_ns), rfc3339(ends));
            Posted { labels: &alert.labels, annotations: &alert.annotations, starts_at, ends_at }
        });
        // Strings into memory: nothing of it can fail.
        serde_json::to_vec(&posted.collect::<Vec<_>>()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn labels_are_those_of_the_target_and_our_own_win_but_for_the_severity() {
        let of: BTreeMap<String, String> = [("site", "fra"), ("alertname", "x"), ("group", "y"), ("empty", "")]
            .map(|(k, v)| (k.into(), v.into()))
            .into();
        let own = [("group", "edge"), ("target", "10.0.0.1")];
        let labels = Labels::new(Name::TargetDown, &of, own);
        let json = serde_json::to_string(&labels).unwrap();
        let expected =
            r#"{"alertname":"EcholotTargetDown","group":"edge","severity":"warning","site":"fra","target":"10.0.0.1"}"#;
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<Labels>(&json).unwrap(), labels);
        let who = Who { group: "edge".into(), target: "10.0.0.1".into(), family: String::new() };
        assert_eq!(labels.who(), Some(who));
        let paged = Labels::new(Name::TargetDown, &[("severity".into(), "page".into())].into(), own);
        assert_eq!(paged.get("severity"), "page");
        assert_eq!(Labels::new(Name::Alive, &BTreeMap::new(), []).who(), None);
    }

    #[test]
    fn what_fires_ends_by_itself_and_nothing_ends_before_it_starts() {
        let labels = Labels::new(Name::Alive, &BTreeMap::new(), []);
        let second = 1_000_000_000;
        let alert = |starts, ends: Option<u64>| Alert {
            labels: labels.clone(),
            annotations: Annotations::default(),
            starts_unix_ns: starts * second,
            ends_unix_ns: ends.map(|ends| ends * second),
        };
        let body =
            Alert::body(&[alert(60, None), alert(60, Some(120)), alert(60, Some(10)), alert(500, None)], 300 * second);
        let posted: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let times = |i: usize| {
            [&posted[i]["startsAt"], &posted[i]["endsAt"]].map(|time| time.as_str().unwrap()[14..19].to_owned())
        };
        assert_eq!(times(0), ["01:00", "05:00"]);
        assert_eq!(times(1), ["01:00", "02:00"]);
        assert_eq!(times(2), ["01:00", "01:00"]);
        assert_eq!(times(3), ["08:20", "08:20"]);
        assert_eq!(posted[0]["startsAt"], "1970-01-01T00:01:00.000000000Z");
    }
}
