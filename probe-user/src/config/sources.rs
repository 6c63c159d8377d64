//! Where a group's targets come from, as the file has it; and what is never probed.

use super::{
    Placed,
    keys::{AUTHORIZATION, BASIC_AUTH, FILE_SOURCE, HTTP_SD, TLS_CONFIG},
    read::{Field, Problems, Table},
};
use crate::{
    base::Nanos,
    client::{Authorization, TlsSettings},
    discovery::{Bounds, ExcludeFile, FileSource, HttpSource, REFRESH_INTERVALS},
    targets::{PerPrefix, file_sd::Ports, shorten},
};
use std::path::{Path, PathBuf};
use url::Url;

/// As Prometheus has it.
const REFRESH_INTERVAL: Nanos = Nanos::from_secs(60);
const BOOLEAN: [(&str, bool); 2] = [("true", true), ("false", false)];

/// How many entries there are, and those that are right.
pub(super) fn target_files(field: &Field, folder: &Path, p: &mut Problems) -> (usize, Vec<Placed<FileSource>>) {
    let items = field.list("a list of paths", p);
    let read = |item: &Field| Some(Placed { value: target_file(item, folder, p)?, place: item.place() });
    (items.len(), items.iter().filter_map(read).collect())
}

/// A path, or a table of one and what else holds for its targets.
fn target_file(item: &Field, folder: &Path, p: &mut Problems) -> Option<FileSource> {
    const WHAT: &str = "the path of a target file";
    let source = |name: String, bounds| FileSource { path: folder.join(&name), name, bounds };
    if !item.is_table() {
        return item.parsed(WHAT, p, target_path).map(|name| source(name, Bounds::default()));
    }
    let table = item.table(&FILE_SOURCE, "a path, or a table with `path`", p)?;
    let Some(path) = table.get("path") else {
        item.wrong(p, "`path` is missing; write the path of target files, such as `path: targets/*.json`");
        return None;
    };
    let bounds = bounds(&table, p);
    path.parsed(WHAT, p, target_path).map(|name| source(name, bounds))
}

fn target_path(text: &str) -> Result<String, String> {
    let name = pattern(text)?;
    let lower = text.to_ascii_lowercase();
    if ![".json", ".yml", ".yaml"].iter().any(|ending| lower.ends_with(ending)) {
        let shown = shorten(text);
        return Err(format!("`{shown}` does not end in .json, .yml or .yaml, by which a target file's form is known"));
    }
    Ok(name)
}

