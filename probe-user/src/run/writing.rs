//! Results on their way into a file or a pipe.

use super::{Failure, Live, Results, Signals};
use crate::{
    base::Nanos,
    enrich::Enricher,
    results::{self, Encoder, WriteNews, WriteReport, Writer, Writing, human::counted},
    worker::Queue,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Results that may wait for the writer, where nothing else bounds them.
const RESULTS: usize = 1 << 16;
/// After the end has been asked for, results wait so long for a reader that takes none.
const READER_WAITED_FOR: Duration = Duration::from_secs(3);

/// Room for what can come back at once: a sweep slows down when it is used up.
pub(super) fn room(rate: u64, timeout: Nanos) -> usize {
    let in_flight = u128::from(rate) * u128::from(timeout.0 + 250_000_000) / 1_000_000_000;
    usize::try_from(in_flight).unwrap_or(usize::MAX).clamp(RESULTS, 16 * RESULTS)
}

/// Begins to write what comes by the queue.
pub(super) fn begin(
    wanted: Results,
    mut encoder: Encoder,
    queue: Queue,
    live: Option<Live>,
    enricher: Arc<Enricher>,
) -> Result<Writing, Failure> {
    if wanted.like_ping {
        encoder = encoder.like_ping();
    }
    let mut writer = Writer::open(encoder, wanted.path.as_deref())?.only(wanted.only);
    if let Some((_, wait)) = wanted.names {
        writer = writer.named(enricher, wait);
    }
    if let Some(live) = live {
        writer = writer.around(move |write| live.aside(write));
    }
    let tell = |news: &WriteNews<'_>| match news {
        WriteNews::Refuses(..) => tracing::error!("{news}"),
        WriteNews::Again { .. } => tracing::info!("{news}"),
    };
    Ok(results::spawn(writer, vec![queue], wanted.observe, tell)?)
}

/// Waits until all results are written. A reader that takes nothing is waited for only until a signal comes, and once the
/// end has been asked for no longer than [`READER_WAITED_FOR`]: the monitor must end when it is told to.
pub(super) async fn end(writing: Writing, asked_to_end: bool, signals: &mut Signals) -> WriteReport {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let mut moved = (writing.written(), Instant::now());
    loop {
        if writing.is_finished() {
            return writing.join();
        }
        let now = writing.written();
        if now != moved.0 {
            moved = (now, Instant::now());
        }
        let given_up = tokio::select! {
            _ = tick.tick() => asked_to_end && moved.1.elapsed() > READER_WAITED_FOR,
            () = signals.next() => true,
        };
        if given_up {
            let report = writing.abandon();
            tracing::error!("the reader of the results takes none: {} dropped", counted(report.dropped, "result"));
            return report;
        }
    }
}
