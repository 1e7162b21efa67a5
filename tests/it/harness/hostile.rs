//! The hostile tokens, as data: what an attacker would send, the code that refuses it, and a near twin that must pass,
//! so that no case is refused for a reason of its own. The rows carry the numbers of the threat table.

use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding};
use serde_json::{Value, json};

use super::tokens::{Draft, Forge, Provider, base64url, hs256, jwks, signing_input};

/// What must become of a hostile token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Refused with this code inside, and a plain 401 outside.
    Refused(&'static str),
    /// It may verify, but names no group that is worth anything: a 403.
    Powerless,
}

/// One hostile token and its harmless twin.
#[derive(Debug)]
pub(crate) struct HostileCase {
    /// The row of the threat table.
    pub(crate) row: &'static str,
    /// What is wrong with it.
    pub(crate) name: String,
    /// The token.
    pub(crate) token: String,
    /// What must become of it.
    pub(crate) fate: Fate,
    /// As near to it as a good token can be: must be accepted, with its provider's group.
    pub(crate) twin: Option<String>,
}

/// Collects the cases of one table.
struct Table<'a> {
    forge: &'a Forge,
    now: i64,
    cases: Vec<HostileCase>,
}

/// Every hostile token that one token can be, for `now` in seconds since 1970.
pub(crate) fn hostile(forge: &Forge, now: i64) -> Vec<HostileCase> {
    let mut table = Table { forge, now, cases: Vec::new() };
    table.algorithms();
    table.header_members();
    table.key_ids();
    table.duplicates();
    table.audiences();
    table.issuers();
    table.times();
    table.kinds();
    table.spellings();
    table.shapes();
    table.sizes();
    table.signatures();
    table.groups();
    table.encodings();
    table.confusions();
    table.bound_and_weak();
    table.cases
}

