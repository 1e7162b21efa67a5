//! A Ceph object gateway with the least cluster it needs: one monitor, one store in memory, no manager.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::environment::named_by;
use super::{Answer, free_ports, server::Server, until};
use crate::signed::{Answer as Signed, Key};

static SHARED: OnceCell<Ceph> = OnceCell::const_new();

/// A running gateway. Fields are dropped in order: the gateway before what it needs.
pub(crate) struct Ceph {
    gateway: Option<Server>,
    _store: Server,
    _monitor: Server,
    directory: TempDir,
    endpoint: String,
}

impl Ceph {
    /// The one that all tests share; each works in buckets and roles of its own.
    pub(crate) async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// Starts one of one's own.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a private directory");
        let at = directory.path();
        let [port, monitor_port] = free_ports();
        for name in ["mon", "osd", "rgw", "log"] {
            fs::create_dir(at.join(name)).expect("a directory is made");
        }
        fs::write(at.join("ceph.conf"), configuration(at, port, monitor_port)).expect("the configuration is written");
        keys(at);
        let map = text(&at.join("monmap"));
        let address = format!("[v2:127.0.0.1:{monitor_port}]");
        must(at, "monmaptool", &["--create", "--fsid", &fsid(), "--addv", "a", &address, &map]);
        must(at, "ceph-mon", &["-i", "a", "--mkfs", "--monmap", &map, "--keyring", &text(&at.join("keyring"))]);
        let monitor = serve(at, "ceph-mon", Path::new("ceph-mon"), &["-i", "a"]);
        until("the monitor answers", Duration::from_mins(1), async || {
            run(at, "ceph", &["--connect-timeout", "2", "mon", "stat"]).status.success()
        })
        .await;
        let store_id = Uuid::now_v7().to_string();
        must(at, "ceph", &["osd", "new", &store_id, "0"]);
        must(at, "ceph-osd", &["-i", "0", "--mkfs", "--osd-uuid", &store_id]);
        let store = serve(at, "ceph-osd", Path::new("ceph-osd"), &["-i", "0"]);
        until("the store is up", Duration::from_mins(1), async || {
            String::from_utf8_lossy(&run(at, "ceph", &["osd", "stat"]).stdout).contains("1 up")
        })
        .await;
        let endpoint = format!("http://127.0.0.1:{port}");
        let mut ceph = Self { gateway: None, _store: store, _monitor: monitor, directory, endpoint };
        ceph.start_again().await;
        ceph.user("owner", "roles=*;user-policy=*");
        ceph.user("minter", "");
        ceph.user("stranger", "");
        ceph
    }

    /// Starts the gateway, on the cluster that is there.
    pub(crate) async fn start_again(&mut self) {
        // What tests/run names; the others come with it.
        let gateway = named_by("STINT_LIVE_RADOSGW");
        self.gateway = Some(serve(self.directory.path(), "radosgw", &gateway, &["-n", "client.rgw"]));
        until("the gateway answers", Duration::from_mins(1), async || {
            Answer::to_get(&self.endpoint).await.is_some_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// Stops the gateway as a crash would.
    pub(crate) fn stop(&mut self) {
        self.gateway = None;
    }

    fn user(&self, name: &str, caps: &str) {
        let (id, key, secret) =
            (format!("--uid={name}"), format!("--access-key={name}"), format!("--secret={name}secret"));
        let mut arguments = vec!["user", "create", &id, "--display-name=x", &key, &secret];
        let caps = format!("--caps={caps}");
        if caps.len() > "--caps=".len() {
            arguments.push(&caps);
        }
        must(self.directory.path(), "radosgw-admin", &arguments);
    }

    /// Runs `radosgw-admin`.
    pub(crate) fn admin(&self, arguments: &[&str]) {
        must(self.directory.path(), "radosgw-admin", arguments);
    }

    /// The S3 endpoint, which is the STS and IAM too.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The key of one of the users `owner`, `minter` and `stranger`.
    pub(crate) fn key(user: &str) -> Key {
        Key { access: user.to_owned(), secret: format!("{user}secret"), token: None }
    }

    /// The ARN of a role.
    pub(crate) fn arn(role: &str) -> String {
        format!("arn:aws:iam:::role/{role}")
    }

    /// Makes a role that may do everything and trusts the minter. With `closed` it denies to be assumed by sessions, as
    /// docs/object-servers.md says.
    pub(crate) async fn role(&self, name: &str, closed: bool) {
        let mut trust = vec![json!({"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/minter"]},
                                    "Action": ["sts:AssumeRole"]})];
        if closed {
            trust.push(json!({"Effect": "Deny", "Principal": {"AWS": ["*"]}, "Action": ["sts:AssumeRole"],
                "Condition": {"DateGreaterThan": {"aws:TokenIssueTime": "2000-01-01T00:00:00Z"}}}));
        }
        let trust = json!({"Version": "2012-10-17", "Statement": trust}).to_string();
        let fields =
            [("Action", "CreateRole"), ("RoleName", name), ("Path", "/"), ("AssumeRolePolicyDocument", &trust)];
        assert_eq!(self.iam(&Self::key("owner"), &fields).await.status, 200, "the role {name} is made");
        self.allow(name, &[json!({"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]})]).await;
    }

    /// Replaces what a role may do.
    pub(crate) async fn allow(&self, role: &str, statements: &[Value]) {
        let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let fields =
            [("Action", "PutRolePolicy"), ("RoleName", role), ("PolicyName", "rights"), ("PolicyDocument", &policy)];
        assert_eq!(self.iam(&Self::key("owner"), &fields).await.status, 200, "the role {role} gets its rights");
    }

    /// A call of IAM.
    pub(crate) async fn iam(&self, key: &Key, fields: &[(&str, &str)]) -> Signed {
        let form = form_urlencoded::Serializer::new("Version=2010-05-08".to_owned()).extend_pairs(fields).finish();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        key.send("iam", "POST", &format!("{}/", self.endpoint), &headers, &form.replace('+', "%20")).await
    }
}

fn fsid() -> String {
    Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001).to_string()
}

fn text(path: &Path) -> String {
    path.to_str().expect("the path is text").to_owned()
}

fn keys(at: &Path) {
    let keyring = text(&at.join("keyring"));
    let everything = ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"];
    let gateway = ["--cap", "mon", "allow rw", "--cap", "osd", "allow rwx"];
    let store = ["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"];
    must(at, "ceph-authtool", &["--create-keyring", &keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *"]);
    for (name, caps) in [("client.admin", &everything[..]), ("client.rgw", &gateway[..]), ("osd.0", &store[..])] {
        must(at, "ceph-authtool", &[&[keyring.as_str(), "--gen-key", "-n", name][..], caps].concat());
    }
}

fn command(at: &Path, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("CEPH_CONF", at.join("ceph.conf")).current_dir(at);
    command
}

fn run(at: &Path, program: &str, arguments: &[&str]) -> Output {
    command(at, Path::new(program)).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn must(at: &Path, program: &str, arguments: &[&str]) {
    let output = run(at, program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// In the foreground. What it keeps is gone with it, so it may end at once.
fn serve(at: &Path, name: &str, program: &Path, arguments: &[&str]) -> Server {
    let mut serve = command(at, program);
    serve.args(arguments).arg("-f");
    Server::start(name, &at.join("log"), "KILL", &serve)
}

fn configuration(at: &Path, port: u16, monitor_port: u16) -> String {
    let (fsid, at) = (fsid(), PathBuf::from(at));
    let at = at.display();
    format!(
        "[global]
fsid = {fsid}
mon_initial_members = a
mon_host = v2:127.0.0.1:{monitor_port}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr1 = false
run_dir = {at}
admin_socket =
pid_file =
log_file = {at}/log/$name.log
keyring = {at}/keyring
crash_dir = {at}/log
osd_crush_chooseleaf_type = 0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 2000
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
mon_tick_interval = 1
osd_tick_interval = 0.2
log_to_stderr = false
log_to_file = true
[mon]
mon_data = {at}/mon
mon_cluster_log_file = {at}/log/cluster.log
mon_data_avail_crit = 0
auth_allow_insecure_global_id_reclaim = false
[osd]
osd_data = {at}/osd
osd_objectstore = memstore
memstore_device_bytes = 4294967296
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw_s3_auth_use_sts = true
rgw_sts_key = abcdefghijklmnop
rgw_sts_min_session_duration = 1
rgw_dns_name = 127.0.0.1
rgw_data = {at}/rgw
"
    )
}
