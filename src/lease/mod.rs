//! For how long, and under which exact words. This room turns a [`Grant`](crate::policy::Grant) into the one
//! [`AssumeRole`] request that is put on record and then sent: its length, its session policy, its names. It is pure:
//! time and randomness are arguments. It also says whom a [`Freeze`] covers, and who may be handed the same lease: equal
//! [`Holder`]s.

mod bucket_grants;
mod capabilities;
mod forecast;
mod freeze;
mod holder;
mod lengths;
mod names;
mod parents;
mod plan;
mod quota;
mod refresh_load;
mod returns;
mod self_testing;
mod session_policy;
mod smoothing;
mod terms;

pub use bucket_grants::{BucketGrant, BucketRight, BucketRights, Rights};
pub use capabilities::{
    Beyond, Capabilities, Conditions, Durations, OnUnknownAction, PolicyLanguage, Revocation, SessionName, SizeLimit,
    SizeUnit,
};
pub use forecast::{Forecast, OpenCount};
pub use freeze::{BadFreeze, Freeze, FreezeId, Freezes, Frozen, FrozenParts, GivenFreeze};
pub use holder::Holder;
pub use lengths::LengthRange;
pub use names::{LeaseId, RoleArn, RoleSessionName};
pub use parents::{MintingParents, ParentId};
pub use plan::{
    AssumeRole, LeaseError, LeaseRules, emergency_session_policy, plan, plan_emergency, plan_verification,
    prove_roles_fit, shortened_roles, uncomfortable_roles,
};
pub use quota::{OverQuota, Quota, Quotas, Rate};
pub use refresh_load::RefreshLoad;
pub use returns::GoesBy;
pub use self_testing::SelfTesting;
pub use session_policy::SessionPolicy;
pub use smoothing::{Drawn, Smoothing};
pub use terms::{LeaseTerms, Shortening};
