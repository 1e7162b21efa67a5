//! What a live run saw becomes a row of `docs/compatibility.md` or `docs/clients.md`: kept where `STINT_LIVE_ROWS` or
//! `STINT_LIVE_CLIENT_ROWS` says, and copied to `docs/compatibility/` or `docs/clients/` by whoever wants it published.

use std::path::PathBuf;

use serde_json::{Value, json};
use time::OffsetDateTime;

/// Keeps the report of `stint object-server verify --json` about one server at one version, as `<server>-<version>.json`.
pub(crate) fn keep_row(server: &str, version: &str, report: &Value) {
    let row = json!({"server": server, "version": version, "checks": report["checks"]});
    keep("STINT_LIVE_ROWS", &format!("{server}-{version}"), row);
}

/// Keeps what one client did by one way to its credentials, as `<client>-<way>.json`.
pub(crate) fn keep_client(client: &str, way: &str, mut row: Value) {
    row["client"] = client.into();
    row["way"] = way.into();
    keep("STINT_LIVE_CLIENT_ROWS", &format!("{client}-{way}"), row);
}

#[expect(clippy::disallowed_methods, reason = "whoever wants the rows says where they go; a row has its date")]
fn keep(variable: &str, name: &str, mut row: Value) {
    let Some(directory) = std::env::var_os(variable) else { return };
    row["date"] = OffsetDateTime::now_utc().date().to_string().into();
    let name = format!("{name}.json").to_lowercase().replace(' ', "-");
    std::fs::write(PathBuf::from(directory).join(name), format!("{row:#}\n")).expect("the row is written");
}
