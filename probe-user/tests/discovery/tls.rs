//! Certificates and secrets.

use super::{
    server::{Manner, Server},
    support::{AtWork, Folder, group, http, lines, until},
};
use echolot::{
    client::{Authorization, TlsSettings},
    discovery::{GroupSources, HttpSource},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use std::{path::PathBuf, sync::Arc};
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

const GOOD: &str = r#"[{"targets": ["10.0.0.1"]}]"#;

/// Whoever signs, and a file with his certificate.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(folder: &Folder, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        folder.write(name, issuer.pem());
        Self { issuer, file: folder.join(name) }
    }

    /// A certificate of some names and its key, as PEM; valid until a year.
    fn sign(&self, names: &[&str], until: i32, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![purpose];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// What a server shows; it wants to be shown one of `clients`, if that is said.
    fn server(&self, names: &[&str], until: i32, clients: Option<&Self>) -> Arc<ServerConfig> {
        let (certificate, key) = self.sign(names, until, ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.issuer.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        Arc::new(builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap())
    }
}

fn of(server: &Server, tls: TlsSettings) -> AtWork {
    let url = server.url("/").replace("http:", "https:");
    AtWork::of(GroupSources { http: vec![HttpSource { tls, ..http(&url) }], ..group() })
}

#[test]
fn only_who_shows_a_certificate_that_is_right_is_believed() {
    let folder = Folder::new();
    let (ours, theirs) = (Authority::new(&folder, "ca.pem"), Authority::new(&folder, "other.pem"));
    let trusting =
        |authority: &Authority| TlsSettings { ca_file: Some(authority.file.clone()), ..TlsSettings::default() };
    let named = |name: &str| TlsSettings { server_name: Some(name.into()), ..trusting(&ours) };
    let anybody = TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() };
    for (what, certificate, tls, expected) in [
        ("right", ours.server(&["127.0.0.1"], 2500, None), trusting(&ours), None),
        ("expired", ours.server(&["127.0.0.1"], 2020, None), trusting(&ours), Some("certificate expired")),
        ("of somebody else", ours.server(&["host.example"], 2500, None), trusting(&ours), Some("not valid for name")),
        ("whose name is said", ours.server(&["host.example"], 2500, None), named("host.example"), None),
        (
            "whose name is said to be another",
            ours.server(&["127.0.0.1"], 2500, None),
            named("host.example"),
            Some("not valid for name"),
        ),
        ("signed by a stranger", theirs.server(&["127.0.0.1"], 2500, None), trusting(&ours), Some("UnknownIssuer")),
        ("of any kind", theirs.server(&["host.example"], 2020, None), anybody, None),
    ] {
        let server = Server::with(Manner::Json(GOOD.into()), Some(certificate));
        let at_work = of(&server, tls);
        match expected {
            None => drop(at_work.until_targets(&["10.0.0.1"])),
            Some(expected) => {
                until(what, || at_work.state().failures >= 2);
                let said = at_work.lines();
                assert!(said.len() == 1 && said[0].contains(expected), "{what}: {said:?}");
                assert_eq!(at_work.targets().len(), 0, "{what}");
            }
        }
    }
}

#[test]
fn one_that_expires_keeps_the_targets_and_a_new_one_is_taken_up() {
    let folder = Folder::new();
    let ours = Authority::new(&folder, "ca.pem");
    let server = Server::with(Manner::Json(GOOD.into()), Some(ours.server(&["127.0.0.1"], 2500, None)));
    let at_work = of(&server, TlsSettings { ca_file: Some(ours.file.clone()), ..TlsSettings::default() });
    at_work.until_targets(&["10.0.0.1"]);
    server.certified(ours.server(&["127.0.0.1"], 2020, None));
    server.behave(Manner::Json("[]".into()));
    at_work.until_up(false);
    assert!(at_work.lines()[1].contains("certificate expired") && at_work.lines()[1].ends_with("1 target kept"));
    // Another authority takes over, and its certificate comes into the file.
    let next = Authority::new(&folder, "next.pem");
    server.certified(next.server(&["127.0.0.1"], 2500, None));
    std::fs::rename(&next.file, &ours.file).unwrap();
    at_work.until_targets(&[]);
}

