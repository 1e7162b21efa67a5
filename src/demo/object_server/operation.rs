//! Which right an S3 operation needs: pure, and closed. An operation that is not in this table is refused.

use std::collections::BTreeMap;

use s3s::path::S3Path;

/// What a request asks a policy: an IAM action on a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) action: &'static str,
    pub(super) resource: String,
}

/// The question of the operation itself. The sources of copies and the keys of a bulk deletion come on top.
/// `None`: not served here.
pub(super) fn question(operation: &str, path: &S3Path) -> Option<Question> {
    let (action, resource) = match (operation, path) {
        ("GetObject" | "HeadObject", S3Path::Object { bucket, key }) => ("s3:GetObject", object(bucket, key)),
        (
            "PutObject"
            | "CopyObject"
            | "CreateMultipartUpload"
            | "UploadPart"
            | "UploadPartCopy"
            | "CompleteMultipartUpload",
            S3Path::Object { bucket, key },
        ) => ("s3:PutObject", object(bucket, key)),
        ("DeleteObject", S3Path::Object { bucket, key }) => ("s3:DeleteObject", object(bucket, key)),
        ("AbortMultipartUpload", S3Path::Object { bucket, key }) => ("s3:AbortMultipartUpload", object(bucket, key)),
        ("ListParts", S3Path::Object { bucket, key }) => ("s3:ListMultipartUploadParts", object(bucket, key)),
        ("ListObjects" | "ListObjectsV2" | "HeadBucket", S3Path::Bucket { bucket: name }) => {
            ("s3:ListBucket", bucket(name))
        }
        ("ListMultipartUploads", S3Path::Bucket { bucket: name }) => ("s3:ListBucketMultipartUploads", bucket(name)),
        ("GetBucketLocation", S3Path::Bucket { bucket: name }) => ("s3:GetBucketLocation", bucket(name)),
        ("CreateBucket", S3Path::Bucket { bucket: name }) => ("s3:CreateBucket", bucket(name)),
        ("DeleteBucket", S3Path::Bucket { bucket: name }) => ("s3:DeleteBucket", bucket(name)),
        ("ListBuckets", S3Path::Root) => ("s3:ListAllMyBuckets", bucket("*")),
        _ => return None,
    };
    Some(Question { action, resource })
}

pub(super) fn read(bucket: &str, key: &str) -> Question {
    Question { action: "s3:GetObject", resource: object(bucket, key) }
}

pub(super) fn delete(bucket: &str, key: &str) -> Question {
    Question { action: "s3:DeleteObject", resource: object(bucket, key) }
}

fn object(bucket: &str, key: &str) -> String {
    format!("arn:aws:s3:::{bucket}/{key}")
}

fn bucket(name: &str) -> String {
    format!("arn:aws:s3:::{name}")
}

/// Whether a key, or the prefix of one, means on disk what it says to a policy: `recordings/../backups/x` is allowed by
/// `recordings/*` and would be read from `backups`.
pub(super) fn is_plain_key(key: &str) -> bool {
    let plain = |segment| !matches!(segment, "." | "..");
    !key.starts_with('/') && !key.contains("//") && !key.contains(['\\', '\0']) && key.split('/').all(plain)
}

/// The parameters of the query, decoded. `None` if one occurs twice: which of the two counts must not depend on who
/// reads it, or a policy judges one prefix and the other is listed.
pub(super) fn parameters(query: &str) -> Option<BTreeMap<String, String>> {
    let mut parameters = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
            return None;
        }
    }
    Some(parameters)
}

