//! The parent user on MinIO: its policy, itself, its secret, and that the policy is its only one. What it must never be
//! able to do is tried with its own key.

use std::collections::BTreeSet;
use std::fmt;

use reqwest::Method;
use secrecy::SecretString;
use serde_json::Value;

use super::super::minio_admin::{AdminError, MinioAdmin, TrialKey};
use super::super::s3::{S3Key, S3Request};
use super::{Bootstrap, Step};

/// Most bytes of a policy file: MinIO takes 20 KiB.
const MOST_BYTES: usize = 20 * 1024;

/// The parent user as it shall be.
#[derive(Debug)]
pub struct ParentUser {
    name: String,
    secret: SecretString,
    policy: Value,
}

/// Why a policy is none for a parent user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// Not a policy document, or longer than the server takes.
    #[error("is no policy document of at most 20 KiB: {{\"Version\", \"Statement\": [...]}}")]
    NoDocument,
    /// It allows what makes accounts, or shows the secrets of others.
    #[error("allows {0}: a parent names its admin actions one by one, and none that makes accounts")]
    TooWide(String),
    /// It leaves the way open to permanent keys.
    #[error("does not deny admin:CreateServiceAccount: without that Deny a session can make a key that outlives it")]
    NoDeny,
}

impl ParentUser {
    /// Checks the policy: it must be one that a parent may have.
    pub fn new(name: String, secret: SecretString, policy: &[u8]) -> Result<Self, PolicyFault> {
        if policy.len() > MOST_BYTES {
            return Err(PolicyFault::NoDocument);
        }
        let policy: Value = serde_json::from_slice(policy).map_err(|_| PolicyFault::NoDocument)?;
        let statements = policy.get("Statement").and_then(Value::as_array).ok_or(PolicyFault::NoDocument)?;
        let of = |effect: &str| {
            let named = statements.iter().filter(move |s| s.get("Effect").and_then(Value::as_str) == Some(effect));
            named.flat_map(|s| texts(s.get("Action"))).collect::<Vec<_>>()
        };
        let wide = |action: &&String| {
            matches!(action.as_str(), "*" | "admin:*") || (action.starts_with("admin:") && action.contains(['*', '?']))
        };
        if let Some(action) = of("Allow").iter().find(wide) {
            return Err(PolicyFault::TooWide(action.clone()));
        }
        if !of("Deny").iter().any(|action| matches!(action.as_str(), "admin:*" | "admin:CreateServiceAccount")) {
            return Err(PolicyFault::NoDeny);
        }
        Ok(Self { name, secret, policy })
    }

    fn key(&self) -> S3Key {
        S3Key::long_lived(SecretString::from(self.name.as_str()), self.secret.clone())
    }
}

/// What would change of the parent user.
#[derive(Debug)]
pub(super) struct ParentPlan {
    user: String,
    changes: Result<Vec<ParentChange>, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ParentChange {
    /// Statements, in canonical form, that come and go.
    WritePolicy {
        gone: Vec<String>,
        come: Vec<String>,
    },
    CreateUser,
    SetSecret,
    /// The policies it has now.
    SetPolicy {
        now: String,
    },
}

impl ParentPlan {
    pub(super) fn name(&self) -> String {
        format!("user {}", self.user)
    }

    pub(super) fn lines(&self) -> Result<Vec<String>, &str> {
        match &self.changes {
            Ok(changes) => Ok(changes.iter().flat_map(ParentChange::lines).collect()),
            Err(unknown) => Err(unknown),
        }
    }
}

impl ParentChange {
    fn lines(&self) -> Vec<String> {
        match self {
            Self::WritePolicy { gone, come } => {
                let line = |sign: char| move |statement: &String| format!("{sign} policy statement {statement}");
                gone.iter().map(line('-')).chain(come.iter().map(line('+'))).collect()
            }
            Self::CreateUser => vec!["+ the user".to_owned()],
            Self::SetSecret => vec!["+ the configured secret, which is not the one it has".to_owned()],
            Self::SetPolicy { now } if now.is_empty() => vec!["+ its policy".to_owned()],
            Self::SetPolicy { now } => vec![format!("- the policies {now}"), "+ its own policy alone".to_owned()],
        }
    }
}

impl fmt::Display for ParentChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("; "))
    }
}

