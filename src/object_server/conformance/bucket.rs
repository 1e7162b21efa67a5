//! A bucket of this run's own: born private, and with a lifecycle that is kept. Making one needs an administrator's key.

use super::super::bootstrap::Scratch;
use super::Run;
use super::check::{Verdict, judged};

const NO_KEY: &str = "object_server.bootstrap.access_key is not set, and only an administrator makes buckets";

impl Run<'_> {
    pub(super) async fn new_bucket_is_private(&mut self) -> Verdict {
        let Some(key) = &self.subject.administrator else { return Verdict::not_applicable(NO_KEY) };
        let run = self.subject.run.simple().to_string();
        let name = self.scratch_name();
        // Before it is asked for: from here on it may exist.
        self.scratch = Some(name.clone());
        let scratch = Scratch { client: &self.subject.client, key, bucket: &name };
        judged(
            scratch.make_private(&run).await.map(|()| "strangers may not list, read or write in it".to_owned()),
            "`stint object-server bootstrap` proves the same of each bucket of buckets.toml, and makes them private",
        )
    }

    pub(super) async fn lifecycle(&self) -> Verdict {
        let (Some(key), Some(name)) = (&self.subject.administrator, &self.scratch) else {
            return Verdict::not_applicable(NO_KEY);
        };
        let scratch = Scratch { client: &self.subject.client, key, bucket: name };
        judged(
            scratch.keep_lifecycle(self.subject.traits.bootstrap).await,
            "objects will not be removed when buckets.toml says so",
        )
    }
}
