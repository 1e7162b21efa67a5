//! `stint audit query`: the same questions as at the doors, asked by whoever holds the configuration.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::binary::{Ended, Site, run, stint};
use crate::harness::object_server::{Reply, ScriptedObjectServer};
use crate::harness::service::{Service, Setup, now};
use crate::harness::tokens::Forge;

struct Asked {
    service: Service,
    site: Site,
    key: String,
    lease: String,
    _object_server: ScriptedObjectServer,
}

async fn leased() -> Asked {
    let replies = vec![Reply::credentials_for(Duration::from_mins(58))];
    let object_server = ScriptedObjectServer::start(replies).await;
    let setup = Setup { more: "[lease]\njitter = 0.0\n", ..Setup::with(object_server.endpoint()) };
    let service = Service::start(setup).await;
    let lease = service.lease(&Forge::shared().authentik.token(now()), &json!({"role": "team"})).await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (key, id) = (text(&lease["credentials"]["access_key_id"]), text(&lease["lease_id"]));
    let site = Site::new(&service.database, object_server.endpoint());
    Asked { service, site, key, lease: id, _object_server: object_server }
}

impl Asked {
    async fn query(&self, question: &[&str]) -> Ended {
        let mut command = stint(["audit", "query", "--config"]);
        command.arg(self.site.config()).args(question);
        run(command).await
    }

    async fn details(&self) -> Vec<String> {
        let rows = self.service.log().await.recent(1000).await.unwrap();
        let reads = rows.into_iter().filter(|row| row.kind == "audit.read");
        reads.map(|row| format!("{} {} {}", row.door.unwrap(), row.reason, row.detail.unwrap())).collect()
    }
}

#[tokio::test]
async fn a_question_that_cannot_be_read_is_refused_and_leaves_no_row() {
    let asked = leased().await;
    for wrong in [
        &["key", &asked.key, "--at", "2026-11-22T03:00:00"][..],
        &["key", &asked.key, "--at", "2026-11-22T03:00:00 01:00"],
        &["key", "--fingerprint", "0123456"],
        &["object", "a/b", "c"],
        &["grants", "--from", "2026-01-01T00:00:00Z"],
        &["grants", "--subject", "ada", "--from", "yesterday"],
        &["events", "--limit", "1001"],
        &["events", "--filter", "subjct=ada"],
        &["events", "--filter", "subject=a", "--filter", "subject=b"],
        &["events", "--cursor", "AAAA"],
    ] {
        let ended = asked.query(wrong).await;
        assert_eq!(ended.code, Some(1), "{wrong:?}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("stint: ") && !ended.stderr.contains(&asked.key), "{}", ended.stderr);
        assert_eq!(ended.stdout, "", "{wrong:?}");
    }
    assert_eq!(asked.details().await, Vec::<String>::new());
}

#[tokio::test]
async fn every_question_is_answered_in_both_forms_and_on_record() {
    let asked = leased().await;
    let json = async |question: &[&str]| {
        let ended = asked.query(&[question, &["--json"]].concat()).await;
        assert_eq!(ended.code, Some(0), "{question:?}: {}", ended.stderr);
        serde_json::from_str::<Value>(&ended.stdout).unwrap()
    };
    let from = ["--from", "2026-01-01T00:00:00Z", "--to", "2126-01-01T00:00:00Z"];
    let grants = [&["grants", "--group", "team-a"], &from[..]].concat();
    let emergencies = [&["emergencies"], &from[..]].concat();

    assert_eq!(json(&["key", &asked.key]).await["leases"][0]["lease_id"], asked.lease);
    let revealed = json(&["key", &asked.key, "--reveal"]).await;
    assert_eq!(revealed["leases"][0]["key_fingerprint"].as_str().map(str::len), Some(32));
    let object = json(&["object", "recordings", "a/b"]).await;
    assert_eq!(object["holders"][0]["lease_id"], asked.lease, "{object}");
    assert_eq!(object["entitled"]["roles"][0]["role"], "team", "{object}");
    assert_eq!(json(&grants).await["leases"][0]["lease_id"], asked.lease);
    assert_eq!(json(&emergencies).await["emergencies"], json!([]));
    let events = json(&["events", "--filter", "type=lease.issued"]).await;
    assert_eq!(events["events"][0]["lease_id"], asked.lease);

    let object = ["object", "recordings", "a/b"];
    for (question, told) in [
        (&["key", &asked.key][..], asked.lease.as_str()),
        (&object, "allowed"),
        (&grants, asked.lease.as_str()),
        (&emergencies, "no emergency"),
        (&["events"], "lease.issued"),
    ] {
        let ended = asked.query(question).await;
        assert_eq!(ended.code, Some(0), "{question:?}: {}", ended.stderr);
        assert!(ended.stdout.contains(told), "{question:?}: {}", ended.stdout);
    }
    let details = asked.details().await;
    assert_eq!(details.len(), 11, "{details:#?}");
    assert!(details.iter().all(|detail| detail.starts_with("cli ") && !detail.contains(&asked.key)), "{details:#?}");
    assert_eq!(details.iter().filter(|detail| detail.starts_with("cli reveal ")).count(), 1);
}