impl Bootstrap {
    pub(super) async fn plan_parents(&self) -> Vec<ParentPlan> {
        let mut plans = Vec::with_capacity(self.parents.len());
        for parent in &self.parents {
            let changes = self.parent_changes(parent).await.map_err(|error| error.to_string());
            plans.push(ParentPlan { user: parent.name.clone(), changes });
        }
        plans
    }

    async fn parent_changes(&self, parent: &ParentUser) -> Result<Vec<ParentChange>, Unknown> {
        let admin = MinioAdmin { client: &self.client, key: &self.key };
        let mut changes = Vec::new();
        let found = admin.policy(&parent.name).await?.map(|policy| statements(&policy)).unwrap_or_default();
        let wanted = statements(&parent.policy);
        if found != wanted {
            let only = |one: &BTreeSet<String>, other| one.difference(other).cloned().collect();
            changes.push(ParentChange::WritePolicy { gone: only(&found, &wanted), come: only(&wanted, &found) });
        }
        match admin.user(&parent.name).await? {
            None => changes.extend([ParentChange::CreateUser, ParentChange::SetPolicy { now: String::new() }]),
            // Somebody cut it off, and with it every lease: that is not bootstrap's to undo.
            Some(user) if user.status != "enabled" => return Err(Unknown::Disabled),
            Some(user) => {
                if self.has_another_secret(parent).await? {
                    changes.push(ParentChange::SetSecret);
                }
                if user.policies != parent.name {
                    changes.push(ParentChange::SetPolicy { now: user.policies });
                }
            }
        }
        Ok(changes)
    }

    /// A secret cannot be read back: the parent signs something, and the server says whether that was its signature.
    async fn has_another_secret(&self, parent: &ParentUser) -> Result<bool, Unknown> {
        let answer = self.client.send(&parent.key(), &S3Request::service(Method::GET)).await;
        let answer = answer.map_err(AdminError::from)?;
        match (answer.status(), answer.code().as_deref()) {
            (200, _) | (403, Some("AccessDenied")) => Ok(false),
            (403, Some("SignatureDoesNotMatch")) => Ok(true),
            _ => Err(Unknown::Secret(answer.told())),
        }
    }

    pub(super) async fn apply_parent(&self, parent: &ParentUser, plan: &ParentPlan) -> Step {
        let mut step = Step::new(plan.name());
        let changes = match &plan.changes {
            Ok(changes) => changes,
            Err(unknown) => {
                step.problems.push(unknown.clone());
                return step;
            }
        };
        let admin = MinioAdmin { client: &self.client, key: &self.key };
        for change in changes {
            let applied = match change {
                ParentChange::WritePolicy { .. } => admin.put_policy(&parent.name, &parent.policy).await,
                ParentChange::CreateUser | ParentChange::SetSecret => {
                    admin.put_user(&parent.name, &parent.secret).await
                }
                ParentChange::SetPolicy { .. } => admin.set_policies(&parent.name, &parent.name).await,
            };
            match applied {
                Ok(()) => step.applied.extend(change.lines()),
                Err(error) => {
                    step.problems.push(format!("{change}: {error}"));
                    // A user without its policy, or a policy that was not written, must not be built upon.
                    return step;
                }
            }
        }
        match self.parent_changes(parent).await {
            Ok(left) => step.problems.extend(left.iter().map(|change| format!("read back, still to do: {change}"))),
            Err(unknown) => step.problems.push(format!("read back: {unknown}")),
        }
        match self.try_key(parent).await {
            Ok(()) => step.refused.push("make a permanent key"),
            Err(problem) => step.problems.push(problem),
        }
        step
    }

