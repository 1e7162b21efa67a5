//! Messages on their way to the webhook: a bounded queue, in order, tried again with growing pauses. Whoever raises an
//! alert only appends to it; what it could not deliver is counted, and in the log line that was written first.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::alert::AlertMessage;
use crate::clock::Clock;
use crate::telemetry::Metrics;

/// How many messages wait. Emergencies make few; a stranger's noise makes none.
const MOST: usize = 256;
/// The first pause, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// So long at most does a webhook that is back wait for what it missed.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A message older than this is given up: an emergency may take the receiver's network with it for hours.
const OLDEST: Duration = Duration::from_hours(24);
/// Attempts with a message that the receiver itself turns down: the others behind it must not wait for a day.
const MOST_REFUSALS: u32 = 5;
/// One attempt, whatever the adapter does.
const PATIENCE: Duration = Duration::from_secs(15);
/// The last attempts at a shutdown, together.
const FAREWELL: Duration = Duration::from_secs(5);

/// Takes one message to where people see it.
///
/// An implementor MUST be done within some seconds, MUST NOT answer `Ok` before the receiver took it, and MUST NOT keep or
/// log anything but its id.
#[async_trait]
pub trait AlertSink: fmt::Debug + Send + Sync {
    /// One attempt.
    async fn deliver(&self, message: &AlertMessage) -> Result<(), Undelivered>;
}

/// Why a message is not known to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The policy in force names no webhook: nothing is to be delivered.
    #[error("no webhook is named")]
    Nowhere,
    /// No answer, or one that says later: a status of 5xx, 408, 425 or 429.
    #[error("the receiver did not answer, or is not ready")]
    Unreachable,
    /// Any other answer than success, a redirect among them.
    #[error("the receiver answered status {0}")]
    Refused(u16),
}

/// The queue and who works on it.
#[derive(Debug)]
pub(super) struct Delivery {
    sink: Arc<dyn AlertSink>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    waiting: Mutex<VecDeque<Waiting>>,
    arrived: Notify,
}

#[derive(Debug, Clone)]
struct Waiting {
    message: AlertMessage,
    since: Duration,
}

/// What one attempt means for the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Refused,
    Silent,
}

impl Delivery {
    pub(super) fn new(sink: Arc<dyn AlertSink>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { sink, clock, metrics, waiting: Mutex::default(), arrived: Notify::new() }
    }