#[test]
fn we_show_a_certificate_where_that_is_wanted() {
    let folder = Folder::new();
    let (ours, clients) = (Authority::new(&folder, "ca.pem"), Authority::new(&folder, "clients.pem"));
    let server = Server::with(Manner::Json(GOOD.into()), Some(ours.server(&["127.0.0.1"], 2500, Some(&clients))));
    let (certificate, key) = clients.sign(&["echolot"], 2500, ExtendedKeyUsagePurpose::ClientAuth);
    folder.write("cert.pem", certificate);
    folder.write("key.pem", key);
    let with = |key_file: Option<&str>| TlsSettings {
        ca_file: Some(ours.file.clone()),
        cert_file: key_file.map(|_| folder.join("cert.pem")),
        key_file: key_file.map(|name| folder.join(name)),
        ..TlsSettings::default()
    };
    of(&server, with(Some("key.pem"))).until_targets(&["10.0.0.1"]);
    let unknown = of(&server, with(None));
    until("a refusal", || !unknown.lines().is_empty());
    assert!(unknown.lines()[0].contains("CertificateRequired"), "{:?}", unknown.lines());
    for (file, expected) in [("none.pem", "none.pem: cannot be read"), ("cert.pem", "cert.pem: no private key")] {
        let at_work = of(&server, with(Some(file)));
        until("a refusal", || !at_work.lines().is_empty());
        assert!(at_work.lines()[0].contains(expected), "{:?}", at_work.lines());
    }
}

fn asking(server: &Server, authorization: Authorization) -> AtWork {
    let source = HttpSource { authorization: Some(authorization), ..http(&server.url("/")) };
    AtWork::of(GroupSources { http: vec![source], ..group() })
}

/// Who says the right thing gets the list.
fn guarded(secret: &str) -> Manner {
    let expected = format!("authorization: {}\r\n", secret.to_ascii_lowercase());
    Manner::By(Arc::new(move |head| match head.to_ascii_lowercase().contains(&expected) {
        true => Manner::json(GOOD),
        false => Manner::answer("401 Unauthorized", "", ""),
    }))
}

#[test]
fn secrets_are_read_from_their_files_for_each_request() {
    let folder = Folder::new();
    folder.write("password", "open sesame\n");
    // me:open sesame
    let server = Server::start(guarded("Basic bWU6b3BlbiBzZXNhbWU="));
    let basic = Authorization::Basic { username: "me".into(), password_file: Some(folder.join("password")) };
    let at_work = asking(&server, basic);
    at_work.until_targets(&["10.0.0.1"]);
    // The server learns of a new one first.
    server.behave(guarded("Basic bWU6bmV4dA=="));
    at_work.until_up(false);
    assert!(at_work.lines()[1].contains("401 Unauthorized"), "{:?}", at_work.lines());
    folder.write("password", "next");
    at_work.until_up(true);
    std::fs::remove_file(folder.join("password")).unwrap();
    at_work.until_up(false);
    assert!(at_work.lines()[3].contains("password: cannot be read: No such file"), "{:?}", at_work.lines());
    folder.write("password", "bad\nheader: x");
    until("it is not sent", || at_work.state().failures > 3);
    assert!(server.heads().iter().all(|head| !head.contains("header: x")));

    folder.write("token", "abc\n");
    let server = Server::start(guarded("Token abc"));
    let token = Authorization::Token { kind: "Token".into(), credentials_file: folder.join("token") };
    asking(&server, token).until_targets(&["10.0.0.1"]);
    assert!(lines("sesame").is_empty() && lines("bWU6").is_empty() && lines("Token abc").is_empty());
}

#[test]
fn nobody_else_learns_a_secret() {
    let folder = Folder::new();
    folder.write("token", "abc");
    let other = Server::start(Manner::Json(GOOD.into()));
    let to = format!("Location: {}\r\n", other.url("/"));
    let server = Server::start(Manner::Raw(Manner::answer("302 Found", &to, "")));
    let token = || Authorization::Token { kind: "Bearer".into(), credentials_file: folder.join("token") };
    asking(&server, token()).until_targets(&["10.0.0.1"]);
    assert!(server.heads()[0].contains("Bearer abc"));
    assert!(other.heads().iter().all(|head| !head.to_ascii_lowercase().contains("authorization")));
    // On the same server it is told again.
    let server = Server::start(Manner::By(Arc::new(|head| {
        match head.starts_with("GET /there ") && head.contains("Bearer abc") {
            true => Manner::json(GOOD),
            false => Manner::answer("302 Found", "Location: /there\r\n", ""),
        }
    })));
    asking(&server, token()).until_targets(&["10.0.0.1"]);
}
