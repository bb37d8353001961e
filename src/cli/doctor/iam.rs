//! `bellrock doctor APPLICATION --iam agent|rollback`: whether a role may do what it must, and nothing that it should not, as IAM's simulation has it.
//!
//! What must stay true: only what IAM plainly says counts. What depends on a condition it was not told of is shown as unclear, and is no pass.

use std::collections::BTreeMap;
use std::fmt::Write;

use comfy_table::ContentArrangement;
use comfy_table::Table;
use comfy_table::presets;
use serde::Serialize;

use crate::cloud;
use crate::cloud::Ask;
use crate::cloud::AutoScaling;
use crate::cloud::Caller;
use crate::cloud::GroupFilter;
use crate::cloud::Verdict;
use crate::cloud::aws::Aws;
use crate::cloud::permission::AGENT;
use crate::cloud::permission::NEVER;
use crate::cloud::permission::Need;
use crate::cloud::permission::On;
use crate::cloud::permission::Permission;
use crate::cloud::permission::ROLLBACK;
use crate::model::Group;

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
    verdict: Verdict,
}

/// What is wrong with a role.
#[derive(Debug, thiserror::Error, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub(super) enum Trouble {
    /// So nothing was asked about changes.
    #[error("there is no server group of {application} to ask about")]
    IamUnknown { application: String },
    /// The work cannot be done.
    #[error("not plainly allowed, and always needed: {}", actions.join(", "))]
    IamLacking { actions: Vec<String> },
    /// What Bellrock never does.
    #[error("allowed, and never done by Bellrock: {}", actions.join(", "))]
    IamExcess { actions: Vec<String> },
    /// Groups of others.
    #[error("allowed on {group}, which is of another application: {}", actions.join(", "))]
    IamElsewhere { group: String, actions: Vec<String> },
}

impl Trouble {
    fn code(&self) -> &'static str {
        match self {
            Self::IamUnknown { .. } => "iam-unknown",
            Self::IamLacking { .. } => "iam-lacking",
            Self::IamExcess { .. } => "iam-excess",
            Self::IamElsewhere { .. } => "iam-elsewhere",
        }
    }
}

/// What the simulation is told of a group: its tags, under both names that policies know them by.
fn context(group: &Group) -> BTreeMap<String, String> {
    let keys = |(key, value): (&String, &String)| ["autoscaling", "aws"].map(|of| (format!("{of}:ResourceTag/{key}"), value.clone()));
    group.tags.iter().flat_map(keys).collect()
}

/// What is told of a request beside: tags that Bellrock writes. What else a change names it does not say, and so neither do we.
fn request(actions: &[&str]) -> BTreeMap<String, String> {
    let writes_tags = actions.iter().any(|action| action.ends_with("Tags"));
    writes_tags.then(|| ("aws:TagKeys".to_owned(), "bellrock:capacity".to_owned())).into_iter().collect()
}

/// Asks IAM about all that this work needs.
pub(super) async fn examine(aws: &Aws, application: &str, work: Work, principal: Option<String>) -> cloud::Result<Leave> {
    let table: &[Permission] = match work {
        Work::Agent => &AGENT,
        Work::Rollback => &ROLLBACK,
    };
    let (mut ours, others): (Vec<Group>, Vec<Group>) = aws
        .find_groups(&GroupFilter::All)
        .await?
        .into_iter()
        .partition(|group| group.name.moniker().is_some_and(|name| name.app() == application));
    ours.sort_by(|one, other| other.created.cmp(&one.created));
    ours.truncate(GROUPS);

    let mut verdicts: BTreeMap<String, Verdict> = BTreeMap::new();
    let mut note = |found: BTreeMap<String, Verdict>| {
        for (action, verdict) in found {
            let worst = verdicts.entry(action).or_insert(verdict);
            *worst = verdict.max(*worst);
        }
    };
    let of = |on: On| table.iter().filter(|one| one.on == on).map(|one| one.action).collect::<Vec<_>>();
    note(ask(aws, &principal, of(On::All), &[], BTreeMap::new()).await?);
    for group in &ours {
        note(change(aws, &principal, &of(On::Group), group).await?);
        let arns: Vec<String> = group.target_groups.iter().map(|arn| arn.as_str().to_owned()).collect();
        if !arns.is_empty() {
            note(ask(aws, &principal, of(On::TargetGroup), &arns, BTreeMap::new()).await?);
        }
    }
    let rows: Vec<Row> = table
        .iter()
        .filter_map(|one| Some(Row { action: one.action, needed: needed(one.need), verdict: *verdicts.get(one.action)? }))
        .collect();
    let is_always = |row: &&Row| table.iter().any(|one| one.action == row.action && one.need == Need::Always);
    let lacking = rows.iter().filter(is_always).filter(|row| row.verdict != Verdict::Allowed).map(|row| row.action.to_owned());
    let mut troubles = Vec::new();
    if ours.is_empty() {
        troubles.push(Trouble::IamUnknown { application: application.to_owned() });
    }
    troubles.extend(some(lacking.collect()).map(|actions| Trouble::IamLacking { actions }));
    let never = ask(aws, &principal, NEVER.to_vec(), &[], BTreeMap::new()).await?;
    troubles.extend(some(allowed(never)).map(|actions| Trouble::IamExcess { actions }));
    if let Some(group) = others.first() {
        let found = change(aws, &principal, &of(On::Group), group).await?;
        let group = group.name.to_string();
        troubles.extend(some(allowed(found)).map(|actions| Trouble::IamElsewhere { group, actions }));
    }
    Ok(Leave { principal, rows, troubles })
}

fn some(actions: Vec<String>) -> Option<Vec<String>> {
    (!actions.is_empty()).then_some(actions)
}

/// About changes of one group: tags by themselves, since a condition on their keys is about nothing else.
async fn change(
    aws: &Aws,
    principal: &Option<String>,
    actions: &[&'static str],
    group: &Group,
) -> cloud::Result<BTreeMap<String, Verdict>> {
    let (tags, others): (Vec<_>, Vec<_>) = actions.iter().copied().partition(|action| action.ends_with("Tags"));
    let arn = [group.arn.clone()];
    let mut found = ask(aws, principal, others, &arn, context(group)).await?;
    let told = context(group).into_iter().chain(request(&tags)).collect();
    found.extend(ask(aws, principal, tags, &arn, told).await?);
    Ok(found)
}

async fn ask(
    aws: &Aws,
    principal: &Option<String>,
    actions: Vec<&'static str>,
    resources: &[String],
    context: BTreeMap<String, String>,
) -> cloud::Result<BTreeMap<String, Verdict>> {
    if actions.is_empty() {
        return Ok(BTreeMap::new());
    }
    aws.verdicts(&Ask { principal: principal.clone(), actions, resources: resources.to_vec(), context }).await
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
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["action", "needed", ""]);
        table.add_rows(self.rows.iter().map(|row| {
            let verdict = match row.verdict {
                Verdict::Allowed => "allowed",
                Verdict::Unclear => "depends on a condition",
                Verdict::Denied => "denied",
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
