//! What a person may say to `bellrock rollback`, and how it is said again to go on.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use super::here;
use crate::cli::Context;
use crate::cloud::aws;
use crate::config::parse_duration;
use crate::config::show_duration;
use crate::rollback;
use crate::rollback::Canary;
use crate::rollback::Request;
use crate::rollback::Wanted;
use crate::rollback::kept::KEPT_MOST;
use crate::rollback::wishes::Wish;

static CANARY: LazyLock<String> = LazyLock::new(|| show_duration(rollback::CANARY_WITHIN));

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bellrock rollback spinnaker --dry-run\n  \
    bellrock rollback spinnaker --service-url https://gate.example.com/health\n  \
    bellrock rollback spinnaker --region eu-west-1 --region us-east-1 --wait-between 10m --report incident.md\n  \
    bellrock rollback spinnaker --cluster spinnaker-ha=3 --cluster spinnaker-ha-polling --to v023 --yes\n  \
    bellrock rollback spinnaker --keep-bad 1 --service-url https://gate.example.com/health\n  \
    bellrock rollback spinnaker --resume\n  \
    bellrock rollback spinnaker --undo --dry-run")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    pub(super) subject: Subject,
    /// Go on with an unfinished rollback, from this machine or any other, whoever began it: with --owner as long as their hold lasts, which is ten
    /// minutes after they are gone. Its groups' tags say what it is and how it was asked to go.
    /// Clusters that it was to take along and had not begun are begun, unless they have a newer version by now. What is given beside it (--bake,
    /// --timeout, --settle, --canary, --keep-bad, --service-url) comes first.
    #[arg(long, conflicts_with_all = ["to", "undo"])]
    pub(super) resume: bool,
    /// Take an unfinished rollback back: before the newest groups are set to nothing all is put back as it was found, afterwards (and after its
    /// end) this is a rollback to the newest version.
    #[arg(long, conflicts_with = "to")]
    pub(super) undo: bool,
    /// One restored instance has to be healthy at the load balancers within TIME before the others are launched
    /// [default: for groups that get more than 4 instances; TIME: 10m].
    #[arg(long, value_name = "TIME", value_parser = duration, num_args = 0..=1, require_equals = true, default_missing_value = CANARY.as_str())]
    pub(super) canary: Option<Duration>,
    /// Launch all restored instances at once, however many they are.
    #[arg(long, conflicts_with = "canary")]
    pub(super) no_canary: bool,
    /// How long agents may take to see the hold: as often as they read their group, and a stale read more [default: 45s].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) settle: Option<Duration>,
    /// How long what was verified has to stay true, with everything still held, before it counts as done.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) bake: Option<Duration>,
    /// For the whole run, but for the bake [default: 30m].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) timeout: Option<Duration>,
    /// Leave so many instances of each newest group alive for the post-mortem, those that do not serve first: in standby, with no traffic and not counted.
    /// The account at the end names them, and the command that lets them go. Nobody of a cluster that polls is kept [default: 0].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(KEPT_MOST)))]
    pub(super) keep_bad: Option<u32>,
    /// Do not ask.
    #[arg(long, short)]
    pub(super) yes: bool,
    /// Print the plan and change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Record of the changes [default: $XDG_STATE_HOME/bellrock/rollback-APPLICATION-TIME.jsonl].
    #[arg(long, value_name = "FILE")]
    pub(super) journal: Option<PathBuf>,
    /// Whose hold this is: a live one of the same owner is taken up, also somebody else's when nobody is at it any more (default: user@host).
    #[arg(long, value_name = "USER@HOST")]
    pub(super) owner: Option<String>,
    /// Between one region that is done and the next.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    pub(super) wait_between: Duration,
    /// Append the run's account to this file, in Markdown: timeline, changes with AWS's request ids, what was verified.
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Tell this URL at the start, at a pause, at the end, as Slack's incoming webhooks take it [default: the URL in `notify.url_file`].
    /// The command that goes on leaves it out, since whoever has it may post.
    #[arg(long, value_name = "URL", value_parser = url)]
    pub(super) notify: Option<String>,
}

