//! Zombies: executions that Orca's store has as RUNNING and that nobody works on. *Pure*.
//!
//! Whatever is done for an execution is done because of a message in Orca's queue, which stays there until it is done with; a wait or a judgment of
//! three days is a message that is due later. So a running execution without one goes nowhere. The rule is Orca's own (`ZombieExecutionService`), made
//! stricter, since what follows from it may cut work short.
//!
//! What must stay true: unknown is no zombie. One is called so when two looks, far enough apart, found it running, without a message and unchanged, when
//! its newest sign of life is older than a bound, when the queue was read to its end and held something of others, and when it belongs to this Orca.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::model::Moment;
use crate::model::Timestamp;

use super::execution::Execution;

/// What was seen at once.
#[derive(Clone, Debug)]
pub struct Look {
    /// When it was begun.
    pub at: Moment,
    /// Executions that were RUNNING, as far as they were looked at.
    pub executions: Vec<Execution>,
    /// The queue, read after them.
    pub queue: Queue,
}

/// What the queue held, as far as it concerns executions that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// It was read to its end.
    pub is_whole: bool,
    /// Messages in it, of whatever execution.
    pub messages: u64,
    /// What it holds of each execution that was asked for; without an entry, nothing.
    pub held: BTreeMap<String, Held>,
}

/// Messages of one execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Due now or later, or taken and not yet done with.
    pub live: u64,
    /// Stored, but neither waiting nor taken: nobody will ever be handed these (`queue.orphaned.messages`).
    pub orphaned: u64,
}

/// What the owner says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Between the two looks, at least.
    pub apart: Duration,
    /// The newest sign of life of a zombie is at least this old. Orca's own cutoff is ten minutes.
    pub age: Duration,
    /// `sql.partitionName` of this Orca. Executions of another are another Orca's, with a queue of its own.
    pub partition: Option<String>,
}

/// What two looks say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Nobody works on these.
    pub zombies: Vec<Zombie>,
    /// These may be zombies, and it cannot be told.
    pub unsure: Vec<Unsure>,
}

/// An execution that nobody works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Zombie {
    /// Which.
    #[serde(flatten)]
    pub execution: Execution,
    /// Its newest sign of life.
    pub since: String,
    /// What says so.
    pub evidence: Vec<String>,
}

/// An execution of which it cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unsure {
    /// Which.
    #[serde(flatten)]
    pub execution: Execution,
    /// Why not.
    pub why: String,
}

impl Rules {
    /// Whether an execution with this newest sign of life is old enough at `now` to be looked at again. One in the future is not: clocks differ.
    pub fn is_old(&self, last: Timestamp, now: Timestamp) -> bool {
        now.since(last) >= self.age
    }
}

impl Queue {
    /// What it holds of one execution.
    pub fn of(&self, id: &str) -> Held {
        self.held.get(id).copied().unwrap_or_default()
    }
}

/// Judges the executions that both looks found running. Those that are worked on are in neither list.
pub fn judge(first: &Look, second: &Look, rules: &Rules) -> Verdict {
    let mut verdict = Verdict::default();
    for execution in &second.executions {
        let Some(before) = first.executions.iter().find(|before| before.id == execution.id) else { continue };
        match judge_one(before, execution, first, second, rules) {
            Found::Alive => {}
            Found::Unsure(why) => verdict.unsure.push(Unsure { execution: execution.clone(), why }),
            Found::Zombie { since, evidence } => {
                verdict.zombies.push(Zombie { execution: execution.clone(), since: since.to_string(), evidence });
            }
        }
    }
    verdict
}

enum Found {
    /// Somebody works on it, or it is too young to say.
    Alive,
    Unsure(String),
    Zombie {
        since: Timestamp,
        evidence: Vec<String>,
    },
}

