//! Which leases are meant: one, or all open ones of a holder, a role, a group or an issuer, or all there are. Exactly one of
//! them is given; a misspelt or doubled one must not become "all".

use uuid::Uuid;

use crate::audit::LeaseOnRecord;
use crate::lease::LeaseId;
use crate::token::VerifiedToken;

/// Longest text of a selection, in bytes.
const LONGEST: usize = 1024;

/// Which leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// One.
    Lease(LeaseId),
    /// Those of one holder.
    Holder {
        /// The issuer's configured name.
        issuer: String,
        /// `sub`, exact.
        subject: String,
    },
    /// Those under a role, alone or combined with others.
    Role(String),
    /// Those whose token named a group, exact.
    Group {
        /// Only of this issuer.
        issuer: Option<String>,
        /// The group.
        group: String,
    },
    /// Those of an issuer.
    Issuer(String),
    /// All.
    All,
}

/// What an operator gave. Every member may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenSelection {
    /// A lease id.
    pub lease: Option<Uuid>,
    /// `sub`.
    pub subject: Option<String>,
    /// The issuer's configured name.
    pub issuer: Option<String>,
    /// A role.
    pub role: Option<String>,
    /// A group.
    pub group: Option<String>,
    /// Everything.
    pub all: bool,
}

/// Not one selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSelection {
    /// None, or several that do not go together.
    #[error(
        "name exactly one of: a lease, a subject with its issuer, a role, a group (perhaps with its issuer), an issuer, all"
    )]
    NotOne,
    /// A subject is unique only together with its issuer.
    #[error("a subject needs its issuer: the same subject at another issuer is somebody else")]
    SubjectAlone,
    /// An empty or endless text.
    #[error("a subject, issuer, role or group has 1 to 1024 bytes")]
    Text,
}

impl Selection {
    /// Reads what was given.
    pub fn one_of(given: GivenSelection) -> Result<Self, BadSelection> {
        let GivenSelection { lease, subject, issuer, role, group, all } = given;
        let texts = [&subject, &issuer, &role, &group];
        if texts.into_iter().flatten().any(|text| text.is_empty() || text.len() > LONGEST) {
            return Err(BadSelection::Text);
        }
        match (lease, subject, issuer, role, group, all) {
            (Some(lease), None, None, None, None, false) => Ok(Self::Lease(LeaseId::from_uuid(lease))),
            (None, Some(subject), Some(issuer), None, None, false) => Ok(Self::Holder { issuer, subject }),
            (None, Some(_), None, None, None, false) => Err(BadSelection::SubjectAlone),
            (None, None, None, Some(role), None, false) => Ok(Self::Role(role)),
            (None, None, issuer, None, Some(group), false) => Ok(Self::Group { issuer, group }),
            (None, None, Some(issuer), None, None, false) => Ok(Self::Issuer(issuer)),
            (None, None, None, None, None, true) => Ok(Self::All),
            (_, _, _, _, _, _) => Err(BadSelection::NotOne),
        }
    }

    /// Whether a lease is meant.
    #[must_use]
    pub fn covers(&self, lease: &LeaseOnRecord) -> bool {
        let holder = lease.holder();
        match self {
            Self::Lease(id) => lease.id() == *id,
            Self::Holder { issuer, subject } => {
                holder.issuer == *issuer && holder.subject.as_deref() == Some(subject.as_str())
            }
            Self::Role(role) => lease.role() == Some(role.as_str()) || lease.roles().contains(role),
            Self::Group { issuer, group } => {
                issuer.as_ref().is_none_or(|issuer| holder.issuer == *issuer) && holder.groups.contains(group)
            }
            Self::Issuer(issuer) => holder.issuer == *issuer,
            Self::All => true,
        }
    }

    /// Whether only leases of whoever shows this token are meant: for that nobody needs a permission.
    #[must_use]
    pub fn is_own(&self, token: &VerifiedToken) -> bool {
        match self {
            Self::Holder { issuer, subject } => {
                token.issuer().as_str() == issuer && token.subject().as_str() == subject
            }
            Self::Lease(_) | Self::Role(_) | Self::Group { .. } | Self::Issuer(_) | Self::All => false,
        }
    }

