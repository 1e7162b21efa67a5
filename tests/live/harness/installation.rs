//! One whole installation: PostgreSQL, MinIO and `stint`, trusting Keycloak.

use serde_json::json;

use super::{Database, Keycloak, Keys, Minio, Stint};

/// What a test wants otherwise.
pub(crate) struct Setup {
    /// The lines of `[lease]`. Every exchange mints unless they say `reuse = true`.
    pub(crate) lease: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self { lease: "ttl = \"60m\"" }
    }
}

/// Ready to exchange. Fields are dropped in order: the service before what it needs.
pub(crate) struct Installation {
    pub(crate) stint: Stint,
    pub(crate) minio: Minio,
    pub(crate) database: Database,
    pub(crate) keycloak: &'static Keycloak,
}

impl Installation {
    /// Everything up and ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    /// Everything up and ready, as `setup` says.
    pub(crate) async fn start_with(setup: Setup) -> Self {
        let keycloak = Keycloak::shared().await;
        let database = Database::start().await;
        let minio = Minio::start().await;
        let stint = Stint::start(&keycloak.issuer(), &database, &minio, setup.lease).await;
        stint.until_ready().await;
        Self { stint, minio, database, keycloak }
    }

    /// Credentials for a service account, in whatever role is its own.
    pub(crate) async fn keys_of(&self, client: &str) -> Keys {
        let token = self.keycloak.token(client).await;
        let answer = self.stint.lease(&token, &json!({})).await;
        assert_eq!(answer.status, 201, "{client} gets a lease: {}", answer.body);
        answer.keys()
    }
}
