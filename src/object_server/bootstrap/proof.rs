//! That a bucket is private, proven over the wire: a stranger lists, reads and writes, and is refused each time. An answer
//! that is neither a refusal nor a success proves nothing, and says so.

use reqwest::Method;

use super::super::s3::{S3Answer, S3Error, S3Request};
use super::state::Reader;

/// What strangers tried on one bucket.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What was refused to them: `list`, `read`, `write`.
    pub refused: Vec<&'static str>,
    /// What was not, or could not be tried.
    pub problems: Vec<String>,
}

impl Proof {
    fn judge(&mut self, deed: &'static str, answer: &Result<S3Answer, S3Error>) {
        match answer {
            Ok(answer) if answer.is_refusal() => self.refused.push(deed),
            Ok(answer) if answer.is_success() => {
                self.problems.push(format!("PUBLIC: a stranger may {deed} ({})", answer.told()));
            }
            Ok(answer) => self.problems.push(format!(
                "not proven private: a stranger's {deed} was answered {}, which is no refusal",
                answer.told()
            )),
            Err(error) => self.problems.push(format!("not proven private: a stranger's {deed}: {error}")),
        }
    }
}

impl Reader<'_> {
    /// Tries. Writes one small object below `stint-probe/`, and removes it.
    pub(super) async fn prove_private(&self, run: &str) -> Proof {
        let mut proof = Proof::default();
        let list = S3Request::bucket(Method::GET, self.bucket).query(&[("list-type", "2"), ("max-keys", "1")]);
        proof.judge("list", &self.client.send_unsigned(&list).await);

        // An object that is there: of an absent one a server may say 403 although reading is open to everybody.
        let name = format!("stint-probe/{run}");
        let put = self.send(S3Request::object(Method::PUT, self.bucket, &name).body(*b"probe")).await;
        match &put {
            Ok(answer) if answer.is_success() => {
                let read = S3Request::object(Method::GET, self.bucket, &name);
                proof.judge("read", &self.client.send_unsigned(&read).await);
            }
            Ok(answer) => proof
                .problems
                .push(format!("not proven private: no object could be written to try reading it ({})", answer.told())),
            Err(error) => proof.problems.push(format!("not proven private: no object could be written: {error}")),
        }
        // Also after an error: it may have been written.
        if !put.as_ref().is_ok_and(S3Answer::is_refusal) {
            self.remove(&name, put.as_ref().ok(), &mut proof).await;
        }

        let strange = format!("{name}-stranger");
        let write = S3Request::object(Method::PUT, self.bucket, &strange).body(*b"probe");
        let written = self.client.send_unsigned(&write).await;
        proof.judge("write", &written);
        if !written.as_ref().is_ok_and(S3Answer::is_refusal) {
            self.remove(&strange, written.as_ref().ok(), &mut proof).await;
        }
        proof
    }

    /// Removes the very version that was written, so that a bucket that keeps versions keeps none of ours.
    async fn remove(&self, name: &str, put: Option<&S3Answer>, proof: &mut Proof) {
        let mut request = S3Request::object(Method::DELETE, self.bucket, name);
        if let Some(version) = put.and_then(|answer| answer.header("x-amz-version-id")) {
            request = request.query(&[("versionId", version)]);
        }
        match self.send(request).await {
            Ok(answer) if answer.is_success() || answer.status() == 404 => {}
            Ok(answer) => proof.problems.push(format!("{name} could not be removed ({})", answer.told())),
            Err(error) => proof.problems.push(format!("{name} could not be removed: {error}")),
        }
    }
}
