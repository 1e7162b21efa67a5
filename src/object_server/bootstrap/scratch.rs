//! The same steps on a bucket of a verification's own, by the same code.

use super::super::s3::{S3Client, S3Key};
use super::change::Kind;
use super::lifecycle;
use super::state::Reader;
use super::{Change, Traits};

/// A bucket that is made to be tried, and removed by whoever made it.
#[derive(Debug)]
pub(in crate::object_server) struct Scratch<'a> {
    pub(in crate::object_server) client: &'a S3Client,
    pub(in crate::object_server) key: &'a S3Key,
    pub(in crate::object_server) bucket: &'a str,
}

impl Scratch<'_> {
    /// Makes it, and tries it as a stranger.
    pub(in crate::object_server) async fn make_private(&self, run: &str) -> Result<(), String> {
        self.reader().apply(&Change(Kind::Create)).await.map_err(|problem| format!("making a bucket: {problem}"))?;
        let proof = self.reader().prove_private(run).await;
        if proof.problems.is_empty() { Ok(()) } else { Err(proof.problems.join("; ")) }
    }

    /// Sets a lifecycle and reads it back.
    pub(in crate::object_server) async fn keep_lifecycle(&self, traits: Traits) -> Result<String, String> {
        let (reader, to) = (self.reader(), lifecycle::example(traits));
        let change = Change(Kind::Lifecycle { from: lifecycle::Effects::new(), to: to.clone() });
        reader.apply(&change).await.map_err(|problem| format!("setting it: {problem}"))?;
        let kept = reader.lifecycle().await?;
        if kept != to {
            return Err("it was taken, and something else was read back".to_owned());
        }
        let told: Vec<String> = to.iter().map(ToString::to_string).collect();
        Ok(format!("kept and read back: {}. That it is carried out was not awaited", told.join(", ")))
    }

    fn reader(&self) -> Reader<'_> {
        Reader { client: self.client, key: self.key, bucket: self.bucket }
    }
}
