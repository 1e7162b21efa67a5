//! `AssumeRole` at the object server itself, signed here: what `stint` is measured beside. No adapter, no checks: a form, a
//! signature, and the answer read to its end.

use super::{Request, form, minted};
use crate::signed::Key;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The parent's request, the same every time but for its signature.
#[derive(Clone)]
pub(crate) struct DirectMint {
    url: String,
    parent: Key,
    body: String,
}

impl DirectMint {
    /// For a session of this policy; `beside` are the server's own fields.
    pub(crate) fn new(endpoint: &str, parent: &Key, policy: &str, beside: &[(&str, &str)]) -> Self {
        let common = [
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("DurationSeconds", "3600"),
            ("RoleSessionName", "bench"),
            ("Policy", policy),
        ];
        let body = form(&[&common[..], beside].concat());
        Self { url: format!("{endpoint}/"), parent: parent.clone(), body }
    }

    /// The answer.
    pub(crate) async fn ask(&self, http: &reqwest::Client) -> String {
        let mut request = http.post(&self.url);
        for (name, value) in self.parent.headers_at(0, "sts", "POST", &self.url, &[FORM], &self.body) {
            request = request.header(name, value);
        }
        minted(request.body(self.body.clone())).await
    }
}

impl Request for DirectMint {
    async fn send(&self, http: &reqwest::Client) {
        self.ask(http).await;
    }
}