fn judge_one(before: &Execution, now: &Execution, first: &Look, second: &Look, rules: &Rules) -> Found {
    let held = [first.queue.of(&now.id), second.queue.of(&now.id)];
    if held.iter().any(|held| held.live > 0) || before != now {
        return Found::Alive;
    }
    let Some(last) = now.last else { return Found::Unsure("its record has no time, so its age is not known".to_owned()) };
    if !rules.is_old(last, second.at.wall) {
        return Found::Alive;
    }
    if let Some(partition) = now.partition.as_ref().filter(|theirs| rules.partition.as_ref() != Some(*theirs)) {
        return Found::Unsure(format!("it belongs to the partition {partition:?}: another Orca, whose queue was not looked at"));
    }
    if !(first.queue.is_whole && second.queue.is_whole) {
        return Found::Unsure("the queue holds more than is read, so that a message for it may have been missed".to_owned());
    }
    if first.queue.messages == 0 && second.queue.messages == 0 {
        return Found::Unsure(
            "the queue holds nothing at all: it was lost, or Orca uses another than the one that is configured".to_owned(),
        );
    }
    let apart = second.at.since(first.at);
    if apart < rules.apart {
        return Found::Unsure("the two looks were too close to each other".to_owned());
    }
    let orphaned = held.iter().map(|held| held.orphaned).max().unwrap_or(0);
    let others = first.queue.messages.max(second.queue.messages) - orphaned.min(second.queue.messages);
    let mut evidence = vec![match orphaned {
        0 => format!("no message of it among the {others} of the queue, in two looks {} s apart", apart.as_secs()),
        n => format!("{n} messages of it are stored, but neither waiting nor taken, in two looks {} s apart", apart.as_secs()),
    }];
    evidence.push(format!("nothing recorded for {}: since {last}", span(second.at.wall.since(last))));
    evidence.extend(now.stands.iter().cloned());
    Found::Zombie { since: last, evidence }
}

