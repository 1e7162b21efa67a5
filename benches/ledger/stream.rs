//! What happens in one stream of the year: intents and their outcomes, refusals, reads of the log, in batches of 1 to 64
//! events that share a commit, each under its seal.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stint::audit::{
    Chain, Digest, Door, Event, EventKind, Identity, LeaseFacts, Origin, Position, Record, RecordedEffect, Refusals,
    Request, Seal, SequencedEvent, SigningKey, StreamHead,
};
use stint::clock::time_ordered_id;
use stint::lease::LeaseId;
use time::OffsetDateTime;

use super::copy::Sheet;
use super::world::{Holder, Landmark, World};

/// Why validly signed tokens are turned away, and by whom: the policy's refusals come with the policy's hash.
const REFUSALS: [(&str, bool); 4] =
    [("no_role", true), ("role_not_granted", true), ("token_expired", false), ("audience_not_ours", false)];
const LARGEST_BATCH: usize = 64;
/// One lease in so many is remembered for the questions.
const REMEMBERED: u32 = 997;

/// An event, and what it is called where the library has no name for it yet.
pub(super) struct Said {
    event: Event,
    kind: Option<&'static str>,
}

impl From<Event> for Said {
    fn from(event: Event) -> Self {
        Self { event, kind: None }
    }
}

/// Gives events their places, their leaves and their seal, as the service's writer does; `each` sees every record.
pub(super) fn seal(
    chain: &mut Chain,
    events: impl IntoIterator<Item = Said>,
    at: OffsetDateTime,
    key: &SigningKey,
    mut each: impl FnMut(&Record<Cow<'_, str>>, &[u8]),
) -> Seal {
    let mut leaves = Vec::new();
    let mut canonical = Vec::with_capacity(1024);
    for (seq, Said { event, kind }) in (chain.next_seq..).zip(events) {
        let sequenced = SequencedEvent { position: Position { stream: chain.stream, seq }, event };
        let mut record = Record::from(&sequenced);
        record.kind = kind.map_or(record.kind, Cow::Borrowed);
        canonical.clear();
        record.write_canonical(&mut canonical);
        leaves.push(Digest::of_leaf(&canonical));
        each(&record, &canonical);
    }
    let seal = Seal::make(chain, leaves, at, key);
    *chain = Chain::after(&seal);
    seal
}

/// One stream while it goes on.
pub(super) struct Life<'a> {
    world: &'a World,
    key: &'a SigningKey,
    rng: StdRng,
    chain: Chain,
    now: OffsetDateTime,
    /// What one event takes of the stream's time.
    tick: Duration,
    left: u64,
    /// Outcomes of what was intended, yet to be said.
    due: VecDeque<Said>,
    pub(super) events: Sheet,
    pub(super) seals: Sheet,
    pub(super) landmarks: Vec<Landmark>,
}

impl<'a> Life<'a> {
    /// A stream of `rows` rows between two instants, its first batch being the opening that names `heads`.
    pub(super) fn open(
        world: &'a World,
        key: &'a SigningKey,
        seed: u64,
        between: (OffsetDateTime, OffsetDateTime),
        rows: u64,
        heads: Vec<StreamHead>,
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let stream = stint::audit::StreamId(time_ordered_id(between.0, &mut rng));
        let mut life = Self {
            world,
            key,
            rng,
            chain: Chain::start(stream),
            now: between.0,
            tick: (between.1 - between.0).unsigned_abs() / u32::try_from(rows.max(1)).expect("a stream's size"),
            left: rows,
            due: VecDeque::new(),
            events: Sheet::default(),
            seals: Sheet::default(),
            landmarks: Vec::new(),
        };
        let opened = life.event(EventKind::StreamOpened, RecordedEffect::NotApplicable, "opened");
        let detail = Some("stint 0.1.0".to_owned());
        life.commit(vec![Event { heads, key_id: Some(key.public().id()), detail, ..opened }.into()]);
        let loaded = life.event(EventKind::PolicyLoaded, RecordedEffect::NotApplicable, "loaded");
        let policy_hash = Some(life.policy_hash());
        life.commit(vec![Event { policy_hash, roles: world.roles.clone(), ..loaded }.into()]);
        if life.left > 64 {
            life.emergency();
        }
        life
    }

    pub(super) fn stream(&self) -> stint::audit::StreamId {
        self.chain.stream
    }

    /// Where it stands now; nothing is said of a stream without a seal.
    pub(super) fn head(&self) -> StreamHead {
        StreamHead {
            stream: self.chain.stream,
            number: self.chain.next_number - 1,
            last_seq: self.chain.next_seq - 1,
            hash: self.chain.previous,
        }
    }

