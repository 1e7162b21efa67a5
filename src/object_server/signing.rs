//! AWS Signature Version 4 as the object servers want it: one day, one region, one service, and always the SHA-256 of
//! the body in `x-amz-content-sha256`, which MinIO demands on admin calls and checks on all others.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4::SigningParams;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;

/// The service a signature is scoped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The Security Token Service.
    Sts,
    /// S3, and MinIO's admin API.
    S3,
    /// Roles and their policies.
    Iam,
}

impl Scope {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::S3 => "s3",
            Self::Iam => "iam",
        }
    }
}

/// Why a request could not be signed; none of our requests can cause it.
#[derive(Debug, thiserror::Error)]
#[error("the request cannot be signed")]
pub(super) struct Unsignable;

/// The long-lived identity that mints, and where its signatures are valid.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) access_key: String,
    pub(super) secret_key: SecretString,
    pub(super) region: String,
}

impl Signer {
    /// The headers that make `method url` with `headers` and `body` a signed request, `headers` included.
    pub(super) fn sign(
        &self,
        scope: Scope,
        method: &str,
        url: &str,
        headers: &[(&'static str, &'static str)],
        body: &[u8],
        now: OffsetDateTime,
    ) -> Result<HeaderMap, Unsignable> {
        let credentials = Credentials::new(&self.access_key, self.secret_key.expose_secret(), None, None, "parent");
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        // Our paths hold no character that either mode would change; S3's mode is the one without surprises.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(scope.as_str())
            .time(now.into())
            .settings(settings)
            .build()
            .map_err(|_| Unsignable)?;
        let request = SignableRequest::new(method, url, headers.iter().copied(), SignableBody::Bytes(body))
            .map_err(|_| Unsignable)?;
        let (instructions, _signature) = sign(request, &params.into()).map_err(|_| Unsignable)?.into_parts();
        let given = headers.iter().copied();
        given.chain(instructions.headers()).map(|(name, value)| header(name, value)).collect()
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Unsignable> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unsignable)?;
    let mut value = HeaderValue::from_str(value).map_err(|_| Unsignable)?;
    value.set_sensitive(name == reqwest::header::AUTHORIZATION);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::digest::{SHA256, digest};
    use aws_lc_rs::hmac;
    use time::macros::datetime;

    const URL: &str = "http://minio.example:9000/";
    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

    fn signer() -> Signer {
        Signer {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: SecretString::from("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            region: "us-east-1".to_owned(),
        }
    }

    fn signed(scope: Scope, body: &[u8]) -> HeaderMap {
        signer().sign(scope, "POST", URL, &[FORM], body, datetime!(2015-08-30 12:36:00 UTC)).unwrap()
    }

    fn mac(key: &[u8], text: &str) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    }

    /// The signature by the book (Signature Version 4, "Create a signed request"), written out a second time.
    #[test]
    fn the_signature_is_the_one_of_the_book() {
        let body = b"Action=AssumeRole&Version=2011-06-15";
        let hash = hex::encode(digest(&SHA256, body));
        let canonical = format!(
            "POST\n/\n\ncontent-type:application/x-www-form-urlencoded\nhost:minio.example:9000\n\
             x-amz-content-sha256:{hash}\nx-amz-date:20150830T123600Z\n\n\
             content-type;host;x-amz-content-sha256;x-amz-date\n{hash}"
        );
        let scope = "20150830/us-east-1/sts/aws4_request";
        let canonical_hash = hex::encode(digest(&SHA256, canonical.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n20150830T123600Z\n{scope}\n{canonical_hash}");
        let mut key = b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec();
        for part in scope.split('/') {
            key = mac(&key, part);
        }
        let signature = hex::encode(mac(&key, &text));
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, \
             SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date, Signature={signature}"
        );
        assert_eq!(signed(Scope::Sts, body)["authorization"].to_str().unwrap(), expected);
    }

    #[test]
    fn the_hash_of_the_body_is_always_sent_also_of_an_empty_one() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(signed(Scope::S3, b"")["x-amz-content-sha256"], empty);
        assert_ne!(signed(Scope::Sts, b"x")["x-amz-content-sha256"], empty);
    }

    #[test]
    fn a_signature_for_sts_is_none_for_s3() {
        assert_ne!(signed(Scope::Sts, b"x")["authorization"], signed(Scope::S3, b"x")["authorization"]);
    }

    #[test]
    fn the_secret_key_is_in_no_debug_output() {
        assert!(!format!("{:?} {:?}", signer(), signed(Scope::Sts, b"x")).contains("MDENG"));
    }
}
