//! HTTP requests of our own: one connection each, over TLS where it is https, with secrets and certificates that lie in files.
//!
//! Nothing here bounds the time that it takes: whoever asks does. What goes wrong is said without anything that may be secret.

mod request;
mod settings;
mod tls;

pub use request::{Credentials, Lookup, causes, exchange, host_of, path_of};
pub use settings::{Authorization, TlsSettings, shown};
pub use tls::Connector;