/// As people say it: the two largest units.
fn span(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::execution::Kind;
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn rules() -> Rules {
        Rules { apart: Duration::from_secs(10), age: Duration::from_secs(600), partition: None }
    }

    fn old() -> Execution {
        Execution {
            id: "01A".to_owned(),
            kind: Kind::Pipeline,
            application: "shop".to_owned(),
            name: Some("release".to_owned()),
            partition: None,
            last: Some(Timestamp(NOW - 3 * 3_600_000)),
            stands: vec!["stage deploy: monitorDeploy is RUNNING".to_owned()],
        }
    }

    fn queue(live: u64, orphaned: u64) -> Queue {
        let held = BTreeMap::from([("01A".to_owned(), Held { live, orphaned })]);
        Queue { is_whole: true, messages: 7 + live + orphaned, held }
    }

    fn look(at_s: u64, execution: Execution, queue: Queue) -> Look {
        let at = Moment { mono: Duration::from_secs(at_s), wall: Timestamp(NOW).plus(Duration::from_secs(at_s)) };
        Look { at, executions: vec![execution], queue }
    }

    /// "zombie", "alive", or what is not known.
    fn said(first: &Look, second: &Look, rules: &Rules) -> String {
        let verdict = judge(first, second, rules);
        match (verdict.zombies.as_slice(), verdict.unsure.as_slice()) {
            ([], []) => "alive".to_owned(),
            ([_], []) => "zombie".to_owned(),
            ([], [unsure]) => unsure.why.clone(),
            _ => panic!("{verdict:?}"),
        }
    }

    #[test]
    fn a_zombie_runs_without_a_message_unchanged_and_for_long_in_two_looks() {
        let (first, second) = (look(0, old(), queue(0, 0)), look(10, old(), queue(0, 0)));
        let verdict = judge(&first, &second, &rules());
        assert!(verdict.unsure.is_empty());
        assert_eq!(
            verdict.zombies[0].evidence,
            [
                "no message of it among the 7 of the queue, in two looks 10 s apart",
                "nothing recorded for 3 h 0 min: since 2023-11-14T19:13:20.000Z",
                "stage deploy: monitorDeploy is RUNNING",
            ]
        );
    }

    #[test]
    fn a_message_in_either_look_is_somebody_at_work() {
        for (before, after) in [(1, 0), (0, 1), (1, 1)] {
            assert_eq!(said(&look(0, old(), queue(before, 0)), &look(10, old(), queue(after, 0)), &rules()), "alive");
        }
        assert_eq!(said(&look(0, old(), queue(0, 2)), &look(10, old(), queue(1, 1)), &rules()), "alive");
    }

    #[test]
    fn messages_that_nobody_will_be_handed_are_nobody_at_work() {
        let (first, second) = (look(0, old(), queue(0, 2)), look(10, old(), queue(0, 2)));
        let verdict = judge(&first, &second, &rules());
        assert!(verdict.zombies[0].evidence[0].starts_with("2 messages of it are stored, but neither waiting nor taken"));
    }

    #[test]
    fn what_is_young_changes_or_was_seen_once_is_no_zombie() {
        let (none, r) = (queue(0, 0), rules());
        let at = |last: i64| Execution { last: Some(Timestamp(last)), ..old() };
        let both = |execution: Execution| said(&look(0, execution.clone(), none.clone()), &look(10, execution, none.clone()), &r);
        assert_eq!(both(at(NOW - 589_999)), "alive", "a moment too young");
        assert_eq!(both(at(NOW - 590_000)), "zombie", "just old enough");
        assert_eq!(both(at(NOW + 3_600_000)), "alive", "a clock that is ahead");
        let moved = Execution { stands: vec!["stage bake: createBake is RUNNING".to_owned()], ..old() };
        assert_eq!(said(&look(0, old(), none.clone()), &look(10, moved, none.clone()), &r), "alive");
        let other = Execution { id: "01B".to_owned(), ..old() };
        assert_eq!(said(&look(0, other, none.clone()), &look(10, old(), none.clone()), &r), "alive", "seen once");
    }

    #[test]
    fn unknown_is_no_zombie() {
        let none = queue(0, 0);
        let both = |execution: Execution, queue: Queue, rules: &Rules| {
            said(&look(0, execution.clone(), queue.clone()), &look(10, execution, queue), rules)
        };
        assert!(both(Execution { last: None, ..old() }, none.clone(), &rules()).contains("has no time"));
        assert!(both(old(), Queue { is_whole: false, ..none.clone() }, &rules()).contains("may have been missed"));
        assert!(both(old(), Queue { messages: 0, ..none.clone() }, &rules()).contains("holds nothing at all"));
        assert!(said(&look(0, old(), none.clone()), &look(9, old(), none.clone()), &rules()).contains("too close"));

        let theirs = Execution { partition: Some("blue".to_owned()), ..old() };
        assert!(both(theirs.clone(), none.clone(), &rules()).contains("partition \"blue\""));
        let green = Rules { partition: Some("green".to_owned()), ..rules() };
        assert!(both(theirs.clone(), none.clone(), &green).contains("another Orca"));
        let blue = Rules { partition: Some("blue".to_owned()), ..rules() };
        assert_eq!(both(theirs, none, &blue), "zombie");
    }

    #[test]
    fn one_part_read_queue_is_enough_not_to_know() {
        let (whole, part) = (queue(0, 0), Queue { is_whole: false, ..queue(0, 0) });
        for (before, after) in [(&whole, &part), (&part, &whole)] {
            let said = said(&look(0, old(), before.clone()), &look(10, old(), after.clone()), &rules());
            assert!(said.contains("may have been missed"), "{said}");
        }
    }

    #[test]
    fn spans_are_told_in_two_units() {
        let told: Vec<String> = [59, 600, 3_660, 90_000].map(|s| span(Duration::from_secs(s))).into();
        assert_eq!(told, ["0 min", "10 min", "1 h 1 min", "1 d 1 h"]);
    }
}
