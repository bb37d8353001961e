//! `[orchestrator.orca]`: where executions that nobody works on are looked for, by a person's commands and not by the agent.

use std::time::Duration;

use super::keys::bounded;
use super::kind::RedisUrl;
use super::sheet::Chosen;
use super::sheet::Sheet;
use crate::orchestrator::orca::Settings;
use crate::orchestrator::orca::Store;
use crate::orchestrator::orca::zombie::Rules;
use crate::orchestrator::web;

const SECOND: Duration = Duration::from_secs(1);
const QUEUE: &str = "orchestrator.orca.queue_redis";

/// Between two looks at executions that may be zombies. A message stays until the next is stored, so a second look is for what moved while the queue
/// was read in pages, which takes less.
const LOOKS_APART: Duration = Duration::from_secs(10);

/// Of calls that a person waits for: Orca reads whole executions for them, and lists all that run.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const ANSWER_BYTES: usize = 32 << 20;

/// The Orca at `base`.
pub(super) fn orca(sheet: &mut Sheet<'_>, base: String, auth: web::Auth, connect: Duration) -> Settings {
    let queue_redis = sheet.optional::<RedisUrl>(QUEUE);
    let set = Chosen { holds: queue_redis.is_some(), by: QUEUE, what: QUEUE };
    let queue = sheet.chosen_or(&set, "orchestrator.orca.queue", "orca.task.queue".to_owned());
    let executions_redis = sheet.chosen::<RedisUrl>(&set, "orchestrator.orca.executions_redis").map(|url| url.0);
    let partition = sheet.chosen::<String>(&set, "orchestrator.orca.partition");
    let age = sheet.chosen_or(&set, "orchestrator.orca.zombie_age", 600 * SECOND);
    bounded(sheet, "orchestrator.orca.zombie_age", age, 60 * SECOND, 30 * 86_400 * SECOND);
    let rules = Rules { apart: LOOKS_APART, age, partition };
    let store = queue_redis.map(|url| Store { queue_redis: url.0, queue, executions_redis, rules });
    Settings { base, auth, limits: web::Limits { connect, total: ANSWER_WITHIN, body: ANSWER_BYTES }, store }
}
