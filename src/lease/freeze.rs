//! Freezes: nobody whom one covers is given a lease, until it is lifted. This file says what can be frozen and whom a freeze
//! covers; who may set one, and where it is kept, is decided elsewhere. A freeze ends no lease that is out.

use std::fmt;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::policy::RoleName;
use crate::token::{Group, VerifiedToken};

/// Longest name that is frozen, in bytes.
const LONGEST: usize = 1024;

/// The id of a freeze, a version 7 UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FreezeId(Uuid);

impl FreezeId {
    /// From a UUID of a row, a request or a draw.
    #[must_use]
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The bare UUID.
    #[must_use]
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for FreezeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frozen {
    /// One holder.
    Subject {
        /// The issuer's configured name.
        issuer: String,
        /// `sub`, exact.
        subject: String,
    },
    /// Everybody whose token names a group, exact.
    Group {
        /// Only of this issuer.
        issuer: Option<String>,
        /// The group.
        group: String,
    },
    /// Everybody whose token was made for a client.
    Client {
        /// Only of this issuer.
        issuer: Option<String>,
        /// `azp` or `client_id`, exact.
        client: String,
    },
    /// Everybody of an issuer.
    Issuer(String),
    /// Every grant that a role is part of.
    Role(String),
    /// Everybody.
    Everything,
}

/// What an operator gave. Every member may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenFreeze {
    /// `sub`.
    pub subject: Option<String>,
    /// The issuer's configured name.
    pub issuer: Option<String>,
    /// A group.
    pub group: Option<String>,
    /// `azp` or `client_id`.
    pub client: Option<String>,
    /// A role.
    pub role: Option<String>,
    /// Everything.
    pub everything: bool,
}

/// Nothing that can be frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFreeze {
    /// None, or several that do not go together.
    #[error(
        "name exactly one of: a subject with its issuer, a group or a client (perhaps with its issuer), an issuer, a role, \
         everything"
    )]
    NotOne,
    /// A subject is unique only together with its issuer.
    #[error("a subject needs its issuer: the same subject at another issuer is somebody else")]
    SubjectAlone,
    /// An empty or endless text.
    #[error("a subject, issuer, group, client or role has 1 to 1024 bytes and no control characters")]
    Text,
}

/// The names in a freeze, each under what it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrozenParts<'a> {
    /// The issuer's configured name.
    pub issuer: Option<&'a str>,
    /// `sub`.
    pub subject: Option<&'a str>,
    /// A group.
    pub group: Option<&'a str>,
    /// `azp` or `client_id`.
    pub client: Option<&'a str>,
    /// A role.
    pub role: Option<&'a str>,
}

/// Who wants a lease, by what a verified token says.
#[derive(Clone, Copy)]
struct Whose<'a> {
    issuer: &'a str,
    subject: &'a str,
    client: Option<&'a str>,
    groups: &'a [Group],
}

impl<'a> From<&'a VerifiedToken> for Whose<'a> {
    fn from(token: &'a VerifiedToken) -> Self {
        Self {
            issuer: token.issuer().as_str(),
            subject: token.subject().as_str(),
            client: token.client(),
            groups: token.groups(),
        }
    }
}

