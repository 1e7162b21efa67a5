//! The object servers as both parts need them: started as the live tests start them, with a parent that may mint.

pub(crate) mod beside;
pub(crate) mod growth;
mod kept;
pub(crate) mod leases;
pub(crate) mod reuse;
mod spread;
mod web_identity;

use std::process::Command;

use crate::harness::{Ceph, Minio, PARENT, Seaweedfs, named_by, told};
use crate::signed::Key;

/// The role that is assumed where there are roles.
const ROLE: &str = "Vend";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Minio,
    Seaweedfs,
    Ceph,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Minio, Self::Seaweedfs, Self::Ceph];

    /// By its own name, however it is spelt.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Minio => "MinIO",
            Self::Seaweedfs => "SeaweedFS",
            Self::Ceph => "Ceph",
        }
    }

    /// What names its program, in the environment.
    fn variable(self) -> &'static str {
        match self {
            Self::Minio => "STINT_LIVE_MINIO",
            Self::Seaweedfs => "STINT_LIVE_WEED",
            Self::Ceph => "STINT_LIVE_RADOSGW",
        }
    }

    fn is_here(self) -> bool {
        std::env::var_os(self.variable()).is_some()
    }
}

/// A running server; dropping it ends it.
struct ObjectServer {
    endpoint: String,
    parent: Key,
    role: Option<String>,
    kind: Kind,
    release: String,
    _running: Running,
}

#[expect(dead_code, reason = "kept for their drop: it ends them")]
enum Running {
    Minio(Minio),
    Seaweedfs(Seaweedfs),
    Ceph(Ceph),
}

impl ObjectServer {
    async fn start(kind: Kind) -> Self {
        match kind {
            Kind::Minio => {
                let minio = Minio::start().await;
                let parent = Key { access: PARENT.to_owned(), secret: minio.parent_secret().to_owned(), token: None };
                let (endpoint, release) = (minio.endpoint(), told("STINT_LIVE_MINIO_RELEASE"));
                Self { endpoint, parent, role: None, kind, release, _running: Running::Minio(minio) }
            }
            Kind::Seaweedfs => {
                let weed = Seaweedfs::start().await;
                let (endpoint, role) = (weed.endpoint().to_owned(), Some(Seaweedfs::role(ROLE)));
                let release = first_line(kind, "version");
                Self { endpoint, parent: Key::parent(), role, kind, release, _running: Running::Seaweedfs(weed) }
            }
            Kind::Ceph => {
                let ceph = Ceph::start().await;
                ceph.role(ROLE, true).await;
                let (endpoint, role) = (ceph.endpoint().to_owned(), Some(Ceph::arn(ROLE)));
                let release = first_line(kind, "--version");
                Self { endpoint, parent: Key::parent(), role, kind, release, _running: Running::Ceph(ceph) }
            }
        }
    }

    /// One that takes the tokens of this issuer itself, as its `AssumeRoleWithWebIdentity` wants them.
    async fn start_trusting(kind: Kind, issuer: &str) -> Self {
        match kind {
            Kind::Minio => {
                let discovery = format!("{issuer}.well-known/openid-configuration");
                let minio = Minio::bare(&[
                    ("MINIO_IDENTITY_OPENID_CONFIG_URL", discovery.as_str()),
                    ("MINIO_IDENTITY_OPENID_CLIENT_ID", "stint"),
                    // As in an installation without stint: a group is a policy of that name.
                    ("MINIO_IDENTITY_OPENID_CLAIM_NAME", "groups"),
                ])
                .await;
                minio.provision();
                let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/documents/egress-write.json");
                minio.must(&["admin", "policy", "create", "server", "egress-write", policy]);
                let parent = Key { access: PARENT.to_owned(), secret: minio.parent_secret().to_owned(), token: None };
                let (endpoint, release) = (minio.endpoint(), told("STINT_LIVE_MINIO_RELEASE"));
                Self { endpoint, parent, role: None, kind, release, _running: Running::Minio(minio) }
            }
            Kind::Seaweedfs => {
                let weed = Seaweedfs::start_with(&web_identity::roles_trusting(issuer)).await;
                let (endpoint, role) = (weed.endpoint().to_owned(), Some(Seaweedfs::role(ROLE)));
                let release = first_line(kind, "version");
                Self { endpoint, parent: Key::parent(), role, kind, release, _running: Running::Seaweedfs(weed) }
            }
            Kind::Ceph => panic!("its web identity is not measured"),
        }
    }

    /// Its section of the service's configuration.
    fn section(&self) -> String {
        let kind = match self.kind {
            Kind::Minio => "minio",
            Kind::Seaweedfs => "seaweedfs",
            Kind::Ceph => "ceph",
        };
        let role = self.role.as_ref().map(|role| format!("role_arn = \"{role}\"\n")).unwrap_or_default();
        format!(
            "kind = \"{kind}\"\nendpoint = \"{}\"\naccess_key = \"{}\"\nsecret_key = \"{}\"\n{role}",
            self.endpoint, self.parent.access, self.parent.secret
        )
    }

    /// The fields that the adapter sends to this kind of server beside those that all get.
    fn beside(&self) -> Vec<(&str, &str)> {
        let role = self.role.as_deref().map(|role| ("RoleArn", role));
        let lease = (self.kind == Kind::Minio).then_some(("TokenRevokeType", "01920000-0000-7000-8000-000000000001"));
        role.into_iter().chain(lease).collect()
    }
}

fn first_line(kind: Kind, argument: &str) -> String {
    let output = Command::new(named_by(kind.variable())).arg(argument).output().expect("the server's program runs");
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
}

/// How busy the machine is, by everybody: the load averages of 1, 5 and 15 minutes.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
