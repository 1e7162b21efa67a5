//! What the four doors tell of an issued lease, before any of them gives it a form.

use std::fmt;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::exchange::IssuedLease;
use crate::lease::{LeaseId, LeaseTerms};

/// A view of an [`IssuedLease`]. Its `Debug` shows no credential.
pub(super) struct Answer<'a> {
    pub(super) lease_id: LeaseId,
    pub(super) role: &'a str,
    /// The name the object server sees.
    pub(super) session_name: &'a str,
    pub(super) subject: &'a str,
    pub(super) audience: &'a str,
    /// `iss`.
    pub(super) issuer_url: &'a str,
    pub(super) access_key_id: &'a str,
    pub(super) secret_access_key: &'a str,
    pub(super) session_token: &'a str,
    pub(super) terms: LeaseTerms,
}

impl<'a> From<&'a IssuedLease> for Answer<'a> {
    fn from(lease: &'a IssuedLease) -> Self {
        use secrecy::ExposeSecret;
        Self {
            lease_id: lease.assume_role.lease_id(),
            role: &lease.role,
            session_name: lease.assume_role.role_session_name().as_str(),
            subject: lease.token.subject().as_str(),
            audience: lease.token.audience(),
            issuer_url: lease.token.issuer_url(),
            access_key_id: lease.credentials.access_key_id.expose(),
            secret_access_key: lease.credentials.secret_access_key.expose_secret(),
            session_token: lease.credentials.session_token.expose_secret(),
            terms: lease.terms,
        }
    }
}

impl Answer<'_> {
    /// The role as an ARN: SDKs want one, and refuse fewer than 20 characters; the account is zero for there is none.
    pub(super) fn role_arn(&self) -> String {
        format!("arn:aws:iam::000000000000:role/{}", self.role)
    }

    /// The advertised end.
    pub(super) fn expiration(&self) -> String {
        timestamp(self.terms.expiration)
    }
}

impl fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("lease_id", &self.lease_id)
            .field("role", &self.role)
            .field("credentials", &"[redacted]")
            .finish_non_exhaustive()
    }
}

/// RFC 3339 in UTC with `Z` and whole seconds: minio-py reads no `+00:00` and no nanoseconds, others no epoch.
pub(super) fn timestamp(at: OffsetDateTime) -> String {
    let whole = at.to_offset(time::UtcOffset::UTC).truncate_to_second();
    whole.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use time::macros::datetime;
    use uuid::Uuid;

    /// A lease with planted secrets, ending at 23:00.
    pub(in crate::http) fn answer() -> Answer<'static> {
        Answer {
            lease_id: LeaseId::from_uuid(Uuid::from_u128(0x0193_5a00_0000_7000_8000_0000_0000_0001)),
            role: "studio",
            session_name: "ada-01935a00000070008000000000000001",
            subject: "system:serviceaccount:ns:sa",
            audience: "stint",
            issuer_url: "https://auth.example/application/o/stint/",
            access_key_id: "AKIAPLANTED",
            secret_access_key: "planted/secret+key=",
            session_token: "planted.session.token",
            terms: LeaseTerms {
                issued_at: datetime!(2026-11-21 22:05:00.25 UTC),
                ends_at: datetime!(2026-11-21 23:05:00 UTC),
                expiration: datetime!(2026-11-21 23:00:00 UTC),
                refresh_after: datetime!(2026-11-21 22:38:00 UTC),
                shortened_by: None,
            },
        }
    }

    #[test]
    fn times_are_whole_seconds_in_utc() {
        assert_eq!(timestamp(datetime!(2026-11-22 00:00:00.987654321 +01:00)), "2026-11-21T23:00:00Z");
    }

    #[test]
    fn no_credential_is_in_the_debug_form() {
        let debug = format!("{:?}", answer());
        assert!(debug.contains("studio") && !debug.to_lowercase().contains("planted"), "{debug}");
    }
}
