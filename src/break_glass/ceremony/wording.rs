//! Free text of documents: what may stand in it, and how it is shown. A custodian signs what they read on a terminal, so
//! nothing that moves a cursor, reverses a line or cannot be seen may stand in a document, and none of it is ever shown raw.

/// Whether the text is one line of visible characters and spaces, 1 to `most` bytes, without space at either end.
pub(super) fn is_line(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.trim() == text && text.chars().all(is_visible)
}

/// The same, but of several lines.
pub(super) fn is_text(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.trim() == text && text.chars().all(|c| c == '\n' || is_visible(c))
}

/// What a terminal shows as itself. Marks that change the character before them are refused with the invisible ones.
fn is_visible(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().count() == 1
}

/// The text in quotes, with everything escaped that is not shown as itself.
pub(super) fn shown(text: &str) -> String {
    let escaped: String = text.chars().flat_map(char::escape_debug).collect();
    format!("\"{escaped}\"")
}

/// A label and its value on one line.
pub(super) fn line(label: &str, value: &str) -> String {
    format!("  {label:<14}{value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_could_fool_a_terminal_is_refused() {
        for text in ["Keycloak ist aus: „Störung“ (INC-7) \"x\" \\ 'y'", "é", "日本"] {
            assert!(is_line(text, 100), "{text}");
        }
        let fooling = [
            "",
            " a",
            "a ",
            "a\nb",
            "a\rb",
            "a\u{1b}[2Kb",
            "a\u{0}b",
            "a\u{7f}b",
            "a\u{9b}b",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{200b}b",
            "a\u{feff}b",
            "a\u{ad}b",
            "a\u{2028}b",
            "e\u{301}",
            "a\u{e0041}b",
            "a\u{a0}b",
        ];
        for text in fooling {
            assert!(!is_line(text, 100), "{text:?}");
        }
        assert!(is_line(&"x".repeat(100), 100) && !is_line(&"x".repeat(101), 100));
        assert!(is_text("a\nb", 100) && !is_text("a\n", 100) && !is_text("a\r\nb", 100));
    }

    #[test]
    fn what_is_shown_has_no_raw_control_characters_and_one_reading() {
        assert_eq!(shown("a\u{1b}[2J\n\\n\"\u{202e}"), "\"a\\u{1b}[2J\\n\\\\n\\\"\\u{202e}\"");
    }
}
