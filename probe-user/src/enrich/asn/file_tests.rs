//! Of telling the forms of files apart.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::{
    super::mmdb::tests::{file, geolite},
    *,
};
use flate2::{Compression, write::GzEncoder};
use std::io::Write as _;

const TABLE: &[u8] = b"192.0.2.0\t192.0.2.255\t64500\tDE\tEXAMPLE-AS\n";

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Option<(u32, Option<String>)>, String> {
    let table = AsnTable::read(bytes, "as.dat").map_err(|error| error.to_string())?;
    let network = table.find([192, 0, 2, 7].into());
    Ok(network.map(|network| (network.asn, network.name.map(|name| name.to_string()))))
}

#[test]
fn the_content_tells_the_form_whatever_the_file_is_called() {
    let mmdb = file("GeoLite2-ASN", &[("192.0.2.0/24", geolite(64_500, "EXAMPLE-AS"))]);
    let expected = Ok(Some((64_500, Some("EXAMPLE-AS".to_owned()))));
    for bytes in
        [TABLE.to_vec(), packed(TABLE), mmdb.clone(), packed(&mmdb), [packed(TABLE), packed(b"# more\n")].concat()]
    {
        assert_eq!(read(&bytes), expected);
    }
}

#[test]
fn what_is_no_such_file_is_refused_with_what_to_name_instead() {
    let mut tar = vec![0; 1_024];
    tar[257..262].copy_from_slice(b"ustar");
    let mut cut = packed(&TABLE.repeat(1_000));
    cut.truncate(cut.len() / 2);
    for (bytes, expected) in [
        (Vec::new(), "as.dat: it is empty; name a file in MaxMind's format (such as GeoLite2-ASN.mmdb) or"),
        (packed(b""), "as.dat: it is empty; name"),
        (packed(&tar), "as.dat: it is an archive; unpack it and name the file in it"),
        (b"PK\x03\x04\x14\0".to_vec(), "as.dat: it is an archive"),
        (b"\x7fELF\x02\x01\0\0".to_vec(), "as.dat: it is of no form that is known here; name"),
        (b"root:x:0:0\n".to_vec(), "as.dat:1: `root:x:0:0` is not an address; a line is"),
        (cut, "as.dat: it can't be read: "),
        (b"\x1f\x8bxx".to_vec(), "as.dat: it can't be read: "),
    ] {
        let error = read(&bytes).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let missing = AsnTable::open(Path::new("/nowhere/as.mmdb")).unwrap_err().to_string();
    assert!(
        missing.starts_with("/nowhere/as.mmdb: there is no such file; name a file in MaxMind's format"),
        "{missing}"
    );
    let folder = AsnTable::open(&std::env::temp_dir()).unwrap_err().to_string();
    assert!(folder.contains(": it is a folder; name"), "{folder}");
}