    /// Goes on until the sheet is full or the stream's rows are said, all but the closing. Whether there is more.
    pub(super) fn go_on(&mut self, full: usize) -> bool {
        while self.left > 1 && self.events.bytes.len() < full {
            let most = LARGEST_BATCH.min(usize::try_from(self.left - 1).expect("bounded"));
            // Small batches are as frequent as large ones: most hours of a year are quiet.
            let largest = 1 << self.rng.random_range(0..=6_u32);
            let size = self.rng.random_range(1..=largest).min(most);
            let batch = (0..size).map(|said| self.next(self.left - u64::try_from(said).expect("small"))).collect();
            self.now += self.tick * u32::try_from(size).expect("small");
            self.commit(batch);
        }
        self.left > 1
    }

    /// Ends it in good order; a stream that crashed just ends.
    pub(super) fn close(&mut self, reason: &'static str) {
        let closed = self.event(EventKind::StreamClosed, RecordedEffect::NotApplicable, reason);
        self.commit(vec![closed.into()]);
    }

    fn commit(&mut self, batch: Vec<Said>) {
        self.left = self.left.saturating_sub(u64::try_from(batch.len()).expect("small"));
        let events = &mut self.events;
        let seal = seal(&mut self.chain, batch, self.now, self.key, |record, _canonical| events.event(record));
        self.seals.seal(&seal);
    }

    /// The next event of a stream that has room for `left` more: what was intended ends before the stream does.
    fn next(&mut self, left: u64) -> Said {
        let ends_soon = u64::try_from(self.due.len()).expect("small") + 2 >= left;
        if ends_soon || self.due.len() > 32 || self.rng.random_bool(0.47) {
            if let Some(outcome) = self.due.pop_front() {
                return outcome;
            }
            if ends_soon {
                return self.refusal().into();
            }
        }
        match self.rng.random_range(0..1000) {
            0..8 => self.junk().into(),
            8..11 => self.read().into(),
            11..90 => self.refusal().into(),
            _ => self.intent().into(),
        }
    }

    fn intent(&mut self) -> Event {
        let holder = self.holder();
        let said = self.event(EventKind::LeaseIntended, RecordedEffect::Allow, "granted");
        let lease = LeaseId::from_uuid(time_ordered_id(said.occurred_at, &mut self.rng));
        let subject = holder.identity.subject.clone().unwrap_or_default();
        let granted_seconds = self.rng.random_range(2_880..=3_600);
        let intent = Event {
            request: Some(self.request(holder)),
            identity: Some(self.identity(holder)),
            role: Some(holder.role.to_owned()),
            roles: vec![holder.role.to_owned()],
            matched_rule: Some(holder.rule.to_owned()),
            policy_hash: Some(self.policy_hash()),
            lease: Some(LeaseFacts {
                id: lease,
                role_session_name: format!("{}-{}", &subject[..31], lease.as_uuid().simple()),
                session_policy_sha256: self.world.session_policies[holder.role].sha256.clone(),
                session_policy: None,
                granted_seconds,
                parent: None,
                key_fingerprint: None,
                ends_at: None,
            }),
            ..said
        };
        let outcome = self.outcome(&intent, holder);
        self.due.push_back(outcome.into());
        intent
    }

    fn outcome(&mut self, intent: &Event, holder: &Holder) -> Event {
        let mut outcome = intent.clone();
        outcome.occurred_at = intent.occurred_at + Duration::from_micros(self.rng.random_range(900..40_000));
        outcome.id = time_ordered_id(outcome.occurred_at, &mut self.rng);
        let lease = outcome.lease.as_mut().expect("an intent names its lease");
        match self.rng.random_range(0..1000) {
            0..3 => {
                (outcome.kind, outcome.reason) = (EventKind::LeaseAbandoned, "no_outcome");
            }
            3..20 => (outcome.kind, outcome.reason) = (EventKind::LeaseFailed, "object_server_unreachable"),
            _ => {
                let access_key = format!("{:016X}", self.rng.random::<u64>()) + "BEEF";
                let ends_at = outcome.occurred_at + Duration::from_secs(lease.granted_seconds);
                lease.key_fingerprint = Some(self.world.fingerprints.fingerprint(&access_key));
                lease.ends_at = Some(ends_at);
                outcome.kind = EventKind::LeaseIssued;
                if self.rng.random_range(0..REMEMBERED) == 0 {
                    self.landmarks.push(Landmark {
                        lease: lease.id,
                        issuer: holder.identity.issuer.clone(),
                        subject: holder.identity.subject.clone().unwrap_or_default(),
                        group: holder.identity.groups.concat(),
                        access_key,
                        issued_at: outcome.occurred_at,
                    });
                }
            }
        }
        outcome
    }

