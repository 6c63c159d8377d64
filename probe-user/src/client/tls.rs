//! By which certificates a server is trusted, and we are known to it. Files are looked at for each request; what they come to is made
//! anew only when one has changed, or the last request failed.

use super::settings::TlsSettings;
use std::{fs, path::Path, sync::Arc};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    },
};

/// What the files of a source say.
type Content = [Option<Vec<u8>>; 3];

/// Connects, as the settings of a source have it.
#[derive(Default)]
pub struct Connector {
    made: Option<(Content, TlsConnector)>,
}

impl Connector {
    /// The one to connect by now. Reads files.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn get(&mut self, settings: &TlsSettings) -> Result<TlsConnector, String> {
        let read = |path: &Option<_>| path.as_deref().map(read).transpose();
        let content = [read(&settings.ca_file)?, read(&settings.cert_file)?, read(&settings.key_file)?];
        if let Some((before, connector)) = &self.made
            && *before == content
        {
            return Ok(connector.clone());
        }
        let connector = TlsConnector::from(Arc::new(config(settings, &content)?));
        self.made = Some((content, connector.clone()));
        Ok(connector)
    }

    /// Whom this host trusts may have changed.
    pub fn forget(&mut self) {
        self.made = None;
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))
}

fn shown(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

fn config(settings: &TlsSettings, [ca, cert, key]: &Content) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if settings.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        builder.with_root_certificates(roots(settings, ca.as_deref())?)
    };
    let (Some(cert), Some(key)) = (cert, key) else { return Ok(builder.with_no_client_auth()) };
    let (cert_file, key_file) = (shown(settings.cert_file.as_deref()), shown(settings.key_file.as_deref()));
    let chain = certificates(cert, &cert_file)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("{key_file}: no private key: {error}"))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| format!("{cert_file}, {key_file}: {error}"))
}

fn roots(settings: &TlsSettings, ca: Option<&[u8]>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(ca) => {
            let file = shown(settings.ca_file.as_deref());
            for certificate in certificates(ca, &file)? {
                roots.add(certificate).map_err(|error| format!("{file}: {error}"))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            let (added, _strange) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
                return Err(format!(
                    "this host trusts no certificates{why}: install ca-certificates, or name a file (tls_config: {{ca_file: …}})"
                ));
            }
        }
    }
    Ok(roots)
}

fn certificates(pem: &[u8], file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("{file}: not certificates in PEM: {error}"))?;
    if found.is_empty() { Err(format!("{file}: there is no certificate in PEM in it")) } else { Ok(found) }
}

/// Trusts whoever answers, as long as he has the key of what he shows.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
