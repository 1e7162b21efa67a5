//! What a live run saw becomes a row of `docs/compatibility.md`: kept where `STINT_LIVE_ROWS` says, and copied to
//! `docs/compatibility/` by whoever wants it published.

use std::path::PathBuf;

use serde_json::{Value, json};
use time::OffsetDateTime;

/// Keeps the report of `stint object-server verify --json` about one server at one version, as `<server>-<version>.json`.
#[expect(clippy::disallowed_methods, reason = "whoever wants the rows says where they go; a row has its date")]
pub(crate) fn keep_row(server: &str, version: &str, report: &Value) {
    let Some(directory) = std::env::var_os("STINT_LIVE_ROWS") else { return };
    let date = OffsetDateTime::now_utc().date().to_string();
    let row = json!({"server": server, "version": version, "date": date, "checks": report["checks"]});
    let name = format!("{server}-{version}.json").to_lowercase().replace(' ', "-");
    std::fs::write(PathBuf::from(directory).join(name), format!("{row:#}\n")).expect("the row is written");
}
