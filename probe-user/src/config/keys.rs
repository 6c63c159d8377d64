//! Which keys there are, and where they stand.

/// Where keys stand, for the error about one that stands elsewhere.
pub(super) const HOMES: [(&[&str], &str); 4] = [
    (&SETTINGS, "in `global` or in a group"),
    (&GROUP, "in a group"),
    (&["rate"], "in `limits`"),
    (&TOP, "at the top level"),
];
pub(super) const TOP: [&str; 13] = [
    "interface",
    "source",
    "source_port",
    "listen",
    "events",
    "engine",
    "mode",
    "identifier",
    "seed",
    "global",
    "groups",
    "exclude",
    "limits",
];
pub(super) const SETTINGS: [&str; 8] =
    ["probe", "interval", "timeout", "family", "size", "down_after", "up_after", "buckets"];
pub(super) const GROUP: [&str; 14] = [
    "name",
    "targets",
    "target_files",
    "labels",
    "sum_by",
    "per_target",
    "probe",
    "interval",
    "timeout",
    "family",
    "size",
    "down_after",
    "up_after",
    "buckets",
];
