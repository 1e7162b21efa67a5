//! Requests without a proxy, a redirect or a wait without end, and what came back.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, redirect};
use serde_json::Value;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// `GET`; nothing when there is no HTTP answer.
    pub(crate) async fn to_get(url: &str) -> Option<Self> {
        Self::to(client().get(url)).await
    }

    /// `GET` with a bearer token; nothing when there is no HTTP answer.
    pub(crate) async fn to_get_as(url: &str, token: &str) -> Option<Self> {
        Self::to(client().get(url).bearer_auth(token)).await
    }

    /// `POST` of a form; nothing when there is no HTTP answer.
    pub(crate) async fn to_form(url: &str, fields: &[(&str, &str)]) -> Option<Self> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = client().post(url).header("content-type", "application/x-www-form-urlencoded").body(body);
        Self::to(request).await
    }

    /// `POST` of JSON with a bearer token; nothing when there is no HTTP answer.
    pub(crate) async fn to_json(url: &str, token: &str, body: &Value) -> Option<Self> {
        let request = client().post(url).bearer_auth(token).header("content-type", "application/json");
        Self::to(request.body(body.to_string())).await
    }

    /// `DELETE` with a bearer token; nothing when there is no HTTP answer.
    pub(crate) async fn to_delete(url: &str, token: &str) -> Option<Self> {
        Self::to(client().delete(url).bearer_auth(token)).await
    }

    async fn to(request: RequestBuilder) -> Option<Self> {
        let answer = request.send().await.ok()?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Some(Self { status, headers, body: answer.text().await.ok()? })
    }

    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// One header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The text of the first XML element of that name.
    pub(crate) fn element(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
    }

    /// The credentials of an STS answer or of a lease.
    pub(crate) fn keys(&self) -> Keys {
        let lease = self.json();
        let of_lease = |name: &str| lease.pointer(&format!("/credentials/{name}"))?.as_str().map(str::to_owned);
        let of_sts = |name: &str| self.element(name).map(str::to_owned);
        let either = |json: &str, xml: &str| {
            of_lease(json)
                .or_else(|| of_sts(xml))
                .unwrap_or_else(|| panic!("no {json} in {}: {}", self.status, self.body))
        };
        Keys {
            access_key: either("access_key_id", "AccessKeyId"),
            secret_key: either("secret_access_key", "SecretAccessKey"),
            session_token: either("session_token", "SessionToken"),
        }
    }
}

/// Temporary credentials.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) session_token: String,
}

fn client() -> Client {
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(Duration::from_secs(30))
        .build()
        .expect("a client can be built")
}
