//! TLS towards receivers: the public roots, plus the operator's own; nothing turns checks off.
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

use crate::text;

/// `outbound.ca_file` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("outbound.ca_file {path}: {reason}")]
pub struct TlsError {
    path: String,
    reason: String,
}

/// The client's configuration.
///
/// # Errors
/// [`TlsError`] if the file cannot be read, holds something else, or no certificate at all.
pub(crate) fn configure(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = ca_file {
        add(path, &mut roots).map_err(|reason| TlsError {
            path: path.display().to_string(),
            reason,
        })?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError {
            path: String::new(),
            reason: error.to_string(),
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn add(path: &Path, roots: &mut RootCertStore) -> Result<(), String> {
    let mut count = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
        roots
            .add(certificate.map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
        count += 1;
    }
    if count == 0 {
        return Err("holds no certificate".to_owned());
    }
    Ok(())
}

/// Names what went wrong in a handshake.
pub(crate) fn name_of(error: &io::Error) -> &'static str {
    let Some(cause) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        return text::TLS_FAILED;
    };
    match cause {
        rustls::Error::InvalidCertificate(certificate) => name_of_certificate(certificate),
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            text::TLS_NO_COMMON_VERSION
        }
        _ => text::TLS_FAILED,
    }
}

fn name_of_certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => text::TLS_EXPIRED,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            text::TLS_NOT_YET_VALID
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            text::TLS_WRONG_NAME
        }
        CertificateError::UnknownIssuer => text::TLS_UNKNOWN_ISSUER,
        _ => text::TLS_NOT_ACCEPTED,
    }
}
