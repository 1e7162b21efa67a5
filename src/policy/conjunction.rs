//! Two conditions of one operator on one key, joined into one that holds exactly when both do. A statement cannot hold
//! such a pair as it is: JSON has room for one of them.

use ipnet::IpNet;

use super::condition::Condition;
use super::glob::{Budget, BudgetSpent, Case, intersect};
use super::operator::{Comparison, Operator, Order, Sense, instant, net, number};

/// The conjunction cannot be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inexpressible;

impl From<BudgetSpent> for Inexpressible {
    fn from(BudgetSpent: BudgetSpent) -> Self {
        Self
    }
}

/// Conditions that hold exactly when all of `a` and all of `b` do, for an Allow. `None`: they never hold together.
pub(super) fn all_of(
    a: &[Condition],
    b: &[Condition],
    budget: &mut Budget,
) -> Result<Option<Vec<Condition>>, Inexpressible> {
    let mut joined = a.to_vec();
    for condition in b {
        match joined.iter_mut().find(|other| other.operator == condition.operator && other.key == condition.key) {
            None => joined.push(condition.clone()),
            Some(other) => {
                let values = join(other.operator, &other.values, &condition.values, budget)?;
                if values.is_empty() {
                    return Ok(None);
                }
                other.values = values;
            }
        }
    }
    joined.sort();
    Ok(Some(joined))
}

/// The values that satisfy the operator exactly when both `a` and `b` do; empty if nothing can.
fn join(operator: Operator, a: &[String], b: &[String], budget: &mut Budget) -> Result<Vec<String>, Inexpressible> {
    match operator {
        Operator::Text(_, Sense::Unwanted) | Operator::Ip(Sense::Unwanted) => Ok(union(a, b)),
        Operator::Text(Comparison::Equals, Sense::Wanted) => Ok(both(a, b, |a, b| a == b)),
        Operator::Text(Comparison::EqualsIgnoreCase, Sense::Wanted) => {
            Ok(both(a, b, |a, b| a.to_lowercase() == b.to_lowercase()))
        }
        Operator::Text(Comparison::Like, Sense::Wanted) => patterns(a, b, budget),
        Operator::Ip(Sense::Wanted) => Ok(networks(a, b)),
        Operator::Bool | Operator::Null => Ok(both(a, b, |a, b| a == b)),
        Operator::Number(order) => ordered(order, a, b, number),
        Operator::Date(order) => ordered(order, a, b, instant),
    }
}

fn union(a: &[String], b: &[String]) -> Vec<String> {
    let mut all = a.to_vec();
    all.extend(b.iter().filter(|value| !a.contains(value)).cloned());
    all
}

fn both(a: &[String], b: &[String], equal: impl Fn(&str, &str) -> bool) -> Vec<String> {
    a.iter().filter(|a| b.iter().any(|b| equal(a, b))).cloned().collect()
}

fn patterns(a: &[String], b: &[String], budget: &mut Budget) -> Result<Vec<String>, Inexpressible> {
    let mut found = Vec::new();
    for (a, b) in a.iter().flat_map(|a| b.iter().map(move |b| (a, b))) {
        for pattern in intersect(a, b, Case::Exact, budget)? {
            if !found.contains(&pattern) {
                found.push(pattern);
            }
        }
    }
    Ok(found)
}

/// Of two networks one holds the other, or they are disjoint.
fn networks(a: &[String], b: &[String]) -> Vec<String> {
    let within = |inner: &str, outer: &str| match (net(inner), net(outer)) {
        (Some(IpNet::V4(inner)), Some(IpNet::V4(outer))) => outer.contains(&inner),
        (Some(IpNet::V6(inner)), Some(IpNet::V6(outer))) => outer.contains(&inner),
        _ => false,
    };
    union(&both(a, b, within), &both(b, a, within))
}

/// Values are one each: checked when the document was read.
fn ordered<T: Ord>(
    order: Order,
    a: &[String],
    b: &[String],
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<String>, Inexpressible> {
    let ([a], [b]) = (a, b) else { return Err(Inexpressible) };
    let (read_a, read_b) = (read(a).ok_or(Inexpressible)?, read(b).ok_or(Inexpressible)?);
    let kept = match order {
        Order::LessThan | Order::LessThanEquals => Some(if read_a <= read_b { a } else { b }),
        Order::GreaterThan | Order::GreaterThanEquals => Some(if read_a >= read_b { a } else { b }),
        Order::Equals => (read_a == read_b).then_some(a),
        // Neither of two different values: the operator takes one.
        Order::NotEquals if read_a == read_b => Some(a),
        Order::NotEquals => return Err(Inexpressible),
    };
    Ok(kept.into_iter().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(operator: &str, a: &[&str], b: &[&str]) -> Result<Vec<String>, Inexpressible> {
        let owned = |values: &[&str]| values.iter().map(|&v| v.to_owned()).collect::<Vec<_>>();
        join(Operator::parse(operator).unwrap(), &owned(a), &owned(b), &mut Budget::new(1_000))
    }

    #[test]
    fn wanted_values_are_intersected_and_unwanted_ones_united() {
        assert_eq!(joined("StringEquals", &["a", "b"], &["b", "c"]).unwrap(), ["b"]);
        assert_eq!(joined("StringNotEquals", &["a", "b"], &["b", "c"]).unwrap(), ["a", "b", "c"]);
        assert_eq!(joined("StringLike", &["a/*"], &["a/b/*", "c"]).unwrap(), ["a/b/*"]);
        assert_eq!(joined("IpAddress", &["10.0.0.0/8"], &["10.1.0.0/16", "11.0.0.0/8"]).unwrap(), ["10.1.0.0/16"]);
        assert!(joined("StringEquals", &["a"], &["b"]).unwrap().is_empty());
    }

    #[test]
    fn the_tighter_bound_stays() {
        assert_eq!(joined("NumericLessThan", &["10"], &["9"]).unwrap(), ["9"]);
        assert_eq!(joined("NumericGreaterThanEquals", &["10"], &["9"]).unwrap(), ["10"]);
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00-01:00");
        assert_eq!(joined("DateLessThan", &[early], &[late]).unwrap(), [early]);
    }

    #[test]
    fn two_different_exceptions_of_a_single_valued_operator_are_inexpressible() {
        assert_eq!(joined("NumericNotEquals", &["1"], &["2"]), Err(Inexpressible));
        assert_eq!(joined("NumericNotEquals", &["1"], &["1"]).unwrap(), ["1"]);
    }
}
