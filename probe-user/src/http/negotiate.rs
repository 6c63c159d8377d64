//! What a client wants: by its headers Accept and Accept-Encoding (RFC 9110, section 12.5).

use crate::metrics::Format;

/// The format that it likes best of those that there are; the text format where it says nothing of either.
pub(super) fn format<'a>(accept: impl Iterator<Item = &'a str>) -> Format {
    let mut best = (Format::Text, 0.0);
    for Preference { value, parameters, quality } in preferences(accept) {
        let version = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("version")).map(|(_, value)| *value);
        let format = match (&*value.to_ascii_lowercase(), version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => Format::OpenMetrics,
            // Our names are those that the version 1.0.0 of the text format writes like 0.0.4.
            ("text/plain", None | Some("0.0.4" | "1.0.0")) | ("text/*" | "*/*", _) => Format::Text,
            _ => continue,
        };
        // Of those that it likes alike, the first.
        if quality > best.1 {
            best = (format, quality);
        }
    }
    best.0
}

/// Whether it is to be sent packed.
pub(super) fn takes_gzip<'a>(accept_encoding: impl Iterator<Item = &'a str>) -> bool {
    let (mut gzip, mut any, mut plain) = (None, None, None);
    for Preference { value, quality, .. } in preferences(accept_encoding) {
        match &*value.to_ascii_lowercase() {
            "gzip" | "x-gzip" => gzip = Some(quality),
            "*" => any = Some(quality),
            "identity" => plain = Some(quality),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0.0);
    gzip > 0.0 && plain.is_none_or(|plain| gzip >= plain)
}

/// One of the things that a header lists.
struct Preference<'a> {
    value: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// 0: not at all, to 1.
    quality: f32,
}

/// Those of all lines of a header. What can't be read is not wanted.
fn preferences<'a>(lines: impl Iterator<Item = &'a str>) -> impl Iterator<Item = Preference<'a>> {
    lines.flat_map(|line| line.split(',')).map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let value = parts.next().unwrap_or_default();
        let mut quality = 1.0;
        let mut parameters = Vec::new();
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("q") {
                quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0);
            } else {
                parameters.push((name, value));
            }
        }
        Preference { value, parameters, quality }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(accept: &str) -> Format {
        format([accept].into_iter())
    }

    fn packed(accept_encoding: &str) -> bool {
        takes_gzip([accept_encoding].into_iter())
    }

    #[test]
    fn each_prometheus_gets_the_format_that_it_likes_best() {
        // Prometheus 2.x, before and after it could be told what to prefer, and 3.x.
        for accept in [
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "application/openmetrics-text",
            "Application/OpenMetrics-Text;Version=\"1.0.0\"",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/openmetrics-text;q=0.3",
        ] {
            assert_eq!(wants(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain",
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "text/plain;version=1.0.0;escaping=allow-utf-8",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/json",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0, text/plain;q=0.1",
            "application/openmetrics-text;q=0.3,text/plain;q=0.4",
            "text/plain,application/openmetrics-text",
            "application/openmetrics-text;q=many,*/*;q=0.1",
            "application/openmetrics-text;q=NaN",
            ";;,=,;q=",
        ] {
            assert_eq!(wants(accept), Format::Text, "{accept}");
        }
        assert_eq!(format(["text/plain;q=0.2", "application/openmetrics-text;q=0.3"].into_iter()), Format::OpenMetrics);
    }

    #[test]
    fn only_who_wants_it_packed_gets_it_packed() {
        for encoding in ["gzip", "gzip, deflate, br", "deflate,GZIP;q=0.5", "*", "x-gzip", "identity;q=0.5, gzip;q=0.5"]
        {
            assert!(packed(encoding), "{encoding}");
        }
        for encoding in
            ["", "identity", "gzip;q=0", "gzip;q=0,*", "gzip;q=0.0, identity", "br", "gzip;q=0.2,identity", "gzip;q=2"]
        {
            assert!(!packed(encoding), "{encoding}");
        }
        assert!(!takes_gzip(std::iter::empty()));
    }
}