    fn refusal(&mut self) -> Event {
        let holder = self.holder();
        let (reason, by_policy) = REFUSALS[self.rng.random_range(0..REFUSALS.len())];
        let said = self.event(EventKind::ExchangeRefused, RecordedEffect::Deny, reason);
        let policy_hash = by_policy.then(|| self.policy_hash());
        Event { request: Some(self.request(holder)), identity: Some(self.identity(holder)), policy_hash, ..said }
    }

    /// Refusals of tokens that nobody signed, told together.
    fn junk(&mut self) -> Event {
        let said = self.event(EventKind::ExchangeRefused, RecordedEffect::Deny, "signature_invalid");
        let network = format!("203.0.{}.0/24", self.rng.random::<u8>() % 64).parse().expect("a network");
        let count = self.rng.random_range(1..5_000);
        Event { refusals: Some(Refusals { count, network: Some(network) }), ..said }
    }

    fn read(&mut self) -> Event {
        let holder = self.holder();
        let said = self.event(EventKind::AuditRead, RecordedEffect::Allow, "granted");
        let mut request = self.request(holder);
        request.origin.door = Door::Audit;
        Event {
            request: Some(request),
            identity: Some(self.identity(holder)),
            detail: Some("holder".to_owned()),
            ..said
        }
    }

    /// Somebody asks for an emergency, two approve, it is used, and somebody reviews it.
    fn emergency(&mut self) {
        const COURSE: [&str; 5] = [
            "break_glass.requested",
            "break_glass.approved",
            "break_glass.approved",
            "break_glass.granted",
            "break_glass.reviewed",
        ];
        let incident = format!("INC-{}", self.rng.random::<u16>());
        let course = COURSE.map(|kind| {
            let holder = self.holder();
            let said = self.event(EventKind::AuditRead, RecordedEffect::Allow, "emergency");
            let detail = Some(format!(r#"{{"incident":"{incident}"}}"#));
            let event = Event { identity: Some(self.identity(holder)), detail, ..said };
            Said { event, kind: Some(kind) }
        });
        self.commit(course.into());
    }

    /// Machines ask four times out of five.
    fn holder(&mut self) -> &'a Holder {
        let world = self.world;
        let machines = self.rng.random_bool(0.8);
        loop {
            let holder = &world.holders[self.rng.random_range(0..world.holders.len())];
            if holder.is_machine == machines {
                return holder;
            }
        }
    }

    fn identity(&mut self, holder: &Holder) -> Identity {
        Identity { jti: Some(hex::encode(self.rng.random::<[u8; 16]>())), ..holder.identity.clone() }
    }

    fn request(&mut self, holder: &Holder) -> Request {
        let door = [Door::Sts, Door::Sts, Door::Sts, Door::Leases, Door::Container][self.rng.random_range(0..5_usize)];
        let request_id = time_ordered_id(self.now, &mut self.rng);
        Request {
            origin: Origin { door, address: Some(holder.address), request_id },
            requested_role: Some(if door == Door::Container { holder.role.to_owned() } else { "any".to_owned() }),
            requested_seconds: (door == Door::Sts).then_some(3_600),
            session_name: (door == Door::Sts).then(|| format!("botocore-session-{}", self.rng.random::<u32>())),
            token_sha256: Some(hex::encode(self.rng.random::<[u8; 32]>())),
        }
    }

    fn policy_hash(&self) -> String {
        let quarter = usize::from(u8::from(self.now.month()) - 1) / 3;
        self.world.sets[quarter].hash.clone()
    }

    fn event(&mut self, kind: EventKind, effect: RecordedEffect, reason: &'static str) -> Event {
        let occurred_at = self.now + Duration::from_micros(self.rng.random_range(0..1_000));
        Event {
            id: time_ordered_id(occurred_at, &mut self.rng),
            occurred_at,
            kind,
            effect,
            reason,
            request: None,
            identity: None,
            role: None,
            roles: Vec::new(),
            matched_rule: None,
            policy_hash: None,
            lease: None,
            refusals: None,
            heads: Vec::new(),
            key_id: None,
            detail: None,
            actor: None,
            orphan: None,
            refused_after: None,
            freeze: None,
        }
    }
}
