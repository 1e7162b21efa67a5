//! The gate in front of every S3 operation: whose signature, with which session token, and whether the session policy
//! allows what is asked. What it does not know it refuses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ConnectInfo;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{Credentials, S3Auth, SecretKey};
use s3s::dto::{
    AbortMultipartUploadInput, CompleteMultipartUploadInput, CopyObjectInput, CopySource, CreateMultipartUploadInput,
    DeleteObjectsInput, ListObjectsInput, ListObjectsV2Input, ListPartsInput, UploadPartCopyInput, UploadPartInput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};
use secrecy::ExposeSecret;

use super::operation::{self, Question};
use super::sessions::{Caller, Sessions};
use crate::policy::{AccessCheck, Verdict, evaluate};

const TOKEN: &str = "x-amz-security-token";
const PRESIGNED_TOKEN: &str = "X-Amz-Security-Token";

/// Authentication and authorization over the minted sessions.
pub(super) struct Gate {
    sessions: Arc<Sessions>,
}

/// Who asks and in which context, for the checks that need the parsed request.
#[derive(Clone)]
struct Asking {
    caller: Caller,
    context: Arc<BTreeMap<String, Vec<String>>>,
}

impl Gate {
    pub(super) fn new(sessions: Arc<Sessions>) -> Self {
        Self { sessions }
    }

    /// s3s-fs ties an upload to the key that began it. MinIO ties it to the parent, so that a holder whose lease was
    /// renewed half-way can finish.
    fn as_parent<T>(&self, request: &mut S3Request<T>) {
        if let Some(Credentials { access_key, .. }) = &mut request.credentials {
            self.sessions.parent_access_key().clone_into(access_key);
        }
    }
}

#[async_trait::async_trait]
impl S3Auth for Gate {
    /// An expired key is unknown, as at MinIO.
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let secret = self.sessions.secret_key(access_key).ok_or_else(|| s3_error!(InvalidAccessKeyId))?;
        Ok(SecretKey::from(secret.expose_secret()))
    }
}

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = cx.credentials() else { return Err(s3_error!(AccessDenied, "Access Denied.")) };
        let parameters = operation::parameters(cx.uri().query().unwrap_or(""))
            .ok_or_else(|| s3_error!(InvalidRequest, "A query parameter occurs twice"))?;
        // Version 2, which boto3 still presigns with unless told otherwise, signs neither the body nor most headers.
        let header = |name| cx.headers().get(name).and_then(|value| value.to_str().ok());
        let presigned = parameters.contains_key("X-Amz-Signature");
        if !presigned && !header("authorization").is_some_and(|given| given.starts_with("AWS4-HMAC-SHA256")) {
            return Err(s3_error!(AccessDenied, "Only Signature Version 4 is accepted"));
        }
        let caller = self.sessions.caller(&credentials.access_key).ok_or_else(|| s3_error!(InvalidAccessKeyId))?;
        let token = if presigned { parameters.get(PRESIGNED_TOKEN).map(String::as_str) } else { header(TOKEN) };
        check_token(&caller, token)?;

        let keys = [parameters.get("prefix").map(String::as_str), cx.s3_path().as_object().map(|(_, key)| key)];
        if !keys.into_iter().flatten().all(operation::is_plain_key) {
            return Err(not_a_plain_key());
        }
        // The store cuts a listing after the first byte of the delimiter.
        if parameters.get("delimiter").is_some_and(|delimiter| delimiter.len() > 1) {
            return Err(s3_error!(InvalidArgument, "The delimiter must be one ASCII character"));
        }

        let question = operation::question(cx.s3_op().name(), cx.s3_path());
        let is_bulk_deletion = cx.s3_op().name() == "DeleteObjects";
        let address = cx.extensions_mut().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_string());
        let asking = Asking { caller, context: Arc::new(operation::context(&parameters, address)) };
        match question {
            Some(question) => asking.may(&question)?,
            None if is_bulk_deletion => {}
            None => return Err(s3_error!(AccessDenied, "Access Denied.")),
        }
        cx.extensions_mut().insert(asking);
        Ok(())
    }

    async fn copy_object(&self, request: &mut S3Request<CopyObjectInput>) -> S3Result<()> {
        let source = request.input.copy_source.clone();
        may_copy(request, &source)
    }

    async fn upload_part_copy(&self, request: &mut S3Request<UploadPartCopyInput>) -> S3Result<()> {
        self.as_parent(request);
        let source = request.input.copy_source.clone();
        may_copy(request, &source)
    }

    /// One key that may not be deleted refuses them all: stricter than MinIO, which answers key by key.
    async fn delete_objects(&self, request: &mut S3Request<DeleteObjectsInput>) -> S3Result<()> {
        let asking = Asking::of(request)?;
        for object in &request.input.delete.objects {
            if !operation::is_plain_key(&object.key) {
                return Err(not_a_plain_key());
            }
            asking.may(&operation::delete(&request.input.bucket, &object.key))?;
        }
        Ok(())
    }

    async fn list_objects(&self, request: &mut S3Request<ListObjectsInput>) -> S3Result<()> {
        request.input.delimiter.take_if(|delimiter| delimiter.is_empty());
        Ok(())
    }

    async fn list_objects_v2(&self, request: &mut S3Request<ListObjectsV2Input>) -> S3Result<()> {
        request.input.delimiter.take_if(|delimiter| delimiter.is_empty());
        Ok(())
    }

    async fn create_multipart_upload(&self, request: &mut S3Request<CreateMultipartUploadInput>) -> S3Result<()> {
        self.as_parent(request);
        Ok(())
    }

    async fn upload_part(&self, request: &mut S3Request<UploadPartInput>) -> S3Result<()> {
        self.as_parent(request);
        Ok(())
    }

    async fn list_parts(&self, request: &mut S3Request<ListPartsInput>) -> S3Result<()> {
        self.as_parent(request);
        Ok(())
    }

    async fn complete_multipart_upload(&self, request: &mut S3Request<CompleteMultipartUploadInput>) -> S3Result<()> {
        self.as_parent(request);
        Ok(())
    }

    async fn abort_multipart_upload(&self, request: &mut S3Request<AbortMultipartUploadInput>) -> S3Result<()> {
        self.as_parent(request);
        Ok(())
    }
}

