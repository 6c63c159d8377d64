//! What strangers wrote, for terminals, JSON and CSV: pure, no I/O.

/// The longest name that is shown, in characters: as long as a name can be that needs no escaping.
pub(super) const LONGEST_NAME: usize = 253;
/// The longest name of an AS.
pub(super) const LONGEST_TEXT: usize = 128;
const CUT: &str = "...";

/// A DNS name of its labels, without a dot at its end; None for the root. Bytes that are no printable ASCII, dots within labels and
/// backslashes are escaped as RFC 1035 (section 5.1) does, so that what is shown is one name only. Names in other scripts stay in
/// their ASCII form (`xn--`): what looks like a name that one knows is that name.
pub(super) fn dns_name<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
    let mut name = String::new();
    for label in labels {
        if !name.is_empty() {
            name.push('.');
        }
        for byte in label {
            match byte {
                b'.' | b'\\' => name.extend(['\\', char::from(*byte)]),
                0x21..=0x7e => name.push(char::from(*byte)),
                _ => name.push_str(&format!("\\{byte:03}")),
            }
        }
    }
    if name.len() > LONGEST_NAME {
        name.truncate(whole_escapes(&name, LONGEST_NAME - CUT.len()));
        name.push_str(CUT);
    }
    (!name.is_empty()).then_some(name)
}

/// How much of an escaped name fits and ends in no half escape.
fn whole_escapes(name: &str, most: usize) -> usize {
    let (mut end, mut rest) = (0, name.as_bytes());
    loop {
        let step = match rest {
            [b'\\', b'0'..=b'9', ..] => 4,
            [b'\\', ..] => 2,
            [] => return end,
            _ => 1,
        };
        if end + step > most {
            return end;
        }
        (end, rest) = (end + step, rest.get(step..).unwrap_or_default());
    }
}

/// A text as it was meant to be read: UTF-8 without what moves a cursor, turns the direction of writing or can't be seen. None if
/// nothing is left.
pub(super) fn free_text(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let shown = |c: char| if c.is_control() || is_format(c) { char::REPLACEMENT_CHARACTER } else { c };
    let text: String = text.trim().chars().map(shown).collect();
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == char::REPLACEMENT_CHARACTER);
    let short = match text.char_indices().nth(LONGEST_TEXT) {
        None => text.to_owned(),
        Some(_) => text.chars().take(LONGEST_TEXT - CUT.len()).chain(CUT.chars()).collect(),
    };
    (!short.is_empty()).then_some(short)
}

/// Unicode's format characters and its separators of lines: std knows only the controls.
const fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(labels: &[&[u8]]) -> Option<String> {
        dns_name(labels.iter().copied())
    }

    #[test]
    fn names_read_as_people_know_them() {
        assert_eq!(name(&[b"ae-1", b"R7_x", b"example"]).as_deref(), Some("ae-1.R7_x.example"));
        assert_eq!(name(&[b"xn--bcher-kva", b"example"]).as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(name(&[]), None, "the root is no name");
    }

    #[test]
    fn what_steers_a_terminal_is_escaped_as_dns_does() {
        assert_eq!(
            name(&[b"\x1b[2J", b"a.b\\c", b" \x7f\xff"]).as_deref(),
            Some("\\027[2J.a\\.b\\\\c.\\032\\127\\255")
        );
        assert_eq!(name(&[b"a\r\nb"]).as_deref(), Some("a\\013\\010b"));
    }

    #[test]
    fn a_name_is_cut_between_two_escapes() {
        let label = [0xe4_u8; 63];
        let shown = name(&[&label, &label, &label, b"example"]).expect("a name");
        assert_eq!(shown.len(), 62 * 4 + 1 - 1 + 3, "{shown}");
        assert!(shown.ends_with("\\228..."), "{shown}");
        // As long as a name can be.
        let plain = [b'a'; 63];
        let shown = name(&[&plain, &plain, &plain, &plain[..61]]).expect("a name");
        assert!(shown.len() == LONGEST_NAME && !shown.contains(CUT), "{shown}");
    }

    #[test]
    fn texts_lose_what_is_not_to_be_read() {
        assert_eq!(
            free_text(" EXAMPLE-AS Beispiel \u{dc}ber, DE\r\n".as_bytes()).as_deref(),
            Some("EXAMPLE-AS Beispiel \u{dc}ber, DE")
        );
        assert_eq!(free_text(b"a\x1b[2Jb\xff").as_deref(), Some("a\u{fffd}[2Jb"));
        assert_eq!(free_text("moc\u{202e}.a\u{200b}b".as_bytes()).as_deref(), Some("moc\u{fffd}.a\u{fffd}b"));
        assert_eq!((free_text(b" \t"), free_text(b"\x1b\x07")), (None, None));
        let long = free_text("\u{e4}".repeat(1_000).as_bytes()).expect("a text");
        assert_eq!((long.chars().count(), long.ends_with("\u{e4}...")), (LONGEST_TEXT, true));
    }

    proptest! {
        #[test]
        fn any_labels_are_shown_as_one_short_line_of_ascii(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..64), 0..5)) {
            let shown = dns_name(labels.iter().map(Vec::as_slice)).unwrap_or_default();
            prop_assert!(shown.len() <= LONGEST_NAME && shown.bytes().all(|b| (0x21..=0x7e).contains(&b)), "{shown:?}");
        }

        #[test]
        fn any_bytes_are_shown_as_a_short_text(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let shown = free_text(&bytes).unwrap_or_default();
            prop_assert!(shown.chars().count() <= LONGEST_TEXT && !shown.chars().any(|c| c.is_control() || is_format(c)), "{shown:?}");
        }
    }
}
