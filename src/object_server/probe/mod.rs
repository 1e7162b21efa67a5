//! Probes: harmless requests that tell whether a server holds a session to its policy, or still knows it at all. A probe is
//! derived from the session policy and proven by our own evaluator to be allowed, or not, by it; it reads, and never writes.
//! A request whose answer could mean either is no probe.

mod answer;
mod derive;
mod judge;

use std::fmt;

use aws_lc_rs::rand::fill;
use reqwest::Method;

pub use answer::{ProbeAnswer, Prober};

use super::s3::S3Request;

/// What probes look for: a name that nobody is likely to have used. Whether it is there changes no answer.
const NAME: &str = "stint-probe";
const PREFIX: &str = "s3:prefix";
const DELIMITER: &str = "s3:delimiter";
const MAX_KEYS: &str = "s3:max-keys";

/// One request that reads, and what its answer means.
#[derive(Debug, Clone)]
pub struct Probe {
    request: S3Request,
    /// The right that it takes.
    action: &'static str,
    /// `bucket` or `bucket/key`.
    path: String,
    /// The condition keys that it sends.
    context: Vec<(&'static str, String)>,
    /// The roots of the documents that servers send which allow it.
    documents: &'static [&'static str],
    /// What a server that allows it says when nothing is there.
    absent: Option<&'static str>,
}

impl Probe {
    /// A request that `session_policy` allows, whatever the server knows of the request that is not known here (the address
    /// it comes from, say). `session_policy` is the text that was sent with the mint; `buckets` are known to be there, and
    /// are asked before others that the policy names.
    ///
    /// `None` if the policy allows no read whose answer can be told apart. Of an object alone: without `s3:ListBucket` a
    /// server may answer 403 both for an object that is not there and for one that may not be read.
    #[must_use]
    pub fn inside(session_policy: &str, buckets: &[&str]) -> Option<Self> {
        derive::inside(session_policy, buckets)
    }

    /// A request that `session_policy` does not allow: a listing of another bucket or of another prefix. Where all of
    /// `buckets` may be listed, of a bucket that is nowhere: some servers say so to anybody, which is
    /// [`ProbeAnswer::NotThere`] and proves nothing.
    ///
    /// `None` if the policy allows every listing.
    #[must_use]
    pub fn outside(session_policy: &str, buckets: &[&str]) -> Option<Self> {
        derive::outside(session_policy, buckets, &nowhere()?)
    }

    fn list(bucket: &str, prefix: &str, delimiter: Option<&str>) -> Self {
        let mut query = vec![("list-type", "2"), ("max-keys", "1"), ("prefix", prefix)];
        query.extend(delimiter.map(|delimiter| ("delimiter", delimiter)));
        Self {
            request: S3Request::bucket(Method::GET, bucket).query(&query),
            action: "s3:ListBucket",
            path: bucket.to_owned(),
            context: sent(&query),
            documents: &["ListBucketResult"],
            absent: None,
        }
    }

    fn location(bucket: &str) -> Self {
        Self {
            request: S3Request::bucket(Method::GET, bucket).query(&[("location", "")]),
            action: "s3:GetBucketLocation",
            path: bucket.to_owned(),
            context: Vec::new(),
            // The second is SeaweedFS's.
            documents: &["LocationConstraint", "CreateBucketConfiguration"],
            absent: None,
        }
    }

    fn uploads(bucket: &str, prefix: &str) -> Self {
        let query = [("uploads", ""), ("max-uploads", "1"), ("prefix", prefix)];
        Self {
            request: S3Request::bucket(Method::GET, bucket).query(&query),
            action: "s3:ListBucketMultipartUploads",
            path: bucket.to_owned(),
            context: sent(&query),
            documents: &["ListMultipartUploadsResult"],
            absent: None,
        }
    }

    /// The parts of an upload that nobody began: who may ask learns that there is none, who may not learns nothing.
    /// Ceph says to anybody that the object is not there.
    fn parts(bucket: &str, key: &str) -> Self {
        Self {
            request: S3Request::object(Method::GET, bucket, key).query(&[("uploadId", NAME)]),
            action: "s3:ListMultipartUploadParts",
            path: format!("{bucket}/{key}"),
            context: Vec::new(),
            documents: &["ListPartsResult"],
            absent: Some("NoSuchUpload"),
        }
    }
}

/// The condition keys among the parameters.
fn sent(query: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let key =
        |name| [("prefix", PREFIX), ("delimiter", DELIMITER), ("max-keys", MAX_KEYS)].into_iter().find(|k| k.0 == name);
    query.iter().filter_map(|(name, value)| Some((key(*name)?.1, (*value).to_owned()))).collect()
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.action, self.path)?;
        self.context.iter().filter(|(key, _)| *key == PREFIX).try_for_each(|(_, prefix)| write!(f, " below {prefix}"))
    }
}

/// A bucket that is nowhere. Drawn: where buckets are the world's, a name known beforehand could be taken by somebody who
/// opens it to everybody, and every role would seem to leak.
fn nowhere() -> Option<String> {
    let mut bytes = [0; 12];
    fill(&mut bytes).ok()?;
    Some(format!("{NAME}-{}", hex::encode(bytes)))
}

#[cfg(test)]
mod tests;
