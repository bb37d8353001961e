//! Completions of the shell: the scripts that each shell sources, and what this program answers when one of them asks it.
//!
//! Commands and options come from the command line's own definition. Names of applications, clusters and versions come from AWS, with the credentials and
//! the region that the command would have. What must stay true: a shell is never kept waiting for longer than [`WITHIN`], and where AWS does not answer
//! there is nothing to choose from, and no message in the middle of somebody's line.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::io;
use std::time::Duration;

use clap::ArgMatches;
use clap::CommandFactory;
use clap_complete::CompleteEnv;
use clap_complete::CompletionCandidate;
use clap_complete::engine::ArgValueCompleter;
use clap_complete::env::Shells;

use super::Cli;
use crate::cloud::AutoScaling;
use crate::cloud::GroupFilter;
use crate::cloud::aws;
use crate::cloud::aws::Aws;
use crate::model::Moniker;

/// By which a script asks; its value names the shell. Ours alone, so that no other program's makes an agent take itself for a completer.
const VARIABLE: &str = "BELLROCK_COMPLETE";
/// Somebody waits with a finger on the key.
const WITHIN: Duration = Duration::from_secs(2);
/// Commands whose subject is an application on AWS.
const OF_AN_APPLICATION: [&str; 2] = ["rollback", "doctor"];

/// What an argument names.
#[derive(Clone, Copy)]
enum Names {
    Applications,
    Clusters,
    Versions,
}

/// Answers when a shell asks; false when this is no such question.
///
/// # Errors
/// The shell is not known, or cannot be answered.
pub(super) fn answer(args: &[OsString]) -> clap::error::Result<bool> {
    let line: Vec<OsString> = args.iter().skip_while(|word| *word != "--").skip(1).cloned().collect();
    CompleteEnv::with_factory(|| command(&line)).var(VARIABLE).try_complete(args, None)
}

/// Writes the script of a shell that asks this program, by the name it has in PATH.
pub(super) fn script(shell: &str, into: &mut dyn io::Write) -> io::Result<()> {
    let shells = Shells::builtins();
    let completer = shells.completer(shell).ok_or_else(|| io::Error::other(format!("no script for {shell}")))?;
    completer.write_registration(VARIABLE, "bellrock", "bellrock", "bellrock", into)
}

/// The command line, with names from AWS where names belong, for this line so far.
fn command(line: &[OsString]) -> clap::Command {
    OF_AN_APPLICATION.into_iter().fold(Cli::command(), |command, name| {
        command.mut_subcommand(name, |command| {
            let arguments = [("application", Names::Applications), ("cluster", Names::Clusters), ("polling", Names::Clusters)];
            let more = [("not_polling", Names::Clusters), ("to", Names::Versions)];
            arguments.into_iter().chain(more).fold(command, |command, (argument, names)| {
                let line = line.to_vec();
                let candidates = move |current: &OsStr| candidates(&line, names, current);
                command.mut_arg(argument, |argument| argument.add(ArgValueCompleter::new(candidates)))
            })
        })
    })
}

fn candidates(line: &[OsString], names: Names, current: &OsStr) -> Vec<CompletionCandidate> {
    // What is asked of every word, an option's too; AWS knows of none.
    let Some(current) = current.to_str().filter(|current| !current.starts_with('-')) else { return Vec::new() };
    // A line that is not finished is seldom right.
    let Ok(matches) = Cli::command().ignore_errors(true).try_get_matches_from(line) else { return Vec::new() };
    let Some((_, matches)) = matches.subcommand() else { return Vec::new() };
    let groups = super::runtime().ok().and_then(|runtime| {
        let groups = runtime.block_on(async { tokio::time::timeout(WITHIN, groups(&settings(matches))).await.ok() });
        runtime.shutdown_background();
        groups
    });
    let application = matches.try_get_one::<String>("application").ok().flatten();
    let found = chosen(&groups.unwrap_or_default(), names, application.map(String::as_str));
    found.into_iter().filter(|name| name.starts_with(current)).map(CompletionCandidate::new).collect()
}

/// As the command would call AWS; in the first region where there are several.
fn settings(matches: &ArgMatches) -> aws::Settings {
    let told = |name: &str| matches.try_get_many::<String>(name).ok().flatten().and_then(|mut values| values.next().cloned());
    aws::Settings {
        region: told("region"),
        profile: told("profile"),
        endpoint: told("endpoint"),
        role: told("role_arn").map(|arn| aws::Role { arn, session: "bellrock-completion".to_owned() }),
        call_timeout: WITHIN,
        ..aws::Settings::default()
    }
}

async fn groups(settings: &aws::Settings) -> Vec<Moniker> {
    // Whoever may not ask has nothing to choose from; the command itself says why.
    let Ok(aws) = Aws::connect(settings).await else { return Vec::new() };
    let groups = aws.find_groups(&GroupFilter::All).await.unwrap_or_default();
    groups.iter().filter_map(|group| Moniker::parse(group.name.as_str())).collect()
}

/// The names of one kind among the server groups, each once; of the application, once that is on the line.
fn chosen(groups: &[Moniker], names: Names, application: Option<&str>) -> BTreeSet<String> {
    let ours = |group: &&Moniker| group.sequence().is_some() && application.is_none_or(|application| application == group.app());
    match names {
        Names::Applications => groups.iter().filter(|group| group.sequence().is_some()).map(|group| group.app().to_owned()).collect(),
        Names::Clusters => groups.iter().filter(ours).map(|group| group.cluster().to_owned()).collect(),
        Names::Versions => groups.iter().filter(ours).filter_map(|group| Some(format!("v{:03}", group.sequence()?))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_server_groups_each_once() {
        let groups: Vec<Moniker> = ["shop-main-v023", "shop-main-v024", "shop-api-v007", "pay-v001", "bastion", "shop"]
            .iter()
            .filter_map(|name| Moniker::parse(name))
            .collect();
        let of = |names, application| chosen(&groups, names, application).into_iter().collect::<Vec<_>>();
        assert_eq!(of(Names::Applications, None), ["pay", "shop"], "what has no version is no server group");
        assert_eq!(of(Names::Clusters, Some("shop")), ["shop-api", "shop-main"]);
        assert_eq!(of(Names::Clusters, None), ["pay", "shop-api", "shop-main"]);
        assert_eq!(of(Names::Versions, Some("shop")), ["v007", "v023", "v024"]);
    }

    #[test]
    fn a_line_that_is_not_finished_says_how_aws_is_asked() {
        let line = ["bellrock", "rollback", "--region", "eu-west-1", "--profile=ops", "sh"].map(OsString::from);
        let matches = Cli::command().ignore_errors(true).try_get_matches_from(line).unwrap();
        let settings = settings(matches.subcommand().unwrap().1);
        assert_eq!((settings.region.as_deref(), settings.profile.as_deref()), (Some("eu-west-1"), Some("ops")));
    }
}
