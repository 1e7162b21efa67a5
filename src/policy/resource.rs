//! Resource strings: `arn:aws:s3:::bucket` or `arn:aws:s3:::bucket/key`, wildcards allowed, `${jwt:…}` filled in later.

use super::claims;
use super::problem::quoted;

/// What every resource begins with.
pub(super) const PREFIX: &str = "arn:aws:s3:::";
/// Longest resource string in bytes. One of about 1,565 characters ends a Ceph 16 radosgw process silently.
pub(super) const LONGEST: usize = 1_100;

/// Checks one resource.
pub(super) fn read(resource: &str) -> Result<(), String> {
    let shown = quoted(resource);
    if resource.len() > LONGEST {
        return Err(format!("{shown} is longer than {LONGEST} bytes, which ends some object servers: shorten it"));
    }
    let Some(path) = resource.strip_prefix(PREFIX) else {
        return Err(match resource {
            "*" => format!("\"Resource\":\"*\" is read differently by servers: write \"{PREFIX}*\""),
            _ => format!("{shown} is not an S3 resource: write \"{PREFIX}bucket\" or \"{PREFIX}bucket/key\""),
        });
    };
    if path.is_empty() || path.starts_with('/') {
        return Err(format!("{shown} names no bucket"));
    }
    if path.chars().any(char::is_control) {
        return Err(format!("{shown} holds a control character"));
    }
    claims::check(resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_s3_resources_are_accepted() {
        for resource in ["*", "arn:aws:s3:::", "arn:aws:s3:::/x", "arn:aws:sqs:::q", "b/*", "arn:aws:s3:::b/\u{7}"] {
            assert!(read(resource).is_err(), "{resource}");
        }
        for resource in ["arn:aws:s3:::*", "arn:aws:s3:::b", "arn:aws:s3:::b/${jwt:sub}/*"] {
            assert_eq!(read(resource), Ok(()), "{resource}");
        }
    }

    #[test]
    fn a_resource_is_bounded() {
        let resource = |n: usize| format!("{PREFIX}{}", "x".repeat(n - PREFIX.len()));
        assert!(read(&resource(LONGEST)).is_ok());
        assert!(read(&resource(LONGEST + 1)).is_err());
    }
}
