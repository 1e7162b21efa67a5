//! TLS for the doors: a certificate chain and its key from PEM files, read once at start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why the doors cannot be served over TLS. Each names the file to look at, none shows what is in it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file.
    #[error("TLS certificate {path}: {source}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The certificate file holds none.
    #[error("TLS certificate {path}: no certificate in this file")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key file.
    #[error("TLS key {path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The two do not belong together, or are of a kind that is not offered.
    #[error("TLS certificate {certificate} and key {key} cannot be used together: {source}")]
    Unusable {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
}

/// Reads a chain (leaf first) and its private key. TLS 1.2 and 1.3, HTTP/1.1 only.
pub fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let unreadable = |source| TlsError::Certificate { path: certificate.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: certificate.to_owned() });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Key { path: key.to_owned(), source })?;
    let unusable = |source| TlsError::Unusable { certificate: certificate.to_owned(), key: key.to_owned(), source };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files {
        directory: tempfile::TempDir,
        certificate: PathBuf,
        key: PathBuf,
    }

    fn files() -> Files {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Files { directory, certificate, key }
    }

    #[test]
    fn a_certificate_and_its_key_are_loaded_for_http_1_1_only() {
        let files = files();
        let config = load(&files.certificate, &files.key).unwrap();
        assert_eq!(config.alpn_protocols, [b"http/1.1".to_vec()]);
    }

    #[test]
    fn what_cannot_be_used_is_told_by_file() {
        let (good, other) = (files(), files());
        let missing = good.directory.path().join("missing");
        let empty = good.directory.path().join("empty");
        std::fs::write(&empty, "no pem here").unwrap();
        for (certificate, key, told) in [
            (&missing, &good.key, "missing"),
            (&empty, &good.key, "empty: no certificate"),
            (&good.certificate, &missing, "missing"),
            (&good.certificate, &empty, "empty"),
            (&good.certificate, &other.key, "cannot be used together"),
        ] {
            let message = load(certificate, key).unwrap_err().to_string();
            assert!(message.contains(told), "{message}");
            assert!(!message.contains("no pem here"), "{message}");
        }
    }
}
