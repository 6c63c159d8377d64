//! Targets on the link: who asks for their MAC addresses.

use super::Failure;
use crate::{
    nic::NeighbourThread,
    results::human::counted,
    route::{LinkState, NeighbourQueue, NeighbourTable, Routes, Watch, share_of_kernel},
};
use std::sync::Arc;

/// Begins to ask those whom the kernel is not asked about, if there are some or, `for_ever`, may come to be. `repeated`: targets are
/// probed more than once.
pub(super) async fn ask(
    watch: &mut Watch,
    routes: &Routes,
    (repeated, for_ever): (bool, bool),
    link: &Arc<LinkState>,
) -> Result<Option<NeighbourThread>, Failure> {
    let (hops, share) = (&routes.hops, share_of_kernel());
    let v4 = NeighbourTable::new(Arc::clone(hops), share, repeated);
    let v6 = NeighbourTable::new(Arc::clone(hops), share, repeated);
    let targets = v4.len() + v6.len();
    if targets == 0 && !for_ever {
        return Ok(None);
    }
    tracing::debug!("{} on the link: asked by ourselves, not by the kernel", counted(targets as u64, "target"));
    let (queue, wake) = NeighbourQueue::new()?;
    let queue = Arc::new(queue);
    watch.tell(Arc::clone(&queue)).await?;
    let (hops, link) = (Arc::clone(hops), Arc::clone(link));
    Ok(Some(NeighbourThread::start(routes.interface.index, hops, (v4, v6), (queue, wake), link)?))
}
