//! `stint agent exec`: signals and exit codes go through, tokens do not.

use super::{Workload, refusal, service};
use crate::harness::binary::{Running, eventually, http, run};
use crate::harness::object_server::ScriptedObjectServer;

#[tokio::test]
async fn the_child_sees_the_endpoint_and_nothing_that_ranks_above_it() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    // Shows what it has, then waits to be ended.
    let script = "env; cat \"$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE\"; echo; exec sleep 60";
    let mut command = workload.stint(&["agent", "exec", "--", "/bin/sh", "-c", script]);
    let hidden = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_PROFILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    ];
    for name in hidden {
        command.env(name, "planted-by-the-parent");
    }
    command.env("AWS_REGION", "kept").env("STINT_SESSION_NAME", "planted-session");
    let mut running = Running::start(command);
    let mut seen = String::new();
    eventually("the child has spoken", async || {
        seen = running.stdout();
        seen.lines().last().is_some_and(|line| line.len() == 43)
    })
    .await;
    assert!(!seen.contains("planted"), "{seen}");
    assert!(!seen.lines().any(|line| line.starts_with("STINT_")), "{seen}");
    for line in ["AWS_EC2_METADATA_DISABLED=true", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_REGION=kept"] {
        assert!(seen.lines().any(|seen| seen == line), "{line} is not in\n{seen}");
    }
    let uri = seen.lines().find_map(|line| line.strip_prefix("AWS_CONTAINER_CREDENTIALS_FULL_URI=")).unwrap();
    let request = http().get(uri).header("authorization", seen.lines().last().unwrap());
    let answer: serde_json::Value = serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
    assert!(answer["AccessKeyId"].is_string(), "{answer}");
    running.signal("TERM");
    assert_eq!(running.ended().await, Some(143));
    // The endpoint's token went with it.
    assert!(
        std::fs::read_dir(workload.path("."))
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_string_lossy().starts_with("stint-agent-") })
    );
}

#[tokio::test]
async fn the_exit_code_is_the_childs() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", 137)] {
        let ended = run(workload.stint(&["agent", "exec", "--", "/bin/sh", "-c", script])).await;
        assert_eq!(ended.code, Some(code), "{script}: {}", ended.stderr);
    }
    let ended = run(workload.stint(&["agent", "exec", "--", "no-such-program", "--server"])).await;
    assert_eq!(ended.code, Some(127));
    assert!(ended.stderr.contains("no-such-program"), "{}", ended.stderr);
}

#[tokio::test]
async fn every_signal_reaches_the_child_and_only_the_child() {
    let (service, _object_server) = service().await;
    let workload = Workload::before(&service.url(""));
    for (name, code) in [("TERM", 21), ("INT", 22), ("HUP", 23), ("USR1", 24), ("USR2", 25), ("QUIT", 26)] {
        let script = format!("trap 'exit {code}' {name}; echo up; while :; do sleep 0.05; done");
        let mut command = workload.stint(&["agent", "exec", "--", "/bin/sh", "-c", &script]);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut running = Running::start(command);
        eventually("the child is up", async || running.stdout().contains("up")).await;
        running.signal(name);
        assert_eq!(running.ended().await, Some(code), "{name}");
    }
}

#[tokio::test]
async fn no_child_is_started_for_a_lease_that_is_refused_or_does_not_come() {
    let double = ScriptedObjectServer::start(vec![refusal(403, "access_denied")]).await;
    let workload = Workload::before(double.endpoint());
    let words = ["agent", "exec", "--wait", "1s", "--", "/bin/sh", "-c", "echo started"];
    let ended = run(workload.stint(&words)).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("stint refuses: 403 access_denied"), "{}", ended.stderr);
    let away = Workload::before("http://127.0.0.1:1");
    let ended = run(away.stint(&words)).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("stint cannot be reached"), "{}", ended.stderr);
}
