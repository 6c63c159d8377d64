//! Where targets come from, and that they change: target files, lists over HTTP, names in DNS, files of exclusions.
//!
//! Each is read by threads of their own, beside everything, again and again: nothing here is ever waited for by what measures. What a
//! source last said well stays until it says something else; that it fails is a line in the log and a metric, and no more.
//!
//! ```text
//! files (thread)  ─┐
//! http  (task)    ─┼─► Table: by source its last good lists ─► adopting (thread) ─► Adopt::changed(&Lists)
//! names (task)    ─┘   by name its addresses
//! ```
//!
//! **How it joins with whoever probes.** [`Discovery::start`] begins; [`Discovery::first`] gives what there is at the start, within a
//! bound; [`Discovery::hand_on`] names who takes changes from then on: an [`Adopt`], which is called on a thread of its own, with all
//! lists of all groups, at most once at a time, within a second of a change, however many come; it says whether it took them over or
//! why not. [`Lists::inputs`] and [`Lists::place_names`] make of them what `targets::build` takes.
//!
//! | file | what lives there |
//! |---|---|
//! | `settings` | what is to be read, and how |
//! | `lists` | what is handed on |
//! | `source` | one source's last good lists and how it fares: pure |
//! | `table` | all of them, and who waits for changes |
//! | `files` | the files that a path stands for, read |
//! | `places` | which folders tell of changes to a path |
//! | `watch` | the thread that reads files when something changes there |
//! | `http`, `get` | lists over HTTP: when and how |
//! | `names` | names, again and again |
//! | `start` | the threads |

mod files;
mod get;
mod http;
mod lists;
mod names;
mod places;
mod settings;
mod source;
mod start;
mod table;
mod watch;

pub use files::{FileError, matching, read_exclusions};
pub use http::fetch;
pub use lists::{Addresses, Adopt, Lists};
pub use settings::{Bounds, ExcludeFile, FileSource, GroupSources, HttpSource, REFRESH_INTERVALS, Settings};
pub use source::SourceState;
pub use start::Discovery;
