//! When a list is asked for over HTTP, and what becomes of it.

use super::{
    get::get,
    settings::{Bounds, HttpSource},
    source::Reading,
    table::{SourceId, Table},
};
use crate::{
    client::{Connector, Credentials, Lookup, TlsSettings},
    targets::file_sd,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, timeout},
};
use url::Url;

/// Asks for a source's list again and again.
pub(super) async fn work(source: Arc<HttpSource>, id: SourceId, table: Arc<Table>, most_bytes: u64) {
    let every = Duration::from_nanos(source.refresh_interval.0);
    let (mut connector, lookup) = (Connector::default(), Lookup::default());
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hash = None;
    loop {
        tick.tick().await;
        let asked = timeout(every, ask(&source, &mut connector, &lookup, most_bytes)).await;
        let content = asked.unwrap_or_else(|_| Err(format!("no whole list within {} s", every.as_secs_f64())));
        if content.is_err() {
            connector.forget();
        }
        let (of, to) = (Arc::clone(&source), Arc::clone(&table));
        // Long lists take their time: others are asked meanwhile.
        let before = hash.take();
        let taken = spawn_blocking(move || take(&of, id, &to, content, before));
        // None where it panicked: that has been told.
        hash = taken.await.ok().flatten();
    }
}

async fn ask(
    source: &Arc<HttpSource>,
    connector: &mut Connector,
    lookup: &Lookup,
    most_bytes: u64,
) -> Result<Vec<u8>, String> {
    let (of, mut kept) = (Arc::clone(source), std::mem::take(connector));
    let read = spawn_blocking(move || (Credentials::read(of.authorization.as_ref(), &of.tls, &mut kept), kept));
    let (credentials, kept) = read.await.map_err(|_| "its files could not be read".to_owned())?;
    *connector = kept;
    Ok(get(source, &credentials?, lookup, most_bytes).await?.into())
}

/// Asks once for a JSON document. Not for a thread that others wait for.
///
/// # Errors
/// What went wrong, in words for people.
pub fn fetch(url: Url, within: Duration, most_bytes: u64) -> Result<Vec<u8>, String> {
    let source = HttpSource {
        url,
        refresh_interval: within.into(),
        authorization: None,
        tls: TlsSettings::default(),
        follow_redirects: true,
        bounds: Bounds::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let (source, mut connector, lookup) = (Arc::new(source), Connector::default(), Lookup::default());
    let asked = runtime.block_on(timeout(within, ask(&source, &mut connector, &lookup, most_bytes)));
    asked.unwrap_or_else(|_| Err(format!("no whole answer within {} s", within.as_secs_f64())))
}

/// Takes over what came. Returns the hash of a list that was good.
fn take(
    source: &HttpSource,
    id: SourceId,
    table: &Table,
    content: Result<Vec<u8>, String>,
    before: Option<u64>,
) -> Option<u64> {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let content = match content {
        Ok(content) => content,
        Err(fault) => {
            table.read(id, Reading::failed(fault));
            return before;
        }
    };
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let hash = Some(hasher.finish());
    if hash == before {
        // The same as last time, when it was good.
        table.read(id, Reading { lists: None, fault: None });
        return hash;
    }
    let parsed = file_sd::parse_json("body", content, source.bounds.ports).map_err(|error| error.to_string());
    match parsed.and_then(|lists| table.check(id, &lists).map(|()| lists)) {
        // What was refused is looked at again, for what it is refused by may change.
        Ok(lists) => table.read(id, Reading::good(lists)).then_some(hash).flatten(),
        Err(fault) => {
            table.read(id, Reading::failed(fault));
            None
        }
    }
}
