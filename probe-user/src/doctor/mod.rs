//! What this host can do and what is in the way, one file a check.
