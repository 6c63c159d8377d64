//! Following the bond beneath an interface, if there is one.

use crate::{
    nic::Nic,
    route::{LinkState, Members, RouteError, Stack, View},
    time::Nanos,
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
}

impl Following {
    /// Looks at the bond for the first time. `upper` is the condition of the interface itself; what comes back beside is that of all.
    pub(super) async fn open(stack: &Stack, upper: &Arc<LinkState>) -> Result<(Self, Arc<dyn Link>), RouteError> {
        let beneath = Arc::new(LinkState::new());
        let members = Members::open(stack, Arc::clone(&beneath), super::now).await?;
        let link: Arc<dyn Link> = match members {
            Some(_) => Arc::new(Bonded { upper: Arc::clone(upper), members: beneath }),
            None => Arc::clone(upper) as _,
        };
        let views = members.as_ref().map(Members::views);
        Ok((Self { members, views }, link))
    }

    /// Has the card do as the bond does now, and follows it from now on.
    pub(super) async fn begin(&mut self, nic: &mut Nic) -> Result<(), RouteError> {
        let Some(mut members) = self.members.take() else { return Ok(()) };
        members.only(nic.ports());
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
