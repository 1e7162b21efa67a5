//! `[object_server.reconcile]`: how often the server's list of credentials is compared with the log, with which key, and
//! whether what belongs to no lease is ended.

use std::time::Duration;

use super::bootstrap::BootstrapKey;
use super::section::Section;

const EVERY: Duration = Duration::from_mins(10);
const LIMITS: &str = "must be 1m to 24h, as in 10m, or off";

/// `[object_server.reconcile]`
#[derive(Debug)]
pub struct ReconcileSettings {
    /// Between two comparisons by the service; none: it makes none.
    pub every: Option<Duration>,
    /// Whether credentials without a lease are ended.
    pub revoke_orphans: bool,
    /// Lists instead of the parent, which a Deny on `admin:*` keeps from listing its own.
    pub key: Option<BootstrapKey>,
}

pub(super) fn reconcile(object_server: &mut Section<'_>) -> Option<ReconcileSettings> {
    let mut section = object_server.section("reconcile");
    let every_given = section.has("every");
    let every = section.parsed("every", LIMITS, parse_every);
    let revoke_orphans = section.boolean("revoke_orphans").unwrap_or(false);
    let wanted = ["access_key", "access_key_file", "secret_key", "secret_key_file"].iter().any(|key| section.has(key));
    let [access_key, secret_key] = ["access_key", "secret_key"].map(|key| section.secret(key));
    let key = wanted.then(|| {
        let access_key = section.required("access_key", access_key);
        let secret_key = section.required("secret_key", secret_key);
        Some(BootstrapKey { access_key: access_key?, secret_key: secret_key? })
    });
    section.finish();
    let every = if every_given { every? } else { Every::After(EVERY) };
    let every = match every {
        Every::After(pause) => Some(pause),
        Every::Never => None,
    };
    Some(ReconcileSettings { every, revoke_orphans, key: key.flatten() })
}

#[derive(Debug, PartialEq, Eq)]
enum Every {
    After(Duration),
    Never,
}

/// `0` is the default, as nothing is.
fn parse_every(text: &str) -> Option<Every> {
    match text {
        "off" => Some(Every::Never),
        "0" | "0s" => Some(Every::After(EVERY)),
        text => {
            let fits = |every: &Duration| (Duration::from_mins(1)..=Duration::from_hours(24)).contains(every);
            humantime::parse_duration(text).ok().filter(fits).map(Every::After)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_is_a_minute_to_a_day_or_off() {
        assert_eq!(parse_every("off"), Some(Every::Never));
        assert_eq!(parse_every("0"), Some(Every::After(EVERY)));
        assert_eq!(parse_every("1m"), Some(Every::After(Duration::from_mins(1))));
        assert_eq!(parse_every("24h"), Some(Every::After(Duration::from_hours(24))));
        for wrong in ["59s", "25h", "never", "", "10"] {
            assert_eq!(parse_every(wrong), None, "{wrong}");
        }
    }
}
