//! Presigned URLs: made with a leased key they carry its session token, and end with the lease.

use std::time::Duration;

use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, sign};
use aws_sigv4::sign::v4::SigningParams;
use reqwest::Method;
use reqwest::header::HeaderMap;

use super::super::wire;
use super::answer::ANSWER_LIMIT;
use super::client::settings;
use super::{S3Answer, S3Client, S3Error, S3Key, S3Request};

/// How long a URL made here is good for.
const LIFE: Duration = Duration::from_mins(1);

impl S3Client {
    /// Reads through a URL presigned by `key`, as somebody who holds nothing but the URL. The URL is a secret for as long as
    /// it lives, and never leaves this function.
    pub async fn read_presigned(&self, key: &S3Key, request: &S3Request) -> Result<S3Answer, S3Error> {
        let url = self.presign(key, request).ok_or(S3Error::Unsendable)?;
        self.bounded(Method::GET, &url, HeaderMap::new(), Vec::new(), ANSWER_LIMIT).await
    }

    fn presign(&self, key: &S3Key, request: &S3Request) -> Option<String> {
        let url = self.endpoint.at(&request.path_and_query());
        let signable = SignableRequest::new("GET", url.clone(), std::iter::empty(), SignableBody::UnsignedPayload);
        let identity = key.credentials().into();
        let mut settings = settings(SignatureLocation::QueryParams);
        settings.expires_in = Some(LIFE);
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(request.scope.as_str())
            .time(self.clock.now().into())
            .settings(settings)
            .build()
            .ok()?;
        let (instructions, _) = sign(signable.ok()?, &params.into()).ok()?.into_parts();
        let pairs: Vec<(&str, &str)> =
            instructions.params().iter().map(|(name, value)| (*name, value.as_ref())).collect();
        Some(format!("{url}?{}", wire::form(&pairs)))
    }
}
