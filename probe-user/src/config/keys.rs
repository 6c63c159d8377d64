//! Which keys there are, and where they stand.

/// Where keys stand, for the error about one that stands elsewhere.
pub(super) const HOMES: [(&[&str], &str); 14] = [
    (&SETTINGS, "in `global` or in a group"),
    (&GROUP, "in a group"),
    (&LIMITS, "in `limits`"),
    (&PER_TARGET, "in `per_target`"),
    (&UDP, "in `udp`, in `probe`"),
    (&ENRICH, "in `enrich`"),
    (&TOP, "at the top level"),
    (&FILE_SOURCE, "in an entry of `target_files`"),
    (&HTTP_SD, "in an entry of `http_sd`"),
    (&ALERTMANAGER, "in an entry of `alertmanagers`"),
    (&ALERTS, "in `alerts`"),
    (&BASIC_AUTH, "in `basic_auth`"),
    (&AUTHORIZATION, "in `authorization`"),
    (&TLS_CONFIG, "in `tls_config`"),
];
pub(super) const TOP: [&str; 19] = [
    "interface",
    "source",
    "source_port",
    "listen",
    "vantage",
    "events",
    "enrich",
    "engine",
    "mode",
    "identifier",
    "seed",
    "global",
    "groups",
    "exclude",
    "exclude_files",
    "limits",
    "alertmanagers",
    "alerts",
    "state",
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
pub(super) const LIMITS: [&str; 3] = ["rate", "per_prefix", "series"];
/// Of an entry of `target_files` that is no mere path.
pub(super) const FILE_SOURCE: [&str; 3] = ["path", "strip_port", "min_targets"];
/// Of an entry of `http_sd`.
pub(super) const HTTP_SD: [&str; 8] = [
    "url",
    "refresh_interval",
    "basic_auth",
    "authorization",
    "tls_config",
    "follow_redirects",
    "strip_port",
    "min_targets",
];
/// Of an entry of `alertmanagers`.
pub(super) const ALERTMANAGER: [&str; 4] = ["url", "basic_auth", "authorization", "tls_config"];
/// Of `alerts`.
pub(super) const ALERTS: [&str; 2] = ["resend", "individually"];
/// Of `basic_auth`.
pub(super) const BASIC_AUTH: [&str; 2] = ["username", "password_file"];
/// Of `authorization`.
pub(super) const AUTHORIZATION: [&str; 2] = ["type", "credentials_file"];
/// Of `tls_config`.
pub(super) const TLS_CONFIG: [&str; 5] = ["ca_file", "cert_file", "key_file", "server_name", "insecure_skip_verify"];
/// Of `enrich`.
pub(super) const ENRICH: [&str; 2] = ["names", "asn"];
/// Of `path`.
pub(super) const PATH: [&str; 2] = ["interval", "flows"];
/// Of `probe: {udp: …}`.
pub(super) const UDP: [&str; 4] = ["port", "dns", "payload", "hex"];
pub(super) const GROUP: [&str; 21] = [
    "name",
    "targets",
    "target_files",
    "http_sd",
    "all_addresses",
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
