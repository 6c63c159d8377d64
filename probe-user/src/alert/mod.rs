//! Alerts: what is sent to Alertmanagers, when, and what of it outlives this process.
//!
//! ```text
//! changes of state ─► Outages ─┐                         ┌─► Outbox ─► one Alertmanager (task)
//! local faults     ─► Ability ─┴─► Keeper (what fires) ──┼─► Outbox ─► another one (task)
//!                                                        └─► state file (thread)
//! ```
//!
//! What is decided here is decided by arguments alone, time included; [`crate::run`] has the thread that looks at the ledger. Nothing that
//! measures waits for any of it: an Alertmanager that hangs holds up its own task, a disk that hangs the one thread that writes.
//!
//! | file | what lives there |
//! |---|---|
//! | `settings` | to whom, and how |
//! | `labels` | an alert: its labels are who it is |
//! | `outages` | which targets and rows have an alert: pure |
//! | `ability` | whether this machine can measure: pure |
//! | `keeper` | what fires, what has ended, and when it is sent again: pure |
//! | `outbox` | what waits for one Alertmanager |
//! | `send` | one Alertmanager's task |
//! | `state` | what outlives the process |

mod ability;
mod keeper;
mod labels;
mod outages;
mod outbox;
mod send;
mod settings;
mod state;

pub use ability::{Ability, Counts, SPAN, Trouble};
pub use keeper::Keeper;
pub use labels::{Alert, Annotations, Labels, Moment, Name, Who};
pub use outages::{Change, Fleet, MOST_ALERTS, Outages, Subject};
pub use outbox::{CAPACITY, Outbox, Status};
pub use send::{BATCH, REQUEST_TIMEOUT, work};
pub use settings::{Alertmanager, INDIVIDUALLY, RESENDS, Settings, check_secrets};
pub use state::{FILE as STATE_FILE, StateError, StateFile, clear as clear_state};
