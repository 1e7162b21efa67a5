//! Applying a plan, and nothing that is not in it; then reading everything back. One failure never hides another: every
//! bucket has its step in the report.

use futures::StreamExt;
use futures::stream;
use reqwest::Method;
use tokio_util::sync::CancellationToken;

use super::super::s3::S3Request;
use super::change::Kind;
use super::lifecycle::{self, Effects};
use super::state::Reader;
use super::{AT_ONCE, Bootstrap, BucketPlan, Change, Plan};
use crate::policy::Bucket;

/// What became of a plan.
#[derive(Debug)]
pub struct Report {
    /// One for each bucket, in the order of the file, and one for each parent user.
    pub steps: Vec<Step>,
}

/// What became of one bucket, or of a parent user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// `bucket recordings`, `user stint-parent`.
    pub name: String,
    /// What was changed, one line each.
    pub applied: Vec<String>,
    /// What strangers, or the parent, were refused.
    pub refused: Vec<&'static str>,
    /// What failed, or is not as wanted now. Empty: it is as wanted, read back.
    pub problems: Vec<String>,
}

impl Report {
    /// Whether everything is as wanted, read back.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.steps.iter().all(|step| step.problems.is_empty())
    }
}

impl Step {
    pub(super) fn new(name: String) -> Self {
        Self { name, applied: Vec::new(), refused: Vec::new(), problems: Vec::new() }
    }
}

impl Bootstrap {
    /// Applies `plan` and tells each step as it ends. Once `interrupted`, nothing more is begun; what is under way ends.
    pub async fn apply(&self, plan: &Plan, interrupted: &CancellationToken, mut told: impl FnMut(&Step)) -> Report {
        let steps = stream::iter(self.buckets.iter().zip(&plan.buckets)).map(|(bucket, plan)| async move {
            if interrupted.is_cancelled() {
                return not_begun(format!("bucket {}", bucket.name()));
            }
            self.apply_bucket(bucket, plan).await
        });
        let mut steps = std::pin::pin!(steps.buffered(AT_ONCE));
        let mut report = Report { steps: Vec::with_capacity(self.buckets.len() + 1) };
        while let Some(step) = steps.next().await {
            told(&step);
            report.steps.push(step);
        }
        for (parent, plan) in self.parents.iter().zip(&plan.parents) {
            let step =
                if interrupted.is_cancelled() { not_begun(plan.name()) } else { self.apply_parent(parent, plan).await };
            told(&step);
            report.steps.push(step);
        }
        report
    }

    async fn apply_bucket(&self, bucket: &Bucket, plan: &BucketPlan) -> Step {
        let mut step = Step::new(format!("bucket {}", bucket.name()));
        let reader = self.reader(bucket);
        let changes = match &plan.changes {
            Ok(changes) => changes,
            Err(unknown) => {
                step.problems.push(unknown.clone());
                return step;
            }
        };
        for change in changes {
            match reader.apply(change).await {
                Ok(()) => step.applied.extend(change.lines()),
                Err(problem) => {
                    step.problems.push(format!("{change}: {problem}"));
                    // Nothing can be set on a bucket that is not there.
                    if change.0 == Kind::Create {
                        return step;
                    }
                }
            }
        }
        // The server's yes is worth nothing; only what it says when asked again is.
        let now = self.plan_bucket(bucket).await;
        match now.changes {
            Ok(left) => step.problems.extend(left.iter().map(|change| format!("read back, still to do: {change}"))),
            Err(unknown) => step.problems.push(format!("read back: {unknown}")),
        }
        let proof = reader.prove_private(&self.run.simple().to_string()).await;
        step.refused = proof.refused;
        step.problems.extend(proof.problems);
        step
    }
}

fn not_begun(name: String) -> Step {
    Step { problems: vec!["not begun: interrupted".to_owned()], ..Step::new(name) }
}

impl Reader<'_> {
    pub(super) async fn apply(&self, change: &Change) -> Result<(), String> {
        match &change.0 {
            Kind::Create => self.create().await,
            Kind::ClosePolicy { public: _, rest: Some(rest) } => {
                self.must(S3Request::bucket(Method::PUT, self.bucket).query(&[("policy", "")]).document(rest)).await
            }
            Kind::ClosePolicy { public: _, rest: None } => {
                self.must(S3Request::bucket(Method::DELETE, self.bucket).query(&[("policy", "")])).await
            }
            Kind::CloseAcl => {
                let request = S3Request::bucket(Method::PUT, self.bucket).query(&[("acl", "")]);
                self.must(request.header("x-amz-acl", "private")).await
            }
            Kind::Lifecycle { from: _, to } => self.set_lifecycle(to).await,
            Kind::Versioning { to } => {
                let status = if *to { "Enabled" } else { "Suspended" };
                let document = format!(
                    "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>{status}</Status>\
                     </VersioningConfiguration>"
                );
                let request = S3Request::bucket(Method::PUT, self.bucket).query(&[("versioning", "")]);
                self.must(request.document(&document)).await
            }
        }
    }

    async fn create(&self) -> Result<(), String> {
        let region = self.client.region();
        let mut request = S3Request::bucket(Method::PUT, self.bucket);
        // The one region that must not be named.
        if region != "us-east-1" {
            let document = format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{region}\
                 </LocationConstraint></CreateBucketConfiguration>"
            );
            request = request.document(&document);
        }
        self.must(request).await
    }

    async fn set_lifecycle(&self, to: &Effects) -> Result<(), String> {
        let query = [("lifecycle", "")];
        if to.is_empty() {
            return self.must(S3Request::bucket(Method::DELETE, self.bucket).query(&query)).await;
        }
        let document = lifecycle::write(to);
        self.must(S3Request::bucket(Method::PUT, self.bucket).query(&query).document(&document)).await
    }

    async fn must(&self, request: S3Request) -> Result<(), String> {
        match self.send(request).await {
            Ok(answer) if answer.is_success() => Ok(()),
            Ok(answer) => Err(answer.told()),
            Err(error) => Err(error.to_string()),
        }
    }
}
