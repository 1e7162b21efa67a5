//! A token forge: providers with keys made at run time, one whole valid token each, and every way to sign or mis-sign.
//! It knows nothing of the verifier: the same tokens go through any door.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// base64url without padding.
pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An RSA key pair with its `kid`.
#[derive(Debug)]
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    pair: RsaKeyPair,
}

impl SigningKey {
    pub(crate) fn generate(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: RsaKeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    /// The public key as a JWK.
    pub(crate) fn jwk(&self) -> Value {
        let public = self.pair.public_key();
        let n = base64url(public.modulus().big_endian_without_leading_zero());
        let e = base64url(public.exponent().big_endian_without_leading_zero());
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": n, "e": e})
    }

    /// The public key's modulus.
    pub(crate) fn modulus(&self) -> Vec<u8> {
        self.pair.public_key().modulus().big_endian_without_leading_zero().to_vec()
    }

    /// The public key as PKCS#1 DER.
    pub(crate) fn pkcs1(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    /// The public key as `SubjectPublicKeyInfo` DER.
    pub(crate) fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.pair.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    /// The public key as PEM, without a final newline.
    pub(crate) fn pem(&self) -> String {
        let text = STANDARD.encode(self.spki());
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", lines.join("\n"))
    }

    /// A signature in any RSA encoding.
    pub(crate) fn sign_with(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    /// A compact JWS over exactly these bytes, signed with RS256 whatever the header says.
    pub(crate) fn jws(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let input = signing_input(header, payload);
        let signature = self.sign_with(&RSA_PKCS1_SHA256, input.as_bytes());
        format!("{input}.{}", base64url(signature))
    }
}

/// Header and payload as a signature covers them.
pub(crate) fn signing_input(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    format!("{}.{}", base64url(header), base64url(payload))
}

/// A compact JWS over exactly these bytes, with an HMAC-SHA256 under `secret`.
pub(crate) fn hs256(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>, secret: &[u8]) -> String {
    let input = signing_input(header, payload);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
    format!("{input}.{}", base64url(tag))
}

/// A JWKS document of these keys.
pub(crate) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// A header and claims on the way to a token.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Draft {
    /// With this header member.
    pub(crate) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    /// With this claim.
    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    /// Without this claim.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name).unwrap();
        self
    }

    /// Without this header member.
    pub(crate) fn without_header(mut self, name: &str) -> Self {
        self.header.as_object_mut().unwrap().remove(name).unwrap();
        self
    }

    /// Signed with RS256.
    pub(crate) fn sign(&self, key: &SigningKey) -> String {
        key.jws(self.header.to_string(), self.claims.to_string())
    }
}

/// One identity provider, as an `[[issuer]]` block sees it.
#[derive(Debug)]
pub(crate) struct Provider {
    /// The block's name.
    pub(crate) name: &'static str,
    /// `iss`.
    pub(crate) issuer: String,
    /// The audience configured for the service.
    pub(crate) audience: &'static str,
    /// The profile's name in configuration.
    pub(crate) profile: &'static str,
    /// The group that is worth something.
    pub(crate) group: &'static str,
    /// The signing key.
    pub(crate) key: SigningKey,
}

impl Provider {
    /// The provider's JWKS document: the signing key, and an encryption key beside it as Keycloak has.
    pub(crate) fn jwks(&self) -> String {
        let mut encryption = self.key.jwk();
        encryption["use"] = json!("enc");
        encryption["alg"] = json!("RSA-OAEP");
        encryption["kid"] = json!(format!("{}-enc", self.key.kid));
        jwks(&[encryption, self.key.jwk()])
    }

    /// One whole valid token, issued a minute before `now` (seconds since 1970) and good for ten.
    pub(crate) fn draft(&self, now: i64) -> Draft {
        let common = json!({"iss": self.issuer, "aud": self.audience, "iat": now - 60, "exp": now + 600});
        let (typ, mut claims) = match self.profile {
            "authentik" => ("JWT", authentik(self, now)),
            "keycloak" => ("JWT", keycloak(self, now)),
            "rfc9068" => ("at+jwt", rfc9068(self)),
            "iam-profile" => ("JWT", iam_profile(self, now)),
            other => panic!("no profile {other}"),
        };
        claims.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
        Draft { header: json!({"alg": "RS256", "kid": self.key.kid, "typ": typ}), claims }
    }

