//! One request for a list, redirects followed. What goes wrong is said without anything that may be secret.

use super::settings::HttpSource;
use crate::client::{Credentials, Lookup, causes, exchange, host_of, path_of, shown};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Bytes, Incoming},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT},
};
use tokio::task::JoinSet;
use url::Url;

/// As many as browsers and Go's client follow.
const MOST_REDIRECTS: usize = 10;

/// Asks for the list. Whoever calls bounds the time that it takes.
///
/// # Errors
/// What went wrong, in words for people.
pub(super) async fn get(
    source: &HttpSource,
    credentials: &Credentials,
    lookup: &Lookup,
    most_bytes: u64,
) -> Result<Bytes, String> {
    let mut url = source.url.clone();
    // Connections end with this, whatever the other side does.
    let mut connections = JoinSet::new();
    for _ in 0..=MOST_REDIRECTS {
        // Whoever else is asked than the one that was named learns no secret, as browsers have it.
        let is_his = url.origin() == source.url.origin();
        let name = source.tls.server_name.as_deref().filter(|_| is_his);
        let request = request(&url, credentials.authorization().filter(|_| is_his))?;
        let response = exchange(&url, lookup, credentials, name, request, &mut connections).await?;
        let status = response.status();
        if !(source.follow_redirects && is_redirect(status)) {
            return body(response, most_bytes).await;
        }
        let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let to = to.ok_or_else(|| format!("it answered {status}, and does not say where to"))?;
        url = url.join(to).map_err(|error| format!("it answered {status}, and where to is no URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("it answered {status}, and leads to another scheme than http and https"));
        }
    }
    Err(format!("it leads on and on: {} was the last of {MOST_REDIRECTS} redirects", shown(&url)))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn request(url: &Url, authorization: Option<&HeaderValue>) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::get(path_of(url))
        .header(HOST, host_of(url))
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("echolot/", env!("CARGO_PKG_VERSION")));
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request.body(Empty::new()).map_err(|error| format!("the URL makes no request: {error}"))
}

async fn body(mut response: Response<Incoming>, most_bytes: u64) -> Result<Bytes, String> {
    let status = response.status();
    if status != StatusCode::OK {
        return Err(format!("it answered {status}, and 200 OK is expected"));
    }
    let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?").trim().to_owned());
    if !kind.as_deref().is_some_and(is_json) {
        let found = kind.map_or("none".into(), |kind| format!("`{}`", crate::targets::shorten(&kind)));
        return Err(format!("its Content-Type is {found}, and application/json is expected"));
    }
    let too_long = || format!("it is longer than {} MiB", most_bytes >> 20);
    if response.body().size_hint().lower() > most_bytes {
        return Err(too_long());
    }
    let mut content = Vec::new();
    while let Some(frame) = response.body_mut().frame().await {
        let frame = frame.map_err(|error| format!("it ended within the list: {}", causes(&error)))?;
        if let Ok(data) = frame.into_data() {
            content.extend_from_slice(&data);
        }
        if content.len() as u64 > most_bytes {
            return Err(too_long());
        }
    }
    Ok(content.into())
}

/// Prometheus' rule: `application/json`, in UTF-8 if it says so.
fn is_json(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let (media, parameter) = kind.split_once(';').unwrap_or((&kind, "charset=utf-8"));
    media == "application/json" && matches!(parameter.trim(), "charset=utf-8" | "charset=\"utf-8\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_prometheus_own() {
        for kind in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json; charset=\"utf-8\"",
        ] {
            assert!(is_json(kind), "{kind}");
        }
        for kind in ["", "text/plain", "application/jsonl", "application/json; charset=latin1", "application/json; q=1"]
        {
            assert!(!is_json(kind), "{kind}");
        }
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let url = Url::parse("https://me:word@host.example:8443/a/list?token=geheim#part").expect("a URL");
        assert_eq!(shown(&url), "https://host.example:8443/a/list");
        let request = request(&url, None).expect("a request");
        assert_eq!(request.uri(), "/a/list?token=geheim");
        assert_eq!(request.headers()[HOST], "host.example:8443");
    }
}
