//! Targets on the link: who asks for their MAC addresses.

use super::Failure;
use crate::{
    nic::ArpThread,
    results::human::counted,
    route::{ArpQueue, ArpTable, LinkState, Routes, Watch, share_of_kernel},
};
use std::sync::Arc;

/// Begins to ask those whom the kernel is not asked about, if there are some or, `for_ever`, may come to be. `repeated`: targets are
/// probed more than once.
pub(super) async fn ask(
    watch: &mut Watch,
    routes: &Routes,
    (repeated, for_ever): (bool, bool),
    link: &Arc<LinkState>,
) -> Result<Option<ArpThread>, Failure> {
    let table = ArpTable::new(Arc::clone(&routes.hops), share_of_kernel(), repeated);
    if table.is_empty() && !for_ever {
        return Ok(None);
    }
    tracing::debug!("{} on the link: asked by ARP of our own", counted(table.len() as u64, "target"));
    let (queue, wake) = ArpQueue::new()?;
    let queue = Arc::new(queue);
    watch.tell(Arc::clone(&queue)).await?;
    Ok(Some(ArpThread::start(routes.interface.index, table, (queue, wake), Arc::clone(link))?))
}
