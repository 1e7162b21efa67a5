//! `buckets.toml`: the buckets an installation has, applied and read back by `stint object-server bootstrap`.

use toml::Spanned;
use toml::de::DeValue;

use super::problem::{Fault, quoted};
use super::toml_section::{Placed, Section};

/// Days after which unfinished multipart uploads are removed unless the file says otherwise.
const ABORT_MULTIPART_DAYS: u32 = 7;
/// Most days of a lifecycle rule.
const MOST_DAYS: u32 = 36_500;

/// One bucket. Always private: no anonymous access, downloads by leases and signed URLs only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    name: String,
    expiry: Expiry,
    abort_multipart_days: u32,
    versioning: Option<bool>,
}

/// When objects of a bucket are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// This many days after they were written.
    Days(u32),
    /// Never.
    Never,
}

impl Bucket {
    /// The name, by the rules all servers share: 3 to 63 of `a-z0-9.-`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When objects are removed.
    #[must_use]
    pub fn expiry(&self) -> Expiry {
        self.expiry
    }

    /// Days after which unfinished multipart uploads are removed.
    #[must_use]
    pub fn abort_multipart_days(&self) -> u32 {
        self.abort_multipart_days
    }

    /// Whether versions are kept; nothing when the file does not say, and then the bucket stays as it is.
    #[must_use]
    pub fn versioning(&self) -> Option<bool> {
        self.versioning
    }

    /// Reads the file.
    pub(super) fn read_all(top: Section<'_, '_>, faults: &mut Vec<Fault>) -> Vec<Self> {
        top.closed(&["bucket"], faults);
        let mut buckets: Vec<Self> = Vec::new();
        for block in top.sections("bucket", faults) {
            block.closed(
                &["name", "description", "private", "expire_days", "abort_multipart_days", "versioning"],
                faults,
            );
            block.text("description", faults);
            let name = read_name(block, faults);
            read_private(block, faults);
            let expiry = read_expiry(block, faults);
            let abort_multipart_days =
                block.value("abort_multipart_days").map_or(Some(ABORT_MULTIPART_DAYS), |value| {
                    days(value).or_else(|| {
                        faults.push(Fault::new(value.span().start, "abort_multipart_days is a number of days from 1"));
                        None
                    })
                });
            let versioning = read_versioning(block, faults);
            let (Some(name), Some(expiry), Some(abort_multipart_days)) = (name, expiry, abort_multipart_days) else {
                continue;
            };
            if buckets.iter().any(|bucket| bucket.name == name.text) {
                faults.push(name.fault(format!("bucket {} is listed twice", quoted(&name.text))));
            }
            buckets.push(Self { name: name.text, expiry, abort_multipart_days, versioning });
        }
        buckets
    }
}

fn read_name(block: Section<'_, '_>, faults: &mut Vec<Fault>) -> Option<Placed> {
    if block.value("name").is_none() {
        faults.push(Fault::new(block.offset, "a bucket needs name = \"…\""));
    }
    let name = block.text("name", faults)?;
    if !is_bucket_name(&name.text) {
        faults.push(name.fault(format!(
            "{} is no bucket name: 3 to 63 of a-z, 0-9, `-`, `.`; a letter or digit at both ends of every part; no \
             address",
            quoted(&name.text)
        )));
    }
    Some(name)
}

fn read_private(block: Section<'_, '_>, faults: &mut Vec<Fault>) {
    if let Some(value) = block.value("private").filter(|value| value.get_ref().as_bool() != Some(true)) {
        let message = "a bucket is private: write private = true, and hand out leases or signed URLs";
        faults.push(Fault::new(value.span().start, message));
    }
}

fn read_expiry(block: Section<'_, '_>, faults: &mut Vec<Fault>) -> Option<Expiry> {
    let Some(value) = block.value("expire_days") else {
        faults.push(Fault::new(block.offset, "a bucket needs expire_days = 30, or \"never\""));
        return None;
    };
    let expiry = match value.get_ref().as_str() {
        Some("never") => Some(Expiry::Never),
        _ => days(value).map(Expiry::Days),
    };
    if expiry.is_none() {
        faults.push(Fault::new(value.span().start, "expire_days is a number of days from 1, or \"never\""));
    }
    expiry
}

fn read_versioning(block: Section<'_, '_>, faults: &mut Vec<Fault>) -> Option<bool> {
    let value = block.value("versioning")?;
    let versioning = value.get_ref().as_bool();
    if versioning.is_none() {
        faults.push(Fault::new(
            value.span().start,
            "versioning is true or false; leave it out to keep what the bucket has",
        ));
    }
    versioning
}

fn days(value: &Spanned<DeValue<'_>>) -> Option<u32> {
    let integer = value.get_ref().as_integer().filter(|integer| integer.radix() == 10)?;
    integer.as_str().parse().ok().filter(|days| (1..=MOST_DAYS).contains(days))
}

/// Whether all servers take this as a bucket's name.
#[must_use]
pub fn is_bucket_name(name: &str) -> bool {
    let clean = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    let parts = name.split('.').all(|part| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-'));
    (3..=63).contains(&name.len()) && clean && parts && name.parse::<std::net::Ipv4Addr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::toml_section::read_file;

    fn read(text: &str) -> Result<Vec<Bucket>, Vec<Fault>> {
        read_file(text.as_bytes(), Bucket::read_all)
    }

    const WHOLE: &str =
        "[[bucket]]\nname = \"recordings\"\nprivate = true\nexpire_days = 30\nabort_multipart_days = 2\n";

    #[test]
    fn a_bucket_is_read_whole() {
        let buckets = read(WHOLE).unwrap();
        assert_eq!(buckets[0].name(), "recordings");
        assert_eq!(buckets[0].expiry(), Expiry::Days(30));
        assert_eq!(buckets[0].abort_multipart_days(), 2);
        assert_eq!(buckets[0].versioning(), None);
        assert_eq!(read(&format!("{WHOLE}versioning = true\n")).unwrap()[0].versioning(), Some(true));
        assert_eq!(read(&WHOLE.replace("30", "\"never\"")).unwrap()[0].expiry(), Expiry::Never);
        assert_eq!(read(&WHOLE.replace("abort_multipart_days = 2\n", "")).unwrap()[0].abort_multipart_days(), 7);
    }

    #[test]
    fn each_broken_part_of_a_bucket_is_refused() {
        let broken = [
            ("private = true", "private = false"),
            ("expire_days = 30\n", ""),
            ("expire_days = 30", "expire_days = 0"),
            ("expire_days = 30", "expire_days = \"sometimes\""),
            ("expire_days = 30", "expire_days = 30.5"),
            ("name = \"recordings\"\n", ""),
            ("abort_multipart_days = 2", "abort_multipart_days = \"never\""),
            ("private", "public"),
            ("private = true", "versioning = \"on\""),
        ];
        for (from, to) in broken {
            assert_eq!(read(&WHOLE.replace(from, to)).map_err(|faults| faults.len()), Err(1), "{to}");
        }
        assert!(read(&format!("{WHOLE}{WHOLE}")).is_err());
    }

    #[test]
    fn bucket_names_follow_the_rules_all_servers_share() {
        for name in ["ab", "Recordings", "a_b", "-ab", "ab-", "a..b", "a.-b", "10.0.0.1", "a/b", "a*b"] {
            assert!(!is_bucket_name(name), "{name}");
        }
        for name in ["abc", "a-b", "a.b.c", "10.0.0.1.example"] {
            assert!(is_bucket_name(name), "{name}");
        }
    }
}
