//! The exchange of a token for credentials through `stint`, at the STS door.

use super::{Request, form, minted};

/// The same token every time: tokens are good for more than one exchange.
pub(crate) struct Exchange {
    url: String,
    body: String,
}

impl Exchange {
    pub(crate) fn new(url: &str, token: &str) -> Self {
        let body = form(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", "arn:aws:iam::000000000000:role/livekit-egress"),
            ("RoleSessionName", "bench"),
            ("WebIdentityToken", token),
        ]);
        Self { url: url.to_owned(), body }
    }
}

impl Request for Exchange {
    async fn send(&self, http: &reqwest::Client) {
        let request = http.post(&self.url).header("content-type", "application/x-www-form-urlencoded");
        minted(request.body(self.body.clone())).await;
    }
}
