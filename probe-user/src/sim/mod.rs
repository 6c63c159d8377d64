//! The traits of worker in memory: a seeded network of delay, loss, reordering and duplication.