/// What is rolled back, and where.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Subject {
    /// Spinnaker application: the part of the groups' names before the first hyphen.
    pub(in crate::cli) application: String,
    /// Roll back this cluster only, to COUNT instances if given; may be repeated.
    #[arg(long, value_name = "NAME[=COUNT]", value_parser = wanted)]
    pub(in crate::cli) cluster: Vec<Wanted>,
    /// Only clusters whose names begin so.
    #[arg(long)]
    pub(in crate::cli) prefix: Option<String>,
    /// Restore this version instead of the previous one.
    #[arg(long, value_name = "vNNN", value_parser = version)]
    pub(in crate::cli) to: Option<u32>,
    /// A cluster that must never have two instances at once; one whose detail (or stack, without a detail) is `polling` is taken for one.
    #[arg(long, value_name = "CLUSTER")]
    pub(in crate::cli) polling: Vec<String>,
    /// No singleton, although its name says `polling`.
    #[arg(long, value_name = "CLUSTER")]
    pub(in crate::cli) not_polling: Vec<String>,
    /// What users open: has to answer 2xx or 3xx in the end; may be repeated.
    #[arg(long, value_name = "URL", value_parser = open_url)]
    pub(in crate::cli) service_url: Vec<String>,
    /// AWS region [default: as the AWS CLI finds it]; may be repeated: all are planned first, then gone through in this order.
    #[arg(long)]
    pub(in crate::cli) region: Vec<String>,
    /// AWS profile.
    #[arg(long)]
    pub(in crate::cli) profile: Option<String>,
    /// Role to act as; CloudTrail shows the owner as the session's name.
    #[arg(long, value_name = "ARN", value_parser = role)]
    pub(in crate::cli) role_arn: Option<String>,
    /// One URL instead of AWS's own endpoints.
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) endpoint: Option<String>,
}

impl Subject {
    /// Each region to look at; `None` is the one that AWS's own settings name.
    pub(in crate::cli) fn regions(&self) -> Vec<Option<String>> {
        match self.region.as_slice() {
            [] => vec![None],
            named => named.iter().cloned().map(Some).collect(),
        }
    }

    /// How AWS is called there, on behalf of this person.
    pub(in crate::cli) fn settings(&self, region: Option<String>, owner: &str) -> aws::Settings {
        let role = self.role_arn.clone().map(|arn| aws::Role { arn, session: here::session(owner) });
        aws::Settings {
            region,
            profile: self.profile.clone(),
            endpoint: self.endpoint.clone(),
            role,
            in_flight: rollback::IN_FLIGHT,
            ..aws::Settings::default()
        }
    }

    /// What is asked for, with nothing said otherwise of how.
    pub(in crate::cli) fn request(&self, owner: String) -> Request {
        Request {
            clusters: self.cluster.clone(),
            prefix: self.prefix.clone(),
            to: self.to,
            polling: self.polling.clone(),
            not_polling: self.not_polling.clone(),
            service_urls: self.service_url.clone(),
            ..Request::of(self.application.clone(), owner)
        }
    }
}

fn wanted(text: &str) -> Result<Wanted, String> {
    let Some((name, count)) = text.split_once('=') else { return Ok(Wanted { name: text.to_owned(), count: None }) };
    match count.parse() {
        Ok(count) if count > 0 => Ok(Wanted { name: name.to_owned(), count: Some(count) }),
        Ok(_) | Err(_) => Err("COUNT is a whole number above 0".to_owned()),
    }
}

fn version(text: &str) -> Result<u32, String> {
    text.trim_start_matches('v').parse().map_err(|_| "a version looks like v023".to_owned())
}

fn url(text: &str) -> Result<String, String> {
    match reqwest::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err("a URL looks like https://gate.example.com/health".to_owned()),
    }
}

/// One that is shown, and goes into tags.
fn open_url(text: &str) -> Result<String, String> {
    let secret = reqwest::Url::parse(text).is_ok_and(|url| !url.username().is_empty() || url.password().is_some());
    if secret { Err("no user and no password in it: it is shown, and kept in the groups' tags".to_owned()) } else { url(text) }
}

fn role(text: &str) -> Result<String, String> {
    let is_role = text.starts_with("arn:") && text.split(':').nth(5).is_some_and(|name| name.starts_with("role/"));
    if is_role { Ok(text.to_owned()) } else { Err("a role looks like arn:aws:iam::123456789012:role/on-call".to_owned()) }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a duration looks like 30s, 5m or 1h30m".to_owned())
}

pub(super) fn request(args: &Args, context: &Context) -> Request {
    let us = here::plain(&here::owner(context));
    let owner = args.owner.as_deref().map_or_else(|| us.clone(), here::plain);
    let taken_over = owner != us;
    Request {
        settle: args.settle.unwrap_or(rollback::SETTLE),
        timeout: args.timeout.unwrap_or(rollback::TIMEOUT),
        said: said(args),
        bake: args.bake.unwrap_or_default(),
        canary: match args.canary {
            _ if args.no_canary => Canary::Never,
            Some(_) => Canary::Always,
            None => Canary::ForMany,
        },
        canary_within: args.canary.unwrap_or(rollback::CANARY_WITHIN),
        taken_over,
        resume: args.resume,
        keep_bad: args.keep_bad.unwrap_or(0),
        undo: args.undo,
        ..args.subject.request(owner)
    }
}

