//! What a bucket is, as its administrator reads it. What cannot be read is an error, never a default: a policy that was
//! not shown may be public.

use reqwest::Method;

use super::super::s3::{S3Answer, S3Client, S3Error, S3Key, S3Request};
use super::access::{Divided, acl_is_public, divide};
use super::lifecycle::{self, Effects};

/// A bucket that exists.
#[derive(Debug)]
pub(super) struct State {
    /// Its policy, if it has one.
    pub(super) policy: Option<Divided>,
    /// Whether its ACL grants everybody something; servers without ACLs grant nobody anything.
    pub(super) acl_is_public: bool,
    pub(super) lifecycle: Effects,
    /// Whether versions are kept; nothing on a server that knows none.
    pub(super) versioning: Option<bool>,
}

/// Reads as the administrator.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) client: &'a S3Client,
    pub(super) key: &'a S3Key,
    pub(super) bucket: &'a str,
}

impl Reader<'_> {
    /// The bucket as it is, or nothing when there is none; what cannot be read, in words.
    pub(super) async fn state(&self) -> Result<Option<State>, String> {
        if !self.exists().await? {
            return Ok(None);
        }
        Ok(Some(State {
            policy: self.policy().await?,
            acl_is_public: self.acl().await?,
            lifecycle: self.lifecycle().await?,
            versioning: self.versioning().await?,
        }))
    }

    async fn exists(&self) -> Result<bool, String> {
        let answer = self.send(S3Request::bucket(Method::HEAD, self.bucket)).await.map_err(|e| e.to_string())?;
        match answer.status() {
            200 => Ok(true),
            404 => Ok(false),
            // HEAD has no body, and so no code.
            403 => Err("HTTP 403: it belongs to somebody else, or the bootstrap key may not see it".to_owned()),
            _ => Err(format!("asking for the bucket: {}", answer.told())),
        }
    }

    async fn policy(&self) -> Result<Option<Divided>, String> {
        let answer = self.get("policy").await?;
        match answer.status() {
            200 => divide(answer.body()).map(Some).map_err(str::to_owned),
            // Some servers answer 204 for none.
            204 => Ok(None),
            404 if answer.code().as_deref() == Some("NoSuchBucketPolicy") => Ok(None),
            _ if is_unknown_to_server(&answer) => Ok(None),
            _ => Err(format!("reading the bucket policy: {}", answer.told())),
        }
    }

    async fn acl(&self) -> Result<bool, String> {
        let answer = self.get("acl").await?;
        match answer.status() {
            200 => {
                answer.xml("AccessControlPolicy").map(|acl| acl_is_public(&acl)).map_err(|what| about("the ACL", what))
            }
            // Ownership is enforced, so that there are no ACLs; or the server has none.
            400 if answer.code().as_deref() == Some("AccessControlListNotSupported") => Ok(false),
            _ if is_unknown_to_server(&answer) => Ok(false),
            _ => Err(format!("reading the ACL: {}", answer.told())),
        }
    }

    pub(super) async fn lifecycle(&self) -> Result<Effects, String> {
        let answer = self.get("lifecycle").await?;
        match answer.status() {
            200 => {
                let document = answer.xml("LifecycleConfiguration").map_err(|what| about("the lifecycle", what))?;
                lifecycle::read(&document).map_err(|what| about("the lifecycle", what))
            }
            404 if answer.code().as_deref() == Some("NoSuchLifecycleConfiguration") => Ok(Effects::new()),
            _ => Err(format!("reading the lifecycle: {}", answer.told())),
        }
    }

    async fn versioning(&self) -> Result<Option<bool>, String> {
        let answer = self.get("versioning").await?;
        match answer.status() {
            200 => {
                let document = answer.xml("VersioningConfiguration").map_err(|what| about("versioning", what))?;
                Ok(Some(document.text_of("Status") == Some("Enabled")))
            }
            _ if is_unknown_to_server(&answer) => Ok(None),
            _ => Err(format!("reading versioning: {}", answer.told())),
        }
    }

    async fn get(&self, what: &str) -> Result<S3Answer, String> {
        let request = S3Request::bucket(Method::GET, self.bucket).query(&[(what, "")]);
        self.send(request).await.map_err(|error| format!("reading {what}: {error}"))
    }

    pub(super) async fn send(&self, request: S3Request) -> Result<S3Answer, S3Error> {
        self.client.send(self.key, &request).await
    }
}

fn about(what: &str, problem: &str) -> String {
    format!("reading {what}: {problem}")
}

/// The server does not know this part of S3 at all.
fn is_unknown_to_server(answer: &S3Answer) -> bool {
    answer.status() == 501 || answer.code().as_deref() == Some("NotImplemented")
}
