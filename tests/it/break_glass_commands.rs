//! The commands of break-glass that speak to an instance, through the real program: a use from the request to the closed
//! review, and a drill in one command.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rand::SeedableRng;
use rand::rngs::StdRng;
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::binary::{Ended, run, stint};
use crate::harness::custodians::{ALL, secret};
use crate::harness::demo_server::Demo;
use crate::harness::home::Home;
use crate::harness::service::Service;

const PASSPHRASE: &str = "correct horse battery";

/// Where a custodian works: everybody's key, and one passphrase for all.
struct Desktop {
    directory: TempDir,
    url: String,
}

impl Desktop {
    fn of(service: &Service) -> Self {
        let directory = TempDir::new().unwrap();
        let passphrase = SecretString::from(PASSPHRASE);
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("passphrase", PASSPHRASE);
        for name in ALL {
            let pem = secret(name).to_encrypted_pem(&passphrase, &mut StdRng::seed_from_u64(1)).unwrap();
            write(&format!("{name}.pem"), &pem);
        }
        Self { directory, url: service.url("") }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    async fn stint(&self, arguments: &[&str]) -> Ended {
        let mut command = stint(["break-glass"]);
        command.args(arguments).current_dir(self.path()).env("STINT_URL", &self.url);
        run(command).await
    }

    /// What it prints, which must be good.
    async fn done(&self, arguments: &[&str]) -> String {
        let ended = self.stint(arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        ended.stdout
    }

    async fn sign(&self, file: &str, name: &str) {
        let key = format!("{name}.pem");
        let with = ["--key", &key, "--passphrase-file", "passphrase", "--yes"];
        self.done(&[&["sign", file, "--custodian", name], &with[..]].concat()).await;
    }
}

#[tokio::test]
async fn a_use_is_walked_from_the_request_to_the_closed_review() {
    let (demo, home) = (Demo::start().await, Home::new());
    let service = home.start(&demo.endpoint, None).await;
    let desktop = Desktop::of(&service);
    let shown = desktop.done(&["status"]).await;
    assert!(shown.contains("alice") && shown.contains("issuer_down") && shown.contains("OVERDUE"), "{shown}");

    let told = desktop
        .done(&[
            "request",
            "--role",
            "emergency-read",
            "--reason",
            "the provider is down",
            "--incident",
            "INC-7",
            "--requester",
            "alice",
            "--kind",
            "declared",
            "--json",
        ])
        .await;
    let used: Value = serde_json::from_str(&told).unwrap();
    let used = used["nonce"].as_str().unwrap().to_owned();
    let refused = desktop.stint(&["submit", "request.json"]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("nobody has signed"), "{}", refused.stderr);
    // Each signs a copy, wherever they are.
    for name in ALL {
        fs::copy(desktop.path().join("request.json"), desktop.path().join(format!("{name}.json"))).unwrap();
        desktop.sign(&format!("{name}.json"), name).await;
    }
    let refused = desktop.stint(&["submit", "alice.json", "bob.json"]).await;
    // The runbook's table is by this word.
    let told = ["quorum_not_met", "3 are needed"].iter().all(|told| refused.stderr.contains(told));
    assert!(refused.code == Some(1) && told, "{}", refused.stderr);
    let granted = desktop.done(&["submit", "alice.json", "carol.json", "bob.json"]).await;
    assert!(granted.contains("GRANTED") && granted.contains("open --env answer.json"), "{granted}");
    assert!(granted.contains("--key request.json.key"), "{granted}");
    let again = desktop.stint(&["submit", "alice.json", "carol.json", "bob.json"]).await;
    assert!(again.code == Some(1) && again.stderr.contains("is there already"), "{}", again.stderr);
    let again = desktop.stint(&["submit", "alice.json", "carol.json", "bob.json", "--out", "again.json"]).await;
    assert!(again.code == Some(1) && again.stderr.contains("409 nonce_used"), "{}", again.stderr);
    let opened = desktop.done(&["open", "answer.json", "--env"]).await;
    assert!(opened.contains("AWS_SESSION_TOKEN="), "{opened}");

    let shown = desktop.done(&["status"]).await;
    assert!(shown.contains("OPEN REVIEWS") && shown.contains(&used), "{shown}");
    let with = ["--custodian", "bob", "--key", "bob.pem", "--passphrase-file", "passphrase"];
    desktop.done(&[&["cancel", &used, "--why", "it is over"], &with[..]].concat()).await;
    let ended = desktop.done(&["submit", "cancellation.json"]).await;
    assert!(ended.contains("seen to be refused"), "{ended}");
    let findings = "one object was read:\nrecordings/x";
    fs::write(desktop.path().join("findings"), findings).unwrap();
    desktop.done(&["review", &used, "--findings-file", "findings"]).await;
    for name in ["bob", "carol"] {
        desktop.sign("review.json", name).await;
    }
    let closed = desktop.done(&["submit", "review.json"]).await;
    assert!(closed.contains("is closed"), "{closed}");
    assert!(!desktop.done(&["status"]).await.contains("OPEN REVIEWS"));
}

#[tokio::test]
async fn a_drill_is_one_command_and_says_so_when_it_cannot_be() {
    let (demo, home) = (Demo::start().await, Home::new());
    let service = home.start(&demo.endpoint, None).await;
    let desktop = Desktop::of(&service);
    let with = ["--passphrase-file", "passphrase"];
    let one = desktop.stint(&[&["drill", "--key", "alice=alice.pem"], &with[..]].concat()).await;
    assert!(one.code == Some(1) && one.stderr.contains("2 are needed"), "{}", one.stderr);
    let keys = ["--key", "alice=alice.pem", "--key", "bob=bob.pem"];
    let told = desktop.done(&[&["drill", "--json"], &keys[..], &with[..]].concat()).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((told["drill"].as_str(), told["opened"].as_bool()), (Some("passed"), Some(true)), "{told}");
    let shown = desktop.done(&["status"]).await;
    assert!(!shown.contains("OVERDUE"), "{shown}");
    let shown = desktop.done(&[&["drill"], &keys[..], &with[..]].concat()).await;
    assert!(shown.contains("the drill passed"), "{shown}");

    // Custodians in different places sign first.
    let asked = ["request", "--kind", "drill", "--role", "drill", "--requester", "alice"];
    desktop.done(&[&asked[..], &["--reason", "a drill", "--incident", "drill"]].concat()).await;
    desktop.sign("request.json", "bob").await;
    let signed = ["drill", "--request", "request.json", "--recipient-key", "request.json.key"];
    let shown = desktop.done(&[&signed[..], &["--key", "alice=alice.pem"], &with[..]].concat()).await;
    assert!(shown.contains("the drill passed"), "{shown}");
}
