//! One request, encoded once: what is signed is what is sent.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, utf8_percent_encode};
use reqwest::Method;

use super::super::signing::Scope;
use super::super::wire;
use super::answer::ANSWER_LIMIT;

/// Everything but RFC 3986's unreserved characters and the slash between the parts of an object's name.
const PATH: &AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A request to be signed.
#[derive(Debug, Clone)]
pub struct S3Request {
    pub(in crate::object_server) method: Method,
    pub(super) scope: Scope,
    path: String,
    query: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) answer_limit: usize,
}

impl S3Request {
    /// On the service itself.
    #[must_use]
    pub fn service(method: Method) -> Self {
        let (path, query) = ("/".to_owned(), String::new());
        Self {
            method,
            scope: Scope::S3,
            path,
            query,
            headers: Vec::new(),
            body: Vec::new(),
            answer_limit: ANSWER_LIMIT,
        }
    }

    /// On a bucket.
    #[must_use]
    pub fn bucket(method: Method, bucket: &str) -> Self {
        Self { path: format!("/{}", utf8_percent_encode(bucket, PATH)), ..Self::service(method) }
    }

    /// On an object.
    #[must_use]
    pub fn object(method: Method, bucket: &str, key: &str) -> Self {
        let path = format!("/{}/{}", utf8_percent_encode(bucket, PATH), utf8_percent_encode(key, PATH));
        Self { path, ..Self::service(method) }
    }

    /// On a path of a server's own API.
    #[must_use]
    pub fn path(method: Method, path: &str) -> Self {
        Self { path: utf8_percent_encode(path, PATH).to_string(), ..Self::service(method) }
    }

    /// To the STS: a form to `/`.
    #[must_use]
    pub fn sts(fields: &[(&str, &str)]) -> Self {
        let form = wire::form(fields);
        Self { scope: Scope::Sts, ..Self::service(Method::POST) }
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.into_bytes())
    }

    /// To the IAM: a form to `/`.
    #[must_use]
    pub fn iam(fields: &[(&str, &str)]) -> Self {
        let form = wire::form(fields);
        Self { scope: Scope::Iam, ..Self::service(Method::POST) }
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.into_bytes())
    }

    /// With these parameters; one without a value is sent as `name=`.
    #[must_use]
    pub fn query(mut self, parameters: &[(&str, &str)]) -> Self {
        self.query = wire::form(parameters);
        self
    }

    /// With one more header, which is signed.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Whose answer may be longer than others: at most so many bytes.
    #[must_use]
    pub(in crate::object_server) fn answered_within(self, answer_limit: usize) -> Self {
        Self { answer_limit, ..self }
    }

    /// With a configuration document as its body: AWS and Ceph want its MD5 (Ceph 16 takes no other checksum).
    #[must_use]
    pub fn document(self, document: &str) -> Self {
        let md5 = STANDARD.encode(Md5::digest(document.as_bytes()));
        self.header("content-md5", &md5).body(document.as_bytes())
    }

    pub(in crate::object_server) fn path_and_query(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
    }

    pub(super) fn payload_hash(&self) -> String {
        hex::encode(digest(&SHA256, &self.body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_once_and_keep_their_slashes() {
        let request = S3Request::object(Method::GET, "recordings", "a b/ü+?#");
        assert_eq!(request.path_and_query(), "/recordings/a%20b/%C3%BC%2B%3F%23");
        let request = S3Request::bucket(Method::GET, "recordings").query(&[("list-type", "2"), ("prefix", "a/ b")]);
        assert_eq!(request.path_and_query(), "/recordings?list-type=2&prefix=a%2F%20b");
        assert_eq!(S3Request::bucket(Method::GET, "r").query(&[("policy", "")]).path_and_query(), "/r?policy=");
    }

    #[test]
    fn a_document_carries_the_md5_of_its_bytes() {
        let request = S3Request::bucket(Method::PUT, "r").document("<x/>");
        assert_eq!(request.headers, [("content-md5", "qLWUv43Mplb7HrG2Y0SUCg==".to_owned())]);
        assert_eq!(request.body, b"<x/>");
    }
}