    /// Which kind it is: all that is kept of what a stranger asked for in vain.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Lease(id) => format!("lease {id}"),
            Self::Holder { .. } => "all of a holder".to_owned(),
            Self::Role(_) => "all of a role".to_owned(),
            Self::Group { .. } => "all of a group".to_owned(),
            Self::Issuer(_) => "all of an issuer".to_owned(),
            Self::All => "all".to_owned(),
        }
    }

    /// In words, for rows and people.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Lease(id) => format!("lease {id}"),
            Self::Holder { issuer, subject } => format!("all of the holder {issuer}:{subject}"),
            Self::Role(role) => format!("all of the role {role}"),
            Self::Group { issuer: Some(issuer), group } => format!("all of the group {group} of {issuer}"),
            Self::Group { issuer: None, group } => format!("all of the group {group}"),
            Self::Issuer(issuer) => format!("all of the issuer {issuer}"),
            Self::All => "all".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::issued;

    #[test]
    fn a_selection_covers_what_it_names_and_nothing_else() {
        let lease = issued(7, "ada", "studio", &["g"]);
        let (mine, other) = (|text: &str| text.to_owned(), "other".to_owned());
        let issuer = || mine("authentik");
        for (selection, covered) in [
            (Selection::Lease(lease.id()), true),
            (Selection::Lease(LeaseId::from_uuid(Uuid::nil())), false),
            (Selection::Holder { issuer: issuer(), subject: mine("ada") }, true),
            (Selection::Holder { issuer: other.clone(), subject: mine("ada") }, false),
            (Selection::Holder { issuer: issuer(), subject: other.clone() }, false),
            (Selection::Role(mine("studio")), true),
            (Selection::Role(mine("Studio")), false),
            (Selection::Group { issuer: None, group: mine("g") }, true),
            (Selection::Group { issuer: Some(issuer()), group: mine("g") }, true),
            (Selection::Group { issuer: Some(other.clone()), group: mine("g") }, false),
            (Selection::Group { issuer: None, group: mine("G") }, false),
            (Selection::Issuer(issuer()), true),
            (Selection::Issuer(other), false),
            (Selection::All, true),
        ] {
            assert_eq!(selection.covers(&lease), covered, "{selection:?}");
        }
    }

    fn text(text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn exactly_one_selection_is_taken() {
        let none = GivenSelection::default;
        assert_eq!(Selection::one_of(none()), Err(BadSelection::NotOne));
        let wholes = [
            GivenSelection { lease: Some(Uuid::nil()), ..none() },
            GivenSelection { subject: Some(text("ada")), issuer: Some(text("authentik")), ..none() },
            GivenSelection { role: Some(text("studio")), ..none() },
            GivenSelection { group: Some(text("g")), ..none() },
            GivenSelection { group: Some(text("g")), issuer: Some(text("authentik")), ..none() },
            GivenSelection { issuer: Some(text("authentik")), ..none() },
            GivenSelection { all: true, ..none() },
        ];
        for whole in &wholes {
            assert!(Selection::one_of(whole.clone()).is_ok(), "{whole:?}");
            if !whole.all {
                let more = GivenSelection { all: true, ..whole.clone() };
                assert_eq!(Selection::one_of(more), Err(BadSelection::NotOne), "{whole:?}");
            }
            if whole.role.is_none() {
                let more = GivenSelection { role: Some(text("x")), ..whole.clone() };
                assert_eq!(Selection::one_of(more), Err(BadSelection::NotOne), "{whole:?}");
            }
        }
        let alone = GivenSelection { subject: Some(text("ada")), ..none() };
        assert_eq!(Selection::one_of(alone), Err(BadSelection::SubjectAlone));
        for empty in ["", &"x".repeat(LONGEST + 1)] {
            let given = GivenSelection { role: Some(text(empty)), ..none() };
            assert_eq!(Selection::one_of(given), Err(BadSelection::Text));
        }
    }
}
