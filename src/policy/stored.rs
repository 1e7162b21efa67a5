//! A policy directory as it is kept beside the log, and compiled again years later. Which issuers were configured then is
//! no part of it: the names that its own files use are taken as configured.

use std::collections::{BTreeMap, BTreeSet};

use super::{PolicyFiles, PolicySet, Problem};
use crate::token::IssuerName;

impl PolicyFiles {
    /// One JSON object: relative path → content. `None` if a file is not UTF-8: such a directory does not compile.
    #[must_use]
    pub fn to_json(&self) -> Option<String> {
        let texts: Option<BTreeMap<&str, &str>> =
            self.0.iter().map(|(path, content)| Some((path.as_str(), std::str::from_utf8(content).ok()?))).collect();
        serde_json::to_string(&texts?).ok()
    }

    /// Reads what [`PolicyFiles::to_json`] wrote; `None` if it is anything else.
    #[must_use]
    pub fn from_json(json: &str) -> Option<Self> {
        let texts: BTreeMap<String, String> = serde_json::from_str(json).ok()?;
        Some(Self(texts.into_iter().map(|(path, text)| (path, text.into_bytes())).collect()))
    }
}

impl PolicySet {
    /// Compiles a directory that was compiled before, under whatever issuers. Its hash tells whether it is the same text.
    pub fn compile_again(files: &PolicyFiles) -> Result<Self, Vec<Problem>> {
        let issuers: Vec<IssuerName> = issuer_names(files).iter().filter_map(|name| IssuerName::parse(name)).collect();
        Self::compile(files, &issuers)
    }
}

/// Every `issuer = "…"` of an `[[allow]]` or `[[operator]]` block, and those whose emergency tokens are honoured. A file that is no TOML names none; compiling tells.
fn issuer_names(files: &PolicyFiles) -> BTreeSet<String> {
    let has_issuers = |path: &str| path.starts_with("roles/") || path == "operators.toml" || path == "break-glass.toml";
    let texts = files.0.iter().filter(|(path, _)| has_issuers(path));
    let tables = texts.filter_map(|(_, content)| std::str::from_utf8(content).ok()?.parse::<toml::Table>().ok());
    let mut names = BTreeSet::new();
    for table in tables {
        for blocks in ["allow", "operator"].iter().filter_map(|key| table.get(*key)?.as_array()) {
            names.extend(blocks.iter().filter_map(|block| Some(block.get("issuer")?.as_str()?.to_owned())));
        }
        let honoured = table.get("emergency_tokens").and_then(|tokens| tokens.get("issuers")?.as_array());
        names.extend(honoured.into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> PolicyFiles {
        let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":
            "arn:aws:s3:::b/*"}]}"#;
        let role = "documents = [\"read\"]\n[[allow]]\nissuer = \"keycloak\"\ngroups = [\"a\"]\n[[allow]]\nissuer = \
                    \"authentik\"\ngroups = [\"b\"]\n";
        let operators = "[[operator]]\nissuer = \"ops\"\ngroups = [\"o\"]\npermissions = [\"audit.read\"]\n";
        let files = [("documents/read.json", document), ("roles/r.toml", role), ("operators.toml", operators)];
        PolicyFiles(files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into())
    }

    fn issuers(names: &[&str]) -> Vec<IssuerName> {
        names.iter().map(|name| IssuerName::parse(name).unwrap()).collect()
    }

    #[test]
    fn a_kept_directory_compiles_again_to_the_same_hash_whatever_is_configured_by_then() {
        let before = PolicySet::compile(&files(), &issuers(&["authentik", "keycloak", "ops", "another"])).unwrap();
        assert!(PolicySet::compile(&files(), &issuers(&["authentik"])).is_err());
        let kept = PolicyFiles::from_json(&files().to_json().unwrap()).unwrap();
        assert_eq!(PolicySet::compile_again(&kept).unwrap().hash(), before.hash());
    }

    #[test]
    fn another_text_has_another_hash() {
        let kept = files().to_json().unwrap().replace("s3:GetObject", "s3:PutObject");
        let changed = PolicySet::compile_again(&PolicyFiles::from_json(&kept).unwrap()).unwrap();
        assert_ne!(changed.hash(), PolicySet::compile_again(&files()).unwrap().hash());
    }

    #[test]
    fn what_is_no_kept_directory_is_refused() {
        for wrong in ["", "[]", "{\"a\":1}", "{\"a\":null}", "{\"a\":\"\"} x"] {
            assert!(PolicyFiles::from_json(wrong).is_none(), "{wrong}");
        }
        let broken = PolicyFiles::from_json(r#"{"roles/r.toml":"= ="}"#).unwrap();
        assert!(PolicySet::compile_again(&broken).is_err());
        assert!(PolicyFiles([("a".to_owned(), vec![0xff])].into()).to_json().is_none());
    }
}
