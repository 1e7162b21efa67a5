//! `[break_glass]`: where this instance keeps its journal, and what signs its alerts. Who may break the glass, and when, is
//! the policy directory's `break-glass.toml`.

use std::path::PathBuf;

use super::section::Section;
use crate::webhook::WebhookSecret;

/// `[break_glass]`
#[derive(Debug, Default)]
pub struct BreakGlassSettings {
    /// The journal's directory, of this instance alone.
    pub journal: Option<PathBuf>,
    /// Signs alerts; required where the policy names an `alert_webhook`.
    pub webhook_secret: Option<WebhookSecret>,
}

pub(super) fn break_glass(root: &mut Section<'_>) -> Option<BreakGlassSettings> {
    let mut section = root.section("break_glass");
    let (journal_given, secret_given) =
        (section.has("journal"), section.has("webhook_secret") || section.has("webhook_secret_file"));
    let journal = section.path("journal");
    let text = section.secret("webhook_secret");
    let secret = match text.as_ref().map(WebhookSecret::parse) {
        Some(Ok(secret)) => Some(secret),
        Some(Err(error)) => section.reject("webhook_secret", None, &error.to_string()),
        None => None,
    };
    section.finish();
    let journal = if journal_given { Some(journal?) } else { None };
    let webhook_secret = if secret_given { Some(secret?) } else { None };
    Some(BreakGlassSettings { journal, webhook_secret })
}
