//! `bellrock doctor APPLICATION --iam agent|rollback`: whether a role may do what it must, and nothing that it should not, as IAM's simulation has it.
//!
//! What must stay true: only what IAM plainly says counts. What depends on a condition it was not told of is shown as unclear, and is no pass. What no
//! group has is not asked about, and shown so.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::cloud;
use crate::cloud::Ask;
use crate::cloud::AutoScaling;
use crate::cloud::Caller;
use crate::cloud::GroupFilter;
use crate::cloud::Told;
use crate::cloud::Verdict;
use crate::cloud::aws::Aws;
use crate::cloud::permission::AGENT;
use crate::cloud::permission::NEVER;
use crate::cloud::permission::Need;
use crate::cloud::permission::On;
use crate::cloud::permission::Permission;
use crate::cloud::permission::ROLLBACK;
use crate::cloud::permission::classic_arn;
use crate::cloud::permission::told_of;
use crate::model::CAPACITY_TAG;
use crate::model::GENERATION_TAG;
use crate::model::Group;
use crate::model::HOLD_TAG;
use crate::model::RECORD_TAG;
use crate::rollback::show;

/// Groups of the application that are asked about, the newest first: policies tell them apart by application, seldom by more.
const GROUPS: usize = 4;

/// For which work a role is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Work {
    /// What the agents of the fleet do, with the role of its instances.
    Agent,
    /// What a person does who rolls back.
    Rollback,
}

/// What IAM says of a role.
#[derive(Debug, Serialize)]
pub(super) struct Leave {
    /// Whose policies were asked; `None`: those of the credentials in use.
    principal: Option<String>,
    rows: Vec<Row>,
    /// What is wrong with it.
    pub(super) troubles: Vec<Trouble>,
}

#[derive(Debug, Serialize)]
struct Row {
    action: &'static str,
    needed: String,
    /// `None`: not asked, since no group has such a thing.
    verdict: Option<Verdict>,
}

/// What is wrong with a role.
#[derive(Debug, thiserror::Error, Serialize)]
#[serde(tag = "code")]
pub(super) enum Trouble {
    /// So nothing was asked about changes.
    #[error("there is no server group of {application} to ask about")]
    #[serde(rename = "iam-unknown")]
    Unknown { application: String },
    /// The work cannot be done.
    #[error("not plainly allowed, and always needed: {}", actions.join(", "))]
    #[serde(rename = "iam-lacking")]
    Lacking { actions: Vec<String> },
    /// What Bellrock never does.
    #[error("allowed, and never done by Bellrock: {}", actions.join(", "))]
    #[serde(rename = "iam-excess")]
    Excess { actions: Vec<String> },
    /// Groups of others.
    #[error("allowed on {group}, which is of another application: {}", actions.join(", "))]
    #[serde(rename = "iam-elsewhere")]
    Elsewhere { group: String, actions: Vec<String> },
}

impl Trouble {
    fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "iam-unknown",
            Self::Lacking { .. } => "iam-lacking",
            Self::Excess { .. } => "iam-excess",
            Self::Elsewhere { .. } => "iam-elsewhere",
        }
    }
}

/// Who is asked about what.
struct Question<'a> {
    aws: &'a Aws,
    principal: Option<String>,
    work: Work,
}

impl Question<'_> {
    fn table(&self) -> &'static [Permission] {
        match self.work {
            Work::Agent => &AGENT,
            Work::Rollback => &ROLLBACK,
        }
    }

    fn actions(&self, on: On) -> Vec<&'static str> {
        self.table().iter().filter(|one| one.on == on).map(|one| one.action).collect()
    }

    /// Tags that the work writes.
    fn tag_keys(&self) -> Vec<String> {
        let keys: &[&str] = match self.work {
            Work::Agent => &[CAPACITY_TAG],
            Work::Rollback => &[HOLD_TAG, GENERATION_TAG, CAPACITY_TAG, RECORD_TAG],
        };
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    async fn ask(&self, actions: Vec<&'static str>, resources: Vec<String>, context: BTreeMap<String, Told>) -> cloud::Result<Verdicts> {
        if actions.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.aws.verdicts(&Ask { principal: self.principal.clone(), actions, resources, context }).await
    }

    /// About changes of one group. What a request names beside is told with the one action that it is of: policies may want it named, or not.
    async fn of_group(&self, group: &Group) -> cloud::Result<Verdicts> {
        let tags = told_of(std::slice::from_ref(group));
        let mut found = Verdicts::new();
        for action in self.actions(On::Group) {
            let mut context = tags.clone();
            if action.ends_with("Tags") {
                context.insert("aws:TagKeys".to_owned(), Told::Texts(self.tag_keys()));
            } else if action == "autoscaling:UpdateAutoScalingGroup" {
                context.insert("autoscaling:MinSize".to_owned(), Told::Number(0));
            }
            found.extend(self.ask(vec![action], vec![group.arn.clone()], context).await?);
        }
        Ok(found)
    }
}

