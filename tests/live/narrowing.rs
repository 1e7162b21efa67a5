//! What a leased credential can never do, proven on the server that enforces it.

use std::time::Duration;

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::harness::{Boto3, Installation, PARENT, now, until};

fn policy(actions: &[&str], resource: &str, condition: &Value) -> String {
    let mut statement = json!({"Effect": "Allow", "Action": actions, "Resource": [resource]});
    if !condition.is_null() {
        statement["Condition"] = condition.clone();
    }
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

#[tokio::test]
async fn a_callers_own_policy_narrows_the_lease_to_it() {
    let installation = Installation::start().await;
    let token = installation.keycloak.token("studio").await;
    let only_one = policy(&["s3:PutObject", "s3:GetObject"], "arn:aws:s3:::assets/mine/*", &Value::Null);
    let answer = installation.stint.assume(&token, "studio", Some(&only_one)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);

    let boto3 = Boto3::against(&installation.minio).holding(&answer.keys());
    let outcomes = boto3.walk(&["put:assets/mine/a", "get:assets/mine/a", "put:assets/yours/a", "put:textures/mine/a"]);
    assert_eq!(outcomes, ["ok", "ok", "AccessDenied", "AccessDenied"]);
}

#[tokio::test]
async fn a_callers_own_policy_never_widens_the_lease() {
    let installation = Installation::start().await;
    let token = installation.keycloak.token("viewer").await;
    let wider = policy(&["s3:PutObject"], "arn:aws:s3:::assets/*", &Value::Null);
    let answer = installation.stint.assume(&token, "spacemusic-viewers", Some(&wider)).await;
    // Refused, or combined so that the server enforces the intersection: either way nothing can be written.
    if answer.status == 200 {
        let boto3 = Boto3::against(&installation.minio).holding(&answer.keys());
        assert_eq!(boto3.walk(&["put:assets/a"]), ["AccessDenied"]);
    } else {
        assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.body);
        assert_eq!(installation.minio.minted(), 0);
    }
}

#[tokio::test]
async fn a_leased_credential_makes_no_account_that_outlives_it() {
    let installation = Installation::start().await;
    let minio = &installation.minio;
    for client in ["studio", "admin"] {
        let keys = installation.keys_of(client).await;
        let attempts: [&[&str]; 4] = [
            &["admin", "user", "svcacct", "add", "server", PARENT],
            &["admin", "user", "svcacct", "add", "server", &keys.access_key],
            &["admin", "accesskey", "create", "server"],
            &["admin", "user", "add", "server", "intruder", "intruder-secret"],
        ];
        for attempt in attempts {
            let output = minio.as_holder(&keys, attempt);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && errors.contains("Access Denied"), "{client}: mc {attempt:?}: {errors}");
        }
    }
    assert!(!minio.as_parent(&["admin", "accesskey", "create", "server"]).status.success(), "nor does the parent");
    assert!(minio.as_root(&["admin", "user", "svcacct", "add", "server", PARENT]).status.success(), "but root can");
}

#[tokio::test]
async fn credentials_die_at_the_instant_their_policy_names() {
    let installation = Installation::start().await;
    let token = installation.keycloak.token("studio").await;
    let seconds = 15;
    let end = (now() + Duration::from_secs(seconds)).replace_nanosecond(0).expect("zero is in range");
    let condition = json!({"DateLessThan": {"aws:CurrentTime": [end.format(&Rfc3339).expect("a time has a text")]}});
    let short = policy(&["s3:PutObject", "s3:GetObject"], "arn:aws:s3:::assets/*", &condition);
    let answer = installation.stint.assume(&token, "studio", Some(&short)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);

    let boto3 = Boto3::against(&installation.minio).holding(&answer.keys());
    assert_eq!(boto3.walk(&["put:assets/a"]), ["ok"], "alive before {end}");
    until("MinIO refuses the credentials", Duration::from_secs(seconds + 15), async || {
        boto3.walk(&["get:assets/a"]) == ["AccessDenied"]
    })
    .await;
    assert!(now() >= end, "they lived until {end}");
}
