//! The plan: what is there compared with what is wanted. Making one changes nothing.

use futures::StreamExt;
use futures::stream;

use super::change::Kind;
use super::lifecycle;
use super::parent::ParentPlan;
use super::state::{Reader, State};
use super::{AT_ONCE, Bootstrap, Change, Traits};
use crate::policy::Bucket;

/// What a run would change.
#[derive(Debug)]
pub struct Plan {
    pub(super) buckets: Vec<BucketPlan>,
    pub(super) parents: Vec<ParentPlan>,
}

/// The same for one bucket.
#[derive(Debug)]
pub struct BucketPlan {
    pub(super) name: String,
    /// The changes, or why they are not known.
    pub(super) changes: Result<Vec<Change>, String>,
    /// What the server cannot do, or does by itself.
    pub(super) notes: Vec<String>,
}

impl Plan {
    /// The buckets, in the order of the file.
    #[must_use]
    pub fn buckets(&self) -> &[BucketPlan] {
        &self.buckets
    }

    /// Each parent user that is wanted, with its changes, one line each, or why they are not known.
    pub fn parents(&self) -> impl Iterator<Item = (String, Result<Vec<String>, &str>)> {
        self.parents.iter().map(|parent| (format!("parent {}", parent.name()), parent.lines()))
    }

    /// Whether everything is as wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let no_parent_change = self.parents().all(|(_, lines)| lines.is_ok_and(|lines| lines.is_empty()));
        no_parent_change && self.buckets.iter().all(|bucket| bucket.changes.as_ref().is_ok_and(Vec::is_empty))
    }

    /// Whether something could not be read.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.parents().any(|(_, lines)| lines.is_err()) || self.buckets.iter().any(|bucket| bucket.changes.is_err())
    }
}

impl BucketPlan {
    /// The bucket.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its changes, or why they are not known.
    pub fn changes(&self) -> Result<&[Change], &str> {
        self.changes.as_deref().map_err(String::as_str)
    }

    /// What the server cannot do, or does by itself.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl Bootstrap {
    /// Reads what is there; changes nothing.
    pub async fn plan(&self) -> Plan {
        let plans = stream::iter(&self.buckets).map(|bucket| self.plan_bucket(bucket)).buffered(AT_ONCE);
        let (buckets, parents) = futures::join!(plans.collect(), self.plan_parents());
        Plan { buckets, parents }
    }

    pub(super) async fn plan_bucket(&self, bucket: &Bucket) -> BucketPlan {
        let reader = self.reader(bucket);
        let state = reader.state().await;
        let notes = notes(bucket, self.traits, state.as_ref().ok().and_then(Option::as_ref));
        BucketPlan {
            name: bucket.name().to_owned(),
            changes: state.map(|state| changes(bucket, self.traits, state.as_ref())),
            notes,
        }
    }

    pub(super) fn reader<'a>(&'a self, bucket: &'a Bucket) -> Reader<'a> {
        Reader { client: &self.client, key: &self.key, bucket: bucket.name() }
    }
}

fn changes(bucket: &Bucket, traits: Traits, state: Option<&State>) -> Vec<Change> {
    let mut changes = Vec::new();
    if state.is_none() {
        changes.push(Kind::Create);
    }
    let policy = state.and_then(|state| state.policy.as_ref()).filter(|policy| !policy.public.is_empty());
    changes.extend(policy.map(|policy| Kind::ClosePolicy { public: policy.public.clone(), rest: policy.rest.clone() }));
    if state.is_some_and(|state| state.acl_is_public) {
        changes.push(Kind::CloseAcl);
    }
    // Before the lifecycle, which speaks of versions.
    let versioned = state.is_some_and(|state| state.versioning == Some(true));
    if let Some(to) = bucket.versioning().filter(|wanted| *wanted != versioned) {
        changes.push(Kind::Versioning { to });
    }
    let (from, to) =
        (state.map(|state| state.lifecycle.clone()).unwrap_or_default(), lifecycle::wanted(bucket, traits));
    if from != to {
        changes.push(Kind::Lifecycle { from, to });
    }
    changes.into_iter().map(Change).collect()
}

fn notes(bucket: &Bucket, traits: Traits, state: Option<&State>) -> Vec<String> {
    let mut notes = Vec::new();
    if !traits.removes_uploads_by_rule {
        notes.push(format!(
            "abort_multipart_days = {}: this server takes no such rule; it removes unfinished uploads by itself (MinIO: \
             after `api stale_uploads_expiry`, 24 h unless changed)",
            bucket.abort_multipart_days()
        ));
    }
    if bucket.versioning().is_none() && state.is_some_and(|state| state.versioning == Some(true)) {
        notes.push(
            "it keeps versions: an expired object is hidden, not gone, unless versioning is in the file".to_owned(),
        );
    }
    notes
}
