//! Which keys there are, and where they stand.

/// Where keys stand, for the error about one that stands elsewhere.
pub(super) const HOMES: [(&[&str], &str); 7] = [
    (&SETTINGS, "in `global` or in a group"),
    (&GROUP, "in a group"),
    (&LIMITS, "in `limits`"),
    (&PER_TARGET, "in `per_target`"),
    (&UDP, "in `udp`, in `probe`"),
    (&ENRICH, "in `enrich`"),
    (&TOP, "at the top level"),
];
pub(super) const TOP: [&str; 14] = [
    "interface",
    "source",
    "source_port",
    "listen",
    "events",
    "enrich",
    "engine",
    "mode",
    "identifier",
    "seed",
    "global",
    "groups",
    "exclude",
    "limits",
];
pub(super) const SETTINGS: [&str; 12] = [
    "probe",
    "interval",
    "timeout",
    "family",
    "size",
    "ttl",
    "dscp",
    "dont_fragment",
    "flows",
    "down_after",
    "up_after",
    "buckets",
];
/// Of `per_target`.
pub(super) const PER_TARGET: [&str; 1] = ["labelled"];
/// Of `limits`.
pub(super) const LIMITS: [&str; 2] = ["rate", "series"];
/// Of `enrich`.
pub(super) const ENRICH: [&str; 2] = ["names", "asn"];
/// Of `path`.
pub(super) const PATH: [&str; 2] = ["interval", "flows"];
/// Of `probe: {udp: …}`.
pub(super) const UDP: [&str; 4] = ["port", "dns", "payload", "hex"];
pub(super) const GROUP: [&str; 19] = [
    "name",
    "targets",
    "target_files",
    "labels",
    "sum_by",
    "per_target",
    "path",
    "probe",
    "interval",
    "timeout",
    "family",
    "size",
    "ttl",
    "dscp",
    "dont_fragment",
    "flows",
    "down_after",
    "up_after",
    "buckets",
];
