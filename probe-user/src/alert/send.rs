//! One Alertmanager: what waits for it is posted, in batches, one request after the other.

use super::{
    labels::Alert,
    outbox::Outbox,
    settings::{Alertmanager, Settings},
};
use crate::{
    base::{Nanos, RepeatedFault},
    client::{Connector, Credentials, Lookup, exchange, host_of, path_of},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT},
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

/// Alerts of a request, as of Prometheus'.
pub const BATCH: usize = 64;
/// No request takes longer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries while it does not answer: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Of what it says about a request that it refuses.
const MOST_SAID: usize = 300;

/// Why alerts were not taken.
enum Refusal {
    /// They are wrong, or we are: sent again, they would be refused again.
    ForGood(String),
    /// They may be taken later.
    ForNow(String),
}

/// Sends what waits, for ever. What is wrong is told in the log, and told again every five minutes. `clock` is CLOCK_MONOTONIC.
pub async fn work(alertmanager: Alertmanager, outbox: Arc<Outbox>, settings: Settings, clock: fn() -> Nanos) {
    let alertmanager = Arc::new(alertmanager);
    let (mut connector, lookup) = (Connector::default(), Lookup::default());
    let (mut fault, mut again) = (RepeatedFault::default(), AGAIN.0);
    loop {
        if outbox.is_empty() {
            outbox.filled.notified().await;
        }
        let alerts = outbox.take(BATCH);
        if alerts.is_empty() {
            continue;
        }
        let begun = Instant::now();
        let posted =
            timeout(REQUEST_TIMEOUT, post(&alertmanager, &alerts, settings.resend, &mut connector, &lookup)).await;
        outbox.took(begun.elapsed().into());
        let late = || Refusal::ForNow(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()));
        let why = match posted.unwrap_or_else(|_| Err(late())) {
            Ok(()) => {
                outbox.count_sent(alerts.len());
                again = AGAIN.0;
                if fault.over().is_some() {
                    tracing::info!("alerts: {} takes them again", outbox.name());
                }
                continue;
            }
            Err(why) => why,
        };
        // Certificates that this host trusts may have changed.
        connector.forget();
        let (why, for_good) = match why {
            Refusal::ForGood(why) => (why, true),
            Refusal::ForNow(why) => (why, false),
        };
        outbox.count_failed(alerts.len(), for_good);
        if let Some(times) = fault.happened(clock()) {
            tracing::error!("alerts: {} does not take them: {why}{times}", outbox.name());
        }
        if !for_good {
            outbox.put_back(alerts);
        }
        sleep(again).await;
        again = (again * 2).min(AGAIN.1);
    }
}

async fn post(
    alertmanager: &Arc<Alertmanager>,
    alerts: &[Alert],
    resend: Nanos,
    connector: &mut Connector,
    lookup: &Lookup,
) -> Result<(), Refusal> {
    let (of, mut kept) = (Arc::clone(alertmanager), std::mem::take(connector));
    let read = spawn_blocking(move || (Credentials::read(of.authorization.as_ref(), &of.tls, &mut kept), kept));
    let (credentials, kept) = read.await.map_err(|_| Refusal::ForNow("its files could not be read".into()))?;
    *connector = kept;
    let credentials = credentials.map_err(Refusal::ForNow)?;
    let url = alertmanager.endpoint();
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = Nanos::from(unix).0.saturating_add(4 * resend.0);
    let mut request = Request::post(path_of(&url))
        .header(HOST, host_of(&url))
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("echolot/", env!("CARGO_PKG_VERSION")));
    if let Some(authorization) = credentials.authorization() {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request
        .body(Full::new(Bytes::from(Alert::body(alerts, until))))
        .map_err(|error| Refusal::ForGood(format!("the URL makes no request: {error}")))?;
    // The connection ends with this, whatever the other side does.
    let mut connections = JoinSet::new();
    let name = alertmanager.tls.server_name.as_deref();
    let response =
        exchange(&url, lookup, &credentials, name, request, &mut connections).await.map_err(Refusal::ForNow)?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let why = format!("it answered {status}{}", said(response).await);
    // A redirect is not followed: what is posted would become a question.
    Err(if status.is_client_error() { Refusal::ForGood(hint(status, why)) } else { Refusal::ForNow(why) })
}

fn hint(status: StatusCode, why: String) -> String {
    match status {
        StatusCode::NOT_FOUND => {
            format!("{why}; `url` is where Alertmanager's own pages are, such as http://alertmanager.example:9093")
        }
        _ => why,
    }
}

/// The beginning of what an answer says, on one line.
async fn said(mut response: Response<Incoming>) -> String {
    let mut said = Vec::new();
    while said.len() < MOST_SAID
        && let Some(Ok(frame)) = response.body_mut().frame().await
    {
        said.extend(frame.into_data().unwrap_or_default());
    }
    said.truncate(MOST_SAID);
    let text = String::from_utf8_lossy(&said);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { String::new() } else { format!(": {}", words.join(" ")) }
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
