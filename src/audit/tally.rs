//! The tally: refusals that get no row of their own, because anyone can send them without end. Tokens without a valid
//! signature are counted by reason and network, one token refused again and again by its digest, one holder
//! by name; each count becomes one event per window. It is bounded in memory and in rows, and never loses a refusal: what
//! finds no place of its own is counted with what has none.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::Notify;

use super::{Refusals, Refused};

/// How long refusals are counted before they are said.
pub(super) const WINDOW: Duration = Duration::from_mins(1);
/// How many networks are told apart in one window, over all reasons: whoever sends from more, as any holder of an IPv6
/// prefix can, shares one row a reason.
const NETWORKS: usize = 1024;
/// How many refused tokens are known again in one window.
const TOKENS: usize = 1024;

/// What one event says.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) reason: &'static str,
    pub(super) refusals: Refusals,
    /// Of one validly signed token, or of one holder, that was refused again: the first of its refusals counted.
    pub(super) token: Option<Box<Refused>>,
}

/// The counts, and who waits for the first of them.
#[derive(Debug)]
pub(super) struct Tally {
    counts: Mutex<Counts>,
    begun: Notify,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { counts: Mutex::new(Counts::new(NETWORKS, TOKENS)), begun: Notify::new() }
    }

    /// One more refusal of a token without a valid signature.
    pub(super) fn count(&self, reason: &'static str, address: Option<IpAddr>) {
        self.change(|counts| counts.add(reason, address.and_then(network), 1));
    }

    /// One more refusal of a validly signed token: given back if it is the first, which gets a row of its own.
    pub(super) fn count_repeated(&self, refused: Refused) -> Option<Refused> {
        self.change(|counts| counts.repeat(refused))
    }

    /// One more refusal of a holder, by whichever of its tokens: given back if it is the first.
    pub(super) fn count_holder(&self, refused: Refused) -> Option<Refused> {
        self.change(|counts| counts.repeat_holder(refused))
    }

    /// Everything counted, to be said; or to be put back.
    pub(super) fn take(&self) -> Vec<Told> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What was taken and could not be said.
    pub(super) fn put_back(&self, told: impl IntoIterator<Item = Told>) {
        self.change(|counts| told.into_iter().for_each(|told| counts.put_back(told)));
    }

    /// Whether there is nothing to say.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Waits for a first count. It may come once too often, never once too few.
    pub(super) async fn begun(&self) {
        self.begun.notified().await;
    }

    fn change<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = counts.is_empty();
        let result = change(&mut counts);
        if nothing && !counts.is_empty() {
            self.begun.notify_one();
        }
        result
    }
}

