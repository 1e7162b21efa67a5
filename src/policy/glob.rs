//! Patterns with `*` (any characters, `/` included) and `?` (one character), as IAM writes actions and resources:
//! matching, inclusion and intersection, all without exponential backtracking, since a caller's session policy is an
//! attacker's choice.

/// Whether letters of different case are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    /// Resources and `StringLike`.
    Exact,
    /// Actions (ASCII only).
    Ignored,
}

impl Case {
    fn equal(self, a: char, b: char) -> bool {
        match self {
            Self::Exact => a == b,
            Self::Ignored => a.eq_ignore_ascii_case(&b),
        }
    }
}

/// Work that one narrowing may spend on intersections.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn new(steps: usize) -> Self {
        Self(steps)
    }

    fn spend(&mut self, steps: usize) -> Result<(), BudgetSpent> {
        self.0 = self.0.checked_sub(steps).ok_or(BudgetSpent)?;
        Ok(())
    }
}

/// The intersection would take too much work or too many patterns to write down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BudgetSpent;

/// Most patterns one intersection may come to.
const MOST_PATTERNS: usize = 16;

/// True if `text`, taken literally, is one of the strings `pattern` stands for.
pub(super) fn matches(pattern: &str, text: &str, case: Case) -> bool {
    run(pattern, text, |p, t| p == '?' || case.equal(p, t))
}

/// True if every string that `inner` stands for is one that `outer` stands for. Sound, and exact but for patterns in
/// which `*` and `?` stand side by side: `*` of `inner` is only ever covered by a `*` of `outer`.
pub(super) fn covers(outer: &str, inner: &str, case: Case) -> bool {
    run(outer, inner, |o, i| match (o, i) {
        (_, '*') => false,
        ('?', _) => true,
        (_, '?') => false,
        (o, i) => case.equal(o, i),
    })
}

/// Walks `text` once per last `*`: at most `pattern × text` steps.
fn run(pattern: &str, text: &str, single: impl Fn(char, char) -> bool) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut last_star = None;
    loop {
        let (mut after_pattern, mut after_text) = (pattern.clone(), text.clone());
        match (after_pattern.next(), after_text.next()) {
            (Some('*'), _) => {
                last_star = Some((after_pattern.clone(), text.clone()));
                pattern = after_pattern;
                continue;
            }
            (None, None) => return true,
            (Some(p), Some(t)) if single(p, t) => {
                (pattern, text) = (after_pattern, after_text);
                continue;
            }
            _ => {}
        }
        // The last star takes one more character.
        let Some((star_pattern, mut star_text)) = last_star else { return false };
        if star_text.next().is_none() {
            return false;
        }
        (pattern, text) = (star_pattern.clone(), star_text.clone());
        last_star = Some((star_pattern, star_text));
    }
}

