//! Group names that a reader takes for one another. They are compared byte for byte, so a name that differs from
//! another in case, in a leading slash (Keycloak's full paths) or in something invisible matches nobody, silently.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::quoted;

/// One line for each set of names that look alike, and for each that begins or ends in something invisible.
pub(super) fn confusable_groups<'a>(groups: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut alike: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for group in groups {
        alike.entry(seen(group)).or_default().insert(group);
    }
    let mut lines = Vec::new();
    for names in alike.values() {
        let shown: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        if names.len() > 1 {
            lines.push(format!("groups {} look alike but are different groups", shown.join(" and ")));
        } else if names.iter().any(|name| name.trim() != *name || name.chars().any(invisible)) {
            lines.push(format!("group {} holds space at an end or an invisible character", shown.join("")));
        }
    }
    lines
}

/// The name as a reader takes it in.
fn seen(group: &str) -> String {
    let visible: String = group.chars().filter(|&c| !invisible(c)).collect();
    visible.trim().trim_start_matches('/').trim_start().to_lowercase()
}

fn invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(groups: &[&str]) -> usize {
        let groups: Vec<String> = groups.iter().map(|&g| g.to_owned()).collect();
        confusable_groups(groups.iter()).len()
    }

    #[test]
    fn groups_that_look_alike_are_named() {
        for other in ["Studio", "/studio", " studio", "studio\u{200b}"] {
            assert_eq!(lines(&["studio", other]), 1, "{other:?}");
        }
        assert_eq!(lines(&["studio ", "x"]), 1);
    }

    #[test]
    fn groups_that_differ_to_the_eye_are_not() {
        assert_eq!(lines(&["studio", "studios", "spacemusic-admins", "authentik Admins", "studio"]), 0);
    }
}