#[derive(Debug)]
struct Counts {
    by_network: BTreeMap<(&'static str, Option<IpNet>), u64>,
    /// How many keys of `by_network` name a network.
    networks: usize,
    most_networks: usize,
    /// Validly signed tokens, and holders, that were refused, by digest or name and by reason; nothing yet where only the first row was written.
    tokens: HashMap<(String, &'static str), Option<Repeated>>,
    /// How many of `tokens` were refused again.
    repeated: usize,
    most_tokens: usize,
}

/// One token, refused again.
#[derive(Debug)]
struct Repeated {
    count: u64,
    /// Where all of it came from; none if it came from several networks.
    network: Option<IpNet>,
    first: Box<Refused>,
}

impl Counts {
    fn new(most_networks: usize, most_tokens: usize) -> Self {
        let (by_network, tokens) = (BTreeMap::new(), HashMap::new());
        Self { by_network, networks: 0, most_networks, tokens, repeated: 0, most_tokens }
    }

    fn is_empty(&self) -> bool {
        self.by_network.is_empty() && self.repeated == 0
    }

    fn add(&mut self, reason: &'static str, network: Option<IpNet>, more: u64) {
        let known = network.is_none() || self.by_network.contains_key(&(reason, network));
        let network = network.filter(|_| known || self.networks < self.most_networks);
        if network.is_some() && !known {
            self.networks = self.networks.saturating_add(1);
        }
        let count = self.by_network.entry((reason, network)).or_default();
        *count = count.saturating_add(more);
    }

    fn repeat(&mut self, refused: Refused) -> Option<Refused> {
        // A refusal without a digest is of no token: on record, each one.
        let Some(digest) = refused.request.token_sha256.clone() else { return Some(refused) };
        self.again(digest, refused)
    }

    fn repeat_holder(&mut self, mut refused: Refused) -> Option<Refused> {
        let key = holder(&refused);
        if self.tokens.contains_key(&(key.clone(), refused.reason)) {
            // It stands for all of the holder's tokens from here on.
            refused.request.token_sha256 = None;
        }
        self.again(key, refused)
    }

    fn again(&mut self, key: String, refused: Refused) -> Option<Refused> {
        let key = (key, refused.reason);
        if self.tokens.contains_key(&key) {
            let network = refused.request.origin.address.and_then(network);
            self.add_repeated(key, Repeated { count: 1, network, first: Box::new(refused) });
            return None;
        }
        if self.tokens.len() >= self.most_tokens && self.repeated < self.tokens.len() {
            // Those seen once have their row, and get another should they come again.
            self.tokens.retain(|_, repeated| repeated.is_some());
        }
        if self.tokens.len() >= self.most_tokens {
            // Somebody has a whole collection of old tokens: from here on they are junk like any other.
            self.add(refused.reason, refused.request.origin.address.and_then(network), 1);
            return None;
        }
        self.tokens.insert(key, None);
        Some(refused)
    }

    fn add_repeated(&mut self, key: (String, &'static str), more: Repeated) {
        let slot = self.tokens.entry(key).or_default();
        if let Some(before) = slot {
            before.count = before.count.saturating_add(more.count);
            before.network = before.network.filter(|network| more.network == Some(*network));
        } else {
            *slot = Some(more);
            self.repeated = self.repeated.saturating_add(1);
        }
    }

    fn take(&mut self) -> Vec<Told> {
        self.networks = 0;
        let by_network = std::mem::take(&mut self.by_network).into_iter();
        let mut told: Vec<Told> = by_network
            .map(|((reason, network), count)| Told { reason, refusals: Refusals { count, network }, token: None })
            .collect();
        if self.repeated > 0 {
            self.repeated = 0;
            // Whoever was quiet for a window is forgotten; whoever was not stays known.
            self.tokens.retain(|_, repeated| repeated.is_some());
            told.extend(self.tokens.values_mut().filter_map(Option::take).map(|Repeated { count, network, first }| {
                Told { reason: first.reason, refusals: Refusals { count, network }, token: Some(first) }
            }));
        }
        told
    }

    fn put_back(&mut self, told: Told) {
        let Told { reason, refusals: Refusals { count, network }, token } = told;
        let Some(first) = token else { return self.add(reason, network, count) };
        let key = (first.request.token_sha256.clone().unwrap_or_else(|| holder(&first)), reason);
        if self.tokens.contains_key(&key) || self.tokens.len() < self.most_tokens {
            self.add_repeated(key, Repeated { count, network, first });
        } else {
            self.add(reason, network, count);
        }
    }
}

/// Who was refused; no digest of a token looks like it.
fn holder(refused: &Refused) -> String {
    let Refused { identity, .. } = refused;
    format!("{}\0{}", identity.issuer, identity.subject.as_deref().unwrap_or_default())
}

/// What an address counts under: the networks that one customer of a provider usually has.
fn network(address: IpAddr) -> Option<IpNet> {
    let address = address.to_canonical();
    let prefix = if address.is_ipv4() { 24 } else { 48 };
    IpNet::new(address, prefix).ok().map(|network| network.trunc())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::audit::{Door, Identity, Origin, Request};

    const REASONS: [&str; 3] = ["token_malformed", "issuer_unknown", "token_expired"];

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(n))
    }

    fn refused(token: u32, reason: &'static str, address: Option<IpAddr>) -> Refused {
        let origin = Origin { door: Door::Sts, address, request_id: Uuid::nil() };
        let token_sha256 = Some(format!("{token:064x}"));
        let request = Request::for_no_lease(origin, token_sha256);
        let identity = Identity { issuer: "a".to_owned(), subject: None, client: None, groups: Vec::new(), jti: None };
        Refused { request, identity, reason, policy_hash: None, freeze: None, obligation: None }
    }

    fn sum(told: &[Told]) -> u64 {
        told.iter().map(|told| told.refusals.count).sum()
    }

    #[test]
    fn addresses_of_one_network_share_a_count_and_a_mapped_one_is_its_ipv4_self() {
        let tally = Tally::new();
        for address in ["203.0.113.1", "203.0.113.254", "::ffff:203.0.113.9", "203.0.114.1"] {
            tally.count(REASONS[0], Some(address.parse().unwrap()));
        }
        for address in ["2001:db8:7::1", "2001:db8:7:ffff::1", "2001:db8:8::1"] {
            tally.count(REASONS[0], Some(address.parse().unwrap()));
        }
        let told = tally.take();
        let told: Vec<_> = told.iter().map(|t| (t.refusals.network.unwrap().to_string(), t.refusals.count)).collect();
        let expected = [("203.0.113.0/24", 3), ("203.0.114.0/24", 1), ("2001:db8:7::/48", 2), ("2001:db8:8::/48", 1)];
        assert_eq!(told, expected.map(|(network, count)| (network.to_owned(), count)));
        assert!(tally.take().is_empty());
    }

    #[test]
    fn from_too_many_networks_at_once_a_reason_has_one_row_for_the_rest() {
        let tally = Tally::new();
        let networks = u32::try_from(NETWORKS).unwrap();
        for n in 0..networks + 500 {
            tally.count(REASONS[0], Some(address(n << 8)));
        }
        tally.count(REASONS[1], Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        tally.count(REASONS[0], Some(address(7)));
        let told = tally.take();
        assert_eq!((told.len(), sum(&told)), (NETWORKS + 2, u64::from(networks) + 502));
        let rest: Vec<_> = told.iter().filter(|t| t.refusals.network.is_none()).collect();
        assert_eq!(
            rest.iter().map(|t| (t.reason, t.refusals.count)).collect::<Vec<_>>(),
            [(REASONS[1], 1), (REASONS[0], 500)]
        );
    }

    #[test]
    fn a_token_is_given_back_the_first_time_and_counted_from_then_on() {
        let tally = Tally::new();
        assert!(tally.count_repeated(refused(1, REASONS[2], Some(address(1)))).is_some());
        assert!(tally.take().is_empty(), "its row says it all");
        for window in 0..3 {
            for _ in 0..5 {
                assert!(tally.count_repeated(refused(1, REASONS[2], Some(address(1)))).is_none(), "{window}");
            }
            let told = tally.take();
            let [told] = told.as_slice() else { panic!("{told:?}") };
            assert_eq!((told.reason, told.refusals.count), (REASONS[2], 5));
            assert_eq!(told.refusals.network.unwrap().to_string(), "0.0.0.0/24");
            assert_eq!(told.token.as_ref().unwrap().identity.issuer, "a");
        }
        assert!(tally.count_repeated(refused(1, REASONS[0], None)).is_some(), "another reason is another row");
        assert!(tally.count_repeated(refused(2, REASONS[2], None)).is_some(), "so is another token");
    }

    #[test]
    fn a_holder_is_given_back_the_first_time_and_counted_from_then_on_whatever_its_token() {
        let tally = Tally::new();
        let of = |subject: &str, token| {
            let mut refused = refused(token, REASONS[0], Some(address(1)));
            refused.identity.subject = Some(subject.to_owned());
            refused
        };
        let first = tally.count_holder(of("ada", 1)).unwrap();
        assert!(first.request.token_sha256.is_some(), "its row names its token");
        for token in 1..6 {
            assert!(tally.count_holder(of("ada", token)).is_none());
        }
        assert!(tally.count_holder(of("bob", 1)).is_some(), "another holder is another row");
        let told = tally.take();
        let [ada] = told.as_slice() else { panic!("{told:?}") };
        let counted = ada.token.as_ref().unwrap();
        assert_eq!((ada.refusals.count, counted.identity.subject.as_deref()), (5, Some("ada")));
        assert_eq!(counted.request.token_sha256, None, "it stands for several");
        tally.put_back(told);
        assert!(tally.count_holder(of("ada", 9)).is_none());
        assert_eq!(sum(&tally.take()), 6);
    }

    #[test]
    fn a_token_from_several_networks_names_none() {
        let tally = Tally::new();
        for from in [1, 2, 1 << 8, 1] {
            tally.count_repeated(refused(1, REASONS[2], Some(address(from))));
        }
        let told = tally.take();
        assert_eq!(told[0].refusals, Refusals { count: 3, network: None });
    }

    #[test]
    fn a_collection_of_old_tokens_is_junk_once_there_are_too_many_and_quiet_ones_make_room() {
        let mut counts = Counts::new(4, 3);
        for token in 0..3 {
            assert!(counts.repeat(refused(token, REASONS[2], None)).is_some());
        }
        assert!(counts.repeat(refused(3, REASONS[2], None)).is_some(), "those seen once were forgotten");
        for token in 3..6 {
            counts.repeat(refused(token, REASONS[2], None));
            counts.repeat(refused(token, REASONS[2], None));
        }
        assert!(counts.repeat(refused(9, REASONS[2], None)).is_none());
        let told = counts.take();
        assert_eq!((told.len(), sum(&told)), (4, 5));
        assert!(told.iter().any(|told| told.token.is_none() && told.refusals.count == 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_count_wakes_whoever_waits_for_it_and_a_first_row_does_not() {
        let tally = Tally::new();
        let soon = Duration::from_millis(1);
        tally.count_repeated(refused(1, REASONS[2], None));
        assert!(tokio::time::timeout(soon, tally.begun()).await.is_err());
        tally.count(REASONS[0], None);
        assert!(tokio::time::timeout(soon, tally.begun()).await.is_ok());
    }

    #[derive(Debug, Clone)]
    enum Op {
        Junk { reason: usize, from: Option<u32> },
        Token { token: u32, reason: usize, from: Option<u32> },
        Say,
        FailToSay,
    }

    fn op() -> impl Strategy<Value = Op> {
        let from = || prop::option::of((0_u32..12).prop_map(|n| n << 8));
        prop_oneof![
            6 => (0..3_usize, from()).prop_map(|(reason, from)| Op::Junk { reason, from }),
            6 => (0..8_u32, 0..3_usize, from()).prop_map(|(token, reason, from)| Op::Token { token, reason, from }),
            1 => Just(Op::Say),
            1 => Just(Op::FailToSay),
        ]
    }

    proptest! {
        #[test]
        fn no_refusal_is_lost_or_told_twice_and_rows_are_bounded(ops in prop::collection::vec(op(), 0..200)) {
            const NETWORKS: usize = 5;
            const TOKENS: usize = 4;
            let mut counts = Counts::new(NETWORKS, TOKENS);
            let (mut counted, mut said) = (0, 0);
            for op in ops.into_iter().chain([Op::Say]) {
                match op {
                    Op::Junk { reason, from } => {
                        counts.add(REASONS[reason], from.map(address).and_then(network), 1);
                        counted += 1;
                    }
                    Op::Token { token, reason, from } => {
                        let first = counts.repeat(refused(token, REASONS[reason], from.map(address)));
                        counted += u64::from(first.is_none());
                    }
                    Op::Say | Op::FailToSay => {
                        let told = counts.take();
                        prop_assert!(told.len() <= NETWORKS + REASONS.len() + TOKENS);
                        prop_assert!(counts.is_empty());
                        if matches!(op, Op::Say) {
                            said += sum(&told);
                        } else {
                            for told in told {
                                counts.put_back(told);
                            }
                        }
                    }
                }
                prop_assert!(counts.tokens.len() <= TOKENS && counts.networks <= NETWORKS);
                prop_assert_eq!(counts.repeated, counts.tokens.values().flatten().count());
            }
            prop_assert_eq!(said, counted);
        }
    }
}
