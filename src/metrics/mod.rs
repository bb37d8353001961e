//! What an agent shows a scraper: the state that `status` shows, and counts of what it did, as Prometheus's text.
//!
//! ```text
//!   status, process ──┐ (read when scraped)
//!   counts, traffic ──┼─▶ Page ─▶ text
//!   the engine, disk ─┘
//! ```
//!
//! What must stay true: a scrape reads, and takes no lock that anybody waits under; [`ALL`] is every metric there is, and `docs/metrics.md` is that table;
//! labels have values from closed sets, and none names an execution, a pipeline or another instance. The only place of Prometheus types.

mod counts;
mod page;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::Mutex;

pub use counts::Counts;
pub use page::Format;
pub use table::ALL;
pub use table::Kind;
pub use table::Metric;
pub use table::Unit;

use crate::cloud::aws::Traffic;
use crate::decide::HeldWhy;
use crate::decide::Phase;
use crate::decide::Reason;
use crate::decide::Status;
use crate::decide::heal;
use crate::host::disk;
use crate::host::disk::Space;
use crate::model::Intake;
use crate::model::Moniker;
use crate::model::Timestamp;
use crate::orchestrator::runner::Handle;
use crate::orchestrator::runner::StoreStands;
use crate::orchestrator::supervised;
use crate::orchestrator::supervised::Report;
use page::Page;

/// The kernel may take so long to say how full a disk is. It answers at once, or its mount hangs.
const DISK_WITHIN: Duration = Duration::from_secs(1);

/// Everything that metrics are made of but what the caller has at hand.
#[derive(Debug)]
pub struct Metrics {
    started: Timestamp,
    counts: Arc<Counts>,
    traffic: Traffic,
    engine: OnceLock<Handle>,
    /// Region and account.
    place: OnceLock<(String, String)>,
    state_dir: PathBuf,
    /// Held while the disk is asked: a mount that hangs costs one thread, not one a scrape.
    asking: Arc<Mutex<()>>,
}

/// What the caller has at hand.
#[derive(Clone, Debug)]
pub struct Now {
    /// As `/status` shows it.
    pub status: Status,
    /// The orchestrator's process, where the agent looks after it.
    pub process: Option<Report>,
    /// Orders that wait for the loop.
    pub orders: usize,
}

impl Metrics {
    /// Of an agent that began at that time, keeps its state there, and counts its calls there.
    pub fn new(started: Timestamp, state_dir: PathBuf, traffic: Traffic) -> Self {
        Self {
            started,
            counts: Arc::default(),
            traffic,
            engine: OnceLock::new(),
            place: OnceLock::new(),
            state_dir,
            asking: Arc::default(),
        }
    }

    /// Where the loop counts.
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// The engine in this process; said once, the first counts.
    pub fn set_engine(&self, engine: Handle) {
        let _the_first_stays = self.engine.set(engine);
    }

    /// Where the instance is; said once, the first counts. Names of groups are one's own in a region of an account only.
    pub fn set_place(&self, region: &str, account: &str) {
        let _the_first_stays = self.place.set((region.to_owned(), account.to_owned()));
    }

    /// One scrape.
    pub async fn scrape(&self, now: Now, format: Format) -> String {
        let space = self.space().await;
        let mut page = Page::default();
        self.agent(&mut page, now.orders);
        of_status(&mut page, &now.status, self.place.get());
        self.deeds(&mut page);
        if let Some(report) = &now.process {
            of_process(&mut page, report);
        }
        #[expect(clippy::cast_precision_loss, reason = "an exabyte more or less")]
        if let Some(space) = space {
            page.level(table::DISK_FREE, space.free_bytes as f64);
            page.level(table::DISK_SIZE, space.size_bytes as f64);
        }
        self.aws(&mut page);
        if let Some(engine) = self.engine.get() {
            of_engine(&mut page, engine);
        }
        page.text(format)
    }

    async fn space(&self) -> Option<Space> {
        // Held by a question that is not answered yet: none is asked beside it.
        let alone = self.asking.clone().try_lock_owned().ok()?;
        let path = self.state_dir.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let space = disk::space(&path);
            drop(alone);
            space
        });
        tokio::time::timeout(DISK_WITHIN, asked).await.ok()?.ok()?
    }

    fn agent(&self, page: &mut Page, orders: usize) {
        let commit = option_env!("BELLROCK_COMMIT").unwrap_or("unknown");
        page.labelled(table::BUILD, &[env!("CARGO_PKG_VERSION"), commit], 1.0);
        page.time(table::STARTED, Some(self.started));
        page.time(table::TURN, Some(self.counts.turn()).filter(|turn| turn.0 > 0));
        page.level(table::LAG, self.counts.lag().as_secs_f64());
        page.level(table::ORDERS, u32::try_from(orders).unwrap_or(u32::MAX));
    }

    fn deeds(&self, page: &mut Page) {
        let counts = &self.counts;
        page.counts(table::MOVES, one(counts.moves.counts()));
        page.counts(table::HOLDS, one(counts.holds.counts()));
        page.counts(table::TERMINATIONS, one(counts.terminations.counts()));
        page.counts(table::SAMPLES, one(counts.samples.counts()));
        page.counts(table::LOOKS, two(counts.looks.counts()));
        page.counts(table::DEEDS, two(counts.deeds.counts()));
        page.counts(table::DECISIONS, one(counts.decisions.counts()));
        page.counts(table::PERMITS, one(counts.permits.counts()));
        page.counts(table::JOURNAL, one(counts.journal.counts()));
        page.drains(counts.drains.clone());
    }

    fn aws(&self, page: &mut Page) {
        #[expect(clippy::cast_precision_loss, reason = "clocks do not differ by so much")]
        page.level_if(table::CLOCK, self.traffic.ahead_ms().map(|ms| ms as f64 / 1000.0));
        page.counts(table::AWS_CALLS, two(self.traffic.calls.counts()));
        page.counts(table::AWS_REQUESTS, one(self.traffic.requests.counts()));
        page.counts(table::AWS_THROTTLES, one(self.traffic.throttles.counts()));
    }
}

