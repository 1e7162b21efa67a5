//! Lifecycle rules, reduced to what they do: servers rename, reorder and rewrite them, so texts cannot be compared.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde::Serialize;

use super::super::s3::xml::Element;
use super::Traits;
use crate::policy::{Bucket, Expiry};

/// One effect of one enabled rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Effect {
    scope: Scope,
    deed: Deed,
}

/// Which objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum Scope {
    Everything,
    Prefix(String),
    /// A filter that is not ours: tags, sizes.
    Other(String),
}

/// What happens to them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum Deed {
    Expire(u32),
    ExpireVersions(u32),
    AbortUploads(u32),
    /// A deed that is not ours: a transition, a date.
    Other(String),
}

/// All of them.
pub(super) type Effects = BTreeSet<Effect>;

/// What `buckets.toml` wants of a bucket.
pub(super) fn wanted(bucket: &Bucket, traits: Traits) -> Effects {
    let everything = |deed| Effect { scope: Scope::Everything, deed };
    let mut effects = Effects::new();
    if let Expiry::Days(days) = bucket.expiry() {
        effects.insert(everything(Deed::Expire(days)));
        // An expired object of a versioned bucket is only hidden: it must be gone when the file says so.
        if bucket.versioning() == Some(true) {
            effects.insert(everything(Deed::ExpireVersions(days)));
        }
    }
    if traits.removes_uploads_by_rule {
        effects.insert(everything(Deed::AbortUploads(bucket.abort_multipart_days())));
    }
    effects
}

/// What a verification asks a server to keep.
pub(super) fn example(traits: Traits) -> Effects {
    let everything = |deed| Effect { scope: Scope::Everything, deed };
    let abort = traits.removes_uploads_by_rule.then_some(Deed::AbortUploads(7));
    [Some(Deed::Expire(30)), abort].into_iter().flatten().map(everything).collect()
}

/// Reads a `LifecycleConfiguration`.
pub(super) fn read(configuration: &Element) -> Result<Effects, &'static str> {
    let mut effects = Effects::new();
    for rule in configuration.all("Rule") {
        match rule.text_of("Status") {
            Some("Enabled") => {}
            Some("Disabled") => continue,
            Some(_) | None => return Err("a lifecycle rule without a status"),
        }
        let scope = scope(rule);
        for part in rule.children() {
            let deed = match (part.name(), days(part)) {
                ("ID" | "Status" | "Filter" | "Prefix", _) => continue,
                ("Expiration", Some(days)) => Deed::Expire(days),
                ("NoncurrentVersionExpiration", Some(days)) => Deed::ExpireVersions(days),
                ("AbortIncompleteMultipartUpload", Some(days)) => Deed::AbortUploads(days),
                // Some servers write out what is not set.
                (_, None) if part.children().is_empty() => continue,
                (name, _) => Deed::Other(name.chars().filter(char::is_ascii_alphanumeric).take(64).collect()),
            };
            effects.insert(Effect { scope: scope.clone(), deed });
        }
    }
    Ok(effects)
}

/// The number of days, if that is all the part says.
fn days(part: &Element) -> Option<u32> {
    let [only] = part.children() else { return None };
    let named = matches!(only.name(), "Days" | "NoncurrentDays" | "DaysAfterInitiation");
    if named { only.text().parse().ok() } else { None }
}

/// Ceph reads `<Filter><Prefix/></Filter>` back as `<Prefix/>`; an empty prefix in either form is everything.
fn scope(rule: &Element) -> Scope {
    let prefix = |text: &str| if text.is_empty() { Scope::Everything } else { Scope::Prefix(text.to_owned()) };
    match (rule.child("Filter").map(Element::children), rule.text_of("Prefix")) {
        (None | Some([]), text) => prefix(text.unwrap_or_default()),
        (Some([only]), _) if only.name() == "Prefix" => prefix(only.text()),
        (Some(parts), _) => {
            let names = parts.iter().flat_map(|part| part.name().chars().filter(char::is_ascii_alphanumeric));
            Scope::Other(names.take(64).collect())
        }
    }
}

