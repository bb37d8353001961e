//! `bellrock doctor APPLICATION`: what a rollback would meet, on a day on which nobody needs one; and whether the orchestrator that this host's agent
//! looks after could be started, or has executions that nobody works on. Reads only.

mod iam;
mod launches;
mod protections;

use std::collections::hash_map::RandomState;
use std::fmt::Write;
use std::hash::BuildHasher;

use serde::Serialize;
use serde::Serializer;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::Exit;
use super::Failure;
use super::orca;
use super::rollback::args::Subject;
use super::rollback::ask::Http;
use super::rollback::here;
use crate::cloud;
use crate::cloud::Caller;
use crate::cloud::CallerIdentity;
use crate::cloud::aws::Aws;
use crate::config;
use crate::host::clock::SystemClock;
use crate::model::Capacity;
use crate::model::Clock;
use crate::model::GroupName;
use crate::model::HOLD_TAG;
use crate::rollback;
use crate::rollback::Facts;
use crate::rollback::Journal;
use crate::rollback::Plan;
use crate::rollback::Refusal;
use crate::rollback::Request;
use crate::rollback::Service;
use crate::rollback::Silent;
use crate::rollback::World;
use crate::rollback::plan;
use crate::rollback::show;
use launches::Launches;
use launches::Vcpus;
use protections::Protections;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Ends with 0 when a rollback could begin now, with 1 when something would stop it, or the orchestrator of this host's \
    configuration from being started. Changes nothing. Where that configuration says where an Orca's queue is ([orchestrator.orca]), executions that \
    nobody works on are listed too; they stop no rollback.\n\n\
    Examples:\n  \
    bellrock doctor spinnaker\n  \
    bellrock doctor spinnaker --service-url https://gate.example.com/health\n  \
    bellrock doctor spinnaker --region eu-west-1 --region us-east-1 --role-arn arn:aws:iam::123456789012:role/on-call --output json\n  \
    bellrock doctor spinnaker --iam agent --principal arn:aws:iam::123456789012:role/spinnaker-instances"
)]
pub(super) struct Args {
    #[command(flatten)]
    subject: Subject,
    /// Only this: whether IAM lets a role do what agents, or a rollback, have to do, and nothing beyond it. Takes iam:SimulatePrincipalPolicy.
    #[arg(long, value_name = "WORK")]
    iam: Option<iam::Work>,
    /// With --iam: the role or user to look at [default: that of the credentials in use].
    #[arg(long, value_name = "ARN", requires = "iam")]
    principal: Option<String>,
}

/// What was found in one region.
#[derive(Debug, Serialize)]
struct Finding {
    region: String,
    /// Whose credentials these are.
    caller: Option<CallerIdentity>,
    groups: Vec<Row>,
    /// What those that would be restored are launched from.
    launches: Vec<Launches>,
    vcpus: Option<Vcpus>,
    /// Members that are protected from scale-in, and not by a rollback.
    protections: Vec<Protections>,
    /// What a rollback would do now.
    plan: Option<Plan>,
    /// Why it would not begin.
    refusals: Vec<Refusal>,
    /// What may spoil it besides.
    findings: Vec<rollback::Finding>,
    /// Calls that were not answered.
    #[serde(serialize_with = "words")]
    blind: Vec<cloud::Error>,
    services: Vec<Answer>,
    is_ready: bool,
}

fn words<S: Serializer>(errors: &[cloud::Error], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(errors.iter().map(ToString::to_string))
}

/// A server group at a glance.
#[derive(Debug, Serialize)]
struct Row {
    cluster: String,
    group: GroupName,
    sizes: Capacity,
    healthy: usize,
    is_disabled: bool,
    hold: Option<String>,
}

