//! Following the bond beneath an interface, if there is one.

use crate::{
    base::Nanos,
    nic::Nic,
    route::{LinkState, Members, RouteError, Stack, View},
    worker::Link,
};
use std::sync::Arc;
use tokio::sync::watch;

/// The condition of an interface on a bond: its own, and that of the members beneath, each written by a watcher of its own.
struct Bonded {
    upper: Arc<LinkState>,
    members: Arc<LinkState>,
}

impl Link for Bonded {
    fn is_up(&self) -> bool {
        self.upper.is_up() && self.members.is_up()
    }

    fn was_down(&self, from: Nanos, to: Nanos) -> bool {
        self.upper.was_down_between(from, to) || self.members.was_down_between(from, to)
    }
}

/// Follows the bond of a stack; without one it does nothing.
pub(super) struct Following {
    members: Option<Members>,
    views: Option<watch::Receiver<View>>,
    /// The ports that programs and sockets are on, for [`Members`].
    ours: watch::Sender<Vec<u32>>,
}

impl Following {
    /// Looks at the bond for the first time. `upper` is the condition of the interface itself; what comes back beside is that of all.
    pub(super) async fn open(stack: &Stack, upper: &Arc<LinkState>) -> Result<(Self, Arc<dyn Link>), RouteError> {
        let beneath = Arc::new(LinkState::new());
        let ours = watch::Sender::new(stack.ports.iter().map(|port| port.index).collect());
        let members = Members::open(stack, Arc::clone(&beneath), ours.subscribe(), super::now).await?;
        let link: Arc<dyn Link> = match members {
            Some(_) => Arc::new(Bonded { upper: Arc::clone(upper), members: beneath }),
            None => Arc::clone(upper) as _,
        };
        let views = members.as_ref().map(Members::views);
        Ok((Self { members, views, ours }, link))
    }

    /// Has the card do as the bond does now, and follows it from now on.
    pub(super) async fn begin(&mut self, nic: &mut Nic) -> Result<(), RouteError> {
        let Some(mut members) = self.members.take() else { return Ok(()) };
        self.now_on(nic);
        // Attaching may have made it choose another member.
        members.look().await?;
        if let Some(views) = &mut self.views {
            nic.follow(&views.borrow_and_update());
        }
        tokio::spawn(async move {
            let error = members.run().await;
            tracing::error!("the bond is no longer followed: {error}");
        });
        Ok(())
    }

    /// Tells which ports programs and sockets are on now.
    pub(super) fn now_on(&self, nic: &Nic) {
        let ports = nic.ports();
        self.ours.send_if_modified(|ours| {
            let is_other = *ours != ports;
            *ours = ports;
            is_other
        });
    }

    /// Waits for the next change.
    pub(super) async fn changed(&mut self, nic: &mut Nic) {
        if let Some(views) = &mut self.views
            && views.changed().await.is_ok()
        {
            return nic.follow(&views.borrow_and_update());
        }
        std::future::pending().await
    }
}
