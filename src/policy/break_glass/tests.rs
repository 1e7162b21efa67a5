//! One whole `break-glass.toml`, and one thing of it broken per case.

use std::time::Duration;

use ed25519_dalek::SigningKey;

use super::{CustodianKey, CustodianName, EmergencyCondition};
use crate::policy::{PolicyFiles, PolicySet, RoleName};
use crate::token::IssuerName;

fn key(seed: u8) -> String {
    CustodianKey::from_bytes(SigningKey::from_bytes(&[seed; 32]).verifying_key().as_bytes()).unwrap().to_base64()
}

fn whole() -> String {
    let custodian = |name: &str, seed: u8| {
        format!("[[custodian]]\nname = \"{name}\"\npublic_key = \"{}\"\ncontact = \"+49 30 {name}\"\n", key(seed))
    };
    [
        "quorum = 2\ndeclared_quorum = 3\nconditions = [\"issuer_down\", \"log_down\"]\nminimum_outage = \"2m\"\n",
        "review_within = \"48h\"\ndrill_every = \"30d\"\nalert_webhook = \"https://alerts.example/hook\"\n",
        &custodian("alice", 1),
        &custodian("bob", 2),
        &custodian("carol", 3),
        "[[role]]\nname = \"emergency-read\"\ndocuments = [\"read\"]\nlength = \"10m\"\n",
        "[[role]]\nname = \"emergency-all\"\ndocuments = [\"read\", \"shared\"]\n",
        "[drill]\nrole = \"drill\"\ndocuments = [\"drill\"]\nbucket = \"drills\"\n",
        "[emergency_tokens]\nissuers = [\"netkingdom\"]\nroles = [\"emergency-read\"]\n",
    ]
    .concat()
}

