//! The HTTP server: metrics, health, and a page that links them.
//!
//! It has a thread of its own, which gives way to those that probe, and asks a [`Source`] for everything it shows. No client can hold it
//! up: connections are counted, and one on which too little moves is dropped (see `connection`).

mod connection;
mod gzip;
mod holder;
mod listing;
mod negotiate;
mod page;

use crate::{
    base::in_background,
    metrics::{Exposition, ExpositionError, Readiness, Source},
    targets::Counts,
};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::stream;
use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};
use tokio::sync::oneshot;

/// After the shutdown signal, how long connections may take to finish what they are sending.
const GRACE: Duration = Duration::from_secs(2);

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The port is taken.
    #[error(
        "listen: {address}: the port is in use{}. Stop what holds it, or set another address with listen",
        .holder.as_ref().map(|who| format!(" by {who}")).unwrap_or_default()
    )]
    InUse {
        /// What was to be bound.
        address: SocketAddr,
        /// Name and process number of who holds it, where this process may know.
        holder: Option<String>,
    },
    /// The address isn't one of this machine's.
    #[error("listen: {address}: this machine has no such address. `ip address` lists those it has")]
    NoSuchAddress {
        /// What was to be bound.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("listen: {address}: {source}")]
    Bind {
        /// What was to be bound.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A bound socket that no one answers on yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Where it listens: with the port that the kernel chose, if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds, so that a port in use is known before anything else has begun. Needs no runtime.
///
/// # Errors
/// Names the address and, for a port in use, who holds it.
pub fn bind(address: SocketAddr) -> Result<Listener, HttpError> {
    let bound = TcpListener::bind(address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Listener { socket, address })
    });
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => HttpError::InUse { address, holder: holder::of(address) },
        io::ErrorKind::AddrNotAvailable => HttpError::NoSuchAddress { address },
        _ => HttpError::Bind { address, source },
    })
}

/// Answers on a thread of its own, as [`serve`] does. What comes of it is told by the receiver.
///
/// # Errors
/// There can be no further thread, or none of its files.
pub fn spawn(
    listener: Listener,
    source: Arc<dyn Source>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<oneshot::Receiver<Result<(), HttpError>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (tell, told) = oneshot::channel();
    in_background("http", move || {
        let ended = runtime.block_on(serve(listener, source, shutdown));
        // Nobody wants to know any more: the process ends.
        let _ = tell.send(ended);
    })?;
    Ok(told)
}

/// Answers until `shutdown` is ready, then lets running answers finish for at most two seconds. What is still being
/// sent after that ends with the runtime.
///
/// # Errors
/// The runtime can't take the socket.
pub async fn serve(
    listener: Listener,
    source: Arc<dyn Source>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), HttpError> {
    let address = listener.address;
    let socket =
        tokio::net::TcpListener::from_std(listener.socket).map_err(|source| HttpError::Bind { address, source })?;
    let router = Router::new()
        .route("/", get(overview))
        .route("/metrics", get(exposition))
        .route("/-/healthy", get(async || plain(StatusCode::OK, "healthy\n")))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload).get(async || plain(StatusCode::METHOD_NOT_ALLOWED, "405: POST, not GET\n")))
        .route("/api/v1/targets", get(targets))
        .fallback(async || plain(StatusCode::NOT_FOUND, NOT_FOUND))
        .with_state(source);
    let (stop, mut stopped) = tokio::sync::watch::channel(());
    let serving = axum::serve(connection::Listener::new(socket), router).with_graceful_shutdown(async move {
        shutdown.await;
        drop(stop);
    });
    let overdue = async {
        // An error says that the sender is gone: the signal has come.
        while stopped.changed().await.is_ok() {}
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        // Never an error: a failing accept is tried again.
        _ = serving.into_future() => {}
        () = overdue => {}
    }
    Ok(())
}

const NOT_FOUND: &str = "404: nothing here. There are / (overview), /metrics, /api/v1/targets, /-/healthy, /-/ready and /-/reload (POST).\n";

async fn overview(State(source): State<Arc<dyn Source>>) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        // The page has a style sheet and no script: nothing that slips past the escapes could run.
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, page::overview(&*source)).into_response()
}

async fn ready(State(source): State<Arc<dyn Source>>) -> Response {
    match source.readiness() {
        Readiness::Sending => plain(StatusCode::OK, "ready\n"),
        Readiness::Starting => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready: sending has not begun\n"),
        Readiness::Ending => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready: sending has ended\n"),
    }
}

/// As Prometheus answers: 200 once it is in force, 403 where nobody may ask, 500 with the reason.
async fn reload(State(source): State<Arc<dyn Source>>) -> Response {
    let Some(reloading) = source.reload_now() else {
        return plain(
            StatusCode::FORBIDDEN,
            "403: start echolot with --web.enable-lifecycle to have it reloaded from here\n",
        );
    };
    match reloading.await {
        Ok(Counts { kept, new, given_up, changed }) => {
            let text =
                format!("reloaded: {kept} targets as before, {new} new, {given_up} given up, {changed} begun anew\n");
            plain(StatusCode::OK, text)
        }
        Err(why) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("not reloaded, all goes on as before: {why}\n")),
    }
}

async fn exposition(State(source): State<Arc<dyn Source>>, headers: HeaderMap) -> Response {
    let said = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let format = negotiate::format(said(ACCEPT));
    let exposition = match Exposition::new(source, format) {
        Ok(exposition) => exposition.map(String::into_bytes),
        Err(error) => return failed(&error),
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(format.content_type())),
        (VARY, HeaderValue::from_static("accept, accept-encoding")),
    ];
    if negotiate::takes_gzip(said(ACCEPT_ENCODING)) {
        let packed = (CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return (headers, [packed], body(gzip::Gzip::new(exposition))).into_response();
    }
    (headers, body(exposition)).into_response()
}

async fn targets(State(source): State<Arc<dyn Source>>) -> Response {
    match listing::pieces(&*source) {
        Ok(pieces) => ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body(pieces)).into_response(),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// A body that is made while it is sent.
fn body(chunks: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Body {
    let chunks = stream::unfold(chunks, async |mut chunks| {
        loop {
            // Everybody else on this thread has a turn between two chunks.
            tokio::task::yield_now().await;
            let chunk = chunks.next()?;
            if !chunk.is_empty() {
                return Some((Ok::<_, Infallible>(chunk), chunks));
            }
        }
    });
    Body::from_stream(chunks)
}

fn failed(error: &ExpositionError) -> Response {
    tracing::error!("/metrics: {error}");
    plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
}

fn plain(status: StatusCode, text: impl Into<Body>) -> Response {
    let headers: [(HeaderName, HeaderValue); 2] = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, text.into()).into_response()
}
