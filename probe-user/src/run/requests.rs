//! Asking for other targets. There is one entry, [`Reloads`], which anybody may clone: [`Reloads::again`] reads everything again, as SIGHUP
//! does, and [`Reloads::adopt_blocking`] takes a [`Reread`] that is made when it is its turn (by sources of targets that change by
//! themselves: the whole plan as [`crate::targets::build`] makes it, with what is excluded and a hash of both). Either answers how many
//! targets stay, come, go and begin anew, or why nothing has changed.

use crate::targets::{Counts, Exclusions, Plan};
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot,
};

/// A plan as it was built, and what belongs to it.
pub(crate) struct Reread {
    pub(crate) plan: Plan,
    /// Never probed, whatever a name resolves to.
    pub(crate) exclude: Exclusions,
    /// See [`crate::config::hash`].
    pub(crate) hash: u64,
    /// Called once it is in force.
    pub(crate) adopted: Option<Box<dyn FnOnce() + Send>>,
}

/// Reads everything again. An error says what is wrong, in words for people.
pub(crate) type Read = Box<dyn FnMut() -> Result<Reread, String> + Send>;

/// Makes what is to be adopted, by what is in force when it is its turn: others may have changed that since it was asked for. None: it
/// has come to nothing by then.
pub(super) type Make = Box<dyn FnOnce() -> Result<Option<Reread>, String> + Send>;

/// What is asked for.
pub(super) enum What {
    Again,
    Adopt(Make),
}

pub(super) struct Request {
    pub(super) what: What,
    pub(super) answer: oneshot::Sender<Result<Counts, String>>,
}

const ENDS: &str = "echolot is about to end";

/// Asks for reloads.
#[derive(Clone)]
pub(crate) struct Reloads(UnboundedSender<Request>);

impl Reloads {
    /// And where requests come out.
    pub(super) fn new() -> (Self, UnboundedReceiver<Request>) {
        let (reloads, told) = unbounded_channel();
        (Self(reloads), told)
    }

    /// Reads everything again.
    ///
    /// # Errors
    /// Why all is as it was, in words for people.
    pub(crate) async fn again(&self) -> Result<Counts, String> {
        self.ask(What::Again).await
    }

    /// Has targets probed as that says. Waits until they are: not for a thread that others wait for.
    ///
    /// # Errors
    /// Why all is as it was, in words for people.
    pub(super) fn adopt_blocking(&self, make: Make) -> Result<Counts, String> {
        self.put(What::Adopt(make))?.blocking_recv().unwrap_or_else(|_| Err(ENDS.to_owned()))
    }

    async fn ask(&self, what: What) -> Result<Counts, String> {
        self.put(what)?.await.unwrap_or_else(|_| Err(ENDS.to_owned()))
    }

    pub(super) fn put(&self, what: What) -> Result<oneshot::Receiver<Result<Counts, String>>, String> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Request { what, answer }).map_err(|_| ENDS.to_owned())?;
        Ok(answered)
    }
}