impl Table<'_> {
    fn authentik(&self) -> Draft {
        self.forge.authentik.draft(self.now)
    }

    fn keycloak(&self) -> Draft {
        self.forge.keycloak.draft(self.now)
    }

    fn push(&mut self, row: &'static str, name: impl Into<String>, fate: Fate, token: String, twin: Option<String>) {
        self.cases.push(HostileCase { row, name: name.into(), token, fate, twin });
    }

    /// A refused token whose twin is the provider's plain valid one.
    fn refuse(&mut self, row: &'static str, name: impl Into<String>, code: &'static str, token: String) {
        let twin = self.forge.authentik.token(self.now);
        self.push(row, name, Fate::Refused(code), token, Some(twin));
    }

    /// A changed Authentik token, properly signed.
    fn refuse_draft(&mut self, row: &'static str, name: impl Into<String>, code: &'static str, draft: &Draft) {
        let token = draft.sign(&self.forge.authentik.key);
        self.refuse(row, name, code, token);
    }

    /// The same change made to an Authentik token in its bad and in its good form.
    fn refuse_claim(&mut self, row: &'static str, claim: &str, code: &'static str, bad: Value, good: Value) {
        let name = format!("{claim} = {bad}");
        let key = &self.forge.authentik.key;
        let (token, twin) =
            (self.authentik().claim(claim, bad).sign(key), self.authentik().claim(claim, good).sign(key));
        self.push(row, name, Fate::Refused(code), token, Some(twin));
    }

    /// The plain claims with one member's raw JSON text replaced.
    fn raw_claim(&self, claim: &str, text: &str) -> String {
        let payload = self.authentik().claim(claim, "@@").claims.to_string().replace(r#""@@""#, text);
        self.forge.authentik.key.jws(self.authentik().header.to_string(), payload)
    }

    fn algorithms(&mut self) {
        let draft = self.authentik();
        for alg in ["none", "None", "NONE", "nOnE", ""] {
            let bare = draft.clone().header("alg", alg);
            let input = signing_input(bare.header.to_string(), bare.claims.to_string());
            self.refuse("A1", format!("alg {alg:?}, no signature"), "token_malformed", format!("{input}."));
            self.refuse("A1", format!("alg {alg:?}, a signature"), "algorithm_not_allowed", format!("{input}.AAAA"));
        }
        let key = &self.forge.authentik.key;
        let x5c = base64url(key.spki());
        let secrets: [(&str, Vec<u8>); 10] = [
            ("PEM", key.pem().into_bytes()),
            ("PEM with a newline", format!("{}\n", key.pem()).into_bytes()),
            ("SPKI", key.spki()),
            ("PKCS#1", key.pkcs1()),
            ("JWK", key.jwk().to_string().into_bytes()),
            ("JWKS", jwks(&[key.jwk()]).into_bytes()),
            ("modulus", key.modulus()),
            ("x5c", x5c.into_bytes()),
            ("client id", b"stint".to_vec()),
            ("nothing", Vec::new()),
        ];
        for (name, secret) in secrets {
            let symmetric = draft.clone().header("alg", "HS256");
            let token = hs256(symmetric.header.to_string(), symmetric.claims.to_string(), &secret);
            self.refuse("A2", format!("HS256 under the {name}"), "algorithm_not_allowed", token);
            let token = hs256(draft.header.to_string(), draft.claims.to_string(), &secret);
            self.refuse("A2", format!("RS256 in the header, HMAC under the {name}"), "signature_invalid", token);
        }
        let encodings: [(&str, &'static dyn RsaEncoding); 3] =
            [("RS384", &RSA_PKCS1_SHA384), ("RS512", &RSA_PKCS1_SHA512), ("PS256", &RSA_PSS_SHA256)];
        for (alg, encoding) in encodings {
            let other = draft.clone().header("alg", alg);
            let input = signing_input(other.header.to_string(), other.claims.to_string());
            let signature = base64url(self.forge.authentik.key.sign_with(encoding, input.as_bytes()));
            self.refuse("A3", format!("truly {alg}"), "algorithm_not_allowed", format!("{input}.{signature}"));
            let input = signing_input(draft.header.to_string(), draft.claims.to_string());
            let signature = base64url(self.forge.authentik.key.sign_with(encoding, input.as_bytes()));
            self.refuse("A3", format!("{alg} called RS256"), "signature_invalid", format!("{input}.{signature}"));
        }
        let psychic = draft.header("alg", "ES256");
        let input = signing_input(psychic.header.to_string(), psychic.claims.to_string());
        let token = format!("{input}.{}", base64url([0; 64]));
        self.refuse("A3", "ES256 with r = s = 0", "algorithm_not_allowed", token);
    }

    fn header_members(&mut self) {
        let stranger = &self.forge.stranger;
        for (name, value) in [
            ("jwk", stranger.jwk()),
            ("jku", json!("https://evil.example/jwks")),
            ("x5u", json!("https://evil.example/cert")),
            ("x5c", json!([base64url(stranger.spki())])),
        ] {
            let draft = self.authentik().header(name, value);
            let token = draft.sign(stranger);
            self.refuse("A4", format!("{name}, signed by the attacker"), "header_member_forbidden", token);
            self.refuse_draft("A4", format!("{name}, signed by the issuer"), "header_member_forbidden", &draft);
        }
        for (name, value) in [
            ("crit", json!(["unknown"])),
            ("crit", json!([])),
            ("crit", json!("exp")),
            ("b64", json!(false)),
            ("b64", json!(true)),
            ("cty", json!("JWT")),
        ] {
            let draft = self.authentik().header(name, value.clone());
            self.refuse_draft("A6", format!("{name} = {value}"), "header_member_forbidden", &draft);
        }
        let detached = self.authentik().header("crit", json!(["b64"])).header("b64", false);
        self.refuse_draft("A6", "crit with b64 false", "header_member_forbidden", &detached);
    }

    fn key_ids(&mut self) {
        for kid in [
            "../../dev/null",
            "' OR 1=1 --",
            "|touch /tmp/x",
            "ak-1\0",
            "AK-1",
            "ak-1 ",
            " ak-1",
            "ak\u{2010}1",
            "\u{0430}k-1",
            "__proto__",
            "kc-1",
            "ak-1-enc",
        ] {
            let draft = self.authentik().header("kid", kid);
            self.refuse_draft("A5", format!("kid {kid:?}"), "key_unknown", &draft);
        }
        for kid in [json!(1), json!(["ak-1"]), json!(null), json!({}), json!(""), json!("k".repeat(257))] {
            let draft = self.authentik().header("kid", kid.clone());
            self.refuse_draft("A5", format!("kid = {kid:.20}"), "kid_invalid", &draft);
        }
        let draft = self.authentik().header("kid", "k".repeat(100_000));
        self.refuse_draft("A5", "kid of 100 kB", "token_too_large", &draft);
        let key = &self.forge.authentik.key;
        let bare = self.authentik().without_header("kid");
        let (token, twin) = (bare.sign(&self.forge.stranger), bare.sign(key));
        self.push("A5", "no kid, a stranger's key", Fate::Refused("signature_invalid"), token, Some(twin));
    }

    fn duplicates(&mut self) {
        let key = &self.forge.authentik.key;
        let Draft { header, claims } = self.authentik();
        let (header, payload) = (header.to_string(), claims.to_string());
        let twice = |text: &str, member: &str| text.replacen('{', &format!("{{{member},"), 1);
        for member in [r#""alg":"none""#, r#""kid":"ak-1""#, r#""typ":"JWT""#, r#""al\u0067":"RS256""#] {
            let token = key.jws(twice(&header, member), &payload);
            self.refuse("A7", format!("header, twice {member}"), "duplicate_member", token);
        }
        for member in [
            r#""iss":"https://evil.example/""#,
            r#""aud":"stint""#,
            r#""exp":1"#,
            r#""sub":"root""#,
            r#""groups":["team-a"]"#,
            r#""gro\u0075ps":["team-a"]"#,
            r#""azp":"x""#,
        ] {
            let token = key.jws(&header, twice(&payload, member));
            self.refuse("A7", format!("payload, twice {member}"), "duplicate_member", token);
        }
        let nested =
            |member: &str| key.jws(&header, twice(&payload, &format!(r#""realm_access":{{"roles":[],{member}:[]}}"#)));
        let (token, twin) = (nested(r#""roles""#), nested(r#""others""#));
        self.push("A7", "nested, twice roles", Fate::Refused("duplicate_member"), token, Some(twin));
    }

    fn audiences(&mut self) {
        for aud in [json!(1), json!(null), json!({"stint": true}), json!([]), json!([["stint"]]), json!(["stint", 1])] {
            self.refuse_claim("A8", "aud", "audience_invalid", aud, json!(["stint"]));
        }
        self.refuse_claim("A8", "aud", "audience_invalid", json!(vec!["stint"; 65]), json!(["other", "stint"]));
        for aud in ["Stint", "stint ", "stin", "stintx", "", "https://stint/", "stint\u{0}", "*", "app-x"] {
            self.refuse_claim("A8", "aud", "audience_not_ours", json!(aud), json!("stint"));
        }
        self.refuse_claim("A8", "aud", "audience_not_ours", json!(["a", "b"]), json!(["a", "stint"]));
        let draft = self.authentik().without("aud");
        self.refuse_draft("A8", "no aud", "audience_invalid", &draft);
    }

    fn issuers(&mut self) {
        let issuer = self.forge.authentik.issuer.clone();
        for iss in [json!([issuer]), json!(1), json!(null), json!({})] {
            self.refuse_claim("A9", "iss", "issuer_invalid", iss, json!(issuer));
        }
        for iss in [
            "https://auth.example/application/o/stint",
            "https://auth.example/application/o/stint//",
            "https://auth.example/application/o/Stint/",
            "https://AUTH.example/application/o/stint/",
            "https://auth.example/application%2fo/stint/",
            "https://auth.example@evil.example/application/o/stint/",
            "https://xn--auth-loa.example/application/o/stint/",
            "https://auth.example./application/o/stint/",
            "https://auth.example:443/application/o/stint/",
            "http://auth.example/application/o/stint/",
            " https://auth.example/application/o/stint/",
            "https://auth.example/application/o/other/",
            "",
        ] {
            self.refuse_claim("A9", "iss", "issuer_unknown", json!(iss), json!(issuer));
        }
        let draft = self.authentik().without("iss");
        self.refuse_draft("A9", "no iss", "issuer_invalid", &draft);
    }

    fn times(&mut self) {
        let now = self.now;
        let plus = |seconds: i64| json!(now + seconds);
        for text in [
            r#""1795300957""#,
            "1795300957.5",
            "1e18",
            "9007199254740992",
            "18446744073709551615",
            "18446744073709551616",
            "-1",
            "null",
            "true",
            "[1795300957]",
            "{}",
        ] {
            let token = self.raw_claim("exp", text);
            self.refuse("A10", format!("exp {text}"), "exp_invalid", token);
        }
        for text in ["1e400", "Infinity", "NaN", "0x7fffffff", "01"] {
            let token = self.raw_claim("exp", text);
            self.refuse("A10", format!("exp {text}"), "payload_not_json", token);
        }
        let draft = self.authentik().without("exp");
        self.refuse_draft("A10", "no exp", "exp_invalid", &draft);

        self.refuse_claim("A11", "iat", "issued_in_future", plus(31), plus(30));
        for iat in [json!("1"), json!(null), json!(1.5), json!(-1)] {
            self.refuse_claim("A11", "iat", "iat_invalid", iat, plus(0));
        }
        let draft = self.authentik().without("iat");
        self.refuse_draft("A11", "no iat", "iat_invalid", &draft);
        self.refuse_claim("A11", "nbf", "nbf_invalid", json!(now.to_string()), plus(0));
        self.refuse_claim("A11", "nbf", "token_not_yet_valid", plus(31), plus(30));
        self.refuse_claim("A11", "exp", "token_expired", plus(-30), plus(-29));
        self.refuse_claim("A11", "exp", "lifetime_not_allowed", plus(86_400 - 59), plus(86_400 - 60));
        self.refuse_claim("A11", "exp", "lifetime_not_allowed", json!((1_i64 << 53) - 1), plus(600));
        let draft = self.authentik().claim("iat", plus(10)).claim("exp", plus(5));
        self.refuse_draft("A11", "exp before iat", "lifetime_not_allowed", &draft);
    }

    fn kinds(&mut self) {
        for typ in [
            "logout+jwt",
            "dpop+jwt",
            "JWE",
            "secevent+jwt",
            "token-introspection+jwt",
            "entity-statement+jwt",
            "dc+sd-jwt",
            "oauth-authz-req+jwt",
            "client-authentication+jwt",
            "JOSE",
            "",
        ] {
            let draft = self.authentik().header("typ", typ);
            self.refuse_draft("A12", format!("typ {typ:?}"), "type_not_allowed", &draft);
        }
        let draft = self.authentik().without_header("typ");
        self.refuse_draft("A12", "no typ", "type_not_allowed", &draft);

        let draft = self.authentik().without("azp").without("uid").claim("nonce", "n");
        self.refuse_draft("A12", "an Authentik ID token with its nonce", "id_token", &draft);
        let draft = self.authentik().without("azp").without("uid").without("scope").claim("at_hash", "x");
        self.refuse_draft("A12", "an Authentik ID token", "not_an_access_token", &draft);
        let events = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
        let draft = self.authentik().claim("events", events.clone());
        self.refuse_draft("A12", "a logout token called JWT", "security_event", &draft);
        self.refuse_claim("A12", "environment", "local_identity", json!("local"), json!("prod"));
        self.refuse_claim("A12", "iss", "local_identity", json!("local-identity"), json!(self.forge.authentik.issuer));
        for claim in ["act", "may_act"] {
            let draft = self.authentik().claim(claim, json!({"sub": "root"}));
            self.refuse_draft("A12", format!("{claim}: delegation"), "delegated", &draft);
        }

        let keycloak = &self.forge.keycloak;
        for typ in ["ID", "Refresh", "Offline", "Logout", "DPoP", "Serialized-ID", "bearer"] {
            let token = self.keycloak().claim("typ", typ).sign(&keycloak.key);
            let fate = Fate::Refused("not_an_access_token");
            self.push("A12", format!("Keycloak's {typ} token"), fate, token, Some(keycloak.token(self.now)));
        }
        let token = self.keycloak().claim("typ", "Logout").claim("events", events).sign(&keycloak.key);
        let fate = Fate::Refused("security_event");
        self.push("A12", "Keycloak's logout token", fate, token, Some(keycloak.token(self.now)));

        let rfc9068 = &self.forge.rfc9068;
        let plain = rfc9068.draft(self.now);
        let twin = || Some(plain.clone().header("typ", "application/AT+JWT").sign(&rfc9068.key));
        let token = plain.clone().header("typ", "JWT").sign(&rfc9068.key);
        self.push("A12", "an ID token where at+jwt is due", Fate::Refused("type_not_allowed"), token, twin());
        for claim in ["client_id", "jti"] {
            let token = plain.clone().without(claim).sign(&rfc9068.key);
            self.push("A12", format!("at+jwt without {claim}"), Fate::Refused("not_an_access_token"), token, twin());
        }

        let iam = &self.forge.iam;
        for claim in ["tenant", "principal_type", "assurance", "groups", "roles", "scope"] {
            let token = iam.draft(self.now).without(claim).sign(&iam.key);
            let fate = Fate::Refused("profile_claim_invalid");
            self.push("A12", format!("IAM profile without {claim}"), fate, token, Some(iam.token(self.now)));
        }
        let token = iam.draft(self.now).without("nbf").sign(&iam.key);
        let fate = Fate::Refused("nbf_invalid");
        self.push("A12", "IAM profile without nbf", fate, token, Some(iam.token(self.now)));
    }

    fn spellings(&mut self) {
        let good = self.forge.authentik.token(self.now);
        let (input, signature) = good.rsplit_once('.').unwrap();
        let (last, stem) = (signature.chars().last().unwrap(), &signature[..signature.len() - 1]);
        // 256 bytes leave four unused bits in the last character: the alphabet's next letter sets one of them.
        let next = char::from(u8::try_from(u32::from(last)).unwrap() + 1);
        for (name, token) in [
            ("padding", format!("{good}==")),
            ("padding inside", good.replacen('.', "=.", 1)),
            ("trailing bits", format!("{input}.{stem}{next}")),
            ("plus", format!("{input}.{stem}+")),
            ("slash", format!("{input}.{stem}/")),
            ("space inside", good.replacen('.', " .", 1)),
            ("newline inside", good.replacen('.', ".\n", 1)),
            ("NUL at the end", format!("{good}\0")),
            ("question mark inside", good.replacen('e', "?", 1)),
            ("percent-encoded dot", good.replacen('.', "%2e", 1)),
            ("full-width dot", good.replacen('.', "\u{ff0e}", 1)),
        ] {
            self.push("A13", name, Fate::Refused("token_malformed"), token, Some(format!("{good}\n")));
        }
    }

    fn shapes(&mut self) {
        let good = self.forge.authentik.token(self.now);
        let parts: Vec<&str> = good.split('.').collect();
        let [header, payload, signature] = parts[..] else { panic!("three parts") };
        let flattened = json!({"protected": header, "payload": payload, "signature": signature});
        let general = json!({"payload": payload, "signatures": [{"protected": header, "signature": signature}]});
        for (name, token) in [
            ("nothing", String::new()),
            ("one part", header.to_owned()),
            ("two parts", format!("{header}.{payload}")),
            ("four parts", format!("{good}.AAAA")),
            ("six parts", format!("{good}.AAAA.AAAA.AAAA")),
            ("a leading dot", format!(".{good}")),
            ("a trailing dot", format!("{good}.")),
            ("no header", format!(".{payload}.{signature}")),
            ("detached", format!("{header}..{signature}")),
            ("no signature", format!("{header}.{payload}.")),
            ("three dots", "...".to_owned()),
            ("flattened JSON", flattened.to_string()),
            ("general JSON", general.to_string()),
            ("SD-JWT", format!("{good}~WyJzYWx0Il0~")),
            ("Bearer twice", format!("Bearer {good}")),
        ] {
            self.refuse("A14", name, "token_malformed", token);
        }
        let cut = format!("{header}.{payload}.{}", &signature[..signature.len() - 2]);
        self.refuse("A14", "a shortened signature", "signature_invalid", cut);

        let jwe = json!({"alg": "RSA-OAEP-256", "enc": "A256CBC-HS512", "typ": "JWE", "kid": "ak-1"});
        let encrypted = format!("{}.AAAA.AAAA.AAAA.AAAA", base64url(jwe.to_string()));
        self.refuse("A16", "a JWE", "token_encrypted", encrypted);
        for (name, value) in [("zip", json!("DEF")), ("enc", json!("A256GCM"))] {
            let draft = self.authentik().header(name, value);
            self.refuse_draft("A16", format!("{name} in a JWS"), "header_member_forbidden", &draft);
        }
        for alg in ["RSA1_5", "PBES2-HS256+A128KW", "ECDH-ES", "dir"] {
            let draft = self.authentik().header("alg", alg).header("p2c", 1_u64 << 31);
            self.refuse_draft("A16", format!("alg {alg}"), "algorithm_not_allowed", &draft);
        }
    }

    fn sizes(&mut self) {
        let key = &self.forge.authentik.key;
        let header = self.authentik().header.to_string();
        self.refuse("A15", "1 MB of letters", "token_too_large", "a".repeat(1_000_000));
        self.refuse("A15", "a million dots", "token_too_large", ".".repeat(1_000_000));
        let draft = self.authentik().claim("groups", json!(vec!["team-a"; 100_000]));
        self.refuse_draft("A15", "100,000 groups", "token_too_large", &draft);
        self.refuse_claim("A15", "groups", "groups_too_many", json!(vec!["t"; 1001]), groups_with("t", 999));
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for depth in [32, 127, 4000] {
            let (token, twin) = (self.raw_claim("x", &nested(depth)), self.raw_claim("x", &nested(31)));
            self.push("A15", format!("{depth} deep"), Fate::Refused("payload_not_json"), token, Some(twin));
        }
        let token = key.jws(header, "[".repeat(9000));
        self.refuse("A15", "an unclosed depth", "payload_not_json", token);
        let draft = self.authentik().claim("x", "y".repeat(12 * 1024));
        self.refuse_draft("A15", "a payload over its limit", "token_too_large", &draft);
        let draft = self.authentik().header("x", "y".repeat(2 * 1024));
        self.refuse_draft("A15", "a header over its limit", "token_too_large", &draft);
    }

    fn signatures(&mut self) {
        let key = &self.forge.authentik.key;
        let Draft { header, claims } = self.authentik();
        let input = signing_input(header.to_string(), claims.to_string());
        let good = key.sign_with(&RSA_PKCS1_SHA256, input.as_bytes());
        let changed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut signature = good.clone();
            change(&mut signature);
            format!("{input}.{}", base64url(signature))
        };
        let tokens = [
            ("a leading zero", changed(&|s| s.insert(0, 0))),
            ("garbage behind", changed(&|s| s.push(0))),
            ("one byte short", changed(&|s| s.truncate(255))),
            ("one bit flipped", changed(&|s| s[128] ^= 1)),
            ("all zero", changed(&|s| s.fill(0))),
            ("all ones", changed(&|s| s.fill(0xff))),
            (
                "the number one",
                changed(&|s| {
                    s.fill(0);
                    s[255] = 1;
                }),
            ),
            ("the modulus", changed(&|s| *s = key.modulus())),
            ("half of it", changed(&|s| s.truncate(128))),
        ];
        for (name, token) in tokens {
            self.refuse("A17", name, "signature_invalid", token);
        }
        let claims = claims.to_string();
        let more = claims.replace("team-a", "team-b");
        let token = format!("{}.{}", signing_input(header.to_string(), more), base64url(&good));
        self.refuse("A17", "claims changed after signing", "signature_invalid", token);
    }

    fn groups(&mut self) {
        let good = || json!(["team-a", "team-a", "b"]);
        for groups in [
            json!("team-a"),
            json!("team-a,b"),
            json!({"team-a": true}),
            json!(null),
            json!([["team-a"]]),
            json!([1, "team-a"]),
            json!(["team-a", ""]),
            json!(["team-a", null]),
            json!(["team-a", "a\u{0}"]),
            json!(["team-a", "g".repeat(257)]),
            json!(true),
        ] {
            self.refuse_claim("A22", "groups", "groups_invalid", groups, good());
        }
        for group in [
            "Team-A",
            " team-a",
            "team-a ",
            "team-a\u{200b}",
            "\u{202e}a-maet",
            "te\u{0430}m-a",
            "team\u{2010}a",
            "/team-a",
            "team-a/",
            "/team-a/../team-a",
            "/team-a/b",
            "b",
            "team-",
            "*",
            "t\u{0065}\u{0301}am-a",
        ] {
            let key = &self.forge.authentik.key;
            let (token, twin) =
                (self.authentik().claim("groups", json!([group])), self.authentik().claim("groups", good()));
            self.push("A22", format!("groups [{group:?}]"), Fate::Powerless, token.sign(key), Some(twin.sign(key)));
        }
        for (marker, value) in [("hasgroups", json!(true)), ("_claim_names", json!({"groups": "src1"}))] {
            let draft = self.authentik().claim(marker, value);
            let (token, twin) = (draft.sign(&self.forge.authentik.key), self.forge.authentik.token(self.now));
            self.push("A22", format!("overage {marker}"), Fate::Powerless, token, Some(twin));
        }
    }

    fn encodings(&mut self) {
        let key = &self.forge.authentik.key;
        let Draft { header, claims } = self.authentik();
        let (header, payload) = (header.to_string(), claims.to_string());
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let utf32 = |text: &str| text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect::<Vec<u8>>();
        let invalid = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.splice(2..2, [0xc3, 0x28]);
            bytes
        };
        let bom = |text: &str| format!("\u{feff}{text}").into_bytes();
        let surrogate = |text: &str| text.replacen('{', r#"{"x":"\ud800","#, 1).into_bytes();
        let trailing = |text: &str| format!("{text}{{}}").into_bytes();
        let array = |text: &str| format!("[{text}]").into_bytes();
        let spoilers: [(&str, Spoiler<'_>); 7] = [
            ("UTF-16", &utf16),
            ("UTF-32", &utf32),
            ("invalid UTF-8", &invalid),
            ("a BOM", &bom),
            ("a lone surrogate", &surrogate),
            ("trailing data", &trailing),
            ("an array", &array),
        ];
        for (name, spoil) in spoilers {
            if name != "UTF-32" {
                let token = key.jws(&header, spoil(&payload));
                self.refuse("A23", format!("payload: {name}"), "payload_not_json", token);
            }
            let token = key.jws(spoil(&header), &payload);
            self.refuse("A23", format!("header: {name}"), "header_not_json", token);
        }
        let token = key.jws(&header, utf32(r#"{"iss":"x"}"#));
        self.refuse("A23", "payload: UTF-32", "payload_not_json", token);
    }

    fn confusions(&mut self) {
        let (authentik, keycloak) = (&self.forge.authentik, &self.forge.keycloak);
        let token = self.authentik().sign(&keycloak.key);
        self.refuse("A24", "A's claims and kid, B's key", "signature_invalid", token);
        let token = self.authentik().header("kid", keycloak.key.kid.as_str()).sign(&keycloak.key);
        self.refuse("A24", "A's claims, B's kid and key", "key_unknown", token);
        let token = self.authentik().sign(&self.forge.stranger);
        self.refuse("A24", "a stranger's key under A's kid", "signature_invalid", token);
        let token = self.keycloak().claim("iss", authentik.issuer.as_str()).sign(&keycloak.key);
        self.refuse("A24", "B's token with A's iss", "key_unknown", token);
        let token = self.keycloak().claim("iss", format!("{}/", keycloak.issuer)).sign(&keycloak.key);
        let twin = Some(keycloak.token(self.now));
        self.push("A24", "realm r/ for realm r", Fate::Refused("issuer_unknown"), token, twin);

        let [x, y]: &[Provider; 2] = &self.forge.global;
        let refused = |code| Fate::Refused(code);
        let now = self.now;
        let twin = || Some(y.token(now));
        let token = x.draft(self.now).sign(&y.key);
        self.push("A24", "X's token under Y's key, one issuer", refused("signature_invalid"), token, twin());
        let token = y.draft(self.now).sign(&x.key);
        self.push("A24", "Y's token under X's key, one issuer", refused("signature_invalid"), token, twin());
        let token = x.draft(self.now).claim("aud", "app-z").sign(&x.key);
        self.push("A24", "X's token for an unknown app", refused("audience_not_ours"), token, twin());
        let token = y.draft(self.now).claim("aud", "app-z").sign(&y.key);
        self.push("A24", "Y's token for an unknown app", refused("audience_not_ours"), token, twin());
        let token = y.draft(self.now).claim("aud", json!(["app-x", "app-z"])).sign(&y.key);
        self.push("A24", "Y's token for X", refused("signature_invalid"), token, twin());
    }

    fn bound_and_weak(&mut self) {
        let keycloak = &self.forge.keycloak;
        for (name, value) in [("jkt", "0ZcOCORZNYy"), ("x5t#S256", "bwcK0esc3A")] {
            let draft = self.authentik().claim("cnf", json!({name: value}));
            self.refuse_draft("A26", format!("cnf {name}"), "proof_bound", &draft);
            let token = self.keycloak().claim("cnf", json!({name: value})).sign(&keycloak.key);
            let fate = Fate::Refused("proof_bound");
            self.push("A26", format!("Keycloak, cnf {name}"), fate, token, Some(keycloak.token(self.now)));
        }
        let draft = self.keycloak();
        for (name, fate, draft) in [
            ("for account alone", Fate::Refused("audience_not_ours"), draft.clone().claim("aud", "account")),
            ("without aud", Fate::Refused("audience_invalid"), draft.clone().without("aud")),
            (
                "lightweight, without sub",
                Fate::Refused("subject_invalid"),
                draft.clone().without("sub").without("groups"),
            ),
            ("lightweight", Fate::Powerless, draft.clone().without("groups").without("realm_access")),
            ("microprofile-jwt", Fate::Powerless, draft.clone().claim("groups", json!(["offline_access", "a"]))),
            ("leaf names", Fate::Powerless, draft.clone().claim("groups", json!(["a", "team/a", "/team"]))),
            ("a service account in no group", Fate::Powerless, draft.claim("groups", json!([]))),
        ] {
            let token = draft.sign(&keycloak.key);
            self.push("A27", format!("Keycloak's token {name}"), fate, token, Some(keycloak.token(self.now)));
        }
    }
}

/// Turns good JSON into something that is none.
type Spoiler<'a> = &'a dyn Fn(&str) -> Vec<u8>;

/// `count` copies of one name, and the group that counts.
fn groups_with(name: &str, count: usize) -> Value {
    let mut names = vec![name; count];
    names.push("team-a");
    json!(names)
}