/// Patterns that together stand for exactly the strings both `a` and `b` stand for; none if there are none.
pub(super) fn intersect(a: &str, b: &str, case: Case, budget: &mut Budget) -> Result<Vec<String>, BudgetSpent> {
    budget.spend(1)?;
    if covers(a, b, case) {
        return Ok(vec![b.to_owned()]);
    }
    if covers(b, a, case) {
        return Ok(vec![a.to_owned()]);
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut found: Vec<String> = Vec::new();
    let mut open = vec![(0, 0, String::new())];
    while let Some((i, j, mut so_far)) = open.pop() {
        budget.spend(1 + so_far.len() / 64)?;
        match (a.get(i), b.get(j)) {
            (None, None) => keep(&mut found, so_far, case)?,
            // A last star takes whatever the other side still asks for.
            (Some('*'), _) if a.len() == i + 1 => {
                so_far.extend(b.iter().skip(j));
                keep(&mut found, so_far, case)?;
            }
            (_, Some('*')) if b.len() == j + 1 => {
                so_far.extend(a.iter().skip(i));
                keep(&mut found, so_far, case)?;
            }
            // Two stars: one of them ends first, the other goes on.
            (Some('*'), Some('*')) => {
                so_far.push('*');
                open.push((i + 1, j, so_far.clone()));
                open.push((i, j + 1, so_far));
            }
            // One star: it ends here, or takes what the other side asks for next.
            (Some('*'), Some(&c)) => {
                open.push((i + 1, j, so_far.clone()));
                so_far.push(c);
                open.push((i, j + 1, so_far));
            }
            (Some(&c), Some('*')) => {
                open.push((i, j + 1, so_far.clone()));
                so_far.push(c);
                open.push((i + 1, j, so_far));
            }
            (Some('*'), None) => open.push((i + 1, j, so_far)),
            (None, Some('*')) => open.push((i, j + 1, so_far)),
            (Some('?'), Some(&c)) | (Some(&c), Some('?')) => {
                so_far.push(c);
                open.push((i + 1, j + 1, so_far));
            }
            (Some(&c), Some(&d)) if case.equal(c, d) => {
                so_far.push(c);
                open.push((i + 1, j + 1, so_far));
            }
            (Some(_), Some(_) | None) | (None, Some(_)) => {}
        }
    }
    Ok(found)
}

/// Adds `pattern` unless another one already stands for all of it.
fn keep(found: &mut Vec<String>, mut pattern: String, case: Case) -> Result<(), BudgetSpent> {
    while pattern.contains("**") {
        pattern = pattern.replace("**", "*");
    }
    if found.iter().any(|other| covers(other, &pattern, case)) {
        return Ok(());
    }
    found.retain(|other| !covers(&pattern, other, case));
    found.push(pattern);
    if found.len() > MOST_PATTERNS { Err(BudgetSpent) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The textbook definition, exponential and obviously right.
    fn oracle(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|n| oracle(rest, &text[n..])),
            Some((p, rest)) => text.split_first().is_some_and(|(t, tail)| (*p == '?' || p == t) && oracle(rest, tail)),
        }
    }

    #[test]
    fn a_star_crosses_slashes_and_a_question_mark_takes_exactly_one_character() {
        assert!(matches("b/*", "b/x/y", Case::Exact));
        assert!(!matches("b/*", "b", Case::Exact));
        assert!(matches("b/?", "b/ä", Case::Exact));
        assert!(!matches("b/?", "b/", Case::Exact));
    }

    #[test]
    fn letter_case_counts_for_resources_and_not_for_actions() {
        assert!(!matches("b/A", "b/a", Case::Exact));
        assert!(matches("s3:getobject", "s3:GetObject", Case::Ignored));
    }

    #[test]
    fn a_hostile_pattern_stays_quick() {
        let pattern = "*a".repeat(500) + "b";
        assert!(!matches(&pattern, &"a".repeat(1000), Case::Exact));
        let mut budget = Budget::new(20_000);
        let other = "*b*a".repeat(120);
        assert_eq!(intersect(&pattern, &(other + "*c"), Case::Exact, &mut budget), Err(BudgetSpent));
    }

    #[test]
    fn an_intersection_keeps_the_strings_in_which_both_patterns_overlap() {
        let found = intersect("b/*", "*/x", Case::Exact, &mut Budget::new(1_000)).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.contains(&"b/*/x".to_owned()) && found.contains(&"b/x".to_owned()));
    }

    #[test]
    fn disjoint_patterns_have_no_intersection() {
        assert_eq!(intersect("a/*", "b/*", Case::Exact, &mut Budget::new(1_000)), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_textbook(pattern in "[ab*?]{0,7}", text in "[ab]{0,8}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(matches(&pattern, &text, Case::Exact), oracle(&p, &t));
        }

        #[test]
        fn what_covers_matches_at_least_as_much(outer in "[ab*?]{0,6}", inner in "[ab*?]{0,6}", text in "[ab]{0,7}") {
            if covers(&outer, &inner, Case::Exact) && matches(&inner, &text, Case::Exact) {
                prop_assert!(matches(&outer, &text, Case::Exact));
            }
        }

        #[test]
        fn an_intersection_is_exactly_both(a in "[ab*?]{0,6}", b in "[ab*?]{0,6}", text in "[ab]{0,7}") {
            let found = intersect(&a, &b, Case::Exact, &mut Budget::new(100_000));
            prop_assume!(found.is_ok());
            let either = found.unwrap().iter().any(|p| matches(p, &text, Case::Exact));
            prop_assert_eq!(either, matches(&a, &text, Case::Exact) && matches(&b, &text, Case::Exact));
        }
    }
}