    /// Appends. Where the queue is full the oldest gives way: the newest says where things stand.
    pub(super) fn offer(&self, message: AlertMessage) {
        let mut waiting = self.waiting();
        if waiting.len() >= MOST
            && let Some(oldest) = waiting.pop_front()
        {
            self.metrics.alert_sent("dropped");
            tracing::error!(message = oldest.message.id(), "an alert gave way: too many wait for the webhook");
        }
        waiting.push_back(Waiting { message, since: self.clock.elapsed() });
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Delivers until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let delivering = async {
            loop {
                match self.first() {
                    Some(first) => self.deliver(first).await,
                    None => self.arrived.notified().await,
                }
            }
        };
        stop.run_until_cancelled(delivering).await;
        let farewell = async {
            while let Some(last) = self.take() {
                if self.attempt(&last.message).await != Fate::Done {
                    self.lost(&last.message);
                }
            }
        };
        if timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("some alerts could not be sent to the webhook before the end");
        }
    }

    /// One message, until it is delivered, given up or crowded out.
    async fn deliver(&self, waiting: Waiting) {
        let (mut pause, mut refusals) = (FIRST_PAUSE, 0);
        loop {
            match self.attempt(&waiting.message).await {
                Fate::Done => return self.forget(&waiting.message),
                Fate::Refused => refusals += 1,
                Fate::Silent => (),
            }
            if refusals >= MOST_REFUSALS || self.clock.elapsed().saturating_sub(waiting.since) > OLDEST {
                self.lost(&waiting.message);
                return self.forget(&waiting.message);
            }
            self.metrics.alert_sent("retried");
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
            if !self.is_first(&waiting.message) {
                return;
            }
        }
    }

    async fn attempt(&self, message: &AlertMessage) -> Fate {
        let delivered = timeout(PATIENCE, self.sink.deliver(message)).await.unwrap_or(Err(Undelivered::Unreachable));
        let (error, fate) = match delivered {
            Ok(()) => {
                self.metrics.alert_sent("delivered");
                return Fate::Done;
            }
            Err(Undelivered::Nowhere) => return Fate::Done,
            Err(error @ Undelivered::Refused(_)) => (error, Fate::Refused),
            Err(error @ Undelivered::Unreachable) => (error, Fate::Silent),
        };
        tracing::warn!(message = message.id(), %error, "an alert did not reach the webhook");
        fate
    }

    fn lost(&self, message: &AlertMessage) {
        self.metrics.alert_sent("failed");
        tracing::error!(message = message.id(), event = message.kind().as_str(), "an alert was given up");
    }

    fn first(&self) -> Option<Waiting> {
        self.waiting().front().cloned()
    }

    fn take(&self) -> Option<Waiting> {
        self.waiting().pop_front()
    }

    fn is_first(&self, message: &AlertMessage) -> bool {
        self.waiting().front().is_some_and(|first| first.message.id() == message.id())
    }

    /// Takes it out, unless it gave way meanwhile.
    fn forget(&self, message: &AlertMessage) {
        let mut waiting = self.waiting();
        if waiting.front().is_some_and(|first| first.message.id() == message.id()) {
            waiting.pop_front();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::super::alert::{Alert, AlertKind};
    use super::*;
    use crate::audit::Emergency;

    /// A clock that stands still until somebody moves it.
    #[derive(Debug, Default)]
    struct Still(Mutex<Duration>);

    impl Clock for Still {
        fn now(&self) -> OffsetDateTime {
            OffsetDateTime::UNIX_EPOCH + self.elapsed()
        }

        fn elapsed(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    /// Answers in turn what it was told to, then success; each attempt takes `takes`.
    #[derive(Debug)]
    struct Scripted {
        clock: Arc<Still>,
        takes: Duration,
        answers: Mutex<VecDeque<Result<(), Undelivered>>>,
        attempts: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl AlertSink for Scripted {
        async fn deliver(&self, message: &AlertMessage) -> Result<(), Undelivered> {
            self.attempts.lock().unwrap().push(message.id().to_owned());
            *self.clock.0.lock().unwrap() += self.takes;
            self.answers.lock().unwrap().pop_front().unwrap_or(Ok(()))
        }
    }

    struct Bench {
        sink: Arc<Scripted>,
        metrics: Arc<Metrics>,
        delivery: Delivery,
    }

    fn bench(takes: Duration, answers: impl IntoIterator<Item = Result<(), Undelivered>>) -> Bench {
        let clock = Arc::new(Still::default());
        let answers = Mutex::new(answers.into_iter().collect());
        let sink = Arc::new(Scripted { clock: clock.clone(), takes, answers, attempts: Mutex::default() });
        let metrics = Arc::new(Metrics::default());
        Bench { delivery: Delivery::new(sink.clone(), clock, Arc::clone(&metrics)), sink, metrics }
    }

    fn message(n: u128) -> AlertMessage {
        let alert = Alert::of(AlertKind::Recorded(Emergency::Requested));
        AlertMessage::new(&alert, Uuid::from_u128(n), OffsetDateTime::UNIX_EPOCH, None)
    }

    fn sent(bench: &Bench, outcome: &str) -> usize {
        let line = format!("stint_break_glass_alerts_total{{outcome=\"{outcome}\"}} ");
        let text = bench.metrics.encode();
        text.lines().find_map(|l| l.strip_prefix(&line)).map_or(0, |number| number.parse().unwrap())
    }

    fn ids(numbers: &[u128]) -> Vec<String> {
        numbers.iter().map(|n| message(*n).id().to_owned()).collect()
    }

    /// Runs until nothing waits, in time that only passes while everything waits.
    async fn run_dry(bench: &Bench) {
        let stop = CancellationToken::new();
        let dry = async {
            while bench.delivery.first().is_some() {
                sleep(Duration::from_secs(1)).await;
            }
            stop.cancel();
        };
        tokio::join!(bench.delivery.run(stop.clone()), dry);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_fails_gets_the_same_message_again_and_the_next_one_after_it() {
        let bench = bench(Duration::ZERO, [Err(Undelivered::Unreachable), Err(Undelivered::Refused(404)), Ok(())]);
        bench.delivery.offer(message(1));
        bench.delivery.offer(message(2));
        run_dry(&bench).await;
        assert_eq!(*bench.sink.attempts.lock().unwrap(), ids(&[1, 1, 1, 2]));
        assert_eq!((sent(&bench, "delivered"), sent(&bench, "retried"), sent(&bench, "failed")), (2, 2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_turned_down_is_given_up_before_one_that_nobody_answered() {
        let refused = std::iter::repeat_n(Err(Undelivered::Refused(400)), 5);
        let bench_refused = bench(Duration::ZERO, refused);
        bench_refused.delivery.offer(message(1));
        run_dry(&bench_refused).await;
        assert_eq!(bench_refused.sink.attempts.lock().unwrap().len(), 5);
        assert_eq!(sent(&bench_refused, "failed"), 1);

        let silent = std::iter::repeat_n(Err(Undelivered::Unreachable), 9);
        let bench_silent = bench(Duration::ZERO, silent);
        bench_silent.delivery.offer(message(1));
        run_dry(&bench_silent).await;
        assert_eq!((sent(&bench_silent, "delivered"), sent(&bench_silent, "failed")), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_never_answers_is_given_up_after_a_day() {
        let bench = bench(Duration::from_hours(9), std::iter::repeat_n(Err(Undelivered::Unreachable), 4));
        bench.delivery.offer(message(1));
        run_dry(&bench).await;
        assert_eq!(*bench.sink.attempts.lock().unwrap(), ids(&[1, 1, 1]));
        assert_eq!(sent(&bench, "failed"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_policy_names_no_webhook_nothing_waits() {
        let bench = bench(Duration::ZERO, [Err(Undelivered::Nowhere)]);
        bench.delivery.offer(message(1));
        run_dry(&bench).await;
        assert_eq!((sent(&bench, "delivered"), sent(&bench, "failed"), sent(&bench, "retried")), (0, 0, 0));
    }

    #[test]
    fn the_queue_is_bounded_and_the_oldest_gives_way() {
        let bench = bench(Duration::ZERO, []);
        for n in 0..MOST + 3 {
            bench.delivery.offer(message(u128::try_from(n).unwrap()));
        }
        assert_eq!(bench.delivery.waiting().len(), MOST);
        assert_eq!(bench.delivery.first().unwrap().message.id(), message(3).id());
        assert_eq!(sent(&bench, "dropped"), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_each_message_that_waits_is_tried_once_more() {
        let bench = bench(Duration::ZERO, [Err(Undelivered::Unreachable), Ok(())]);
        bench.delivery.offer(message(1));
        bench.delivery.offer(message(2));
        let stop = CancellationToken::new();
        stop.cancel();
        bench.delivery.run(stop).await;
        assert_eq!(*bench.sink.attempts.lock().unwrap(), ids(&[1, 2]));
        assert_eq!((sent(&bench, "delivered"), sent(&bench, "failed")), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_hangs_holds_up_neither_the_queue_nor_who_raises() {
        #[derive(Debug)]
        struct Hangs;

        #[async_trait]
        impl AlertSink for Hangs {
            async fn deliver(&self, _: &AlertMessage) -> Result<(), Undelivered> {
                std::future::pending().await
            }
        }

        let delivery = Delivery::new(Arc::new(Hangs), Arc::new(Still::default()), Arc::new(Metrics::default()));
        let stop = CancellationToken::new();
        let raising = async {
            for n in 0..1000 {
                delivery.offer(message(n));
            }
            sleep(Duration::from_mins(2)).await;
            stop.cancel();
        };
        let both = async { tokio::join!(delivery.run(stop.clone()), raising) };
        timeout(Duration::from_mins(3), both).await.expect("bounded, whatever the sink does");
    }
}
