//! The proof that a credential is worth nothing any more: the very credential asks S3 for something that its lease allows,
//! until S3 refuses. Only the refusal of what was allowed before, twice in a row, ends a lease for certain: a server's word
//! that it did is not enough, and a node that has yet to read its sessions refuses good ones.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use super::HeldLease;
use crate::clock::Clock;
use crate::object_server::probe::{Probe, ProbeAnswer, Prober};

/// How long a server may take until it refuses: nodes that share nothing but a disk tell each other later than that.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause after a first answer that is no refusal, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What S3 said to the holder of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionAnswer {
    /// It did as asked.
    Allowed,
    /// It refused, with a code that may mean the session, or rights.
    Denied(String),
    /// It refused with a code that means that the session is no more.
    Over(String),
    /// Nothing that proves anything.
    Unclear,
}

/// Asks S3 as the holder of a lease.
///
/// An implementor MUST ask for something that the lease allows and that changes nothing, MUST bound the call, and MUST answer
/// [`SessionAnswer::Unclear`] where it cannot tell.
#[async_trait]
pub trait SessionProbe: std::fmt::Debug + Send + Sync {
    /// Asks once.
    async fn ask(&self, lease: &HeldLease) -> SessionAnswer;
}

/// The one that asks an object server.
#[derive(Debug)]
pub struct SessionProber(Prober);

impl SessionProber {
    /// Asks by `prober`.
    #[must_use]
    pub fn new(prober: Prober) -> Self {
        Self(prober)
    }
}

#[async_trait]
impl SessionProbe for SessionProber {
    async fn ask(&self, lease: &HeldLease) -> SessionAnswer {
        let Some(probe) = Probe::inside(lease.session_policy.as_str(), &[]) else { return SessionAnswer::Unclear };
        match self.0.ask(&lease.credentials, &probe).await {
            Ok(ProbeAnswer::Allowed) => SessionAnswer::Allowed,
            Ok(ProbeAnswer::Denied { code }) => SessionAnswer::Denied(code),
            Ok(ProbeAnswer::SessionRefused { code }) => SessionAnswer::Over(code),
            Ok(ProbeAnswer::NotThere | ProbeAnswer::Unclear { .. }) | Err(_) => SessionAnswer::Unclear,
        }
    }
}

/// A proof under way: begun before the object server is asked to end the lease.
#[derive(Debug)]
pub struct Proof {
    probe: Arc<dyn SessionProbe>,
    lease: HeldLease,
}

/// The first refusal.
#[derive(Debug, PartialEq, Eq)]
pub struct FirstRefusal {
    /// From asking the object server to it.
    pub after: Duration,
    /// The server's code.
    pub code: String,
}

impl Proof {
    /// Asks once, while the lease should still be good. None: it is not allowed now and never was, as `was_allowed` has it;
    /// what refuses it before its end was asked for would prove nothing after.
    pub async fn begin(probe: Arc<dyn SessionProbe>, lease: HeldLease, was_allowed: bool) -> Option<Self> {
        let provable = was_allowed
            || match probe.ask(&lease).await {
                SessionAnswer::Allowed => true,
                // It says of itself that it is of a session that has ended.
                SessionAnswer::Over(code) => code == "ExpiredToken",
                SessionAnswer::Denied(_) | SessionAnswer::Unclear => false,
            };
        provable.then_some(Self { probe, lease })
    }

