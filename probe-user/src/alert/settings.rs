//! To whom alerts are sent, and how.

use crate::{
    base::Nanos,
    client::{Authorization, Connector, Credentials, TlsSettings, shown},
};
use std::{ops::RangeInclusive, path::PathBuf};
use url::Url;

/// How often a firing alert may be sent again.
pub const RESENDS: RangeInclusive<Nanos> = Nanos::from_secs(1)..=Nanos::from_secs(3600);
/// How many targets of a row may each have an alert of their own.
pub const INDIVIDUALLY: RangeInclusive<u64> = 1..=1_000;

/// Where alerts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// All of them get all alerts. Without one nothing is sent.
    pub alertmanagers: Vec<Alertmanager>,
    /// A firing alert is sent again after this, and ends by itself after four times as long.
    pub resend: Nanos,
    /// While at most so many targets of a row of sums are down, each has an alert of its own.
    pub individually: u32,
    /// The folder of what outlives the process; None: nothing does.
    pub state: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { alertmanagers: Vec::new(), resend: Nanos::from_secs(60), individually: 20, state: None }
    }
}

/// An Alertmanager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alertmanager {
    /// Where it is: http or https, without user and password, and without the path of its API.
    pub url: Url,
    /// Who sends.
    pub authorization: Option<Authorization>,
    /// Whom to trust, where it is https.
    pub tls: TlsSettings,
}

impl Alertmanager {
    /// What it is called in labels and the log: its URL without what may be secret.
    pub fn name(&self) -> String {
        shown(&self.url)
    }

    /// Where alerts are posted.
    pub fn endpoint(&self) -> Url {
        let mut url = self.url.clone();
        let path = format!("{}/api/v2/alerts", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }
}

/// Whether what an Alertmanager is asked with can be read: secrets and certificates.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn check_secrets(alertmanager: &Alertmanager) -> Result<(), String> {
    let mut connector = Connector::default();
    let credentials = Credentials::read(alertmanager.authorization.as_ref(), &alertmanager.tls, &mut connector)?;
    if alertmanager.url.scheme() == "https" || alertmanager.tls != TlsSettings::default() {
        credentials.connector()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn alerts_are_posted_beneath_the_url_and_its_query_is_nobody_elses() {
        let of = |url: &str| Alertmanager {
            url: Url::parse(url).unwrap(),
            authorization: None,
            tls: TlsSettings::default(),
        };
        for (url, endpoint, name) in [
            ("http://am.example:9093", "http://am.example:9093/api/v2/alerts", "http://am.example:9093/"),
            ("http://am.example/", "http://am.example/api/v2/alerts", "http://am.example/"),
            (
                "https://x.example/am/?token=geheim",
                "https://x.example/am/api/v2/alerts?token=geheim",
                "https://x.example/am/",
            ),
        ] {
            assert_eq!((of(url).endpoint().as_str(), &*of(url).name()), (endpoint, name));
        }
    }
}
