//! What can be wrong with TLS, and what to do about it.

use rustls::{AlertDescription, CertificateError};
use std::path::PathBuf;

/// Files or names of TLS are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsFailure {
    /// A file cannot be opened or read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate of `ca_file` cannot be an authority.
    #[error("{}: a certificate in it is of no use as an authority: {source}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Our certificate and key do not go together.
    #[error("{} with {}: {source}", cert.display(), key.display())]
    Pair {
        /// `cert_file`.
        cert: PathBuf,
        /// `key_file`.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The system's store of authorities.
    #[error("the system's certificate store: {why}")]
    SystemStore {
        /// Why.
        why: String,
    },
    /// The verifier cannot be built.
    #[error("certificate verifier: {source}")]
    Verifier {
        /// Why.
        source: rustls::client::VerifierBuilderError,
    },
    /// rustls cannot be set up.
    #[error("TLS cannot be set up: {source}")]
    Setup {
        /// Why.
        source: rustls::Error,
    },
    /// No certificate can have this name.
    #[error("{name:?} is neither a DNS name nor an address")]
    ServerName {
        /// The name.
        name: String,
    },
}

impl TlsFailure {
    /// What to do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => "check the path, and that the agent's user can read it",
            Self::Content { .. } => "use PEM: BEGIN CERTIFICATE, or BEGIN PRIVATE KEY without a passphrase",
            Self::Authority { .. } => "put the certificate of the authority into ca_file, not the server's",
            Self::Pair { .. } => "use the key that the certificate was made for",
            Self::SystemStore { .. } => "install ca-certificates, or set ca_file",
            Self::Verifier { .. } | Self::Setup { .. } => "report this as a bug",
            Self::ServerName { .. } => "set server_name to the name in the server's certificate",
        }
    }
}

/// What to do about an error of a handshake or a connection.
pub(crate) fn hint(error: &rustls::Error) -> &'static str {
    use rustls::Error as E;
    match error {
        E::InvalidCertificate(certificate) => certificate_hint(certificate),
        E::General(text) if text == super::verifier::WRONG_PIN => {
            "set pin_sha256 to the server's new key, if the change was meant"
        }
        E::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied
            | AlertDescription::HandshakeFailure,
        ) => {
            "the server refuses our certificate: set cert_file and key_file to one that it trusts and that is valid"
        }
        E::AlertReceived(AlertDescription::UnrecognisedName) => {
            "set server_name to a name that the server has"
        }
        E::AlertReceived(AlertDescription::ProtocolVersion) | E::PeerIncompatible(_) => {
            "let the server speak TLS 1.2 or 1.3 with a current cipher suite"
        }
        E::InvalidMessage(_) => "check that the server speaks TLS on this port",
        _ => "check the server's TLS settings and log",
    }
}

fn certificate_hint(error: &CertificateError) -> &'static str {
    use CertificateError as C;
    match error {
        C::Expired | C::ExpiredContext { .. } => {
            "renew the server's certificate, or mend this machine's clock"
        }
        C::NotValidYet | C::NotValidYetContext { .. } => "mend this machine's clock, or wait",
        C::UnknownIssuer => "set ca_file to the authority that signed the server's certificate",
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            "use a name from the server's certificate in the address, or set server_name to it"
        }
        C::Revoked => "replace the server's certificate",
        _ => "give the server a certificate that is fit for TLS servers",
    }
}