    /// Asks again and again until S3 refuses twice in a row, or for so long that it is not to be expected any more. `began` is when the
    /// object server was asked, on the monotonic clock.
    pub async fn first_refusal(&self, clock: &dyn Clock, began: Duration) -> Option<FirstRefusal> {
        let mut pause = FIRST_PAUSE;
        let mut first = None;
        loop {
            let answer = self.probe.ask(&self.lease).await;
            let after = clock.elapsed().saturating_sub(began);
            match answer {
                SessionAnswer::Over(code) | SessionAnswer::Denied(code) => {
                    if first.is_some() {
                        return first;
                    }
                    first = Some(FirstRefusal { after, code });
                    pause = FIRST_PAUSE;
                }
                SessionAnswer::Allowed | SessionAnswer::Unclear => first = None,
            }
            if first.is_none() && after >= PATIENCE {
                return None;
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use secrecy::SecretString;
    use time::OffsetDateTime;

    use super::*;
    use crate::lease::SessionPolicy;
    use crate::object_server::{AccessKeyId, TemporaryCredentials};

    /// Says one thing after the other, and the last from then on.
    #[derive(Debug)]
    struct Says {
        answers: Mutex<Vec<SessionAnswer>>,
        asked: Mutex<u32>,
    }

    #[async_trait]
    impl SessionProbe for Says {
        async fn ask(&self, _: &HeldLease) -> SessionAnswer {
            *self.asked.lock().unwrap() += 1;
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
        }
    }

    /// Four seconds pass each time it is looked at.
    #[derive(Debug, Default)]
    struct Ticking(Mutex<Duration>);

    impl Clock for Ticking {
        fn now(&self) -> OffsetDateTime {
            OffsetDateTime::UNIX_EPOCH
        }

        fn elapsed(&self) -> Duration {
            let mut elapsed = self.0.lock().unwrap();
            *elapsed += Duration::from_secs(4);
            *elapsed
        }
    }

    async fn proof(answers: &[SessionAnswer]) -> (Option<FirstRefusal>, u32) {
        let says = Arc::new(Says { answers: Mutex::new(answers.to_vec()), asked: Mutex::default() });
        let credentials = TemporaryCredentials {
            access_key_id: AccessKeyId::parse("AKIA").unwrap(),
            secret_access_key: SecretString::from("planted"),
            session_token: SecretString::from("planted"),
            expiration: OffsetDateTime::UNIX_EPOCH,
        };
        let lease = HeldLease { credentials: Arc::new(credentials), session_policy: SessionPolicy::for_tests("{}") };
        let first = match Proof::begin(says.clone(), lease, false).await {
            Some(proof) => proof.first_refusal(&Ticking::default(), Duration::ZERO).await,
            None => None,
        };
        let asked = *says.asked.lock().unwrap();
        (first, asked)
    }

    fn denied() -> SessionAnswer {
        SessionAnswer::Denied("AccessDenied".to_owned())
    }

    #[tokio::test]
    async fn the_first_of_two_refusals_counts_and_nobody_asks_after_them() {
        let over = SessionAnswer::Over("InvalidAccessKeyId".to_owned());
        let (first, asked) = proof(&[SessionAnswer::Allowed, SessionAnswer::Allowed, over.clone()]).await;
        let first = first.unwrap();
        assert_eq!((first.code.as_str(), first.after, asked), ("InvalidAccessKeyId", Duration::from_secs(8), 4));
    }

    #[tokio::test]
    async fn one_refusal_alone_ends_nothing() {
        let over = || SessionAnswer::Over("InvalidAccessKeyId".to_owned());
        let (first, _) = proof(&[SessionAnswer::Allowed, over(), SessionAnswer::Allowed]).await;
        assert_eq!(first, None, "a node that was starting");
        let (first, _) = proof(&[SessionAnswer::Allowed, over(), SessionAnswer::Unclear, over(), over()]).await;
        assert!(first.is_some());
    }

    #[tokio::test]
    async fn a_refusal_proves_something_only_of_what_was_allowed_before() {
        let over = |code: &str| SessionAnswer::Over(code.to_owned());
        assert_eq!(proof(&[over("InvalidAccessKeyId")]).await, (None, 1));
        assert_eq!(proof(&[SessionAnswer::Unclear, over("InvalidAccessKeyId")]).await, (None, 1));
        assert!(proof(&[over("ExpiredToken")]).await.0.is_some(), "its code alone means the session");
        assert!(proof(&[SessionAnswer::Allowed, denied()]).await.0.is_some());
        assert_eq!(proof(&[denied()]).await.0, None);
        assert_eq!(proof(&[SessionAnswer::Unclear, denied()]).await.0, None);
    }

    #[tokio::test]
    async fn a_server_that_goes_on_is_not_asked_for_ever() {
        let (first, asked) = proof(&[SessionAnswer::Allowed]).await;
        assert_eq!((first, asked), (None, 4), "once before, and until ten seconds have passed");
        assert_eq!(proof(&[SessionAnswer::Unclear]).await, (None, 1), "what cannot be asked is not waited for");
    }
}
