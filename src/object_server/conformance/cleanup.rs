//! Nothing stays: objects, their versions, unfinished uploads, the bucket of the run, and its sessions.

use reqwest::Method;

use super::super::s3::{S3Key, S3Request};
use super::Run;
use super::check::{Tried, Verdict};
use super::data::named;

/// Rounds of a hundred; a run makes a handful of objects.
const ROUNDS: usize = 10;

impl Run<'_> {
    /// Ends the leases of this run, where the server can; what is left, one line each.
    pub(super) async fn end_leases(&self) -> Vec<String> {
        let mut left = Vec::new();
        if self.subject.traits.revokes_leases {
            for lease in &self.leases {
                if let Err(error) = self.subject.server.revoke(&self.to_end(*lease)).await {
                    left.push(format!("the lease {lease} could not be ended ({error}); it ends by itself"));
                }
            }
        }
        left
    }

    pub(super) async fn clean_up(&self) -> Verdict {
        let mut left = Vec::new();
        // Without a parent it is the leases that reach the bucket.
        let early = self.subject.parent.is_none();
        if early {
            left.extend(self.clear_ours().await);
        }
        left.extend(self.end_leases().await);
        if !early {
            left.extend(self.clear_ours().await);
        }
        if let (Some(scratch), Some(key)) = (&self.scratch, &self.subject.administrator)
            && let Err(problem) = self.remove_bucket(key, scratch).await
        {
            left.push(format!("the bucket {scratch}: {problem}"));
        }
        if left.is_empty() {
            let leases = self.leases.len();
            Verdict::passed(match leases {
                1.. if !self.subject.traits.revokes_leases => {
                    format!("nothing was left behind but {leases} leases that end by themselves within 15 minutes")
                }
                _ => "nothing was left behind".to_owned(),
            })
        } else {
            Verdict::failed(format!("left behind: {}", left.join("; ")), "remove it by hand")
        }
    }

    /// What could not be cleared.
    async fn clear_ours(&self) -> Option<String> {
        let bucket = &self.subject.bucket;
        let cleared = if self.leases.is_empty() { Ok(()) } else { self.clear(bucket).await };
        cleared.err().map(|problem| format!("{} in {bucket}: {problem}", self.prefix))
    }

    /// As the parent, or as a lease where there is none, and if they may not, as the administrator.
    async fn clear(&self, bucket: &str) -> Tried<()> {
        let leases = if self.subject.parent.is_none() { self.keys.as_slice() } else { &[] };
        let mut cleared = Err("no key may".to_owned());
        for key in self.subject.parent.iter().chain(leases).chain(&self.subject.administrator) {
            cleared = self.clear_as(key, bucket).await;
            if cleared.is_ok() {
                break;
            }
        }
        cleared
    }

    async fn clear_as(&self, key: &S3Key, bucket: &str) -> Tried<()> {
        for _ in 0..ROUNDS {
            let uploads = self.find(key, bucket, ["uploads", "Upload", "UploadId"]).await.unwrap_or_default();
            for (name, id) in &uploads {
                let abort = S3Request::object(Method::DELETE, bucket, name).query(&[("uploadId", id)]);
                self.must(key, "ending an upload", abort).await?;
            }
            let mut found = match self.find(key, bucket, ["versions", "Version", "VersionId"]).await {
                Ok(versions) => versions,
                // A server without versions.
                Err(_) => self.find_plain(key, bucket).await?,
            };
            found.extend(self.find(key, bucket, ["versions", "DeleteMarker", "VersionId"]).await.unwrap_or_default());
            if found.is_empty() && uploads.is_empty() {
                return Ok(());
            }
            for (name, version) in &found {
                let mut delete = S3Request::object(Method::DELETE, bucket, name);
                if !version.is_empty() {
                    delete = delete.query(&[("versionId", version)]);
                }
                self.must(key, "deleting", delete).await?;
            }
        }
        Err("the listing never became empty".to_owned())
    }

    async fn find(&self, key: &S3Key, bucket: &str, what: [&str; 3]) -> Tried<Vec<(String, String)>> {
        let [listing, element, second] = what;
        let query = [(listing, ""), ("prefix", self.prefix.as_str()), (most(listing), "100")];
        let answer = self.must(key, "listing", S3Request::bucket(Method::GET, bucket).query(&query)).await?;
        let root = if listing == "uploads" { "ListMultipartUploadsResult" } else { "ListVersionsResult" };
        let list = answer.xml(root)?;
        Ok(self.ours(named(&list, element, second)))
    }

    async fn find_plain(&self, key: &S3Key, bucket: &str) -> Tried<Vec<(String, String)>> {
        let query = [("list-type", "2"), ("prefix", self.prefix.as_str()), ("max-keys", "100")];
        let answer = self.must(key, "listing", S3Request::bucket(Method::GET, bucket).query(&query)).await?;
        let list = answer.xml("ListBucketResult")?;
        let names = list.all("Contents").filter_map(|object| Some((object.text_of("Key")?, "")));
        Ok(self.ours(names.collect()))
    }

    /// A server that lists what was not asked for must not make us delete it.
    fn ours(&self, found: Vec<(&str, &str)>) -> Vec<(String, String)> {
        let ours = found.into_iter().filter(|(name, _)| name.starts_with(&self.prefix));
        ours.map(|(name, second)| (name.to_owned(), second.to_owned())).collect()
    }

    async fn remove_bucket(&self, key: &S3Key, bucket: &str) -> Tried<()> {
        match self.send(key, S3Request::bucket(Method::DELETE, bucket)).await? {
            answer if answer.is_success() || answer.status() == 404 => Ok(()),
            answer => Err(answer.told()),
        }
    }
}

fn most(listing: &str) -> &'static str {
    if listing == "uploads" { "max-uploads" } else { "max-keys" }
}
