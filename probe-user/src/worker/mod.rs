//! The loops, the small traits that they need, and the handle by which the rest of the program asks them.

mod traits;
pub use traits::{Clock, Due, Fate, Receive, Rest, Taken, Transmit};
