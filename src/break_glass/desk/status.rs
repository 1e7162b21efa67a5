//! What anybody may know: public facts alone, no incident and no reason. A custodian finds here what to write into a request, and
//! whom to call.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::break_glass_desk::BreakGlassDesk;
use super::refusal::BreakGlassRefusal;
use super::state::EmergencyUse;
use crate::audit::instant;
use crate::break_glass::watch::Standing;
use crate::policy::{BreakGlass, EmergencyCondition};

/// The state of break-glass at this instance.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Status {
    /// This instance: what a request names.
    pub instance: Uuid,
    /// The policy set in force, hex: what a request names.
    pub policy_hash: String,
    /// The time here.
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub now: OffsetDateTime,
    /// How many custodians sign a request of kind `outage` or `drill`.
    pub quorum: usize,
    /// And of kind `declared`.
    pub declared_quorum: usize,
    /// Who may sign, and how to reach them.
    pub custodians: Vec<StatusCustodian>,
    /// What may be had.
    pub roles: Vec<StatusRole>,
    /// What allows it, as it stands now.
    pub conditions: Vec<StatusCondition>,
    /// Uses that wait for their review.
    pub open_reviews: Vec<StatusReview>,
    /// When the last drill passed.
    #[serde(skip_serializing_if = "Option::is_none", with = "instant::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_drill: Option<OffsetDateTime>,
    /// Whether the next is overdue.
    pub drill_overdue: bool,
    /// Whether the shared log answers.
    pub shared_log: bool,
    /// Whether the journal waits to be handed on to it.
    pub journal_waits: bool,
}

/// One who may sign.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct StatusCustodian {
    /// Their name.
    pub name: String,
    /// How to reach them.
    pub contact: String,
}

/// One role.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct StatusRole {
    /// Its name.
    pub name: String,
    /// The longest it is given for.
    pub length_seconds: u64,
    /// Whether it is the drill's.
    pub drill: bool,
}

/// One condition.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct StatusCondition {
    /// `issuer_down`, `log_down` or `declared`.
    pub name: &'static str,
    /// `holds`, `silent` (not for long enough yet), `answers`, `unknown`; of `declared`: `offered`.
    pub standing: &'static str,
    /// Since when it is silent.
    #[serde(skip_serializing_if = "Option::is_none", with = "instant::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<OffsetDateTime>,
    /// How long it has been silent, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// From how many seconds on it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_seconds: Option<u64>,
}

/// One use that waits for its review.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct StatusReview {
    /// The use: the nonce of its request.
    pub r#use: Uuid,
    /// Its role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Since when it waits.
    #[serde(skip_serializing_if = "Option::is_none", with = "instant::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub opened_at: Option<OffsetDateTime>,
    /// Whether that is too long.
    pub overdue: bool,
    /// When its lease ends, while it is good.
    #[serde(skip_serializing_if = "Option::is_none", with = "instant::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub good_until: Option<OffsetDateTime>,
    /// The name the object server's own log has for the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
    /// The keyed fingerprint of its access key id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,
    /// How to find there what was done.
    pub accesses: &'static str,
    /// The parent key that is to be rotated, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate: Option<String>,
}

impl BreakGlassDesk {
    /// Whether `break-glass.toml` is there.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.parts().policies.load().break_glass().is_some()
    }

    /// The state of break-glass at this instance.
    pub async fn status(&self) -> Result<Status, BreakGlassRefusal> {
        let policies = self.parts().policies.load_full();
        let policy = policies.break_glass().ok_or(BreakGlassRefusal::NotConfigured)?;
        let known = self.look().await?;
        let now = self.now();
        let last_drill = known.state.last_drill();
        Ok(Status {
            instance: self.parts().journal.instance(),
            policy_hash: policies.hash().to_hex(),
            now,
            quorum: policy.quorum(),
            declared_quorum: policy.declared_quorum(),
            custodians: policy
                .custodians()
                .iter()
                .map(|custodian| StatusCustodian {
                    name: custodian.name().as_str().to_owned(),
                    contact: custodian.contact().to_owned(),
                })
                .collect(),
            roles: policy
                .roles()
                .map(|role| StatusRole {
                    name: role.name().as_str().to_owned(),
                    length_seconds: role.length().as_secs(),
                    drill: role.name() == policy.drill().role().name(),
                })
                .collect(),
            conditions: self.conditions(policy),
            open_reviews: known
                .state
                .unreviewed()
                .map(|(nonce, open)| self.open_review_shown(nonce, open, policy, now))
                .collect(),
            last_drill,
            // Where the shared log is away another instance may have had one.
            drill_overdue: last_drill.map_or(known.shared, |last| last + policy.drill_every() < now),
            shared_log: known.shared,
            journal_waits: self.parts().journal.waits(),
        })
    }

    fn conditions(&self, policy: &BreakGlass) -> Vec<StatusCondition> {
        let minimum = policy.minimum_outage();
        let judged = self.parts().conditions.judged(minimum);
        let of = |condition: &EmergencyCondition| {
            let name = condition.as_str();
            match condition {
                EmergencyCondition::IssuerDown => standing(name, judged.issuer(), minimum.as_secs()),
                EmergencyCondition::LogDown => standing(name, judged.log(), minimum.as_secs()),
                EmergencyCondition::Declared => {
                    StatusCondition { name, standing: "offered", since: None, seconds: None, minimum_seconds: None }
                }
            }
        };
        policy.conditions().iter().map(of).collect()
    }

    fn open_review_shown(
        &self,
        nonce: Uuid,
        open: &EmergencyUse,
        policy: &BreakGlass,
        now: OffsetDateTime,
    ) -> StatusReview {
        let (granted, role) = (open.granted(), open.facts().role.clone());
        let opened_at = open.review_opened_at();
        StatusReview {
            r#use: nonce,
            opened_at,
            overdue: opened_at.is_some_and(|opened| opened + policy.review_within() < now),
            good_until: granted.map(|granted| granted.ends_at).filter(|_| !open.is_over(now)),
            session_name: granted.and_then(|granted| granted.session_name.clone()),
            key_fingerprint: granted.and_then(|granted| granted.key_fingerprint.clone()),
            accesses: self.parts().server.accesses,
            rotate: role.as_deref().and_then(|role| self.parts().server.rotation(role)),
            role,
        }
    }
}

fn standing(name: &'static str, standing: Standing, minimum: u64) -> StatusCondition {
    let (standing, outage) = match standing {
        Standing::Unknown => ("unknown", None),
        Standing::Answers => ("answers", None),
        Standing::Silent(outage) => ("silent", Some(outage)),
        Standing::Down(outage) => ("holds", Some(outage)),
    };
    StatusCondition {
        name,
        standing,
        since: outage.map(|outage| outage.since()),
        seconds: outage.map(|outage| outage.lasted().as_secs()),
        minimum_seconds: Some(minimum),
    }
}
