//! `stint object-server bootstrap` on a real MinIO, and everything about it that is checked with MinIO's own client.

use super::harness::{Answer, Minio, PARENT, Site};

/// PostgreSQL is not there, and not needed.
const NO_DATABASE: &str = "postgres://nobody@127.0.0.1:1/none";
const ONE: &str = "[[bucket]]\nname = \"recordings\"\nprivate = true\nexpire_days = 30\n";

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

#[tokio::test]
async fn an_empty_server_becomes_what_the_files_say_and_then_there_is_nothing_to_do() {
    let minio = Minio::bare(&[]).await;
    let site = Site::new(&minio, NO_DATABASE);

    let plan = site.run(&["bootstrap", "--plan"]);
    assert_eq!(plan.code, Some(0), "{plan:?}");
    assert!(lines(&plan.stdout).contains(&"+ lifecycle: objects expire after 30 days"), "{plan:?}");
    let listed = minio.as_root(&["ls", "server"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "", "a plan changes nothing");

    let done = site.run(&["bootstrap"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout.contains("ok     bucket backups: 2 lines applied; strangers may not list, read, write"),
        "{done:?}"
    );
    assert!(done.stdout.contains("it may not make a permanent key"), "{done:?}");

    let again = site.run(&["bootstrap"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(
        again.stdout.starts_with("plan: nothing to do") && again.stdout.contains("\nnothing to do: 6 things"),
        "{again:?}"
    );

    // What MinIO's own client says.
    let expiry = |bucket: &str| {
        let shown = minio.as_root(&["--json", "ilm", "rule", "ls", &format!("server/{bucket}")]);
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        serde_json::from_str::<serde_json::Value>(&text)
            .ok()
            .map(|rules| rules["config"]["Rules"][0]["Expiration"]["Days"].clone())
    };
    for (bucket, days) in [("recordings", 30), ("exports", 90), ("backups", 90)] {
        assert_eq!(expiry(bucket), Some(days.into()), "{bucket}");
    }
    for bucket in ["textures", "assets"] {
        let shown = minio.as_root(&["ilm", "rule", "ls", &format!("server/{bucket}")]);
        assert!(!shown.status.success(), "{bucket} keeps its objects for ever");
    }
    for bucket in ["recordings", "textures", "assets", "exports", "backups"] {
        let access = minio.as_root(&["anonymous", "get", &format!("server/{bucket}")]);
        assert!(String::from_utf8_lossy(&access.stdout).contains("private"), "{bucket}");
        let left = minio.as_root(&["ls", "--recursive", "--versions", &format!("server/{bucket}")]);
        assert_eq!(String::from_utf8_lossy(&left.stdout), "", "{bucket}: the probes were removed");
    }
    let user = minio.as_root(&["--json", "admin", "user", "info", "server", PARENT]);
    let user: serde_json::Value = serde_json::from_slice(&user.stdout).expect("mc answers JSON");
    assert_eq!((&user["policyName"], &user["userStatus"]), (&PARENT.into(), &"enabled".into()));
    let key = minio.as_parent(&["admin", "accesskey", "create", "server"]);
    assert!(!key.status.success(), "the parent makes no permanent key");
    let keys = minio.as_root(&["--json", "admin", "accesskey", "ls", "server", "--all", "--svcacc-only"]);
    assert!(!String::from_utf8_lossy(&keys.stdout).contains("STINTTRIAL"), "{keys:?}");
}

#[tokio::test]
async fn a_bucket_that_somebody_opened_is_shown_and_then_closed() {
    let minio = Minio::bare(&[]).await;
    let site = Site::new(&minio, NO_DATABASE);
    site.with_buckets(ONE);
    assert_eq!(site.run(&["bootstrap"]).code, Some(0));
    minio.must(&["anonymous", "set", "download", "server/recordings"]);
    minio.must(&["ilm", "rule", "add", "--expire-days", "3", "--prefix", "tmp/", "server/recordings"]);

    let plan = site.run(&["bootstrap", "--plan", "--json"]).json();
    let changes = plan["plan"][0]["changes"].as_array().expect("changes").iter().filter_map(|line| line.as_str());
    let changes: Vec<&str> = changes.collect();
    assert!(changes.contains(&"- lifecycle: objects expire after 3 days, below \"tmp/\""), "{changes:?}");
    assert_eq!(changes.iter().filter(|line| line.starts_with("- policy: everybody may")).count(), 2, "{changes:?}");
    let open = Answer::to_get(&format!("{}/recordings?list-type=2", minio.endpoint())).await.expect("MinIO answers");
    assert_eq!(open.status, 200, "a plan changes nothing");

    assert_eq!(site.run(&["bootstrap"]).code, Some(0));
    let closed = Answer::to_get(&format!("{}/recordings?list-type=2", minio.endpoint())).await.expect("MinIO answers");
    assert_eq!(closed.status, 403);
}

#[tokio::test]
async fn a_bucket_that_keeps_versions_is_left_without_any_of_ours() {
    let minio = Minio::bare(&[]).await;
    let site = Site::new(&minio, NO_DATABASE);
    site.with_buckets(&format!("{ONE}versioning = true\n"));
    let done = site.run(&["bootstrap"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("+ lifecycle: old versions expire after 30 days"), "{done:?}");
    let left = minio.as_root(&["ls", "--recursive", "--versions", "server/recordings"]);
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    let again = site.run(&["bootstrap"]);
    assert!(again.stdout.starts_with("plan: nothing to do"), "{again:?}");

    site.with_buckets(&format!("{ONE}versioning = false\n"));
    let suspended = site.run(&["bootstrap"]);
    assert_eq!(suspended.code, Some(0), "{suspended:?}");
    assert!(suspended.stdout.contains("- versioning (suspended"), "{suspended:?}");
}

#[tokio::test]
async fn a_parent_that_was_changed_is_set_right_and_one_that_was_disabled_is_left_alone() {
    let minio = Minio::bare(&[]).await;
    let site = Site::new(&minio, NO_DATABASE);
    site.with_buckets(ONE);
    assert_eq!(site.run(&["bootstrap"]).code, Some(0));

    minio.must(&["admin", "policy", "attach", "server", "consoleAdmin", "--user", PARENT]);
    minio.must(&["admin", "user", "add", "server", PARENT, "somebody-elses-secret"]);
    let done = site.run(&["bootstrap"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    for line in ["+ the configured secret, which is not the one it has", "+ its own policy alone"] {
        assert!(lines(&done.stdout).contains(&line), "{line}: {done:?}");
    }

    minio.must(&["admin", "user", "disable", "server", PARENT]);
    let refused = site.run(&["bootstrap"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stdout.contains("it is disabled") && refused.stderr.contains("user stint-parent"), "{refused:?}");
    let user = minio.as_root(&["--json", "admin", "user", "info", "server", PARENT]);
    assert!(String::from_utf8_lossy(&user.stdout).contains("disabled"), "it stays as it was");
}

#[tokio::test]
async fn a_key_that_may_not_is_told_bucket_by_bucket() {
    let minio = Minio::start().await;
    let site = Site::new(&minio, NO_DATABASE);
    let nobody = "access_key = \"root\"";
    minio.must(&["admin", "user", "add", "server", "nobody", "nobody-secret"]);
    site.configure(nobody, "access_key = \"nobody\"");
    site.configure(&format!("secret_key = \"{}\"", minio.root_secret()), "secret_key = \"nobody-secret\"");
    for arguments in [&["bootstrap", "--plan"][..], &["bootstrap"]] {
        let refused = site.run(arguments);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        for bucket in ["recordings", "textures", "assets", "exports", "backups"] {
            assert!(refused.stdout.contains(&format!("bucket {bucket}")), "{bucket}: {refused:?}");
        }
        assert!(refused.stdout.contains("403"), "{refused:?}");
    }
}
