//! `manualJudgment`: holds the pipeline until a person says continue or stop, by patching `judgmentStatus` (and `judgmentInput`) into its context.
//!
//! What must stay true: when the stage names roles (`selectedStageRoles` or `requiredJudgmentRoles`), only a judge who has one of them, or an
//! administrator, decides, by an answer or by skipping the stage. The judge is whoever patched one of these last; of anybody else they are refused,
//! also while the stage has not begun or the execution is paused, and the stage waits on.
//!
//! Who is told: each block of `notifications` is for the states of its `when` (all, when absent): `manualJudgment` while it waits,
//! `manualJudgmentContinue` and `manualJudgmentStop` after the answer. Once each, or again every `notifyEveryMs`. Without `sendNotifications` only
//! the waiting state is told: the older form of the stage.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::REFUSED;
use super::SKIP;
use super::StageKind;
use super::StageNotice;
use super::Step;
use super::TaskKind;
use super::TaskResult;
use super::TaskSpec;
use super::TaskView;
use super::View;
use super::fields;
use super::fields::Check;
use crate::model::Timestamp;
use crate::orchestrator::engine::effect::Outcome;
use crate::orchestrator::engine::execution::Authentication;
use crate::orchestrator::engine::execution::Execution;
use crate::orchestrator::engine::execution::LastModified;
use crate::orchestrator::engine::execution::Object;
use crate::orchestrator::engine::status::Status;

/// How long it waits when `stageTimeoutMs` does not say: Orca's three days.
const TIMEOUT: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// Reminders come at most so often, whatever a block asks for: each is a write and a message to a person.
const MIN_REMINDER: Duration = Duration::from_secs(60);

/// Where a block keeps when it was last told each state.
const LAST_NOTIFIED: &str = "lastNotifiedByNotificationState";

/// Type of the stage, as it stands in pipelines.
pub const NAME: &str = "manualJudgment";

/// The stage.
#[derive(Debug)]
pub struct ManualJudgment;

impl StageKind for ManualJudgment {
    fn name(&self) -> &'static str {
        NAME
    }

    fn tasks(&self, _: &View<'_>) -> Vec<TaskSpec> {
        vec![TaskSpec::new("waitForJudgment", "waitForJudgment")]
    }

    fn task(&self, class: &str) -> Option<&dyn TaskKind> {
        (class == "waitForJudgment").then_some(&WaitForJudgment)
    }

    fn prepare_restart(&self, context: &mut Object, _: &Object) {
        for key in ["judgmentStatus", "judgmentInput", REFUSED, "lastModifiedBy"] {
            context.remove(key);
        }
        for block in context.get_mut("notifications").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
            block.remove(LAST_NOTIFIED);
        }
    }

    fn can_be_skipped(&self) -> bool {
        true
    }

    fn decisive(&self) -> &'static [&'static str] {
        &["judgmentStatus", "judgmentInput", SKIP]
    }

    fn objection(&self, view: &View<'_>, by: &LastModified) -> Option<String> {
        refusal(view.context, Some(by))
    }

    fn check(&self, stage: &Object) -> Vec<(String, String)> {
        let mut check = Check::of(stage);
        check.texts(&["instructions"]).lists(&["selectedStageRoles", "requiredJudgmentRoles"]);
        check.flags(&["propagateAuthenticationContext", "sendNotifications"]);
        check.entries("judgmentInputs", |_, input| Check::of(input).required("value", "say what the judge may choose").done());
        check.entries("notifications", |_, block| {
            let every = block.get("notifyEveryMs").is_some_and(|every| !every.is_number() && !fields::is_expression(every));
            let mut check = Check::of(block);
            check.required("type", "say how to tell: email, slack or webhook").lists(&["when"]);
            if every {
                check.problem("/notifyEveryMs", "must be a number of milliseconds, or -1 for once");
            }
            check.done()
        });
        check.done()
    }
}

/// Who acts in a stage: the judge of the nearest judgment upstream that propagates its judge, else whoever started the execution.
pub fn acting(execution: &Execution, at: usize) -> Authentication {
    judge(execution, at).map_or_else(
        || execution.summary().authentication.clone(),
        |judge| Authentication {
            user: judge.user.clone(),
            allowed_accounts: judge.allowed_accounts.clone(),
            roles: judge.roles.clone(),
            ..Authentication::default()
        },
    )
}

/// The name of who acts in a stage.
pub fn acting_user(execution: &Execution, at: usize) -> &str {
    judge(execution, at).map_or(&execution.summary().authentication.user, |judge| &judge.user)
}

fn judge(execution: &Execution, at: usize) -> Option<&LastModified> {
    let (mut next, mut seen) = (VecDeque::from([at]), HashSet::from([at]));
    while let Some(place) = next.pop_front() {
        let stage = execution.stage(place);
        let propagates = stage.head().kind == NAME && fields::truth(stage.context(), "propagateAuthenticationContext", false);
        if let Some(judge) = stage.head().last_modified.as_ref().filter(|_| propagates && place != at) {
            return Some(judge);
        }
        let parent = stage.head().parent_stage_id.as_ref().and_then(|id| execution.place(id));
        let requisites = stage.head().requisite_stage_ref_ids.iter().filter_map(|ref_id| execution.place_of_ref(ref_id));
        next.extend(requisites.chain(parent).filter(|place| seen.insert(*place)));
    }
    None
}

/// What a judgment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    None,
    Continue,
    Stop,
}

