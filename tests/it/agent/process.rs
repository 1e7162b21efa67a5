//! `stint credential-process`: one lease for any number of runs, and a cache that can be lost.

use std::fs;
use std::path::PathBuf;

use futures::future::join_all;
use serde_json::Value;

use super::{Workload, exchanged, good_token, instant, mode, service};
use crate::harness::binary::{Ended, run};
use crate::harness::service::now;
use crate::harness::tokens::Forge;

async fn print(workload: &Workload, more: &[&str]) -> Ended {
    run(workload.stint(&[&["credential-process"], more].concat())).await
}

fn printed(ended: &Ended) -> Value {
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// The one lease in the cache.
fn cached(workload: &Workload) -> PathBuf {
    let entries = fs::read_dir(workload.path(".cache/stint")).unwrap().map(|entry| entry.unwrap().path());
    let leases: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    let [lease] = leases.try_into().unwrap();
    lease
}

/// Lets the lease in the cache be due, or have ended.
fn change(workload: &Workload, member: &str, to: &str) {
    let path = cached(workload);
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(json[member].is_string());
    json[member] = to.into();
    fs::write(&path, json.to_string()).unwrap();
}

#[tokio::test]
async fn the_answer_is_what_sdks_read_and_is_kept_for_the_next_run() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let first = printed(&print(&workload, &[]).await);
    let members: Vec<&String> = first.as_object().unwrap().keys().collect();
    assert_eq!(members, ["AccessKeyId", "Expiration", "SecretAccessKey", "SessionToken", "Version"]);
    assert_eq!(first["Version"], 1);
    assert!((3000..=3600).contains(&(instant(&first["Expiration"]).unix_timestamp() - now())));
    assert_eq!(printed(&print(&workload, &[]).await), first);
    assert_eq!(exchanged(&service).await, 1);
    assert_eq!((mode(&cached(&workload)), mode(&workload.path(".cache/stint"))), (0o600, 0o700));
    printed(&print(&workload, &["--no-cache"]).await);
    assert_eq!(exchanged(&service).await, 2);
}

#[tokio::test]
async fn runs_at_the_same_time_fetch_one_lease() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let ended = join_all((0..8).map(|_| print(&workload, &[]))).await;
    let first = printed(&ended[0]);
    assert!(ended.iter().all(|ended| printed(ended) == first));
    assert_eq!(exchanged(&service).await, 1);
}

#[tokio::test]
async fn a_lease_of_another_question_or_another_holder_is_never_printed() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let first = printed(&print(&workload, &[]).await);
    for (asked, more) in [(2, &["--role", "team"][..]), (3, &["--session-name", "other"])] {
        printed(&print(&workload, more).await);
        assert_eq!(exchanged(&service).await, asked, "{more:?}");
    }
    // The same path, and somebody else's token in it.
    let provider = &Forge::shared().authentik;
    workload.put_token(&provider.draft(now()).claim("sub", "somebody-else").sign(&provider.key));
    assert_ne!(printed(&print(&workload, &[]).await)["AccessKeyId"], first["AccessKeyId"]);
    assert_eq!(exchanged(&service).await, 4);
    workload.put_token(&good_token());
    assert_eq!(printed(&print(&workload, &[]).await), first);
    assert_eq!(exchanged(&service).await, 4);
}

#[tokio::test]
async fn a_damaged_cache_is_said_and_replaced() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    printed(&print(&workload, &[]).await);
    let whole = fs::read(cached(&workload)).unwrap();
    fs::write(cached(&workload), &whole[..whole.len() / 2]).unwrap();
    let ended = print(&workload, &[]).await;
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("it is damaged"), "{}", ended.stderr);
    printed(&print(&workload, &[]).await);
    assert_eq!(exchanged(&service).await, 2);
}

#[tokio::test]
async fn a_lease_that_lives_is_printed_through_an_outage_and_one_that_ended_is_not() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    let first = printed(&print(&workload, &[]).await);
    service.end().await;
    change(&workload, "renewal", "2020-01-01T00:00:00Z");
    let ended = print(&workload, &[]).await;
    assert_eq!((ended.code, serde_json::from_str(&ended.stdout).ok()), (Some(0), Some(first.clone())));
    assert!(ended.stderr.contains("is used until it ends at"), "{}", ended.stderr);
    // For a moment it is not asked about again: SDKs run the program at every request now.
    assert_eq!(printed(&print(&workload, &[]).await), first);
    change(&workload, "end", "2020-01-01T00:00:00Z");
    let ended = print(&workload, &[]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("stint cannot be reached"), "{}", ended.stderr);
}
