//! How a request says who asks, and whom it trusts.

use std::path::PathBuf;
use url::Url;

/// A URL without what may be secret.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Only URLs without a host have no place for them.
    let _no_host = url.set_password(None).and_then(|()| url.set_username(""));
    url.into()
}

/// How a request says who asks. Secrets lie in files, which are read for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// By name and password.
    Basic {
        /// The name.
        username: String,
        /// The file with the password; None for an empty one.
        password_file: Option<PathBuf>,
    },
    /// By a token.
    Token {
        /// `Bearer`, or another scheme.
        kind: String,
        /// The file with the token.
        credentials_file: PathBuf,
    },
}

/// Whom to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates that are trusted; None for those that this host trusts.
    pub ca_file: Option<PathBuf>,
    /// A certificate of our own, and its key.
    pub cert_file: Option<PathBuf>,
    /// The key.
    pub key_file: Option<PathBuf>,
    /// What the server's certificate must be of; None for the URL's host.
    pub server_name: Option<String>,
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
}