/// The document that asks for these effects, one rule each. Only ever called with our own.
pub(super) fn write(effects: &Effects) -> String {
    let mut text = "<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
    for effect in effects {
        let (id, deed) = match &effect.deed {
            Deed::Expire(days) => ("stint-expire", format!("<Expiration><Days>{days}</Days></Expiration>")),
            Deed::ExpireVersions(days) => (
                "stint-expire-versions",
                format!(
                    "<NoncurrentVersionExpiration><NoncurrentDays>{days}</NoncurrentDays></NoncurrentVersionExpiration>"
                ),
            ),
            Deed::AbortUploads(days) => (
                "stint-abort-uploads",
                format!(
                    "<AbortIncompleteMultipartUpload><DaysAfterInitiation>{days}</DaysAfterInitiation>\
                     </AbortIncompleteMultipartUpload>"
                ),
            ),
            Deed::Other(_) => continue,
        };
        // Writing to a String cannot fail.
        let _ =
            write!(text, "<Rule><ID>{id}</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>{deed}</Rule>");
    }
    text.push_str("</LifecycleConfiguration>");
    text
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.deed {
            Deed::Expire(days) => write!(f, "objects expire after {days} days")?,
            Deed::ExpireVersions(days) => write!(f, "old versions expire after {days} days")?,
            Deed::AbortUploads(days) => write!(f, "unfinished uploads are removed after {days} days")?,
            Deed::Other(name) => write!(f, "a rule that is not stint's ({name})")?,
        }
        match &self.scope {
            Scope::Everything => Ok(()),
            Scope::Prefix(prefix) => write!(f, ", below {prefix:?}"),
            Scope::Other(filter) => write!(f, ", filtered by {filter}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::s3::xml;
    use super::*;

    fn effects(rules: &str) -> Effects {
        let text = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
        read(&xml::parse(text.as_bytes()).unwrap()).unwrap()
    }

    fn ours() -> Effects {
        let everything = |deed| Effect { scope: Scope::Everything, deed };
        Effects::from([Deed::Expire(30), Deed::ExpireVersions(30), Deed::AbortUploads(7)].map(everything))
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        assert_eq!(read(&xml::parse(write(&ours()).as_bytes()).unwrap()).unwrap(), ours());
    }

    #[test]
    fn every_way_to_say_the_whole_bucket_is_the_same() {
        let rule = |scope: &str| {
            effects(&format!(
                "<Rule><ID>x</ID>{scope}<Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule>"
            ))
        };
        let whole = rule("<Filter><Prefix></Prefix></Filter>");
        for scope in ["<Prefix/>", "<Filter/>", "", "<Filter><Prefix/></Filter>"] {
            assert_eq!(rule(scope), whole, "{scope}");
        }
        for scope in [
            "<Prefix>a/</Prefix>",
            "<Filter><Prefix>a/</Prefix></Filter>",
            "<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>",
            "<Filter><And><Prefix></Prefix><Tag/></And></Filter>",
        ] {
            assert_ne!(rule(scope), whole, "{scope}");
        }
    }

    #[test]
    fn a_rule_that_does_more_or_less_is_not_ours() {
        let rule = |deed: &str| effects(&format!("<Rule><Status>Enabled</Status>{deed}</Rule>"));
        let ours = rule("<Expiration><Days>30</Days></Expiration>");
        for deed in [
            "<Expiration><Days>31</Days></Expiration>",
            "<Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration>",
            "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>",
            "<Transition><Days>30</Days><StorageClass>COLD</StorageClass></Transition>",
            "<Expiration><Days>30</Days></Expiration><Transition><Days>1</Days><StorageClass>X</StorageClass></Transition>",
        ] {
            assert_ne!(rule(deed), ours, "{deed}");
        }
        let disabled = "<Rule><Status>Disabled</Status><Expiration><Days>30</Days></Expiration></Rule>";
        assert_eq!(effects(disabled), Effects::new());
        let unknown = xml::parse(b"<L><Rule><Expiration><Days>30</Days></Expiration></Rule></L>").unwrap();
        assert!(read(&unknown).is_err(), "a rule without a status");
    }
}