    /// [`Provider::draft`], signed.
    pub(crate) fn token(&self, now: i64) -> String {
        self.draft(now).sign(&self.key)
    }
}

fn authentik(provider: &Provider, now: i64) -> Value {
    json!({
        "sub": "5b2ce9ac4c8f4b0f9d8e2f1a7c6b5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c", "azp": provider.audience,
        "uid": "Rk3vYq0sT1uWxYz2", "auth_time": now - 60, "acr": "goauthentik.io/providers/oauth2/default",
        "amr": ["pwd"], "sid": "0f1e2d3c", "email": "ada@example.com", "email_verified": false, "name": "Ada L",
        "preferred_username": "ada", "nickname": "ada", "groups": ["authentik Admins", provider.group],
        "scope": "openid email profile",
    })
}

fn keycloak(provider: &Provider, now: i64) -> Value {
    json!({
        "sub": "6f1a0c52-8f0c-4a87-9e55-0f3f6f2f0a11", "typ": "Bearer", "azp": "worker", "jti": "onrtac:b34080ff-01",
        "auth_time": now - 60, "sid": "c0ffee", "acr": "1", "allowed-origins": ["*"],
        "realm_access": {"roles": ["default-roles-r", "offline_access"]},
        "resource_access": {"account": {"roles": ["view-profile"]}}, "scope": "openid email profile",
        "preferred_username": "ada", "groups": [provider.group, "/team/x"],
    })
}

fn rfc9068(provider: &Provider) -> Value {
    json!({
        "sub": "0b7f5e2c-7f1e-4a52-a5d6-d8a2e3f4c5b6", "client_id": "worker", "jti": "2f1d0c9b",
        "scope": "s3", "groups": [provider.group],
    })
}

fn iam_profile(provider: &Provider, now: i64) -> Value {
    json!({
        "sub": "user-1", "nbf": now - 60, "tenant": "tenant:platform", "principal_type": "human",
        "assurance": {"level": "aal1", "methods": ["pwd"], "mfa": false, "source": "key-cape", "at": now - 60},
        "groups": [provider.group], "roles": ["reader"], "scope": "openid groups",
    })
}

/// All providers of a test, and somebody nobody trusts.
#[derive(Debug)]
pub(crate) struct Forge {
    /// Authentik, an issuer per application.
    pub(crate) authentik: Provider,
    /// Keycloak.
    pub(crate) keycloak: Provider,
    /// Authelia or another RFC 9068 provider.
    pub(crate) rfc9068: Provider,
    /// A `NetKingdom` issuer.
    pub(crate) iam: Provider,
    /// Two applications of one Authentik in global mode: one `iss`, a JWKS each.
    pub(crate) global: [Provider; 2],
    /// A key no issuer publishes.
    pub(crate) stranger: SigningKey,
}

static FORGE: LazyLock<Forge> = LazyLock::new(Forge::make);

impl Forge {
    /// The forge of this test run: keys are made once.
    pub(crate) fn shared() -> &'static Self {
        &FORGE
    }

    fn make() -> Self {
        let provider = |name, issuer: &str, audience, profile, group, kid| Provider {
            name,
            issuer: issuer.to_owned(),
            audience,
            profile,
            group,
            key: SigningKey::generate(kid),
        };
        let authentik = |name, issuer, audience, kid| provider(name, issuer, audience, "authentik", "team-a", kid);
        Self {
            authentik: authentik("authentik", "https://auth.example/application/o/stint/", "stint", "ak-1"),
            keycloak: provider("keycloak", "https://kc.example/realms/r", "stint", "keycloak", "/team/a", "kc-1"),
            rfc9068: provider("authelia", "https://authelia.example", "stint", "rfc9068", "team-a", "au-1"),
            iam: provider("key-cape", "https://key-cape.example", "stint", "iam-profile", "/team/a", "nk-1"),
            global: [
                authentik("global-x", "https://global.example/", "app-x", "shared"),
                authentik("global-y", "https://global.example/", "app-y", "shared"),
            ],
            stranger: SigningKey::generate("ak-1"),
        }
    }

    /// Every configured provider, in the order of configuration.
    pub(crate) fn providers(&self) -> [&Provider; 6] {
        let [x, y] = &self.global;
        [&self.authentik, &self.keycloak, &self.rfc9068, &self.iam, x, y]
    }
}