/// What a service URL says.
#[derive(Debug, Serialize)]
struct Answer {
    url: String,
    problem: Option<String>,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    if let Some(work) = args.iam {
        return leave(&args, work, context);
    }
    let (findings, here, orca) = super::runtime()?.block_on(async {
        let (owner, service) = (here::plain(&here::owner(context)), Http::new()?);
        let mut findings = Vec::new();
        for region in args.subject.regions() {
            findings.push(examine(&args.subject, region, &owner, &service).await);
        }
        let (here, orca) = on_this_host(context).await;
        Ok::<_, Failure>((findings, here, orca))
    })?;
    let ready = findings.iter().all(|finding| finding.is_ready) && here.is_empty();
    let told = |problem: &String| format!("[orchestrator-not-runnable] {problem} (runbooks/orchestrator-not-runnable.md)\n");
    let of_orca = || orca.iter().map(orca::Report::text);
    let spoilt = || spoilt(&findings, &here);
    let text = || here.iter().map(told).chain(of_orca()).chain(findings.iter().map(text)).chain(spoilt()).collect::<Vec<_>>().join("\n");
    let orca = orca.as_ref().map(orca::Report::json);
    context.print(text, &serde_json::json!({ "ready": ready, "host": here, "orca": orca, "regions": findings }))?;
    Ok(if ready { Exit::Done } else { Exit::Failed })
}

/// What IAM says, in each region: groups are of one.
fn leave(args: &Args, work: iam::Work, context: &Context) -> Result<Exit, Failure> {
    let found = super::runtime()?.block_on(async {
        let owner = here::plain(&here::owner(context));
        let mut found = Vec::new();
        for region in args.subject.regions() {
            let aws = Aws::connect(&args.subject.settings(region, &owner)).await?;
            found.push(iam::examine(&aws, &args.subject.application, work, args.principal.clone()).await?);
        }
        Ok::<_, cloud::Error>(found)
    });
    let found = found.map_err(|error| {
        Failure::new("iam-unknown", "what IAM says of this role is not known")
            .because(&error)
            .help("ask with credentials that may iam:SimulatePrincipalPolicy, and name the role with --principal")
    })?;
    let text = || found.iter().map(iam::Leave::text).collect::<Vec<_>>().join("\n");
    context.print(text, &serde_json::json!({ "regions": found }))?;
    Ok(if found.iter().all(|leave| leave.troubles.is_empty()) { Exit::Done } else { Exit::Failed })
}

/// What keeps the orchestrator that this host's configuration names from being started here, and which of its executions nobody works on. Elsewhere
/// there is no such configuration.
async fn on_this_host(context: &Context) -> (Vec<String>, Option<orca::Report>) {
    let Ok(config) = context.load_config() else {
        return (vec!["the configuration of this host is not in order; `bellrock config check` lists what is wrong".to_owned()], None);
    };
    let problems = match &config.orchestrator {
        config::Orchestrator::Process(settings) => settings.problems_here(&context.env.clone().into_iter().collect::<Vec<_>>()),
        config::Orchestrator::Unit(settings) => settings.problems_here().await,
        config::Orchestrator::Embedded(_) | config::Orchestrator::Endpoint(_) => Vec::new(),
    };
    (problems, orca::examine(&config, context).await)
}

async fn examine(subject: &Subject, region: Option<String>, owner: &str, service: &Http) -> Finding {
    let name = region.clone().unwrap_or_else(|| "the region in use".to_owned());
    let mut finding = Finding {
        region: name,
        caller: None,
        groups: Vec::new(),
        launches: Vec::new(),
        vcpus: None,
        protections: Vec::new(),
        plan: None,
        refusals: Vec::new(),
        findings: Vec::new(),
        blind: Vec::new(),
        services: Vec::new(),
        is_ready: false,
    };
    match Aws::connect(&subject.settings(region, owner)).await {
        Ok(aws) => {
            aws.region().clone_into(&mut finding.region);
            if let Err(error) = look(&mut finding, &aws, &subject.request(owner.to_owned()), service).await {
                finding.blind.push(error);
            }
        }
        Err(error) => finding.blind.push(error),
    }
    let asked = subject.service_url.iter().map(async |url| Answer { url: url.clone(), problem: service.ask(url).await.err() });
    finding.services = futures::future::join_all(asked).await;
    let silent = finding.services.iter().any(|answer| answer.problem.is_some());
    finding.is_ready = finding.plan.is_some() && finding.blind.is_empty() && !silent;
    finding
}