fn compiled(break_glass: &str) -> Result<PolicySet, Vec<String>> {
    let document = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:GetObject\",\
                    \"Resource\":\"arn:aws:s3:::media/*\"}]}";
    let home = document.replace("media/*", "media/${jwt:sub}/*");
    let shared = document.replace("media", "shared");
    let role = "documents = [\"shared\"]\n[[allow]]\nissuer = \"netkingdom\"\ngroups = [\"team\"]\n";
    let files = [
        ("break-glass.toml", break_glass),
        ("documents/drill.json", document),
        ("documents/read.json", document),
        ("documents/shared.json", shared.as_str()),
        ("documents/viewers.json", document),
        ("documents/home.json", home.as_str()),
        ("roles/team.toml", role),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    let issuers = [IssuerName::parse("netkingdom").unwrap()];
    PolicySet::compile(&PolicyFiles(files.into()), &issuers)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn a_whole_file_is_read_as_it_stands() {
    let set = compiled(&whole()).unwrap();
    let policy = set.break_glass().unwrap();
    assert_eq!((policy.quorum(), policy.declared_quorum(), policy.custodians().len()), (2, 3, 3));
    assert_eq!(policy.conditions(), [EmergencyCondition::IssuerDown, EmergencyCondition::LogDown]);
    assert_eq!(policy.minimum_outage(), Duration::from_mins(2));
    assert_eq!(policy.review_within(), Duration::from_hours(48));
    assert_eq!(policy.drill_every(), Duration::from_hours(30 * 24));
    assert_eq!(policy.alert_webhook(), Some("https://alerts.example/hook"));
    let bob = policy.custodian(&CustodianName::parse("bob").unwrap()).unwrap();
    assert_eq!((bob.key().to_base64(), bob.contact()), (key(2), "+49 30 bob"));
    assert!(policy.custodian(&CustodianName::parse("Bob").unwrap()).is_none());
    let roles: Vec<_> = policy.roles().map(|role| (role.name().as_str(), role.length().as_secs())).collect();
    assert_eq!(roles, [("emergency-read", 600), ("emergency-all", 900), ("drill", 900)]);
    let all = policy.role(&RoleName::parse("emergency-all").unwrap()).unwrap();
    assert_eq!(all.document().statements().len(), 2);
    assert_eq!((policy.drill().role().name().as_str(), policy.drill().bucket()), ("drill", "drills"));
    let tokens = policy.emergency_tokens().unwrap();
    assert_eq!((tokens.issuers()[0].as_str(), tokens.roles()[0].as_str()), ("netkingdom", "emergency-read"));
}

#[test]
fn what_may_be_left_out_has_a_default_and_without_a_file_there_is_no_break_glass() {
    let text = whole();
    let text = ["minimum_outage", "review_within", "drill_every", "alert_webhook"].iter().fold(text, |text, key| {
        text.lines().filter(|line| !line.starts_with(key)).fold(String::new(), |text, line| format!("{text}{line}\n"))
    });
    let set = compiled(text.split("[emergency_tokens]").next().unwrap()).unwrap();
    let policy = set.break_glass().unwrap();
    assert_eq!(policy.minimum_outage(), Duration::from_mins(5));
    assert_eq!(policy.review_within(), Duration::from_hours(72));
    assert_eq!(policy.drill_every(), Duration::from_hours(90 * 24));
    assert_eq!((policy.alert_webhook(), policy.emergency_tokens()), (None, None));
    let document = "{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Deny\",\"Action\":\"admin:*\"}}";
    let files = PolicyFiles([("documents/a.json".to_owned(), document.as_bytes().to_vec())].into());
    assert!(PolicySet::compile(&files, &[]).unwrap().break_glass().is_none());
}

#[test]
fn a_document_of_an_emergency_is_no_role_by_convention_and_may_be_in_a_role_file_too() {
    let set = compiled(&whole()).unwrap();
    let roles: Vec<_> = set.roles().map(|(name, _, _)| name.as_str()).collect();
    // `shared` is in roles/team.toml as well; the others are in no file.
    assert_eq!(roles, ["home", "team", "viewers"]);
}

#[test]
fn whatever_is_wrong_is_refused_where_it_stands() {
    let carol = whole().split("[[custodian]]").nth(3).unwrap().split("[[role]]").next().unwrap().to_owned();
    let carol = format!("[[custodian]]{carol}");
    let (alice_key, bob_key) = (key(1), key(2));
    let weak = "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let cases: [(&str, &str, &str); 47] = [
        ("quorum = 2\n", "quorum = 1\n", "quorum is a number from 2"),
        ("quorum = 2\n", "quorum = -2\n", "quorum is a number from 2"),
        ("quorum = 2\n", "quorum = \"2\"\n", "quorum is a number from 2"),
        ("quorum = 2\n", "quorum = 0x2\n", "quorum is a number from 2"),
        ("quorum = 2\n", "", "quorum is missing"),
        ("quorum = 2\n", "quorum = 4\n", "quorum is 4, but only 3"),
        ("declared_quorum = 3\n", "declared_quorum = 2\n", "takes more than the quorum of 2"),
        ("declared_quorum = 3\n", "declared_quorum = 4\n", "no more than the 3 custodians"),
        ("declared_quorum = 3\n", "", "declared_quorum is missing"),
        (&carol, "", "there are 2 [[custodian]] blocks"),
        ("name = \"bob\"\n", "name = \"alice\"\n", "custodian \"alice\" is listed twice"),
        ("name = \"bob\"\n", "name = \"bob smith\"\n", "a custodian's name has"),
        ("name = \"bob\"\n", "", "a custodian needs name, public_key and contact"),
        (&bob_key, &alice_key, "the key of alice too"),
        (&bob_key, "AAAA", "is not an Ed25519 public key"),
        (&bob_key, weak, "small order"),
        ("contact = \"+49 30 bob\"\n", "", "a custodian needs name, public_key and contact"),
        ("+49 30 bob", "\\u001b[2J", "contact is one line"),
        (
            "\"log_down\"",
            "\"database_down\"",
            "unknown condition \"database_down\": known are issuer_down, log_down, declared",
        ),
        ("\"log_down\"", "\"issuer_down\"", "condition \"issuer_down\" is listed twice"),
        ("[\"issuer_down\", \"log_down\"]", "[]", "conditions = […] needs at least one"),
        ("\"2m\"", "\"29s\"", "minimum_outage is a length from 30s to 1h"),
        ("\"2m\"", "\"61m\"", "minimum_outage is a length from 30s to 1h"),
        ("\"2m\"", "\"2 m\"", "minimum_outage is a length from 30s to 1h"),
        ("\"2m\"", "\"9999999999999999999999m\"", "minimum_outage is a length from 30s to 1h"),
        ("\"2m\"", "\"ä\"", "minimum_outage is a length from 30s to 1h"),
        ("\"48h\"", "\"59m\"", "review_within is a length from 1h to 30d"),
        ("\"30d\"", "\"367d\"", "drill_every is a length from 1d to 366d"),
        ("\"10m\"", "\"16m\"", "length is a length from 1m to 15m"),
        ("\"10m\"", "\"59s\"", "length is a length from 1m to 15m"),
        ("https://alerts.example/hook", "http://alerts.example/hook", "alert_webhook is an https URL"),
        (
            "[[role]]\nname = \"emergency-read\"\n",
            "[[role]]\nname = \"emergency-all\"\n",
            "role \"emergency-all\" is listed twice",
        ),
        ("name = \"emergency-read\"\n", "name = \"viewers\"\n", "the role viewers exists already"),
        ("name = \"emergency-read\"\n", "name = \"team\"\n", "the role team exists already"),
        ("name = \"emergency-read\"\n", "name = \"any\"\n", "\"any\" is reserved"),
        ("name = \"emergency-read\"\n", "", "an emergency role needs name"),
        ("documents = [\"read\"]", "documents = [\"missing\"]", "there is no documents/missing.json"),
        ("documents = [\"read\"]", "documents = [\"home\"]", "its documents hold ${jwt:…}"),
        ("documents = [\"read\"]", "documents = []", "an emergency role needs documents"),
        ("documents = [\"read\", \"shared\"]", "documents = [\"read\", \"read\"]", "document \"read\" is listed twice"),
        (
            "[drill]\nrole = \"drill\"\n",
            "[drill]\nrole = \"emergency-read\"\n",
            "the drill's role must be one of its own",
        ),
        ("documents = [\"drill\"]", "documents = [\"read\"]", "whoever drills would have it without an emergency"),
        ("bucket = \"drills\"", "bucket = \"Drills!\"", "a bucket's name"),
        ("bucket = \"drills\"\n", "", "a drill needs bucket"),
        ("issuers = [\"netkingdom\"]", "issuers = [\"stranger\"]", "issuer \"stranger\" is not in the configuration"),
        ("roles = [\"emergency-read\"]", "roles = [\"drill\"]", "there is no [[role]] \"drill\" in this file"),
        ("length = \"10m\"", "length = \"10m\"\nlenght = \"10m\"", "unknown key \"lenght\""),
    ];
    for (from, to, told) in cases {
        let text = whole();
        assert!(text.contains(from), "{from}");
        let problems = compiled(&text.replacen(from, to, 1)).unwrap_err();
        let said = problems.iter().any(|problem| problem.starts_with("break-glass.toml:") && problem.contains(told));
        assert!(said, "{from} → {to}: {problems:#?}");
    }
}

#[test]
fn the_higher_quorum_may_be_the_same_only_where_all_must_sign() {
    assert!(compiled(&whole().replacen("quorum = 2\n", "quorum = 3\n", 1)).is_ok());
    assert!(compiled(&whole().replacen("declared_quorum = 3\n", "declared_quorum = 2\n", 1)).is_err());
}

#[test]
fn without_roles_drill_or_names_of_tokens_the_file_is_refused() {
    let whole = whole();
    let (before, roles) = whole.split_once("[[role]]").unwrap();
    let drill = format!("[drill]{}", roles.split_once("[drill]").unwrap().1);
    let no_roles = compiled(&format!("{before}{drill}")).unwrap_err();
    assert!(no_roles.iter().any(|problem| problem.contains("at least one [[role]]")), "{no_roles:?}");
    let no_drill = compiled(whole.split("[drill]").next().unwrap()).unwrap_err();
    assert!(no_drill.iter().any(|problem| problem.contains("[drill] is missing")), "{no_drill:?}");
    let no_names = compiled(&whole.replacen("roles = [\"emergency-read\"]\n", "", 1)).unwrap_err();
    assert!(no_names.iter().any(|problem| problem.contains("[emergency_tokens] needs roles")), "{no_names:?}");
}

#[test]
fn a_webhook_is_https_or_on_loopback_and_holds_no_password() {
    let with = |url: &str| compiled(&whole().replacen("https://alerts.example/hook", url, 1));
    for url in [
        "https://a.example",
        "https://a.example:8443/x?y=z",
        "http://127.0.0.1:9/x",
        "http://[::1]/x",
        "http://localhost",
    ] {
        assert!(with(url).is_ok(), "{url}");
    }
    for url in [
        "",
        "a.example",
        "/x",
        "ftp://a.example",
        "http://10.0.0.1/x",
        "http://127.0.0.1.a.example/",
        "https://",
        "https://user:planted@a.example/",
        "https://a.example/#x",
        "https://a.example/ x",
        "http://localhost.a.example/",
    ] {
        let problems = with(url).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains("alert_webhook")), "{url}: {problems:?}");
        assert!(!problems.concat().contains("planted"));
    }
}

#[test]
fn every_condition_keeps_its_word() {
    for condition in EmergencyCondition::ALL {
        assert_eq!(EmergencyCondition::parse(condition.as_str()), Some(condition));
    }
    assert_eq!(EmergencyCondition::parse("Issuer_down"), None);
}
