//! The configuration, refusals first: one whole valid file, one thing broken per test.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use stint::config::{Config, Environment, Problem};

const VALID: &str = r#"
[http]
listen = "127.0.0.1:8080"

[postgres]
url = "postgres://stint:secret-in-url@127.0.0.1/stint"

[[issuer]]
name = "authentik"
issuer = "https://auth.example/application/o/stint/"
audiences = ["stint"]
profile = "authentik"
keys = { discovery = true }

[object_server]
kind = "minio"
endpoint = "https://storage.example:9000"
access_key = "stint-parent"
secret_key = "parent-secret"

[lease]
ttl = "60m"
jitter = 0.2
grace = "5m"
"#;

#[derive(Default)]
struct Given {
    variables: BTreeMap<&'static str, &'static str>,
    files: BTreeMap<&'static str, &'static str>,
}

impl Environment for Given {
    fn variables(&self) -> Vec<(String, String)> {
        self.variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn read_file(&self, path: &Path) -> std::io::Result<String> {
        let file = self.files.get(path.to_str().unwrap());
        file.map(|text| (*text).to_owned()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

fn read(text: &str) -> Result<Config, Vec<Problem>> {
    Config::read(text, Path::new("/etc/stint"), &Given::default())
}

fn read_with(text: &str, given: &Given) -> Result<Config, Vec<Problem>> {
    Config::read(text, Path::new("/etc/stint"), given)
}

fn refusals(text: &str) -> Vec<String> {
    read(text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

/// `VALID` with one line replaced is refused, and the one problem names the path.
fn refused(line: &str, replacement: &str, path: &str) -> String {
    assert!(VALID.contains(line), "the line to break is in the valid file");
    let problems = read(&VALID.replace(line, replacement)).expect_err(replacement);
    let [problem] = problems.as_slice() else { panic!("one problem expected: {problems:?}") };
    assert_eq!(problem.path(), path, "{problem}");
    problem.to_string()
}

#[test]
fn leases_are_handed_out_again_unless_the_file_says_no_and_a_word_is_neither() {
    assert!(read(VALID).unwrap().lease.reuse);
    for reuse in [true, false] {
        let config = read(&VALID.replace("[lease]", &format!("[lease]\nreuse = {reuse}"))).unwrap();
        assert_eq!((config.lease.reuse, config.warnings.len()), (reuse, 0), "{:?}", config.warnings);
    }
    refused("ttl = \"60m\"", "ttl = \"60m\"\nreuse = \"sometimes\"", "lease.reuse");
}

#[test]
fn the_valid_file_is_read_with_its_defaults() {
    let config = read(VALID).unwrap();
    assert_eq!(config.lease.ttl, Duration::from_hours(1));
    assert_eq!(config.audit.deadline, Duration::from_secs(2));
    assert_eq!(config.policies, Path::new("/etc/stint/policies"));
    assert_eq!(config.issuers[0].rules.max_token_lifetime, Duration::from_hours(24));
    assert_eq!(config.object_server.region, "us-east-1");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn the_same_file_without_the_defaults_spelt_out_means_the_same() {
    let short = VALID.replace("[lease]\nttl = \"60m\"\njitter = 0.2\ngrace = \"5m\"\n", "");
    let short = short.replace("[http]\nlisten = \"127.0.0.1:8080\"\n", "").replace("keys = { discovery = true }\n", "");
    assert_eq!(format!("{:?}", read(&short).unwrap()), format!("{:?}", read(VALID).unwrap()));
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let text = VALID.replace("jitter = 0.2", "jiter = 0.2");
    assert_eq!(refusals(&text), ["line 23: lease.jiter: unknown key"]);
    assert_eq!(refusals(&format!("{VALID}\n[leases]\n")), ["line 26: leases: unknown key"]);
}

#[test]
fn all_faults_are_reported_together() {
    let text = VALID
        .replace("ttl = \"60m\"", "ttl = \"5m\"")
        .replace("profile = \"authentik\"", "profile = \"okta\"")
        .replace("kind = \"minio\"", "kind = \"floppy\"")
        .replace("secret_key = \"parent-secret\"", "");
    let problems = refusals(&text);
    assert_eq!(problems.len(), 4, "{problems:#?}");
}

#[test]
fn a_lease_shorter_than_15_or_longer_than_60_minutes_is_refused() {
    refused("ttl = \"60m\"", "ttl = \"14m\"", "lease.ttl");
    refused("ttl = \"60m\"", "ttl = \"61m\"", "lease.ttl");
    refused("ttl = \"60m\"", "ttl = \"3600\"", "lease.ttl");
    refused("ttl = \"60m\"", "ttl = 3600", "lease.ttl");
    assert!(read(&VALID.replace("ttl = \"60m\"", "ttl = \"15m\"")).is_ok());
}

#[test]
fn jitter_and_grace_outside_their_bounds_are_refused() {
    refused("jitter = 0.2", "jitter = 1.2", "lease.jitter");
    refused("jitter = 0.2", "jitter = nan", "lease.jitter");
    refused("grace = \"5m\"", "grace = \"0s\"", "lease.grace");
    refused("grace = \"5m\"", "grace = \"15m\"", "lease.grace");
    assert!(read(&VALID.replace("grace = \"5m\"", "grace = \"14m48s\"")).is_ok());
}

#[test]
fn a_cap_on_mints_is_a_whole_number_that_leaves_some() {
    for wrong in ["0", "-1", "0.5", "100001", "\"ten\"", "4294967297"] {
        refused("jitter = 0.2", &format!("jitter = 0.2\nmints_per_second = {wrong}"), "lease.mints_per_second");
    }
    let config = read(&VALID.replace("jitter = 0.2", "jitter = 0.2\nmints_per_second = 5")).unwrap();
    assert_eq!(config.lease.mints_per_second.map(std::num::NonZeroU32::get), Some(5));
    assert_eq!(read(VALID).unwrap().lease.mints_per_second, None);
}

#[test]
fn a_quota_is_a_whole_number_or_a_rate() {
    for key in ["max_outstanding", "max_outstanding_per_role", "max_outstanding_per_subject"] {
        assert!(read(&VALID.replace("jitter = 0.2", &format!("jitter = 0.2\n{key} = 10"))).is_ok(), "{key}");
        for wrong in ["0", "-1", "1.5", "\"10\"", "10000001"] {
            refused("jitter = 0.2", &format!("jitter = 0.2\n{key} = {wrong}"), &format!("lease.{key}"));
        }
    }
    for key in ["rate_per_subject", "rate_per_role"] {
        assert!(read(&VALID.replace("jitter = 0.2", &format!("jitter = 0.2\n{key} = \"60/m\""))).is_ok(), "{key}");
        for wrong in ["\"0/m\"", "60", "\"60/min\"", "\"60\""] {
            refused("jitter = 0.2", &format!("jitter = 0.2\n{key} = {wrong}"), &format!("lease.{key}"));
        }
    }
}

#[test]
fn a_limit_that_one_subject_can_use_up_alone_is_warned_about() {
    let warned = |lines: &str| {
        let config = read(&VALID.replace("jitter = 0.2", &format!("jitter = 0.2\n{lines}"))).unwrap();
        config.warnings.iter().any(|warning| warning.contains("no single subject"))
    };
    assert!(warned("max_outstanding = 10") && warned("rate_per_role = \"60/m\""));
    assert!(!warned("max_outstanding = 10\nmax_outstanding_per_subject = 5"));
    assert!(!warned("rate_per_role = \"60/m\"\nrate_per_subject = \"6/m\""));
}

#[test]
fn an_issuer_without_audience_or_with_an_empty_one_is_refused() {
    refused("audiences = [\"stint\"]", "", "issuer[0].audiences");
    refused("audiences = [\"stint\"]", "audiences = []", "issuer[0].audiences");
    refused("audiences = [\"stint\"]", "audiences = [\"\"]", "issuer[0].audiences");
    refused("audiences = [\"stint\"]", "audiences = \"stint\"", "issuer[0].audiences");
}

#[test]
fn the_audience_that_every_keycloak_token_has_is_refused() {
    let keycloak = VALID.replace("profile = \"authentik\"", "profile = \"keycloak\"");
    assert!(read(&keycloak).is_ok());
    let problems = refusals(&keycloak.replace("[\"stint\"]", "[\"stint\", \"account\"]"));
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn the_development_issuer_is_refused() {
    refused(
        "issuer = \"https://auth.example/application/o/stint/\"",
        "issuer = \"local-identity\"",
        "issuer[0].issuer",
    );
}

#[test]
fn keys_must_come_from_exactly_one_place() {
    refused("keys = { discovery = true }", "keys = {}", "issuer[0].keys");
    refused("keys = { discovery = true }", "keys = { discovery = false }", "issuer[0].keys");
    let two = "keys = { discovery = true, jwks_uri = \"https://a.example/jwks\" }";
    refused("keys = { discovery = true }", two, "issuer[0].keys");
    assert!(read(&VALID.replace("discovery = true", "jwks_file = \"keys.json\"")).is_ok());
}

#[test]
fn two_issuer_blocks_of_one_name_are_refused() {
    let block = VALID.split("[[issuer]]").nth(1).unwrap().split("[object_server]").next().unwrap();
    let twice = format!("{VALID}\n[[issuer]]{block}");
    assert_eq!(refusals(&twice), ["issuer[1].name: another issuer block has this name"]);
    assert!(read(&twice.replacen("name = \"authentik\"", "name = \"other\"", 1)).is_ok());
}

#[test]
fn no_issuer_at_all_is_refused() {
    let start = VALID.find("[[issuer]]").unwrap();
    let end = VALID.find("[object_server]").unwrap();
    let text = format!("{}{}", &VALID[..start], &VALID[end..]);
    assert_eq!(refusals(&text).len(), 1);
}

#[test]
fn an_endpoint_with_a_path_a_user_or_another_scheme_is_refused() {
    for endpoint in ["https://storage.example/minio", "https://a:b@storage.example", "ftp://storage.example", "storage"]
    {
        let line = "endpoint = \"https://storage.example:9000\"";
        refused(line, &format!("endpoint = \"{endpoint}\""), "object_server.endpoint");
    }
}

#[test]
fn a_server_kind_that_is_unknown_is_refused_with_those_that_are_known() {
    for kind in ["MinIO", "garage2", ""] {
        let said = refused("kind = \"minio\"", &format!("kind = \"{kind}\""), "object_server.kind");
        assert!(said.contains("aws or garage"), "{said}");
    }
}

const PARENT: &str = "access_key = \"stint-parent\"\nsecret_key = \"parent-secret\"";
const ADMIN: &str = "admin_endpoint = \"http://storage.example:3903\"\nadmin_token = \"token-of-stint\"";

fn garage(keys: &str) -> String {
    VALID.replace("kind = \"minio\"", "kind = \"garage\"").replace(PARENT, keys)
}

#[test]
fn garage_needs_its_admin_api_and_refuses_a_parent() {
    use secrecy::ExposeSecret;
    let config = read(&garage(ADMIN)).unwrap();
    assert_eq!(config.object_server.parent.unwrap().secret_key.expose_secret(), "token-of-stint");
    for (line, path) in
        [("admin_endpoint", "object_server.admin_endpoint"), ("admin_token", "object_server.admin_token")]
    {
        let without: Vec<&str> = ADMIN.lines().filter(|text| !text.starts_with(line)).collect();
        let [problem] = refusals(&garage(&without.join("\n"))).try_into().unwrap();
        assert!(problem.starts_with(path) && problem.contains("is required"), "{problem}");
    }
    for parent in ["access_key = \"x\"", "secret_key = \"x\""] {
        let [problem] = refusals(&garage(&format!("{ADMIN}\n{parent}"))).try_into().unwrap();
        assert!(problem.contains("no meaning for garage"), "{problem}");
    }
    let [problem] = refusals(&garage(&ADMIN.replace(":3903", ":3903/v2"))).try_into().unwrap();
    assert!(problem.contains("object_server.admin_endpoint"), "{problem}");
    let role = "role_arn = \"arn:aws:iam::000000000000:role/vend\"";
    let [problem] = refusals(&garage(&format!("{ADMIN}\n{role}"))).try_into().unwrap();
    assert!(problem.contains("no roles"), "{problem}");
}

#[test]
fn garages_admin_token_may_be_a_file() {
    let file = ADMIN.replace("admin_token = \"token-of-stint\"", "admin_token_file = \"token\"");
    let given = Given { files: BTreeMap::from([("/etc/stint/token", "from-a-file\n")]), ..Given::default() };
    assert!(read_with(&garage(&file), &given).is_ok());
    assert!(read_with(&garage(&file), &Given::default()).is_err());
}

#[test]
fn what_only_garage_has_is_refused_elsewhere() {
    for key in ADMIN.lines() {
        let [problem] = refusals(&VALID.replace(PARENT, &format!("{PARENT}\n{key}"))).try_into().unwrap();
        assert!(problem.contains("for garage only"), "{problem}");
    }
}

/// Every kind with what it needs; `role_arn` is what the kinds with roles do not start without.
#[test]
fn a_kind_with_roles_needs_one_and_a_kind_without_refuses_it() {
    const ROLE: &str = "role_arn = \"arn:aws:iam::000000000000:role/vend\"";
    let with = |kind: &str, keys: &str| VALID.replace("kind = \"minio\"", &format!("kind = \"{kind}\"\n{keys}"));
    for kind in ["seaweedfs", "ceph", "aws"] {
        assert!(read(&with(kind, ROLE)).is_ok(), "{kind}");
        let [problem] = refusals(&with(kind, "")).try_into().unwrap();
        assert!(problem.contains("object_server.role_arn") && problem.contains("required"), "{problem}");
        let [problem] = refusals(&with(kind, "role_arn = \"vend\"")).try_into().unwrap();
        assert!(problem.contains("object_server.role_arn") && problem.contains("arn:aws:iam"), "{problem}");
    }
    for kind in ["minio", "rustfs"] {
        assert!(read(&with(kind, "")).is_ok(), "{kind}");
        let [problem] = refusals(&with(kind, ROLE)).try_into().unwrap();
        assert!(problem.contains("object_server.role_arn") && problem.contains("no roles"), "{problem}");
    }
}

#[test]
fn what_only_aws_has_is_refused_elsewhere() {
    const ROLE: &str = "role_arn = \"arn:aws:iam::000000000000:role/vend\"";
    for key in ["sts_endpoint = \"https://sts.example\"", "session_tags = true", "source_identity = false"] {
        let with = |kind: &str| VALID.replace("kind = \"minio\"", &format!("kind = \"{kind}\"\n{ROLE}\n{key}"));
        assert!(read(&with("aws")).is_ok(), "{key}");
        let [problem] = refusals(&with("ceph")).try_into().unwrap();
        assert!(problem.contains("for aws only"), "{problem}");
    }
}

#[test]
fn the_hole_in_cephs_roles_is_told() {
    let role = "kind = \"ceph\"\nrole_arn = \"arn:aws:iam:::role/broker\"";
    let ceph = read(&VALID.replace("kind = \"minio\"", role)).unwrap();
    assert!(ceph.warnings.iter().any(|warning| warning.contains("trust policy")), "{:?}", ceph.warnings);
    assert!(!read(VALID).unwrap().warnings.iter().any(|warning| warning.contains("trust policy")));
}

#[test]
fn tls_with_half_a_pair_is_refused() {
    let half = "listen = \"127.0.0.1:8080\"\ntls = { certificate = \"c.pem\" }";
    refused("listen = \"127.0.0.1:8080\"", half, "http.tls.key");
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    assert!(refusals("[http\n")[0].starts_with("line 1: not valid TOML"));
    assert!(!refusals(&format!("{VALID}\n[lease]\n")).is_empty(), "a table given twice");
}

#[test]
fn no_message_repeats_a_value() {
    let text =
        VALID.replace("url = \"postgres", "uri = \"postgres").replace("listen = \"127", "listen = \"hunter2-127");
    let problems = refusals(&text).join("\n");
    assert!(!problems.contains("secret-in-url") && !problems.contains("hunter2"), "{problems}");
    assert!(!format!("{:?}", read(VALID).unwrap()).contains("secret-in-url"));
}

#[test]
fn the_environment_overrides_every_kind_of_key() {
    let variables = BTreeMap::from([
        ("STINT_HTTP__LISTEN", "127.0.0.1:9999"),
        ("STINT_HTTP__TRUSTED_PROXIES", "10.0.0.0/8, 192.168.1.1"),
        ("STINT_ISSUER__0__AUDIENCES", "one,two"),
        ("STINT_ISSUER__0__KEYS__DISCOVERY", "false"),
        ("STINT_ISSUER__0__KEYS__JWKS_FILE", "/keys.json"),
        ("STINT_LEASE__JITTER", "0.5"),
        ("STINT_OBJECT_SERVER__SECRET_KEY", "12345678"),
        ("STINT_URL", "not configuration: one underscore"),
        ("PATH", "/bin"),
    ]);
    let config = read_with(VALID, &Given { variables, ..Given::default() }).unwrap();
    assert_eq!(config.http.listen.port(), 9999);
    assert_eq!(config.http.trusted_proxies.len(), 2);
    assert_eq!(config.issuers[0].rules.audiences, ["one", "two"]);
    assert!((config.lease.jitter - 0.5).abs() < f64::EPSILON);
}

#[test]
fn a_configuration_can_come_from_the_environment_alone() {
    let variables = BTreeMap::from([
        ("STINT_POSTGRES__URL", "postgres://x"),
        ("STINT_ISSUER__0__NAME", "kc"),
        ("STINT_ISSUER__0__ISSUER", "https://kc.example/realms/r"),
        ("STINT_ISSUER__0__AUDIENCES", "stint"),
        ("STINT_ISSUER__0__PROFILE", "keycloak"),
        ("STINT_OBJECT_SERVER__KIND", "minio"),
        ("STINT_OBJECT_SERVER__ENDPOINT", "http://minio:9000"),
        ("STINT_OBJECT_SERVER__ACCESS_KEY", "a"),
        ("STINT_OBJECT_SERVER__SECRET_KEY", "b"),
    ]);
    assert!(read_with("", &Given { variables, ..Given::default() }).is_ok());
}

#[test]
fn an_unknown_variable_is_refused_by_name() {
    let variables = BTreeMap::from([("STINT_LEASE__TTTL", "60m"), ("STINT_ISSUER__7__NAME", "x")]);
    let problems = read_with(VALID, &Given { variables, ..Given::default() }).unwrap_err();
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(problems.iter().any(|p| p.starts_with("STINT_LEASE__TTTL: lease.tttl: unknown key")), "{problems:?}");
    assert!(problems.iter().any(|p| p.starts_with("STINT_ISSUER__7__NAME")), "{problems:?}");
}

#[test]
fn a_secret_may_be_in_a_file_and_must_not_be_in_both_places() {
    let files = BTreeMap::from([("/run/secret", "from-file\n"), ("/run/empty", "\n")]);
    let with = |line: &str| {
        let text = VALID.replace("secret_key = \"parent-secret\"", line);
        read_with(&text, &Given { files: files.clone(), ..Given::default() })
    };
    assert!(with("secret_key_file = \"/run/secret\"").is_ok());
    for line in [
        "secret_key_file = \"/run/empty\"",
        "secret_key_file = \"/run/absent\"",
        "secret_key_file = \"/run/secret\"\nsecret_key = \"x\"",
        "secret_key = \"\"",
    ] {
        assert_eq!(with(line).unwrap_err().len(), 1, "{line}");
    }
}

#[test]
fn a_secret_from_the_environment_replaces_the_files_other_form() {
    let text = VALID.replace("secret_key = \"parent-secret\"", "secret_key_file = \"/run/absent\"");
    let variables = BTreeMap::from([("STINT_OBJECT_SERVER__SECRET_KEY", "x")]);
    assert!(read_with(&text, &Given { variables, ..Given::default() }).is_ok());
}

#[test]
fn the_documentation_lists_exactly_the_keys_that_exist() {
    let page = include_str!("../../docs/configuration.md");
    let documented: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut sorted = documented.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, Config::known_keys());
}

#[test]
fn a_journal_needs_a_key_that_outlives_the_process() {
    let journal = format!("{VALID}[break_glass]\njournal = \"journal\"\n");
    let [refused] = refusals(&journal).try_into().unwrap();
    assert!(refused.starts_with("audit.signing_key_file: is required beside break_glass.journal"), "{refused}");
    let config = read(&format!("{journal}[audit]\nsigning_key_file = \"signing.pem\"\n")).unwrap();
    assert_eq!(config.break_glass.journal.as_deref(), Some(Path::new("/etc/stint/journal")));
}