async fn look(finding: &mut Finding, aws: &Aws, request: &Request, service: &Http) -> cloud::Result<()> {
    finding.caller = Some(aws.caller().await?);
    let (clock, journal, cancel) = (SystemClock::start(), Journal::none(), CancellationToken::new());
    let seed = RandomState::new().hash_one(&request.owner);
    let world = World {
        scaling: aws,
        compute: aws,
        caller: aws,
        balancing: aws,
        service,
        clock: &clock,
        journal: &journal,
        sink: &Silent,
        cancel: &cancel,
        seed,
    };
    let facts = rollback::look(&world, request).await?;
    finding.groups = rows(&facts);
    let groups = facts.clusters.values().flat_map(|cluster| &cluster.versions).map(|version| &version.group);
    finding.protections = groups.filter_map(Protections::of).collect();
    finding.launches = plan::restored(request, &facts).iter().map(|group| Launches::of(group, &facts.supply)).collect();
    finding.vcpus = Vcpus::of(&facts.supply);
    match plan::plan(request, &facts, clock.now().wall) {
        Ok(plan) => finding.plan = Some(plan),
        Err(refused) => (finding.refusals, finding.findings) = (refused.refusals, refused.findings),
    }
    Ok(())
}

fn rows(facts: &Facts) -> Vec<Row> {
    let of = |(cluster, versions): (&String, &rollback::facts::Cluster)| {
        let row = |version: &rollback::facts::Version| Row {
            cluster: cluster.clone(),
            group: version.group.name.clone(),
            sizes: version.group.capacity,
            healthy: version.group.healthy_in_service(),
            is_disabled: version.group.is_disabled(),
            hold: version.group.tags.get(HOLD_TAG).cloned(),
        };
        versions.versions.iter().map(row).collect::<Vec<_>>()
    };
    facts.clusters.iter().flat_map(of).collect()
}

/// Why the command ends with 1 although it says that a rollback could begin.
fn spoilt(findings: &[Finding], here: &[String]) -> Option<String> {
    let begins = |finding: &&Finding| finding.plan.is_some();
    let silent = findings.iter().filter(begins).flat_map(|finding| &finding.services).filter(|answer| answer.problem.is_some());
    let mut why: Vec<String> = silent.map(|answer| format!("{} does not answer", answer.url)).collect();
    why.extend((!here.is_empty()).then(|| "what was found on this host would stop its orchestrator, and no rollback".to_owned()));
    why.extend(findings.iter().filter(|finding| finding.plan.is_none()).map(|finding| format!("none could in {}", finding.region)));
    why.dedup();
    (findings.iter().any(|finding| finding.plan.is_some()) && !why.is_empty())
        .then(|| format!("This ends with 1 although a rollback could begin: {}.\n", why.join("; ")))
}

fn text(finding: &Finding) -> String {
    let caller = finding.caller.as_ref().map_or_else(|| "nobody AWS knows".to_owned(), |caller| caller.arn.clone());
    let mut text = format!("{} as {caller}\n", finding.region);
    if !finding.groups.is_empty() {
        let mut table = show::table(["cluster", "server group", "min/desired/max", "healthy", "", "held"]);
        table.add_rows(finding.groups.iter().map(|row| {
            let state = if row.is_disabled { "disabled" } else { "enabled" };
            let cells = [row.cluster.clone(), row.group.to_string(), row.sizes.to_string(), row.healthy.to_string(), state.to_owned()];
            cells.into_iter().chain([row.hold.clone().unwrap_or_else(|| "-".to_owned())])
        }));
        let _ = writeln!(text, "{table}");
    }
    for launches in &finding.launches {
        let _ = writeln!(text, "{launches}");
    }
    if let Some(vcpus) = &finding.vcpus {
        let _ = writeln!(text, "{vcpus}");
    }
    for protections in &finding.protections {
        let _ = writeln!(text, "{protections}");
    }
    for answer in &finding.services {
        let _ = match &answer.problem {
            None => writeln!(text, "{} answers", answer.url),
            Some(problem) => writeln!(text, "[rollback-service-silent] {}: {problem} (runbooks/rollback-service-silent.md)", answer.url),
        };
    }
    for error in &finding.blind {
        text.push_str(&show::blind(error));
    }
    match &finding.plan {
        Some(plan) => text.push_str(&format!("A rollback could begin now. It would do this:\n{}", show::plan(plan))),
        None => {
            text.push_str("A rollback would not begin now.\n");
            for refusal in &finding.refusals {
                let code = refusal.code();
                let _ = writeln!(text, "[{code}] {refusal}\n  next: {} (runbooks/{code}.md)", refusal.next_step());
            }
            text.push_str(&show::findings(&finding.findings));
        }
    }
    text
}
