//! `AssumeRoleWithWebIdentity` at the object server itself: the same token that `stint` gets, and whatever the server makes of it.

use serde_json::{Value, json};

use super::{Kind, ObjectServer};
use crate::harness::Seaweedfs;
use crate::load::{Request, form, minted};

/// What a SeaweedFS is told, its role `Web` trusting the tokens of this issuer for the audience `stint`.
pub(super) fn roles_trusting(issuer: &str) -> Value {
    let mut iam = Seaweedfs::roles();
    iam["providers"] = json!([{"name": "bench", "type": "oidc", "enabled": true,
        "config": {"issuer": issuer, "clientId": "stint", "jwksUri": format!("{issuer}jwks/")}}]);
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"Federated": "bench"}, "Action": ["sts:AssumeRoleWithWebIdentity"]}]});
    let role = json!({"roleName": "Web", "roleArn": Seaweedfs::role("Web"), "attachedPolicies": ["All"],
        "trustPolicy": trust});
    iam["roles"].as_array_mut().unwrap().push(role);
    iam
}

/// The same request every time; nobody signs it.
pub(super) struct WebIdentity {
    url: String,
    body: String,
}

impl WebIdentity {
    pub(super) fn at(server: &ObjectServer, token: &str) -> Self {
        let role = Seaweedfs::role("Web");
        let mut fields = vec![
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("DurationSeconds", "3600"),
            ("RoleSessionName", "bench"),
            ("WebIdentityToken", token),
        ];
        // MinIO finds the policy by a claim where no role is named.
        if server.kind == Kind::Seaweedfs {
            fields.push(("RoleArn", &role));
        }
        Self { url: format!("{}/", server.endpoint), body: form(&fields) }
    }
}

impl Request for WebIdentity {
    async fn send(&self, http: &reqwest::Client) {
        let request = http.post(&self.url).header("content-type", "application/x-www-form-urlencoded");
        minted(request.body(self.body.clone())).await;
    }
}