impl Frozen {
    /// Reads what was given.
    pub fn one_of(given: GivenFreeze) -> Result<Self, BadFreeze> {
        let GivenFreeze { subject, issuer, group, client, role, everything } = given;
        let unusable = |text: &String| text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control);
        if [&subject, &issuer, &group, &client, &role].into_iter().flatten().any(unusable) {
            return Err(BadFreeze::Text);
        }
        match (subject, issuer, group, client, role, everything) {
            (Some(subject), Some(issuer), None, None, None, false) => Ok(Self::Subject { issuer, subject }),
            (Some(_), None, None, None, None, false) => Err(BadFreeze::SubjectAlone),
            (None, issuer, Some(group), None, None, false) => Ok(Self::Group { issuer, group }),
            (None, issuer, None, Some(client), None, false) => Ok(Self::Client { issuer, client }),
            (None, Some(issuer), None, None, None, false) => Ok(Self::Issuer(issuer)),
            (None, None, None, None, Some(role), false) => Ok(Self::Role(role)),
            (None, None, None, None, None, true) => Ok(Self::Everything),
            (_, _, _, _, _, _) => Err(BadFreeze::NotOne),
        }
    }

    /// The names in it; none at all where it is everything.
    #[must_use]
    pub fn parts(&self) -> FrozenParts<'_> {
        let none = FrozenParts::default();
        match self {
            Self::Subject { issuer, subject } => FrozenParts { issuer: Some(issuer), subject: Some(subject), ..none },
            Self::Group { issuer, group } => FrozenParts { issuer: issuer.as_deref(), group: Some(group), ..none },
            Self::Client { issuer, client } => FrozenParts { issuer: issuer.as_deref(), client: Some(client), ..none },
            Self::Issuer(issuer) => FrozenParts { issuer: Some(issuer), ..none },
            Self::Role(role) => FrozenParts { role: Some(role), ..none },
            Self::Everything => none,
        }
    }

    /// Whether whoever holds this token is frozen, whatever the role. Everything is nobody in particular.
    #[must_use]
    pub fn covers_holder(&self, token: &VerifiedToken) -> bool {
        self.covers_whom(token.into())
    }

    /// Whether nothing is granted to this token under these roles combined.
    #[must_use]
    pub fn covers(&self, token: &VerifiedToken, roles: &[RoleName]) -> bool {
        self.covers_grant(token.into(), roles)
    }

    fn covers_whom(&self, whose: Whose<'_>) -> bool {
        let of = |issuer: &Option<String>| issuer.as_ref().is_none_or(|issuer| issuer == whose.issuer);
        match self {
            Self::Subject { issuer, subject } => issuer == whose.issuer && subject == whose.subject,
            Self::Group { issuer, group } => of(issuer) && whose.groups.iter().any(|named| named.as_str() == group),
            Self::Client { issuer, client } => of(issuer) && whose.client == Some(client.as_str()),
            Self::Issuer(issuer) => issuer == whose.issuer,
            Self::Role(_) | Self::Everything => false,
        }
    }

    fn covers_grant(&self, whose: Whose<'_>, roles: &[RoleName]) -> bool {
        match self {
            Self::Role(role) => roles.iter().any(|granted| granted.as_str() == role),
            Self::Everything => true,
            Self::Subject { .. } | Self::Group { .. } | Self::Client { .. } | Self::Issuer(_) => {
                self.covers_whom(whose)
            }
        }
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject { issuer, subject } => write!(f, "subject {subject} of {issuer}"),
            Self::Group { issuer: Some(issuer), group } => write!(f, "group {group} of {issuer}"),
            Self::Group { issuer: None, group } => write!(f, "group {group}"),
            Self::Client { issuer: Some(issuer), client } => write!(f, "client {client} of {issuer}"),
            Self::Client { issuer: None, client } => write!(f, "client {client}"),
            Self::Issuer(issuer) => write!(f, "issuer {issuer}"),
            Self::Role(role) => write!(f, "role {role}"),
            Self::Everything => f.write_str("everything"),
        }
    }
}

/// One freeze in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// Its id.
    pub id: FreezeId,
    /// What is frozen.
    pub frozen: Frozen,
    /// When it was set, by the clock of the service.
    pub set_at: OffsetDateTime,
    /// Who set it: `issuer:subject`, or `os:` and a user.
    pub actor: String,
    /// Why, in the operator's words.
    pub why: Option<String>,
}

/// Every freeze in force at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freezes(Vec<Freeze>);

impl Freezes {
    /// Those of a reading.
    #[must_use]
    pub fn new(freezes: Vec<Freeze>) -> Self {
        Self(freezes)
    }

    /// The freeze that covers such a grant, if one does: one that means the holder or the role rather than one of everything.
    #[must_use]
    pub fn covering(&self, token: &VerifiedToken, roles: &[RoleName]) -> Option<&Freeze> {
        let (all, some): (Vec<&Freeze>, Vec<&Freeze>) = self
            .0
            .iter()
            .filter(|freeze| freeze.frozen.covers(token, roles))
            .partition(|freeze| matches!(freeze.frozen, Frozen::Everything));
        some.into_iter().chain(all).next()
    }

    /// The freeze that means the holder of this token, if one does.
    #[must_use]
    pub fn of_holder(&self, token: &VerifiedToken) -> Option<&Freeze> {
        self.0.iter().find(|freeze| freeze.frozen.covers_holder(token))
    }

