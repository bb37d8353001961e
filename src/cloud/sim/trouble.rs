//! Trouble on demand, seeded: what happens to calls between a caller and the region.
//!
//! Rules are asked in the order they were added; the first that applies decides. The account's bucket comes after them.

use std::time::Duration;

use rand::Rng;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use super::Region;
use super::SimTime;
use super::api::Admission;
use super::api::Answer;
use super::api::ApiError;
use super::api::ApiResult;
use super::api::LATENCY_MAX;
use super::region::Context;
use super::span::Span;
use super::span::opt_secs;
use super::span::secs;
use super::truth::Call;
use super::truth::Outcome;

/// One rule of trouble.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    /// What happens.
    pub kind: TroubleKind,
    /// API actions it is about; empty = all.
    #[serde(default)]
    pub actions: Vec<String>,
    /// Callers it is about; empty = all.
    #[serde(default)]
    pub callers: Vec<String>,
    /// Of the calls it is about, the part that it hits: 0 to 1.
    #[serde(default = "one")]
    pub probability: f64,
    /// From when.
    #[serde(default, with = "secs")]
    pub from: SimTime,
    /// Until when; `None` = to the end.
    #[serde(default, with = "opt_secs")]
    pub until: Option<SimTime>,
    /// How many calls it hits at most; `None` = no limit.
    #[serde(default)]
    pub times: Option<u32>,
}

fn one() -> f64 {
    1.0
}

impl Trouble {
    /// This kind, for every call, always.
    pub fn always(kind: TroubleKind) -> Self {
        Self { kind, actions: Vec::new(), callers: Vec::new(), probability: 1.0, from: SimTime::ZERO, until: None, times: None }
    }

    /// Only this action.
    pub fn on(mut self, action: &str) -> Self {
        self.actions.push(action.to_owned());
        self
    }

    /// Only the first `n` calls.
    pub fn times(mut self, n: u32) -> Self {
        self.times = Some(n);
        self
    }

    /// Only this part of the calls, 0 to 1.
    pub fn with_probability(mut self, p: f64) -> Self {
        self.probability = p;
        self
    }

    /// Only in this time.
    pub fn during(mut self, from: SimTime, until: SimTime) -> Self {
        (self.from, self.until) = (from, Some(until));
        self
    }
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TroubleKind {
    /// `Throttling`, 400.
    Throttle,
    /// 500.
    ServerError,
    /// 503.
    Unavailable,
    /// 403: the caller may not.
    Deny,
    /// Never answered, never carried out.
    Hang,
    /// Connection broken, never carried out.
    Reset,
    /// Carried out; the answer is lost, by a hang or a broken connection (F21).
    LoseReply,
    /// `ResourceContention`, 500.
    ResourceContention,
    /// `ScalingActivityInProgress`, 400.
    ScalingActivityInProgress,
    /// The answer takes this much longer.
    Slow(Span),
}

/// The account's request bucket, shared by all callers (draining.md §4.12).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Calls that fit at once.
    pub size: f64,
    /// Calls added a second.
    pub per_second: f64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Troubles {
    pub(super) rules: Vec<(Trouble, u32)>,
    pub(super) bucket: Option<(Bucket, f64, SimTime)>,
}

impl Region {
    /// Adds a rule of trouble.
    pub fn trouble(&mut self, rule: Trouble) {
        self.troubles.rules.push((rule, 0));
    }

    /// Takes all rules of trouble and the bucket away.
    pub fn no_trouble(&mut self) {
        self.troubles = Troubles::default();
        self.stale = Duration::ZERO;
    }

    /// Sets the account's request bucket, full.
    pub fn set_bucket(&mut self, bucket: Option<Bucket>) {
        self.troubles.bucket = bucket.map(|b| (b, b.size, self.now));
    }

    /// `iam:SimulatePrincipalPolicy`: of these actions those that a rule denies the caller at this time, wherever.
    pub fn simulate_principal_policy(&mut self, actions: &[String]) -> ApiResult<Vec<String>> {
        let who = self.who();
        let denies = |rule: &Trouble, action: &str| {
            let about = |list: &[String], name: &str| list.is_empty() || list.iter().any(|n| n == name);
            let due = self.now >= rule.from && rule.until.is_none_or(|until| self.now < until);
            due && rule.kind == TroubleKind::Deny && about(&rule.actions, action) && about(&rule.callers, &who)
        };
        let is_denied = |action: &&String| {
            let name = action.split_once(':').map_or(action.as_str(), |(_, name)| name);
            self.troubles.rules.iter().any(|(rule, _)| denies(rule, name))
        };
        Ok(actions.iter().filter(is_denied).cloned().collect())
    }