fn of_status(page: &mut Page, status: &Status, place: Option<&(String, String)>) {
    let moniker = status.group.as_ref().and_then(|group| Moniker::parse(group.as_str()));
    let (application, cluster) = moniker.map_or_else(Default::default, |m| (m.app().to_owned(), m.cluster().to_owned()));
    let instance = status.instance.as_ref().map_or("", |id| id.as_str());
    let group = status.group.as_ref().map_or("", |name| name.as_str());
    let (region, account) = place.map_or(("", ""), |(region, account)| (region, account));
    page.labelled(table::INSTANCE, &[instance, group, &application, &cluster, region, account], 1.0);
    page.level(table::READY, f64::from(u8::from(status.ready)));
    // Before the loop runs there may be no phase yet.
    page.state(table::PHASE, Phase::WORDS, Some(status.phase.as_str()).filter(|phase| !phase.is_empty()));
    page.time(table::PHASE_SINCE, Some(status.since).filter(|since| since.0 > 0));
    page.state(table::HELD, HeldWhy::ALL.map(HeldWhy::code), status.held.as_deref());
    page.state(table::DRAIN, Reason::WORDS, status.drain.as_ref().map(|drain| drain.reason.as_str()));
    page.time(table::DRAIN_STARTED, status.drain.as_ref().map(|drain| drain.started));
    let activity = status.activity.as_ref();
    page.state(table::ACTIVITY, ["idle", "busy", "unknown"], activity.map(counts::activity));
    let active = activity.and_then(|activity| match activity {
        crate::model::Activity::Idle => Some(0),
        crate::model::Activity::Busy { count, .. } => Some(*count),
        crate::model::Activity::Unknown { .. } => None,
    });
    #[expect(clippy::cast_precision_loss, reason = "nobody runs so many")]
    page.level_if(table::ACTIVE, active.map(|count| count as f64));
    page.time(table::UNKNOWN_SINCE, status.unknown_since);
    let intake = status.intake.as_ref().map(|intake| match intake {
        Intake::Open => "open",
        Intake::Closed => "closed",
        Intake::NoSwitch => "no_switch",
        Intake::Unknown { .. } => "unknown",
    });
    page.state(table::INTAKE, ["open", "closed", "no_switch", "unknown"], intake);
    if let Some(hook) = &status.hook {
        page.time(table::HOOK_STARTED, Some(hook.started));
        page.level_if(table::HOOK_LIMIT, hook.limit.map(|limit| limit.as_secs_f64()));
        page.level_if(table::HOOK_HEARTBEAT, hook.heartbeat.map(|heartbeat| heartbeat.as_secs_f64()));
        page.time(table::HOOK_ACCEPTED, hook.accepted);
    }
    page.time(table::INTERRUPTION, status.interruption);
    page.level(table::PROTECTED, f64::from(u8::from(status.protected)));
    let Some(healing) = &status.heal else { return };
    page.state(table::HEAL, heal::STATES, Some(&healing.state));
    page.state(table::HEAL_HELD, heal::Hold::ALL.map(heal::Hold::code), healing.held.as_deref());
    page.level(table::RESTARTS, u32::try_from(healing.restarts).unwrap_or(u32::MAX));
    page.level(table::RESTARTS_MOST, healing.restarts_most);
}

fn of_process(page: &mut Page, report: &Report) {
    page.state(table::PROCESS, supervised::STATES, Some(&report.state));
    page.time(table::PROCESS_STARTED, report.since);
    page.count(table::PROCESS_RESTARTS, report.restarts);
    page.count(table::PROCESS_DROPPED, report.dropped_lines);
}

fn of_engine(page: &mut Page, engine: &Handle) {
    let level = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    page.level_if(
        table::ENGINE_STORE,
        match engine.store() {
            StoreStands::Answers => Some(1.0),
            StoreStands::Fails(_) | StoreStands::SilentFor(_) => Some(0.0),
            // An engine that a drain has stopped says nothing of its store.
            StoreStands::NotAsked(_) => None,
        },
    );
    page.level(table::ENGINE_OWNED, level(engine.owned(0).0));
    page.level(table::ENGINE_STARTING, level(engine.starting()));
    let counts = engine.counts();
    page.counts(table::ENGINE_CLAIMS, one(counts.claims.counts()));
    page.counts(table::ENGINE_LET_GO, one(counts.let_go.counts()));
    page.counts(table::ENGINE_ENDED, one(counts.ended.counts().into_iter().map(|(status, count)| (status.word(), count))));
    page.counts(table::ENGINE_ATTEMPTS, two(counts.attempts.counts()));
    page.counts(table::ENGINE_RENEWALS, one(counts.renewals.counts()));
    page.counts(table::ENGINE_NOTICES, one(counts.notices.counts()));
    page.level(table::ENGINE_LATE, level(counts.late_triggers()));
}

fn one(counts: impl IntoIterator<Item = (impl ToString, u64)>) -> impl Iterator<Item = ([String; 1], u64)> {
    counts.into_iter().map(|(word, count)| ([word.to_string()], count))
}

fn two(counts: impl IntoIterator<Item = ((&'static str, &'static str), u64)>) -> impl Iterator<Item = ([String; 2], u64)> {
    counts.into_iter().map(|((a, b), count)| ([a.to_owned(), b.to_owned()], count))
}

#[cfg(test)]
mod tests;
