//! Who lives in the generated year: people and machines with their groups, the roles they get, the networks they come
//! from, and the policy sets of its four quarters, compiled by the library from the shipped directory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stint::audit::{Digest, FingerprintKey, Identity};
use stint::lease::LeaseId;
use stint::policy::{PolicyFiles, PolicySet};
use stint::token::IssuerName;
use time::OffsetDateTime;

const ISSUERS: [&str; 2] = ["authentik", "keycloak"];
/// What the key of the fingerprints is derived from.
pub(super) const FINGERPRINTS: &[u8] = b"stint bench";
const PEOPLE: u32 = 400;
const MACHINES: u32 = 40;
/// Group, the role it gives, and the rule that gives it: those of `policies/`.
const PERSONAL: [(&str, &str, &str); 4] = [
    ("spacemusic-studio", "studio", "roles/studio.toml#allow[0]"),
    ("spacemusic-viewers", "spacemusic-viewers", "documents/spacemusic-viewers.json"),
    ("spacemusic-admins", "spacemusic-admins", "documents/spacemusic-admins.json"),
    ("authentik Admins", "authentik-Admins", "documents/authentik Admins.json"),
];
const MECHANICAL: [(&str, &str, &str); 3] = [
    ("egress-write", "livekit-egress", "roles/livekit-egress.toml#allow[0]"),
    ("readwrite", "studio-rclone", "roles/studio-rclone.toml#allow[0]"),
    ("backup-write", "backup-agent", "roles/backup-agent.toml#allow[0]"),
];

/// One caller.
pub(crate) struct Holder {
    pub(crate) identity: Identity,
    pub(crate) role: &'static str,
    pub(crate) rule: &'static str,
    pub(crate) address: IpAddr,
    /// Machines ask again and again; people ask while they work.
    pub(crate) is_machine: bool,
}

/// A policy set as it is kept beside the log.
pub(crate) struct SetText {
    pub(crate) hash: String,
    pub(crate) files: String,
}

/// A session policy as it is kept beside the log.
pub(crate) struct PolicyText {
    pub(crate) sha256: String,
    pub(crate) text: String,
}

/// Something that is known to be in the log: what the questions are asked about.
#[derive(Debug, Clone)]
pub(crate) struct Landmark {
    pub(crate) lease: LeaseId,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) group: String,
    pub(crate) access_key: String,
    pub(crate) issued_at: OffsetDateTime,
}

/// Everybody and everything that the year's events name.
pub(crate) struct World {
    pub(crate) holders: Vec<Holder>,
    pub(crate) roles: Vec<String>,
    /// One per quarter.
    pub(crate) sets: Vec<SetText>,
    /// By role.
    pub(crate) session_policies: BTreeMap<&'static str, PolicyText>,
    pub(crate) fingerprints: FingerprintKey,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let people = (0..PEOPLE).map(|n| holder(n, false, &mut rng)).collect::<Vec<_>>();
        let machines = (0..MACHINES).map(|n| holder(n, true, &mut rng));
        let holders = machines.chain(people).collect();
        let files = PolicyFiles::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")).expect("the policies");
        let issuers = ISSUERS.map(|name| IssuerName::parse(name).expect("a name"));
        let quarters = ["60m", "55m", "50m", "45m"].map(|ttl| quarter(&files, ttl, &issuers));
        let roles = quarters[0].0.roles().map(|(name, _, _)| name.as_str().to_owned()).collect();
        let documents: BTreeMap<String, String> = quarters[0]
            .0
            .roles()
            .map(|(name, document, _)| (name.as_str().to_owned(), document.to_json().to_string()))
            .collect();
        let session_policies = PERSONAL.iter().chain(&MECHANICAL).map(|(_, role, _)| {
            let text = documents[*role].clone();
            (*role, PolicyText { sha256: Digest::of(text.as_bytes()).to_hex(), text })
        });
        Self {
            holders,
            roles,
            session_policies: session_policies.collect(),
            sets: quarters.into_iter().map(|(_, text)| text).collect(),
            fingerprints: FingerprintKey::derive(FINGERPRINTS),
        }
    }
}

fn holder(n: u32, is_machine: bool, rng: &mut StdRng) -> Holder {
    let (group, role, given_by) = if is_machine {
        MECHANICAL[n as usize % MECHANICAL.len()]
    } else {
        // Most people are in the studio.
        PERSONAL[[0, 0, 0, 0, 0, 1, 1, 1, 2, 3][n as usize % 10]]
    };
    let issuer = ISSUERS[n as usize % ISSUERS.len()];
    let subject = hex::encode(rng.random::<[u8; 32]>());
    let address = if is_machine { [10, 0, 8, rng.random()] } else { [192, 0, rng.random::<u8>() % 16, rng.random()] };
    Holder {
        identity: Identity {
            issuer: issuer.to_owned(),
            subject: Some(subject),
            client: Some(if is_machine { format!("{role}-{n}") } else { "studio-app".to_owned() }),
            groups: vec![group.to_owned()],
            jti: None,
        },
        role,
        rule: given_by,
        address: IpAddr::V4(Ipv4Addr::from(address)),
        is_machine,
    }
}

/// The shipped directory, with another length for the studio.
fn quarter(files: &PolicyFiles, ttl: &str, issuers: &[IssuerName]) -> (PolicySet, SetText) {
    let mut files = files.clone();
    let studio = files.0.get_mut("roles/studio.toml").expect("the studio's role");
    *studio = String::from_utf8_lossy(studio).replace("60m", ttl).into_bytes();
    let set = PolicySet::compile(&files, issuers).expect("the policies compile");
    let texts: BTreeMap<&str, String> =
        files.0.iter().map(|(path, content)| (path.as_str(), String::from_utf8_lossy(content).into_owned())).collect();
    let files = serde_json::to_string(&texts).expect("text");
    let hash = set.hash().to_hex();
    (set, SetText { hash, files })
}