impl Asking {
    /// The one that [`Gate::check`] left; a request that never passed it has none.
    fn of<T>(request: &S3Request<T>) -> S3Result<Self> {
        request.extensions.get::<Self>().cloned().ok_or_else(|| s3_error!(AccessDenied, "Access Denied."))
    }

    fn may(&self, question: &Question) -> S3Result<()> {
        let policy = match &self.caller {
            Caller::Parent => return Ok(()),
            Caller::Session(session) => session.policy.as_ref(),
        };
        let check = AccessCheck { action: question.action, resource: &question.resource, context: &self.context };
        match policy.map_or(Verdict::Allowed, |policy| evaluate(policy, &check)) {
            Verdict::Allowed => Ok(()),
            Verdict::Denied | Verdict::NotAllowed => Err(s3_error!(AccessDenied, "Access Denied.")),
        }
    }
}

/// A session's key is worth nothing without its token, and a token nothing with the parent's key.
fn check_token(caller: &Caller, token: Option<&str>) -> S3Result<()> {
    let matches = match (caller, token) {
        (Caller::Parent, None) => true,
        (Caller::Parent, Some(_)) | (Caller::Session(_), None) => false,
        (Caller::Session(session), Some(token)) => session.has_token(token),
    };
    if matches { Ok(()) } else { Err(invalid_token()) }
}

/// MinIO's own code and status (`cmd/auth-handler.go`); AWS says `InvalidToken` with 400.
fn invalid_token() -> S3Error {
    let mut error = S3Error::with_message(
        S3ErrorCode::Custom("InvalidTokenId".into()),
        "The security token included in the request is invalid",
    );
    error.set_status_code(axum::http::StatusCode::FORBIDDEN);
    error
}

fn not_a_plain_key() -> S3Error {
    s3_error!(InvalidArgument, "An object's name must not hold empty segments, \".\" or \"..\"")
}

fn may_copy<T>(request: &S3Request<T>, source: &CopySource) -> S3Result<()> {
    match source {
        CopySource::Bucket { bucket, key, .. } if operation::is_plain_key(key) => {
            Asking::of(request)?.may(&operation::read(bucket, key))
        }
        CopySource::Bucket { .. } => Err(not_a_plain_key()),
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => Err(s3_error!(NotImplemented)),
    }
}