impl Answer {
    fn of(context: &Object) -> Self {
        match fields::text(context, "judgmentStatus").map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            Some("continue") => Self::Continue,
            Some("stop") => Self::Stop,
            Some(_) | None => Self::None,
        }
    }

    fn event(self) -> &'static str {
        match self {
            Self::None => "manualJudgment",
            Self::Continue => "manualJudgmentContinue",
            Self::Stop => "manualJudgmentStop",
        }
    }
}

#[derive(Debug)]
struct WaitForJudgment;

impl TaskKind for WaitForJudgment {
    fn step(&self, view: &TaskView<'_>, _: Option<&Outcome>) -> Step {
        let answer = Answer::of(view.stage.context);
        let judge = view.stage.stage().head().last_modified.as_ref();
        let refused = if answer == Answer::None { None } else { refusal(view.stage.context, judge) };
        let answer = if refused.is_some() { Answer::None } else { answer };
        let (mut result, reminder) = tell(view.stage, answer);
        if let Some(why) = refused {
            result = result.with("judgmentStatus", "").with("judgmentInput", "").with(REFUSED, why);
        }
        result.status = match answer {
            Answer::Continue => Status::Succeeded,
            Answer::Stop => Status::Terminal,
            Answer::None => return Step::Wait { result, until: reminder },
        };
        Step::Finish(result)
    }

    fn timeout(&self, _: &TaskView<'_>) -> Option<Duration> {
        Some(TIMEOUT)
    }

    fn timeout_is_overridable(&self) -> bool {
        true
    }
}

/// Why this judge may not judge; `None` when that is allowed.
fn refusal(context: &Object, judge: Option<&LastModified>) -> Option<String> {
    let roles = |key| fields::texts(context, key);
    let required: Vec<String> = roles("selectedStageRoles").into_iter().chain(roles("requiredJudgmentRoles")).collect();
    if required.is_empty() {
        return None;
    }
    let allowed = judge.is_some_and(|judge| judge.admin || judge.roles.iter().any(|role| required.contains(role)));
    let who = judge.map_or("nobody known", |judge| judge.user.as_str());
    (!allowed).then(|| format!("{who} has none of the roles {}; ask somebody who has one", required.join(", ")))
}

/// True when a block is to be told of `state` now. `last` = when it was told that state before.
pub fn should_notify(block: &Object, state: &str, last: Option<Timestamp>, now: Timestamp) -> bool {
    let wanted = match block.get("when") {
        Some(Value::Array(_)) => fields::texts(block, "when").iter().any(|when| when == state),
        Some(_) | None => true,
    };
    wanted && last.is_none_or(|last| every(block).is_some_and(|every| last.plus(every) <= now))
}

fn every(block: &Object) -> Option<Duration> {
    fields::number(block, "notifyEveryMs").filter(|ms| *ms > 0).map(Duration::from_millis)
}

/// What is to be told of this state now, and when somebody is to be reminded.
fn tell(view: View<'_>, answer: Answer) -> (TaskResult, Option<Timestamp>) {
    let (mut result, mut reminder) = (TaskResult::default(), None);
    let blocks = view.context.get("notifications").and_then(Value::as_array);
    let Some(blocks) = blocks.filter(|_| answer == Answer::None || fields::truth(view.context, "sendNotifications", false)) else {
        return (result, reminder);
    };
    let state = answer.event();
    // Marks go to the blocks as they were written: their expressions are resolved anew for each reminder.
    let mut written = view.stage().context().get("notifications").cloned().unwrap_or_default();
    for (place, block) in blocks.iter().enumerate() {
        let Some(block) = block.as_object() else { continue };
        let last = fields::object(block, LAST_NOTIFIED).and_then(|states| states.get(state)?.as_i64()).map(Timestamp);
        let told = should_notify(block, state, last, view.now);
        if told {
            result.notices.push(StageNotice { event: state.to_owned(), to: unmarked(block), details: details(view, answer) });
            mark(&mut written, place, state, view.now);
        }
        let last = if told { Some(view.now) } else { last };
        let next = last.zip(every(block)).map(|(last, every)| last.plus(every.max(MIN_REMINDER)));
        reminder = reminder.into_iter().chain(next.filter(|_| answer == Answer::None)).min();
    }
    if !result.notices.is_empty() && written.is_array() {
        result.context.insert("notifications".to_owned(), written);
    }
    (result, reminder)
}

fn unmarked(block: &Object) -> Object {
    let mut to = block.clone();
    to.remove(LAST_NOTIFIED);
    to
}

fn mark(written: &mut Value, place: usize, state: &str, now: Timestamp) {
    let Some(block) = written.get_mut(place).and_then(Value::as_object_mut) else { return };
    let states = block.entry(LAST_NOTIFIED).or_insert_with(|| json!({}));
    if let Some(states) = states.as_object_mut() {
        states.insert(state.to_owned(), now.0.into());
    }
}

fn details(view: View<'_>, answer: Answer) -> Object {
    let keys: &[&str] = match answer {
        Answer::None => &["instructions", "judgmentInputs"],
        Answer::Continue | Answer::Stop => &["instructions", "judgmentInputs", "judgmentStatus", "judgmentInput"],
    };
    let mut details: Object = keys.iter().filter_map(|key| Some(((*key).to_owned(), view.context.get(*key)?.clone()))).collect();
    if let Some(judge) = view.stage().head().last_modified.as_ref().filter(|_| answer != Answer::None) {
        details.insert("judgedBy".to_owned(), judge.user.clone().into());
    }
    details
}

#[cfg(test)]
mod tests;