/// What is not left to what is on record.
fn said(args: &Args) -> BTreeSet<Wish> {
    let said = [
        (Wish::Settle, args.settle.is_some()),
        (Wish::Timeout, args.timeout.is_some()),
        (Wish::Bake, args.bake.is_some()),
        (Wish::Canary, args.canary.is_some() || args.no_canary),
        (Wish::KeepBad, args.keep_bad.is_some()),
        (Wish::ServiceUrls, !args.subject.service_url.is_empty()),
    ];
    said.into_iter().filter(|(_, is)| *is).map(|(wish, _)| wish).collect()
}

/// The command that shows what taking this run back would do; `None` when that is what the run is.
pub(super) fn back(args: &Args, request: &Request) -> Option<String> {
    if args.undo {
        return None;
    }
    let subject = &args.subject;
    let mut words = vec!["bellrock rollback".to_owned(), subject.application.clone()];
    words.extend(subject.cluster.iter().map(|wanted| format!("--cluster {}", wanted.name)));
    words.extend(subject.prefix.iter().map(|prefix| format!("--prefix {prefix}")));
    words.extend(common(subject, request));
    words.push("--undo --dry-run".to_owned());
    Some(words.join(" "))
}

/// How AWS is asked, and by whom.
fn common(subject: &Subject, request: &Request) -> Vec<String> {
    let option = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("--{name} {value}"));
    let regions = subject.region.iter().map(|region| format!("--region {region}"));
    let others = [option("profile", &subject.profile), option("role-arn", &subject.role_arn), option("endpoint", &subject.endpoint)];
    regions.chain(others.into_iter().flatten()).chain([format!("--owner {}", request.owner)]).collect()
}

/// The command that takes this run up again, also from another machine.
pub(super) fn again(args: &Args, request: &Request) -> String {
    let subject = &args.subject;
    let mut words = vec!["bellrock rollback".to_owned(), subject.application.clone()];
    words.extend(subject.cluster.iter().map(|w| format!("--cluster {}{}", w.name, w.count.map(|c| format!("={c}")).unwrap_or_default())));
    let mut option = |name: &str, value: Option<String>| words.extend(value.map(|value| format!("--{name} {value}")));
    option("prefix", subject.prefix.clone());
    option("to", subject.to.map(|to| format!("v{to:03}")));
    subject.polling.iter().for_each(|c| option("polling", Some(c.clone())));
    subject.not_polling.iter().for_each(|c| option("not-polling", Some(c.clone())));
    subject.service_url.iter().for_each(|url| option("service-url", Some(format!("'{url}'"))));
    option("settle", args.settle.map(show_duration));
    option("timeout", args.timeout.map(show_duration));
    option("keep-bad", args.keep_bad.map(|count| count.to_string()));
    option("bake", args.bake.map(show_duration));
    option("journal", args.journal.as_ref().map(|path| format!("'{}'", path.display())));
    option("wait-between", (!args.wait_between.is_zero()).then(|| show_duration(args.wait_between)));
    option("report", args.report.as_ref().map(|path| format!("'{}'", path.display())));
    words.extend(common(subject, request));
    words.extend(args.canary.map(|within| format!("--canary={}", show_duration(within))));
    words.extend(args.no_canary.then(|| "--no-canary".to_owned()));
    words.extend(args.resume.then(|| "--resume".to_owned()));
    words.extend(args.undo.then(|| "--undo".to_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser;

    use super::*;
    use crate::cli::Output;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    /// The commands that go on with, and take back, what this line begins.
    fn said(line: &str) -> (String, Option<String>) {
        let args = Line::parse_from(line.split(' ').skip(1)).args;
        let context = Context { output: Output::Text, config: None, env: BTreeMap::new() };
        let request = request(&args, &context);
        (again(&args, &request), back(&args, &request))
    }

    #[test]
    fn what_takes_a_run_back_is_about_the_same_groups_by_the_same_person_and_shows_the_plan_first() {
        let line =
            "bellrock rollback shop --cluster shop-a=3 --to v007 --canary=5m --region eu-west-1 --profile ops --owner ann@desk --yes";
        let (again, back) = said(line);
        let back = back.unwrap();
        assert_eq!(back, "bellrock rollback shop --cluster shop-a --region eu-west-1 --profile ops --owner ann@desk --undo --dry-run");
        for option in ["--to v007", "--cluster shop-a=3", "--region eu-west-1 --profile ops --owner ann@desk", "--canary=5m"] {
            assert!(again.contains(option), "{option} is not in {again}");
        }
        assert_eq!(said(&back).1, None, "that is taken back by what goes on with it");
    }
}
