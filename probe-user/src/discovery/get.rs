//! One request for a list, redirects followed. What goes wrong is said without anything that may be secret.

use super::{
    settings::{Authorization, HttpSource, shown},
    tls::Connector,
};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Bytes, Incoming},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use std::{error::Error, fs, net::SocketAddr, path::Path, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use url::{Host, Url};

/// As many as browsers and Go's client follow.
const MOST_REDIRECTS: usize = 10;

/// What a request says of who asks, and how it connects. Made anew for each: secrets and certificates may be others.
pub(super) struct Credentials {
    authorization: Option<HeaderValue>,
    /// http needs none, and does not fail for want of one.
    connector: Result<TlsConnector, String>,
}

/// Looks up hosts by the C library, one at a time: one that takes long goes on when nobody waits for it any more, and holds a thread.
#[derive(Clone)]
pub(super) struct Lookup(Arc<Semaphore>);

impl Default for Lookup {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Lookup {
    async fn of(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        let Ok(turn) = Arc::clone(&self.0).try_acquire_owned() else {
            return Err(format!("{host}: looking the host up takes longer than a refresh_interval"));
        };
        let asked = (host.to_owned(), port);
        let found = tokio::spawn(async move {
            let found = lookup_host(asked).await.map(|found| found.collect());
            drop(turn);
            found
        });
        let found = found.await.map_err(|error| format!("{host}: {error}"))?;
        found.map_err(|error| format!("{host}: {error}"))
    }
}

impl Credentials {
    /// Reads files.
    ///
    /// # Errors
    /// A secret can't be read, or is none.
    pub(super) fn read(source: &HttpSource, connector: &mut Connector) -> Result<Self, String> {
        let authorization = source.authorization.as_ref().map(authorization).transpose()?;
        // A redirect may lead from http to https.
        Ok(Self { authorization, connector: connector.get(&source.tls) })
    }
}

fn authorization(from: &Authorization) -> Result<HeaderValue, String> {
    let text = match from {
        Authorization::Basic { username, password_file } => {
            let password = password_file.as_deref().map(secret).transpose()?.unwrap_or_default();
            format!("Basic {}", data_encoding::BASE64.encode(format!("{username}:{password}").as_bytes()))
        }
        Authorization::Token { kind, credentials_file } => format!("{kind} {}", secret(credentials_file)?),
    };
    let mut value =
        HeaderValue::from_str(&text).map_err(|_| "a secret has characters that no header may have".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A file's text without the white space around it.
fn secret(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}

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
        let stream = connect(&url, lookup).await?;
        let response = ask(&url, stream, source, credentials, &mut connections).await?;
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

/// Host and port, as errors name them.
fn place(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

async fn connect(url: &Url, lookup: &Lookup) -> Result<TcpStream, String> {
    let port = url.port_or_known_default().ok_or("the URL has no port")?;
    let addresses = match url.host().ok_or("the URL has no host")? {
        Host::Domain(name) => lookup.of(name, port).await?,
        Host::Ipv4(address) => vec![(address, port).into()],
        Host::Ipv6(address) => vec![(address, port).into()],
    };
    TcpStream::connect(&addresses[..]).await.map_err(|error| format!("{}: {}", place(url), causes(&error)))
}

async fn ask(
    url: &Url,
    stream: TcpStream,
    source: &HttpSource,
    credentials: &Credentials,
    connections: &mut JoinSet<()>,
) -> Result<Response<Incoming>, String> {
    let failed = |error: &dyn Error| format!("{}: {}", place(url), causes(error));
    // Whoever else is asked than the one that was named learns no secret, as browsers have it.
    let is_his = url.origin() == source.url.origin();
    let request = request(url, credentials.authorization.as_ref().filter(|_| is_his))?;
    if url.scheme() == "http" {
        return send(stream, request, connections).await.map_err(|error| failed(&error));
    }
    let connector = credentials.connector.as_ref().map_err(Clone::clone)?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let name = source.tls.server_name.as_deref().filter(|_| is_his).unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(|error| failed(&error))?;
    let stream = connector.connect(name, stream).await.map_err(|error| failed(&error))?;
    send(stream, request, connections).await.map_err(|error| failed(&error))
}

fn request(url: &Url, authorization: Option<&HeaderValue>) -> Result<Request<Empty<Bytes>>, String> {
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut request = Request::get(path)
        .header(HOST, host)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("echolot/", env!("CARGO_PKG_VERSION")));
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request.body(Empty::new()).map_err(|error| format!("the URL makes no request: {error}"))
}

async fn send<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
    connections: &mut JoinSet<()>,
) -> hyper::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It carries the body; whoever reads that is told what goes wrong.
    connections.spawn(async { drop(connection.await) });
    sender.send_request(request).await
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

/// An error with what caused it, once each: some say in their own words what their cause does.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
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