    /// How old an answer to a read may be: each read draws an age up to this, so reads may even go back in time (draining.md §4.6).
    pub fn set_stale_bound(&mut self, bound: Duration) {
        self.stale = bound;
    }

    /// How long this call takes, there and back: what a front waits, in halves, before and after it.
    pub fn latency(&mut self, caller: &str, action: &'static str) -> Duration {
        let mut latency = self.pace.latency.draw(&mut self.rng);
        for i in 0..self.troubles.rules.len() {
            let TroubleKind::Slow(span) = self.troubles.rules[i].0.kind else { continue };
            if self.strikes(i, caller, action) {
                latency += span.draw(&mut self.rng);
            }
        }
        latency.min(LATENCY_MAX)
    }

    /// What happens to this call on its way. The context it sets (who calls, whether the answer gets lost) holds for the next typed call.
    pub fn admit(&mut self, caller: &str, action: &'static str) -> Admission {
        self.truth.tally(caller, action);
        let admission = self.fate(caller, action);
        let reply_lost = matches!(admission, Admission::GoButLoseReply { .. });
        self.context = Some(Context { caller: caller.to_owned(), reply_lost });
        admission
    }

    /// A whole call: admission, the typed method, the loss of its answer. Both fronts go through here.
    pub fn call<T>(&mut self, caller: &str, action: &'static str, typed: impl FnOnce(&mut Self) -> ApiResult<T>) -> Answer<T> {
        let answer = match self.admit(caller, action) {
            Admission::Go => Answer::Reply(typed(self)),
            Admission::GoButLoseReply { hang } => {
                drop(typed(self));
                if hang { Answer::Hang } else { Answer::Reset }
            }
            Admission::Fail(e) => {
                self.note_unmade(action, Outcome::Refused(e.clone()));
                Answer::Reply(Err(e))
            }
            Admission::Hang => {
                self.note_unmade(action, Outcome::NeverArrived);
                Answer::Hang
            }
            Admission::Reset => {
                self.note_unmade(action, Outcome::NeverArrived);
                Answer::Reset
            }
        };
        self.context = None;
        answer
    }

    /// A mutation that did not reach its method; the arguments never arrived, so none are kept.
    fn note_unmade(&mut self, action: &'static str, outcome: Outcome) {
        if ["Describe", "Get"].iter().any(|read| action.starts_with(read)) {
            return;
        }
        let caller = self.who();
        self.truth.calls.push(Call { at: self.now, caller, action, args: Value::Null, outcome, reply_lost: false });
    }

    fn fate(&mut self, caller: &str, action: &'static str) -> Admission {
        for i in 0..self.troubles.rules.len() {
            if matches!(self.troubles.rules[i].0.kind, TroubleKind::Slow(_)) || !self.strikes(i, caller, action) {
                continue;
            }
            return match self.troubles.rules[i].0.kind {
                TroubleKind::Throttle => Admission::Fail(ApiError::throttling()),
                TroubleKind::ServerError => Admission::Fail(ApiError::internal()),
                TroubleKind::Unavailable => Admission::Fail(ApiError::unavailable()),
                TroubleKind::Deny => Admission::Fail(ApiError::denied(caller, action)),
                TroubleKind::Hang => Admission::Hang,
                TroubleKind::Reset => Admission::Reset,
                TroubleKind::LoseReply => Admission::GoButLoseReply { hang: self.rng.random() },
                TroubleKind::ResourceContention => Admission::Fail(ApiError::contention()),
                TroubleKind::ScalingActivityInProgress => Admission::Fail(ApiError::in_progress("")),
                TroubleKind::Slow(_) => Admission::Go,
            };
        }
        if let Some((bucket, tokens, at)) = &mut self.troubles.bucket {
            *tokens = (*tokens + bucket.per_second * self.now.saturating_sub(*at).as_secs_f64()).min(bucket.size);
            *at = self.now;
            if *tokens < 1.0 {
                return Admission::Fail(ApiError::throttling());
            }
            *tokens -= 1.0;
        }
        Admission::Go
    }

    fn strikes(&mut self, i: usize, caller: &str, action: &str) -> bool {
        let (rule, hits) = &mut self.troubles.rules[i];
        let about = |list: &[String], name: &str| list.is_empty() || list.iter().any(|n| n == name);
        let due = self.now >= rule.from && rule.until.is_none_or(|until| self.now < until) && rule.times.is_none_or(|n| *hits < n);
        if !due || !about(&rule.actions, action) || !about(&rule.callers, caller) {
            return false;
        }
        let hit = rule.probability >= 1.0 || self.rng.random::<f64>() < rule.probability;
        *hits += u32::from(hit);
        hit
    }
}
