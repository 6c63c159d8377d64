//! One request, and what it says of who asks.

use super::{
    settings::{Authorization, TlsSettings},
    tls::Connector,
};
use hyper::{
    Request, Response,
    body::{Body, Bytes, Incoming},
    header::HeaderValue,
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

/// What a request says of who asks, and how it connects. Made anew for each: secrets and certificates may be others.
pub struct Credentials {
    authorization: Option<HeaderValue>,
    /// http needs none, and does not fail for want of one.
    connector: Result<TlsConnector, String>,
}

/// Looks up hosts by the C library, one at a time: one that takes long goes on when nobody waits for it any more, and holds a thread.
#[derive(Clone)]
pub struct Lookup(Arc<Semaphore>);

impl Default for Lookup {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Lookup {
    async fn of(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        let Ok(turn) = Arc::clone(&self.0).try_acquire_owned() else {
            return Err(format!("{host}: looking the host up takes longer than a request may"));
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
    pub fn read(from: Option<&Authorization>, tls: &TlsSettings, connector: &mut Connector) -> Result<Self, String> {
        let authorization = from.map(authorization).transpose()?;
        // A redirect may lead from http to https.
        Ok(Self { authorization, connector: connector.get(tls) })
    }

    /// The header that says who asks; marked as one that nobody shows.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// How https connects.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn connector(&self) -> Result<&TlsConnector, String> {
        self.connector.as_ref().map_err(Clone::clone)
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

/// Host and port, as errors name them.
fn place(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

/// What stands in a request's first line.
pub fn path_of(url: &Url) -> &str {
    &url[url::Position::BeforePath..url::Position::AfterQuery]
}

/// What its header `Host` says.
pub fn host_of(url: &Url) -> &str {
    &url[url::Position::BeforeHost..url::Position::AfterPort]
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

/// Sends a request to where a URL leads, over a connection of its own, and returns what is answered. `server_name`: what the server's
/// certificate must be of; None for the URL's host. The connection lives in `connections`, and ends with these.
///
/// # Errors
/// What went wrong, in words for people, with host and port.
pub async fn exchange<B>(
    url: &Url,
    lookup: &Lookup,
    credentials: &Credentials,
    server_name: Option<&str>,
    request: Request<B>,
    connections: &mut JoinSet<()>,
) -> Result<Response<Incoming>, String>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let failed = |error: &dyn Error| format!("{}: {}", place(url), causes(error));
    let stream = connect(url, lookup).await?;
    if url.scheme() == "http" {
        return send(stream, request, connections).await.map_err(|error| failed(&error));
    }
    let connector = credentials.connector()?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let name = ServerName::try_from(server_name.unwrap_or(host).to_owned()).map_err(|error| failed(&error))?;
    let stream = connector.connect(name, stream).await.map_err(|error| failed(&error))?;
    send(stream, request, connections).await.map_err(|error| failed(&error))
}

async fn send<S, B>(stream: S, request: Request<B>, connections: &mut JoinSet<()>) -> hyper::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It carries the body; whoever reads that is told what goes wrong.
    connections.spawn(async { drop(connection.await) });
    sender.send_request(request).await
}

/// An error with what caused it, once each: some say in their own words what their cause does.
pub fn causes(error: &dyn Error) -> String {
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