    /// The freeze of this id, if it is in force.
    #[must_use]
    pub fn get(&self, id: FreezeId) -> Option<&Freeze> {
        self.0.iter().find(|freeze| freeze.id == id)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Freeze> {
        self.0.iter()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is frozen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> String {
        text.to_owned()
    }

    fn subject(issuer: &str, subject: &str) -> Frozen {
        Frozen::Subject { issuer: text(issuer), subject: text(subject) }
    }

    fn group(issuer: Option<&str>, group: &str) -> Frozen {
        Frozen::Group { issuer: issuer.map(text), group: text(group) }
    }

    fn client(issuer: Option<&str>, client: &str) -> Frozen {
        Frozen::Client { issuer: issuer.map(text), client: text(client) }
    }

    fn covers(frozen: &Frozen) -> (bool, bool) {
        let groups = [Group::parse("team-a").unwrap(), Group::parse("team-b").unwrap()];
        let whose = Whose { issuer: "authentik", subject: "ada", client: Some("egress"), groups: &groups };
        let roles = [RoleName::parse("studio").unwrap(), RoleName::parse("viewer").unwrap()];
        (frozen.covers_whom(whose), frozen.covers_grant(whose, &roles))
    }

    #[test]
    fn a_freeze_covers_whom_it_names_and_nobody_else() {
        for (frozen, covered) in [
            (subject("authentik", "ada"), true),
            (subject("keycloak", "ada"), false),
            (subject("authentik", "Ada"), false),
            (group(None, "team-b"), true),
            (group(Some("authentik"), "team-b"), true),
            (group(Some("keycloak"), "team-b"), false),
            (group(None, "team"), false),
            (client(None, "egress"), true),
            (client(Some("keycloak"), "egress"), false),
            (client(None, "egres"), false),
            (Frozen::Issuer(text("authentik")), true),
            (Frozen::Issuer(text("keycloak")), false),
        ] {
            assert_eq!(covers(&frozen), (covered, covered), "{frozen}");
        }
    }

    #[test]
    fn a_frozen_role_refuses_every_grant_that_it_is_part_of_and_means_no_holder() {
        assert_eq!(covers(&Frozen::Role(text("viewer"))), (false, true));
        assert_eq!(covers(&Frozen::Role(text("view"))), (false, false));
        assert_eq!(covers(&Frozen::Everything), (false, true));
    }

    #[test]
    fn exactly_one_thing_is_frozen() {
        let none = GivenFreeze::default;
        assert_eq!(Frozen::one_of(none()), Err(BadFreeze::NotOne));
        let wholes = [
            GivenFreeze { subject: Some(text("ada")), issuer: Some(text("authentik")), ..none() },
            GivenFreeze { group: Some(text("g")), ..none() },
            GivenFreeze { group: Some(text("g")), issuer: Some(text("authentik")), ..none() },
            GivenFreeze { client: Some(text("c")), ..none() },
            GivenFreeze { client: Some(text("c")), issuer: Some(text("authentik")), ..none() },
            GivenFreeze { issuer: Some(text("authentik")), ..none() },
            GivenFreeze { role: Some(text("studio")), ..none() },
            GivenFreeze { everything: true, ..none() },
        ];
        for whole in &wholes {
            assert!(Frozen::one_of(whole.clone()).is_ok(), "{whole:?}");
            if !whole.everything {
                let more = GivenFreeze { everything: true, ..whole.clone() };
                assert_eq!(Frozen::one_of(more), Err(BadFreeze::NotOne), "{whole:?}");
            }
            if whole.role.is_none() {
                let more = GivenFreeze { role: Some(text("x")), ..whole.clone() };
                assert_eq!(Frozen::one_of(more), Err(BadFreeze::NotOne), "{whole:?}");
            }
        }
        let alone = GivenFreeze { subject: Some(text("ada")), ..none() };
        assert_eq!(Frozen::one_of(alone), Err(BadFreeze::SubjectAlone));
        for bad in ["", "a\nb", &"x".repeat(LONGEST + 1)] {
            let given = GivenFreeze { role: Some(text(bad)), ..none() };
            assert_eq!(Frozen::one_of(given), Err(BadFreeze::Text), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_a_freeze_names_is_what_it_was_given(
            subject in proptest::option::of("[a-z]{1,4}"), issuer in proptest::option::of("[a-z]{1,4}"),
            group in proptest::option::of("[a-z]{1,4}"), client in proptest::option::of("[a-z]{1,4}"),
            role in proptest::option::of("[a-z]{1,4}"), everything: bool,
        ) {
            let given = GivenFreeze { subject, issuer, group, client, role, everything };
            if let Ok(frozen) = Frozen::one_of(given.clone()) {
                let owned = |part: Option<&str>| part.map(text);
                let FrozenParts { issuer, subject, group, client, role } = frozen.parts();
                let again = GivenFreeze {
                    subject: owned(subject),
                    issuer: owned(issuer),
                    group: owned(group),
                    client: owned(client),
                    role: owned(role),
                    everything: frozen == Frozen::Everything,
                };
                prop_assert_eq!(again, given);
            }
        }
    }
}
