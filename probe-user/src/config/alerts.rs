//! To whom alerts are pushed, as the file has it.

use super::{
    keys::{ALERTMANAGER, ALERTS},
    read::{Field, Problems, Table},
    sources::{read_url, tls, who_asks},
};
use crate::{
    alert::{self, Alertmanager, INDIVIDUALLY, RESENDS},
    targets::shorten,
};
use std::path::Path;

/// What the top level says of alerts.
pub(super) fn settings(top: &Table, folder: &Path, p: &mut Problems) -> alert::Settings {
    let mut settings = alert::Settings::default();
    if let Some(field) = top.get("alertmanagers") {
        settings.alertmanagers = alertmanagers(&field, folder, p);
    }
    if let Some(field) = top.get("alerts") {
        let table = field.table(&ALERTS, "a table such as {resend: 1m, individually: 20}", p);
        let of = |key| table.as_ref().and_then(|table| table.get(key));
        if let Some(resend) = of("resend").and_then(|field| field.duration(RESENDS, p)) {
            settings.resend = resend;
        }
        if let Some(many) = of("individually").and_then(|field| field.number(INDIVIDUALLY, p)) {
            settings.individually = u32::try_from(many).unwrap_or(settings.individually);
        }
        if top.get("alertmanagers").is_none() {
            field.wrong(p, "alerts go to nobody; write `alertmanagers`, or remove `alerts`");
        }
    }
    let state = top.get("state").and_then(|field| field.text("the path of a folder", p));
    settings.state = state.map(|path| folder.join(path));
    settings
}

fn alertmanagers(field: &Field, folder: &Path, p: &mut Problems) -> Vec<Alertmanager> {
    let mut all: Vec<Alertmanager> = Vec::new();
    for item in field.list("a list of tables with `url`", p) {
        let Some(one) = alertmanager(&item, folder, p) else { continue };
        if all.iter().any(|other| other.name() == one.name()) {
            item.wrong(p, format!("`{}` stands twice; remove one", shorten(&one.name())));
        } else {
            all.push(one);
        }
    }
    all
}

fn alertmanager(item: &Field, folder: &Path, p: &mut Problems) -> Option<Alertmanager> {
    const SUCH: &str = "http://alertmanager.example:9093";
    let table = item.table(&ALERTMANAGER, "a table with `url`", p)?;
    let url = table.get("url");
    if url.is_none() {
        item.wrong(p, format!("`url` is missing; write where Alertmanager is, such as `url: {SUCH}`"));
    }
    let authorization = who_asks(&table, folder, p);
    let tls = table.get("tls_config").and_then(|field| tls(&field, folder, p)).unwrap_or_default();
    let url = url?.parsed("a URL", p, |text| {
        let url = read_url(text, SUCH)?;
        if url.path().contains("/api/") {
            return Err(format!(
                "`url` is where Alertmanager's own pages are, without the path of its API; write one such as {SUCH}"
            ));
        }
        Ok(url)
    })?;
    Some(Alertmanager { url, authorization, tls })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::{
        base::Nanos,
        client::{Authorization, TlsSettings},
        config::{Config, ConfigError},
    };

    fn read(text: &str) -> Result<Config, ConfigError> {
        let text = format!("{text}\ngroups: [{{name: g, targets: [10.0.0.1]}}]");
        super::super::parse(Path::new("dir/echolot.yml"), text.into())
    }

    #[test]
    fn alertmanagers_are_read() {
        let config = read(
            "
vantage: fra
alertmanagers:
  - url: http://am.example:9093
  - url: https://am.example/am?token=geheim
    basic_auth: {username: me, password_file: secret}
    tls_config: {ca_file: ca.pem}
alerts: {resend: 30s, individually: 5}
state: state
",
        );
        let config = config.unwrap();
        let [plain, other] = &config.alerts.alertmanagers[..] else { panic!() };
        let expected = Alertmanager {
            url: "http://am.example:9093".parse().unwrap(),
            authorization: None,
            tls: TlsSettings::default(),
        };
        assert_eq!(*plain, expected);
        let who = Authorization::Basic { username: "me".into(), password_file: Some("dir/secret".into()) };
        assert_eq!(
            (other.authorization.as_ref(), other.tls.ca_file.as_deref()),
            (Some(&who), Some(Path::new("dir/ca.pem")))
        );
        assert_eq!((config.alerts.resend, config.alerts.individually), (Nanos::from_secs(30), 5));
        assert_eq!(
            (config.alerts.state.as_deref(), config.vantage.as_deref()),
            (Some(Path::new("dir/state")), Some("fra"))
        );
        // What a reload can't change is told without what may be secret, and noticed all the same.
        let fixed = |config: &Config| config.fixed().into_iter().find(|(name, _)| *name == "alertmanagers").unwrap().1;
        let other =
            read("alertmanagers: [{url: 'http://am.example:9093'}, {url: 'https://am.example/am?token=other'}]")
                .unwrap();
        assert!(fixed(&config).contains("https://am.example/am") && !fixed(&config).contains("geheim"));
        assert_ne!(fixed(&config), fixed(&other));
        let none = read("").unwrap().alerts;
        assert_eq!(none, alert::Settings::default());
    }

    #[test]
    fn what_is_wrong_is_told_where_it_stands() {
        for (text, told) in [
            ("alertmanagers: [{}]", "1:17: alertmanagers[0]: `url` is missing"),
            ("alertmanagers: http://a", "expected a list of tables with `url`"),
            ("alertmanagers: [{url: am.example:9093}]", "alertmanagers[0].url: it is not a URL"),
            ("alertmanagers: [{url: 'http://me:word@a'}]", "secrets lie in files"),
            ("alertmanagers: [{url: 'http://a/api/v2/alerts'}]", "without the path of its API"),
            ("alertmanagers: [{url: 'http://a/?x=1'}, {url: 'http://a/?x=2'}]", "`http://a/` stands twice; remove one"),
            (
                "alertmanagers: [{url: 'http://a', basic_auth: {}, authorization: {credentials_file: t}}]",
                "says once who asks",
            ),
            ("alertmanagers: [{url: 'http://a', refresh_interval: 1s}]", "unknown key `refresh_interval`"),
            ("alertmanagers: [{url: 'http://a'}]\nalerts: {individually: 0}", "a whole number from 1 to 1000"),
            ("alertmanagers: [{url: 'http://a'}]\nalerts: {resend: 10}", "no unit"),
            ("alertmanagers: [{url: 'http://a'}]\nalerts: {resend: 2h}", "out of bounds; write 1s to 1h"),
            ("alerts: {resend: 1m}", "alerts go to nobody"),
            ("vantage: ''", "expected a name"),
            ("state: []", "the path of a folder"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("word@"), "{text}: {error}");
        }
    }

    #[test]
    fn a_secret_that_can_not_be_read_is_named() {
        let of = |text: &str| {
            let config = read(&format!("alertmanagers: [{text}]")).unwrap();
            alert::check_secrets(&config.alerts.alertmanagers[0])
        };
        assert_eq!(of("{url: 'http://a'}"), Ok(()));
        for (text, file) in [
            ("{url: 'http://a', basic_auth: {username: x, password_file: /no/such/word}}", "/no/such/word"),
            ("{url: 'https://a', authorization: {credentials_file: no-such-token}}", "dir/no-such-token"),
            ("{url: 'https://a', tls_config: {ca_file: /no/such/ca.pem}}", "/no/such/ca.pem"),
        ] {
            let why = of(text).unwrap_err();
            assert!(why.contains(file) && why.contains("cannot be read"), "{why}");
        }
    }
}