type Verdicts = BTreeMap<String, Verdict>;

/// Asks IAM about all that this work needs.
pub(super) async fn examine(aws: &Aws, application: &str, work: Work, principal: Option<String>) -> cloud::Result<Leave> {
    let question = Question { aws, principal, work };
    let is_ours = |group: &Group| group.name.moniker().is_some_and(|name| name.app() == application);
    let (mut ours, others): (Vec<Group>, Vec<Group>) = aws.find_groups(&GroupFilter::All).await?.into_iter().partition(is_ours);
    ours.sort_by_key(|group| Reverse(group.created));
    ours.truncate(GROUPS);

    let mut verdicts = question.ask(question.actions(On::All), Vec::new(), BTreeMap::new()).await?;
    let mut note = |found: Verdicts| {
        for (action, verdict) in found {
            let worst = verdicts.entry(action).or_insert(verdict);
            *worst = verdict.max(*worst);
        }
    };
    for group in &ours {
        note(question.of_group(group).await?);
        let targets: Vec<String> = group.target_groups.iter().map(|arn| arn.as_str().to_owned()).collect();
        let classics: Vec<String> = group.classic_load_balancers.iter().filter_map(|name| classic_arn(&group.arn, name)).collect();
        for (on, arns) in [(On::TargetGroup, targets), (On::Classic, classics)] {
            if !arns.is_empty() {
                note(question.ask(question.actions(on), arns, BTreeMap::new()).await?);
            }
        }
    }
    let row = |one: &Permission| Row { action: one.action, needed: needed(one.need), verdict: verdicts.get(one.action).copied() };
    let rows: Vec<Row> = question.table().iter().map(row).collect();

    let is_always = |row: &&Row| question.table().iter().any(|one| one.action == row.action && one.need == Need::Always);
    let lacking = rows.iter().filter(is_always).filter(|row| row.verdict.is_some_and(|verdict| verdict != Verdict::Allowed));
    let mut troubles = Vec::new();
    if ours.is_empty() {
        troubles.push(Trouble::Unknown { application: application.to_owned() });
    }
    troubles.extend(some(lacking.map(|row| row.action.to_owned()).collect()).map(|actions| Trouble::Lacking { actions }));
    let never = question.ask(NEVER.to_vec(), Vec::new(), BTreeMap::new()).await?;
    troubles.extend(some(allowed(never)).map(|actions| Trouble::Excess { actions }));
    for group in one_of_each(&others) {
        let (found, group) = (question.of_group(group).await?, group.name.to_string());
        troubles.extend(some(allowed(found)).map(|actions| Trouble::Elsewhere { group, actions }));
    }
    Ok(Leave { principal: question.principal, rows, troubles })
}

/// A group of each application, of as many as are worth the calls.
fn one_of_each(groups: &[Group]) -> Vec<&Group> {
    let mut of_apps = BTreeMap::new();
    for group in groups {
        let app = group.name.moniker().map_or_else(|| group.name.to_string(), |name| name.app().to_owned());
        of_apps.entry(app).or_insert(group);
    }
    of_apps.into_values().take(GROUPS).collect()
}

fn some(actions: Vec<String>) -> Option<Vec<String>> {
    (!actions.is_empty()).then_some(actions)
}

fn allowed(found: BTreeMap<String, Verdict>) -> Vec<String> {
    found.into_iter().filter(|(_, verdict)| *verdict == Verdict::Allowed).map(|(action, _)| action).collect()
}

fn needed(need: Need) -> String {
    match need {
        Need::Always => "always".to_owned(),
        Need::With(setting) => format!("with {setting}"),
        Need::Ahead => "to be told beforehand".to_owned(),
    }
}

impl Leave {
    /// For people.
    pub(super) fn text(&self) -> String {
        let mut table = show::table(["action", "needed", ""]);
        table.add_rows(self.rows.iter().map(|row| {
            let verdict = match row.verdict {
                Some(Verdict::Allowed) => "allowed",
                Some(Verdict::Unclear) => "depends on a condition",
                Some(Verdict::Denied) => "denied",
                None => "not asked",
            };
            [row.action.to_owned(), row.needed.clone(), verdict.to_owned()]
        }));
        let who = self.principal.as_deref().unwrap_or("these credentials");
        let mut text = format!("What IAM says of {who}:\n{table}\n");
        for trouble in &self.troubles {
            let code = trouble.code();
            let _ = writeln!(text, "[{code}] {trouble} (runbooks/{code}.md)");
        }
        text
    }
}
