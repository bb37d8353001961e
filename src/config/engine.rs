//! `[orchestrator]` where the agent runs it itself: where executions live, and what they may reach.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::keys::at_least_one;
use super::keys::bounded;
use super::kind::Limit;
use super::kind::Names;
use super::kind::StoreUrl;
use super::kind::Zone;
use super::notifications;
use super::notifications::Notifications;
use super::sheet::Chosen;
use super::sheet::Sheet;
use crate::orchestrator::engine::window;
use crate::orchestrator::runner::History;
use crate::orchestrator::runner::effects::http::Reach;
use crate::orchestrator::store::RedisSettings as Settings;
use crate::orchestrator::store::RedisStore;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const REDIS: &str = "orchestrator.redis";

/// The embedded engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Where executions live.
    pub store: Store,
    /// An instance that is not heard of for so long loses what it owns.
    pub lease: Duration,
    /// Most executions owned at once.
    pub owned: usize,
    /// A drain hands executions over; else they are run on until they wait or end.
    pub handoff: bool,
    /// More cron triggers than this that are late at once wait for a person.
    pub polling_safeguard: usize,
    /// Of schedules and execution windows that name none.
    pub zone: TimeZone,
    /// Where webhooks and expressions may go.
    pub reach: Reach,
    /// Variables of the agent's environment that jobs inherit.
    pub job_environment: Vec<String>,
    /// What is kept of the past; `None` = everything.
    pub history: Option<History>,
    /// What pipelines call the AWS account this instance is in.
    pub accounts: Vec<String>,
    /// Directory whose files are all the definitions there are, and nobody saves any; `None` = they are saved in the store.
    pub definitions: Option<PathBuf>,
    /// How people are told.
    pub notifications: Notifications,
}

/// Where executions live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In a file of this machine.
    File(PathBuf),
    /// In Redis, shared by the fleet.
    Redis(Settings),
}

fn embedded(holds: bool) -> Chosen {
    Chosen { holds, by: "orchestrator.kind", what: "\"embedded\"" }
}

/// The keys of `[orchestrator]` itself; `holds` when the engine is chosen.
pub(super) fn engine(sheet: &mut Sheet<'_>, holds: bool, state_dir: &Path) -> Engine {
    let within = embedded(holds);
    let written = sheet.is_written("orchestrator.store");
    let file = sheet.chosen_or(&within, "orchestrator.store", state_dir.join("engine.db"));
    let redis = sheet.chosen::<StoreUrl>(&within, REDIS);
    sheet.check("orchestrator.store", !(written && redis.is_some()), "and orchestrator.redis are two places", "only one of them");
    let shared = Chosen { holds: holds && redis.is_some(), by: REDIS, what: REDIS };
    let read = sheet.chosen::<StoreUrl>(&shared, "orchestrator.redis_read").map(|url| url.0);
    let prefix = sheet.chosen::<String>(&shared, "orchestrator.redis_prefix").unwrap_or_default();
    let lease = sheet.chosen_or(&within, "orchestrator.lease", 6 * SECOND);
    bounded(sheet, "orchestrator.lease", lease, 2 * SECOND, 300 * SECOND);
    let owned = sheet.chosen_or(&within, "orchestrator.owned", 1000u32);
    at_least_one(sheet, "orchestrator.owned", owned, "nothing would ever run");
    let handoff = sheet.chosen_or(&within, "orchestrator.handoff", true);
    let polling_safeguard = sheet.chosen_or(&within, "orchestrator.polling_safeguard", 50u32);
    let polling_safeguard = usize::try_from(polling_safeguard).unwrap_or(usize::MAX);
    let Zone(zone) = sheet.chosen_or(&within, "orchestrator.zone", Zone(window::default_zone()));
    let Names(accounts) = sheet.chosen_or(&within, "orchestrator.accounts", Names(Vec::new()));
    let definitions = sheet.chosen::<PathBuf>(&within, "orchestrator.definitions");
    let store = match redis {
        // A call has to have failed well before the lease ends.
        Some(url) => Store::Redis(Settings { url: url.0, read, prefix, timeout: lease / 3 }),
        None => Store::File(file),
    };
    if let Store::Redis(settings) = &store
        && sheet.are_sound(&[REDIS, "orchestrator.redis_read", "orchestrator.redis_prefix"])
        && let Err(error) = RedisStore::open(settings.clone(), "")
    {
        sheet.wrong(REDIS, error.to_string(), "");
    }
    let owned = usize::try_from(owned).unwrap_or(usize::MAX);
    Engine {
        store,
        lease,
        owned,
        handoff,
        polling_safeguard,
        zone,
        reach: Reach::default(),
        job_environment: Vec::new(),
        history: None,
        accounts,
        definitions,
        notifications: Notifications::default(),
    }
}

/// Its tables.
pub(super) fn tables(sheet: &mut Sheet<'_>, holds: bool, engine: Engine) -> Engine {
    let within = embedded(holds);
    let Names(hosts) = sheet.chosen_or(&within, "orchestrator.webhooks.hosts", Names(Vec::new()));
    let Names(local) = sheet.chosen_or(&within, "orchestrator.webhooks.local", Names(Vec::new()));
    let Names(pages) = sheet.chosen_or(&within, "orchestrator.expressions.hosts", Names(Vec::new()));
    let usual = ["PATH", "HOME", "LANG"].map(str::to_owned).to_vec();
    let Names(job_environment) = sheet.chosen_or(&within, "orchestrator.jobs.environment", Names(usual));
    let Limit(age) = sheet.chosen_or(&within, "orchestrator.history.age", Limit(Some(14 * DAY)));
    if let Some(age) = age {
        bounded(sheet, "orchestrator.history.age", age, 60 * SECOND, 3660 * DAY);
    }
    let keep = sheet.chosen_or(&within, "orchestrator.history.keep", 10u32);
    let history = age.map(|age| History { age, keep: usize::try_from(keep).unwrap_or(usize::MAX) });
    let notifications = notifications::notifications(sheet, within);
    Engine { reach: Reach { hosts, local, pages }, job_environment, history, notifications, ..engine }
}