/// A path, in the last part of which `*` may stand.
fn pattern(text: &str) -> Result<String, String> {
    let folder = text.rsplit_once('/').map_or("", |(folder, _)| folder);
    if folder.contains('*') {
        return Err(format!(
            "`{}`: `*` may stand in the last part of the path alone; list the folders one by one",
            shorten(text)
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn exclude_files(field: &Field, folder: &Path, p: &mut Problems) -> Vec<Placed<ExcludeFile>> {
    let items = field.list("a list of paths", p);
    let read = |item: &Field| {
        let name = item.parsed("the path of a file of exclusions", p, pattern)?;
        Some(Placed { value: ExcludeFile { path: folder.join(&name), name }, place: item.place() })
    };
    items.iter().filter_map(read).collect()
}

/// What holds for any source.
fn bounds(table: &Table, p: &mut Problems) -> Bounds {
    let strips = table.get("strip_port").and_then(|field| field.word(&BOOLEAN, p)).unwrap_or_default();
    let least = table.get("min_targets").and_then(|field| field.number(0..=u32::MAX.into(), p));
    Bounds { ports: if strips { Ports::Stripped } else { Ports::Refused }, min_targets: least.unwrap_or_default() }
}

/// How many entries there are, and those that are right.
pub(super) fn http_sd(field: &Field, folder: &Path, p: &mut Problems) -> (usize, Vec<Placed<HttpSource>>) {
    let items = field.list("a list of tables with `url`", p);
    let read = |item: &Field| Some(Placed { value: http_source(item, folder, p)?, place: item.place() });
    (items.len(), items.iter().filter_map(read).collect())
}

fn http_source(item: &Field, folder: &Path, p: &mut Problems) -> Option<HttpSource> {
    let table = item.table(&HTTP_SD, "a table with `url`", p)?;
    let url = table.get("url");
    if url.is_none() {
        item.wrong(p, "`url` is missing; write where the list is, such as `url: https://inventory.example/targets`");
    }
    let authorization = who_asks(&table, folder, p);
    let source = HttpSource {
        refresh_interval: table
            .get("refresh_interval")
            .and_then(|field| field.duration(REFRESH_INTERVALS, p))
            .unwrap_or(REFRESH_INTERVAL),
        authorization,
        tls: table.get("tls_config").and_then(|field| tls(&field, folder, p)).unwrap_or_default(),
        follow_redirects: table.get("follow_redirects").and_then(|field| field.word(&BOOLEAN, p)).unwrap_or(true),
        bounds: bounds(&table, p),
        url: url?.parsed("a URL", p, |text| read_url(text, "https://inventory.example/targets"))?,
    };
    Some(source)
}

/// `basic_auth` or `authorization` of a table.
pub(super) fn who_asks(table: &Table, folder: &Path, p: &mut Problems) -> Option<Authorization> {
    let basic = table.get("basic_auth").and_then(|field| basic_auth(&field, folder, p));
    let token = table.get("authorization").and_then(|field| authorization(&field, folder, p));
    if let (Some(_), Some(field)) = (&basic, table.get("authorization")) {
        field.wrong(p, "a request says once who asks: remove `basic_auth` or `authorization`");
    }
    basic.or(token)
}

/// Errors do not repeat it: it may have secrets in it.
pub(super) fn read_url(text: &str, such: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is not a URL ({error}); write one such as {such}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("it is not a URL of http or https; write one such as {such}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("secrets lie in files: leave user and password out of the URL, and write \
                    `basic_auth: {username: …, password_file: …}`"
            .into());
    }
    Ok(url)
}

fn file(table: &Table, key: &str, folder: &Path, p: &mut Problems) -> Option<PathBuf> {
    table.get(key).and_then(|field| field.text("the path of a file", p)).map(|path| folder.join(path))
}

fn basic_auth(field: &Field, folder: &Path, p: &mut Problems) -> Option<Authorization> {
    let table = field.table(&BASIC_AUTH, "a table such as {username: echolot, password_file: secret}", p)?;
    let username = table.get("username").and_then(|field| field.any_text("a name", p)).unwrap_or_default();
    if username.contains(':') {
        field.wrong(p, "`username` has a colon, which ends the name where it is sent; write another");
    }
    Some(Authorization::Basic { username, password_file: file(&table, "password_file", folder, p) })
}

fn authorization(field: &Field, folder: &Path, p: &mut Problems) -> Option<Authorization> {
    let table = field.table(&AUTHORIZATION, "a table such as {credentials_file: token}", p)?;
    let kind = table.get("type").and_then(|field| field.text("a scheme, such as Bearer", p));
    let kind = kind.map_or_else(|| "Bearer".to_owned(), |kind| kind.trim().to_owned());
    if kind.eq_ignore_ascii_case("basic") {
        field.wrong(p, "`type: Basic` is what `basic_auth` is for; write that");
    }
    let Some(credentials_file) = file(&table, "credentials_file", folder, p) else {
        field.wrong(p, "`credentials_file` is missing; write the path of the file with the token");
        return None;
    };
    Some(Authorization::Token { kind, credentials_file })
}

pub(super) fn tls(field: &Field, folder: &Path, p: &mut Problems) -> Option<TlsSettings> {
    let table = field.table(&TLS_CONFIG, "a table such as {ca_file: ca.pem}", p)?;
    let settings = TlsSettings {
        ca_file: file(&table, "ca_file", folder, p),
        cert_file: file(&table, "cert_file", folder, p),
        key_file: file(&table, "key_file", folder, p),
        server_name: table.get("server_name").and_then(|field| field.text("the name of a host", p)),
        insecure_skip_verify: table
            .get("insecure_skip_verify")
            .and_then(|field| field.word(&BOOLEAN, p))
            .unwrap_or_default(),
    };
    if settings.cert_file.is_some() != settings.key_file.is_some() {
        field.wrong(p, "a certificate is of use with its key alone: write both of `cert_file` and `key_file`, or none");
    }
    Some(settings)
}

/// Prefix lengths and probes a second.
pub(super) fn per_prefix(field: &Field, p: &mut Problems) -> PerPrefix {
    let mut limits = PerPrefix::new();
    for (length, place, limit) in field.map("a table of prefix lengths and probes a second, such as {24: 100}", p) {
        let Some(length) = length.parse().ok().filter(|length| (1..=128).contains(length)) else {
            let reason = format!(
                "`{}` is not the length of a prefix; write 1 to 32 for IPv4, 33 to 128 for IPv6",
                shorten(&length)
            );
            p.add(place, &field.path, reason);
            continue;
        };
        if let Some(limit) = limit.number(1..=1_000_000_000, p) {
            limits.insert(length, limit);
        }
    }
    limits
}
