//! Two leases, minted as any other: planned, on record, sent, believed only in part, concluded.

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::super::TemporaryCredentials;
use super::super::s3::S3Key;
use super::Run;
use super::check::{Tried, Verdict};
use crate::audit::Outcome;
use crate::lease::{AssumeRole, BucketRights, LeaseId, Rights, plan_verification};
use crate::policy::Document;

/// A lease of this run.
#[derive(Debug)]
pub(super) struct Minted {
    pub(super) lease: LeaseId,
    pub(super) key: S3Key,
    /// Its end, as the server said it.
    pub(super) expiration: OffsetDateTime,
    /// When it was asked for, and for how long.
    pub(super) asked_at: OffsetDateTime,
    pub(super) asked: Duration,
    /// How long the mint took.
    pub(super) took: Duration,
}

impl Run<'_> {
    pub(super) async fn mint_two(&mut self) -> Result<(Minted, Minted, Verdict), Verdict> {
        const ADVICE: &str = "no lease can be had at all: the reason is the server's own, or the log's";
        let failed = |seen: String| Verdict::failed(seen, ADVICE);
        let one = self.mint().await.map_err(failed)?;
        let other = self.mint().await.map_err(failed)?;
        if one.key.access_key() == other.key.access_key() {
            return Err(failed("two mints gave the same key".to_owned()));
        }
        let seen = format!("two leases, on record, in {} and {} ms", one.took.as_millis(), other.took.as_millis());
        Ok((one, other, Verdict::passed(seen)))
    }

    async fn mint(&mut self) -> Tried<Minted> {
        let subject = self.subject;
        let assume_role = self.plan()?;
        // Before anything is sent: from here on it may exist.
        self.leases.push(assume_role.lease_id());
        let receipt = subject.log.intend_verification(&assume_role, subject.run).await;
        let receipt = receipt.map_err(|error| format!("the log: {error}"))?;
        let begun = subject.clock.elapsed();
        let minted = subject.server.assume_role(&receipt, &assume_role).await;
        let took = subject.clock.elapsed().saturating_sub(begun);
        let outcome = match &minted {
            Ok(TemporaryCredentials { access_key_id, expiration, .. }) => Outcome::Issued {
                key_fingerprint: subject.fingerprints.fingerprint(access_key_id.expose()),
                ends_at: *expiration,
            },
            Err(error) => Outcome::Failed { reason: error.code() },
        };
        subject.log.conclude(receipt, outcome).await.map_err(|error| format!("the log: {error}"))?;
        let credentials = minted.map_err(|error| error.to_string())?;
        self.keys.push(S3Key::leased(&credentials));
        Ok(Minted {
            lease: assume_role.lease_id(),
            key: S3Key::leased(&credentials),
            expiration: credentials.expiration,
            asked_at: assume_role.issued_at(),
            asked: assume_role.duration(),
            took,
        })
    }

    fn plan(&self) -> Tried<AssumeRole> {
        let document = self.document()?;
        let mut rng = self.subject.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let capabilities = self.subject.server.capabilities();
        plan_verification(&document, capabilities, self.subject.clock.now(), &mut *rng)
            .map(|planned| planned.under(self.subject.parent_id))
            .map_err(|error| error.to_string())
    }

    /// Everything below `inside/`, and nothing else; where leases hold whole buckets, this one.
    fn document(&self) -> Tried<Document> {
        let document = match self.subject.server.capabilities().rights {
            Rights::SessionPolicy => self.below_inside(),
            Rights::WholeBuckets(rights) => self.whole_bucket(rights),
        };
        Document::parse(document.to_string().as_bytes()).map_err(|faults| faults.join("; "))
    }

    fn whole_bucket(&self, BucketRights { read, write, .. }: BucketRights) -> Value {
        let bucket = format!("arn:aws:s3:::{}", self.subject.bucket);
        let objects = format!("{bucket}/*");
        let statements = [
            (read.on_bucket, &bucket),
            (write.on_bucket, &bucket),
            (read.on_objects, &objects),
            (write.on_objects, &objects),
        ];
        let statements = statements.into_iter().filter(|(actions, _)| !actions.is_empty());
        let statements: Vec<Value> = statements
            .map(|(actions, resource)| json!({"Effect": "Allow", "Action": actions, "Resource": [resource]}))
            .collect();
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    fn below_inside(&self) -> Value {
        let (bucket, inside) = (&self.subject.bucket, self.inside("*"));
        json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow",
             "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload",
                        "s3:ListMultipartUploadParts"],
             "Resource": [format!("arn:aws:s3:::{bucket}/{inside}")]},
            {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [format!("arn:aws:s3:::{bucket}")],
             "Condition": {"StringLike": {"s3:prefix": [inside]}}},
        ]})
    }
}