/// The condition keys of a request.
pub(super) fn context(parameters: &BTreeMap<String, String>, address: Option<String>) -> BTreeMap<String, Vec<String>> {
    let mut context = BTreeMap::from([("aws:securetransport".to_owned(), vec!["false".to_owned()])]);
    context.extend(address.map(|address| ("aws:sourceip".to_owned(), vec![address])));
    for name in ["prefix", "delimiter", "max-keys"] {
        context.extend(parameters.get(name).map(|value| (format!("s3:{name}"), vec![value.clone()])));
    }
    context
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object_path() -> S3Path {
        S3Path::object("recordings", "a/b.wav")
    }

    #[test]
    fn every_object_operation_needs_the_right_that_iam_gives_it() {
        for (operation, action) in [
            ("GetObject", "s3:GetObject"),
            ("HeadObject", "s3:GetObject"),
            ("PutObject", "s3:PutObject"),
            ("CopyObject", "s3:PutObject"),
            ("CreateMultipartUpload", "s3:PutObject"),
            ("UploadPart", "s3:PutObject"),
            ("UploadPartCopy", "s3:PutObject"),
            ("CompleteMultipartUpload", "s3:PutObject"),
            ("AbortMultipartUpload", "s3:AbortMultipartUpload"),
            ("ListParts", "s3:ListMultipartUploadParts"),
            ("DeleteObject", "s3:DeleteObject"),
        ] {
            let question = question(operation, &object_path()).unwrap();
            assert_eq!((question.action, question.resource.as_str()), (action, "arn:aws:s3:::recordings/a/b.wav"));
        }
    }

    #[test]
    fn every_bucket_operation_needs_its_right_on_the_bucket_alone() {
        for (operation, action) in [
            ("ListObjects", "s3:ListBucket"),
            ("ListObjectsV2", "s3:ListBucket"),
            ("HeadBucket", "s3:ListBucket"),
            ("ListMultipartUploads", "s3:ListBucketMultipartUploads"),
            ("GetBucketLocation", "s3:GetBucketLocation"),
            ("CreateBucket", "s3:CreateBucket"),
            ("DeleteBucket", "s3:DeleteBucket"),
        ] {
            let question = question(operation, &S3Path::bucket("recordings")).unwrap();
            assert_eq!((question.action, question.resource.as_str()), (action, "arn:aws:s3:::recordings"));
        }
        assert_eq!(question("ListBuckets", &S3Path::root()).unwrap().action, "s3:ListAllMyBuckets");
    }

    #[test]
    fn an_operation_that_is_not_in_the_table_is_refused() {
        for operation in ["PutBucketPolicy", "PutObjectAcl", "GetBucketVersioning", "PostObject", "getobject", ""] {
            for path in [S3Path::root(), S3Path::bucket("recordings"), object_path()] {
                assert_eq!(question(operation, &path), None, "{operation}");
            }
        }
        assert_eq!(question("GetObject", &S3Path::bucket("recordings")), None);
    }

    #[test]
    fn a_key_that_leaves_its_bucket_on_disk_is_refused() {
        for key in ["../backups/x", "a/../../backups/x", "a/..", "..", ".", "./a", "/a", "a//b", "a\\..\\b", "a\0"] {
            assert!(!is_plain_key(key), "{key:?}");
        }
        for key in ["a", "a/b.wav", "a/", "", "..a", "a...b", ".hidden", "a b+c/é"] {
            assert!(is_plain_key(key), "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn a_plain_key_stays_under_its_bucket(key in "[a./\\\\]{0,12}") {
            let path = std::path::Path::new("/root/bucket").join(&key);
            let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
            prop_assert!(!is_plain_key(&key) || (path.starts_with("/root/bucket") && !climbs));
        }
    }

    #[test]
    fn a_parameter_that_occurs_twice_is_refused() {
        assert_eq!(parameters("prefix=a%2F&delimiter=").unwrap().len(), 2);
        assert_eq!(parameters("prefix=a&prefix=b"), None);
        assert_eq!(parameters("prefix=a&pref%69x=b"), None);
    }

    #[test]
    fn what_is_not_sent_has_no_entry_in_the_context() {
        let parameters = parameters("list-type=2&prefix=a/&max-keys=10").unwrap();
        let context = context(&parameters, Some("192.0.2.1".to_owned()));
        assert_eq!(context["s3:prefix"], ["a/"]);
        assert_eq!(context["s3:max-keys"], ["10"]);
        assert_eq!(context["aws:sourceip"], ["192.0.2.1"]);
        assert_eq!(context["aws:securetransport"], ["false"]);
        assert!(!context.contains_key("s3:delimiter"));
    }
}
