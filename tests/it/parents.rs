//! Several parents in the configuration: each block names its roles and its key once, and a lease is told to be one
//! parent's. One whole valid file, one thing broken per test.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::ExposeSecret;
use stint::config::{Config, Environment, Problem};
use stint::policy::RoleName;

const VALID: &str = r#"
[postgres]
url = "postgres://stint@127.0.0.1/stint"

[[issuer]]
name = "authentik"
issuer = "https://auth.example/application/o/stint/"
audiences = ["stint"]
profile = "authentik"

[object_server]
kind = "minio"
endpoint = "https://storage.example:9000"
access_key = "all"
secret_key = "secret-of-all"

[[object_server.parent]]
roles = ["studio", "editor"]
access_key = "of-studio"
secret_key_file = "studio.secret"

[[object_server.parent]]
roles = ["backup"]
access_key = "of-backup"
secret_key = "secret-of-backup"

[[object_server.retired_parent]]
access_key = "old"
secret_key = "secret-of-old"

[audit]
fingerprint_key = "for fingerprints"
"#;

#[derive(Default)]
struct Given(BTreeMap<&'static str, &'static str>);

impl Environment for Given {
    fn variables(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn read_file(&self, path: &Path) -> std::io::Result<String> {
        match path.to_str().unwrap() {
            "/etc/stint/studio.secret" => Ok("secret-of-studio\n".to_owned()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }
}

fn read_with(text: &str, given: &[(&'static str, &'static str)]) -> Result<Config, Vec<Problem>> {
    Config::read(text, Path::new("/etc/stint"), &Given(given.iter().copied().collect()))
}

/// `VALID` with this replaced is refused for one reason.
fn refused(from: &str, to: &str) -> String {
    assert!(VALID.contains(from), "what is broken is in the valid file");
    let problems = read_with(&VALID.replace(from, to), &[]).expect_err(to);
    let [problem] = problems.as_slice() else { panic!("one problem expected: {problems:?}") };
    problem.to_string()
}

#[test]
fn parents_are_read_with_their_roles_and_secrets() {
    let config = read_with(VALID, &[]).unwrap();
    let server = &config.object_server;
    let roles: Vec<Vec<&str>> =
        server.role_parents.iter().map(|block| block.roles.iter().map(RoleName::as_str).collect()).collect();
    assert_eq!(roles, [vec!["studio", "editor"], vec!["backup"]]);
    let secrets: Vec<&str> = server.keys().map(|key| key.secret_key.expose_secret()).collect();
    assert_eq!(secrets, ["secret-of-all", "secret-of-studio", "secret-of-backup", "secret-of-old"]);
    assert!(config.warnings.iter().any(|warning| warning.contains("is not cut by disabling another")));
    assert!(!format!("{config:?}").contains("secret-of"), "a Debug form shows no secret");
}

#[test]
fn the_default_parent_may_be_left_out_where_there_are_others() {
    let without = VALID.replace("access_key = \"all\"\nsecret_key = \"secret-of-all\"\n", "");
    let config = read_with(&without, &[]).unwrap();
    assert!(config.object_server.parent.is_none() && config.warnings.is_empty(), "{:?}", config.warnings);
    let half = refused("secret_key = \"secret-of-all\"\n", "");
    assert!(half.contains("object_server.secret_key: is required"), "{half}");
    let blocks = without.find("[[object_server.parent]]").unwrap()..without.find("[[object_server.retired").unwrap();
    let none = without.replace(&without[blocks], "");
    let problems = read_with(&none, &[]).expect_err("only a retired one is left");
    assert_eq!(problems.len(), 2, "both keys of the default are missed: {problems:?}");
}

#[test]
fn a_role_has_one_parent() {
    let told = refused("[\"backup\"]", "[\"backup\", \"editor\"]");
    assert!(told.contains("object_server.parent[1].roles: editor is named twice"), "{told}");
    assert!(refused("[\"backup\"]", "[\"backup\", \"backup\"]").contains("backup is named twice"));
}

#[test]
fn a_block_names_at_least_one_role_and_only_names() {
    assert!(refused("roles = [\"backup\"]\n", "").contains("object_server.parent[1].roles: is required"));
    assert!(refused("[\"backup\"]", "[]").contains("object_server.parent[1].roles: is required"));
    assert!(refused("[\"backup\"]", "[\"back up\"]").contains("must be roles' names"));
}

#[test]
fn no_two_parents_have_the_same_access_key() {
    for (from, at) in [
        ("access_key = \"of-studio\"", "object_server.parent[0].access_key"),
        ("access_key = \"of-backup\"", "object_server.parent[1].access_key"),
        ("access_key = \"old\"", "object_server.retired_parent[0].access_key"),
    ] {
        let told = refused(from, "access_key = \"all\"");
        assert!(told.starts_with(&format!("{at}: another parent has this access key")), "{told}");
    }
    let told = refused("access_key = \"old\"", "access_key = \"of-studio\"");
    assert!(told.contains("another parent has this access key"), "{told}");
}

#[test]
fn every_parent_needs_both_halves_of_its_key() {
    assert!(refused("access_key = \"of-backup\"\n", "").contains("object_server.parent[1].access_key: is required"));
    assert!(refused("secret_key = \"secret-of-backup\"\n", "").contains("[1].secret_key: is required"));
    assert!(refused("secret_key = \"secret-of-old\"\n", "").contains("retired_parent[0].secret_key: is required"));
    assert!(refused("studio.secret", "nowhere").contains("cannot read /etc/stint/nowhere"));
}

#[test]
fn a_parent_is_not_the_administrator() {
    for key in ["all", "of-studio", "old"] {
        let bootstrap = format!("[object_server.bootstrap]\naccess_key = \"{key}\"\nsecret_key = \"s\"\n[audit]\n");
        let told = refused("[audit]\n", &bootstrap);
        assert!(told.contains("object_server.bootstrap.access_key: is a parent's own"), "{told}");
    }
    let other = VALID.replace("[audit]\n", "[object_server.bootstrap]\naccess_key = \"root\"\n[audit]\n");
    assert!(read_with(&other, &[]).is_ok());
}

#[test]
fn fingerprints_must_outlive_the_secrets_of_parents_that_come_and_go() {
    let told = refused("fingerprint_key = \"for fingerprints\"\n", "");
    assert!(told.starts_with("audit.fingerprint_key: is required beside"), "{told}");
    let one = &VALID[..VALID.find("[[object_server.parent]]").unwrap()];
    let config = read_with(one, &[]).unwrap();
    assert_eq!(config.fingerprint_secret.expose_secret(), "secret-of-all", "one parent's secret will do");
}

#[test]
fn a_role_to_assume_is_for_servers_that_have_roles() {
    let told = refused("roles = [\"backup\"]\n", "roles = [\"backup\"]\nrole_arn = \"arn:aws:iam:::role/b\"\n");
    assert!(told.contains("object_server.parent[1].role_arn: has no meaning"), "{told}");
    let ceph = VALID
        .replace("kind = \"minio\"", "kind = \"ceph\"\nrole_arn = \"arn:aws:iam:::role/a\"")
        .replace("roles = [\"backup\"]\n", "roles = [\"backup\"]\nrole_arn = \"arn:aws:iam:::role/b\"\n");
    let config = read_with(&ceph, &[]).unwrap();
    assert_eq!(config.object_server.role_parents[1].role_arn.as_ref().unwrap().as_str(), "arn:aws:iam:::role/b");
    assert!(config.object_server.role_parents[0].role_arn.is_none());
}

#[test]
fn an_unknown_key_in_a_block_is_refused() {
    let told = refused("roles = [\"backup\"]\n", "roles = [\"backup\"]\nsecret = \"x\"\n");
    assert!(told.contains("object_server.parent[1].secret: unknown key"), "{told}");
}

#[test]
fn the_environment_overrides_a_block_and_adds_the_next() {
    let config = read_with(
        VALID,
        &[
            ("STINT_OBJECT_SERVER__PARENT__0__SECRET_KEY", "other"),
            ("STINT_OBJECT_SERVER__PARENT__2__ROLES", "viewer, guest"),
            ("STINT_OBJECT_SERVER__PARENT__2__ACCESS_KEY", "of-viewer"),
            ("STINT_OBJECT_SERVER__PARENT__2__SECRET_KEY", "secret-of-viewer"),
        ],
    )
    .unwrap();
    let parents = &config.object_server.role_parents;
    assert_eq!(parents[0].key.secret_key.expose_secret(), "other", "it replaces the file");
    assert_eq!(parents[2].roles.len(), 2);
}
