//! What a workload does all day, with a leased key: write, read, read a range, upload in parts, hand out a URL, list.

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::Method;

use super::super::s3::xml::Element;
use super::super::s3::{S3Answer, S3Error, S3Key, S3Request};
use super::Run;
use super::check::{Tried, Verdict, judged};

const ADVICE: &str = "workloads will meet the same: look at what the server says, and at what the parent may do";
/// The smallest part that servers take, but for the last.
const PART: usize = 5 * 1024 * 1024;
const LAST_PART: usize = 1000;

/// Bytes that tell where they are.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..=250_u8).cycle().take(length).collect()
}

impl Run<'_> {
    pub(super) async fn round_trip(&self, key: &S3Key) -> Verdict {
        judged(self.try_round_trip(key).await, ADVICE)
    }

    async fn try_round_trip(&self, key: &S3Key) -> Tried<String> {
        let (name, body) = (self.inside("object a+b"), pattern(1000));
        self.must(key, "writing", self.on(Method::PUT, &name).body(body.clone())).await?;
        let whole = self.must(key, "reading", self.on(Method::GET, &name)).await?;
        same(whole.body(), &body, "what was read is not what was written")?;
        self.range(key, &name, 500, &body).await?;
        let head = self.must(key, "asking for its size", self.on(Method::HEAD, &name)).await?;
        if head.header("content-length") != Some("1000") {
            return Err("its size is told wrong".to_owned());
        }
        self.must(key, "deleting", self.on(Method::DELETE, &name)).await?;
        match self.send(key, self.on(Method::GET, &name)).await? {
            answer if answer.is_success() => Err("it is still there after it was deleted".to_owned()),
            _ => Ok("written, read whole and in part, measured, deleted".to_owned()),
        }
    }

    /// Ten bytes from `start`.
    async fn range(&self, key: &S3Key, name: &str, start: usize, whole: &[u8]) -> Tried<()> {
        let range = format!("bytes={start}-{}", start + 9);
        let answer = self.must(key, "reading a range", self.on(Method::GET, name).header("range", &range)).await?;
        if answer.status() != 206 {
            return Err(format!("a range was asked for and answered {}", answer.told()));
        }
        same(answer.body(), whole.get(start..start + 10).unwrap_or_default(), "the range holds other bytes")
    }

    pub(super) async fn multipart(&self, key: &S3Key) -> Verdict {
        judged(self.try_multipart(key).await, ADVICE)
    }

    async fn try_multipart(&self, key: &S3Key) -> Tried<String> {
        let (name, body) = (self.inside("parts"), pattern(PART + LAST_PART));
        let initiate = self.on(Method::POST, &name).query(&[("uploads", "")]);
        let upload = self.must(key, "beginning the upload", initiate).await?.xml("InitiateMultipartUploadResult")?;
        let id = upload.text_of("UploadId").filter(|id| !id.is_empty()).ok_or("the upload has no id")?;
        let mut parts = String::new();
        let (first, last) = body.split_at(PART);
        for (number, part) in [("1", first), ("2", last)] {
            let query = [("partNumber", number), ("uploadId", id)];
            let put = self.must(key, "uploading a part", self.on(Method::PUT, &name).query(&query).body(part)).await?;
            let tag = put.header("etag").ok_or("a part has no ETag")?;
            // It is put into XML.
            let tag: String = tag.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
            // Writing to a String cannot fail.
            let _ = write!(parts, "<Part><PartNumber>{number}</PartNumber><ETag>\"{tag}\"</ETag></Part>");
        }
        let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let end = self.on(Method::POST, &name).query(&[("uploadId", id)]).body(document);
        // Servers answer 200 before they know, and an error in the body.
        let ended = self.must(key, "completing the upload", end).await?;
        ended.xml("CompleteMultipartUploadResult").map_err(|_| format!("completing the upload: {}", ended.told()))?;
        self.range(key, &name, PART - 5, &body).await?;
        self.must(key, "deleting", self.on(Method::DELETE, &name)).await?;
        Ok("5 MiB and a rest uploaded in two parts, read across their border".to_owned())
    }

    pub(super) async fn presigned(&self, key: &S3Key) -> Verdict {
        judged(self.try_presigned(key).await, ADVICE)
    }

    async fn try_presigned(&self, key: &S3Key) -> Tried<String> {
        let (name, body) = (self.inside("shared"), pattern(100));
        self.must(key, "writing", self.on(Method::PUT, &name).body(body.clone())).await?;
        let read = self.subject.client.read_presigned(key, &self.on(Method::GET, &name)).await;
        let read = succeeded("reading by URL", read.map_err(|error| error.to_string())?)?;
        same(read.body(), &body, "the URL reads other bytes")?;
        Ok("a URL with the session token in it reads the object".to_owned())
    }

    /// Rests on the object that [`Run::presigned`] left.
    pub(super) async fn list(&self, key: &S3Key) -> Verdict {
        judged(self.try_list(key).await, ADVICE)
    }

    async fn try_list(&self, key: &S3Key) -> Tried<String> {
        let (prefix, name) = (self.inside(""), self.inside("shared"));
        let answer = self.must(key, "listing", self.listing(&prefix)).await?;
        let listed = answer.xml("ListBucketResult")?;
        let keys: Vec<&str> = listed.all("Contents").filter_map(|object| object.text_of("Key")).collect();
        if keys != [name.as_str()] {
            return Err(format!("one object is there, {} are listed", keys.len()));
        }
        Ok("the prefix that is allowed lists what is there".to_owned())
    }

    pub(super) fn listing(&self, prefix: &str) -> S3Request {
        let query = [("list-type", "2"), ("max-keys", "10"), ("prefix", prefix)];
        S3Request::bucket(Method::GET, &self.subject.bucket).query(&query)
    }

    /// How long small calls take, the middle one of five.
    pub(super) async fn latency(&self, key: &S3Key, mint: Duration) -> Verdict {
        let name = self.inside("shared");
        let mut reads = Vec::new();
        for _ in 0..5 {
            match self.send(key, self.on(Method::GET, &name)).await {
                Ok(answer) if answer.is_success() => reads.push(answer.took()),
                Ok(answer) => return Verdict::failed(format!("reading: {}", answer.told()), ADVICE),
                Err(error) => return Verdict::failed(error, ADVICE),
            }
        }
        reads.sort();
        let read = reads.get(2).copied().unwrap_or_default();
        Verdict::passed(format!(
            "mint {:.1} ms, read of 100 bytes {:.1} ms (each with a new connection)",
            mint.as_secs_f64() * 1000.0,
            read.as_secs_f64() * 1000.0
        ))
    }

    pub(super) async fn must(&self, key: &S3Key, what: &str, request: S3Request) -> Tried<S3Answer> {
        succeeded(what, self.send(key, request).await?)
    }

    pub(super) async fn send(&self, key: &S3Key, request: S3Request) -> Tried<S3Answer> {
        self.subject.client.send(key, &request).await.map_err(|error: S3Error| error.to_string())
    }
}

/// The names below an element, each with what else is asked for.
pub(super) fn named<'x>(list: &'x Element, element: &'x str, second: &'x str) -> Vec<(&'x str, &'x str)> {
    let pair = |item: &'x Element| Some((item.text_of("Key")?, item.text_of(second)?));
    list.all(element).filter_map(pair).collect()
}

fn succeeded(what: &str, answer: S3Answer) -> Tried<S3Answer> {
    if answer.is_success() { Ok(answer) } else { Err(format!("{what}: {}", answer.told())) }
}

fn same(read: &[u8], written: &[u8], otherwise: &str) -> Tried<()> {
    if read == written { Ok(()) } else { Err(otherwise.to_owned()) }
}