    /// The one thing that must never work, tried.
    async fn try_key(&self, parent: &ParentUser) -> Result<(), String> {
        let (key, trial) = (parent.key(), TrialKey::draw().map_err(|error| error.to_string())?);
        let tried = MinioAdmin { client: &self.client, key: &key }.try_permanent_key(&trial).await;
        match tried {
            Ok(answer) if answer.is_refusal() => Ok(()),
            Ok(answer) if answer.is_success() => {
                let admin = MinioAdmin { client: &self.client, key: &self.key };
                let removed = match admin.delete_permanent_key(trial.access_key()).await {
                    Ok(()) => "it was deleted".to_owned(),
                    Err(error) => format!("DELETE IT: {}: {error}", trial.access_key()),
                };
                Err(format!("the parent can make permanent keys; one was made to try, and {removed}"))
            }
            Ok(answer) => Err(format!("whether the parent can make permanent keys is not known: {}", answer.told())),
            Err(error) => Err(format!("whether the parent can make permanent keys is not known: {error}")),
        }
    }
}

/// Why the changes are not known.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("it is disabled: every lease under it is cut. Enable it by hand when that is over (mc admin user enable)")]
    Disabled,
    #[error("whether it has the configured secret is not known: {0}")]
    Secret(String),
}

/// The statements of a policy in a form that can be compared: servers turn single values into arrays and reorder them.
fn statements(policy: &Value) -> BTreeSet<String> {
    let canonical = |statement: &Value| {
        let mut members = serde_json::Map::new();
        for (name, value) in statement.as_object().into_iter().flatten() {
            let value = match name.as_str() {
                "Sid" => continue,
                "Action" | "Resource" => Value::from(texts(Some(value)).into_iter().collect::<Vec<_>>()),
                _ => value.clone(),
            };
            members.insert(name.clone(), value);
        }
        Value::Object(members).to_string()
    };
    policy.get("Statement").and_then(Value::as_array).into_iter().flatten().map(canonical).collect()
}

fn texts(value: Option<&Value>) -> BTreeSet<String> {
    match value {
        Some(Value::String(text)) => BTreeSet::from([text.clone()]),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(policy: &str) -> Result<(), PolicyFault> {
        ParentUser::new("p".to_owned(), SecretString::from("s"), policy.as_bytes()).map(|_| ())
    }

    const GOOD: &str = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/*"]},
        {"Effect":"Allow","Action":["admin:ServerInfo"]},
        {"Effect":"Deny","Action":["admin:CreateServiceAccount"]}]}"#;

    #[test]
    fn a_policy_that_a_parent_must_not_have_is_refused() {
        assert_eq!(parent(GOOD), Ok(()));
        assert_eq!(parent(include_str!("../../../docs/deploy/parent-policy.json")), Ok(()));
        for (from, to) in
            [("admin:ServerInfo", "admin:*"), ("admin:ServerInfo", "*"), ("admin:ServerInfo", "admin:Server*")]
        {
            assert_eq!(parent(&GOOD.replace(from, to)), Err(PolicyFault::TooWide(to.to_owned())));
        }
        assert_eq!(parent(&GOOD.replace("admin:CreateServiceAccount", "admin:CreateUser")), Err(PolicyFault::NoDeny));
        for text in ["", "[]", "{}", r#"{"Statement":{}}"#] {
            assert_eq!(parent(text), Err(PolicyFault::NoDocument));
        }
        let long = format!("{GOOD}{}", " ".repeat(MOST_BYTES));
        assert_eq!(parent(&long), Err(PolicyFault::NoDocument));
    }

    #[test]
    fn policies_are_compared_by_what_they_say() {
        let of = |text: &str| statements(&serde_json::from_str(text).unwrap());
        let one = r#"{"Statement":[{"Sid":"x","Effect":"Allow","Action":["b","a"],"Resource":"r"},{"Effect":"Deny","Action":"c"}]}"#;
        let same = r#"{"Statement":[{"Effect":"Deny","Action":["c"]},{"Effect":"Allow","Resource":["r"],"Action":["a","b"]}]}"#;
        assert_eq!(of(one), of(same));
        assert_ne!(of(one), of(&same.replace("\"r\"", "\"q\"")));
    }
}
