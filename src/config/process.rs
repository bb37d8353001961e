//! `[orchestrator.process]`, `orchestrator.unit` and `[orchestrator.restart]`: an orchestrator whose process the agent looks after.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::keys::at_least_one;
use super::keys::bounded;
use super::kind::Kind;
use super::kind::Names;
use super::kind::quoted;
use super::kind::text_kind;
use super::sheet::Chosen;
use super::sheet::Sheet;
use crate::orchestrator::endpoint;
use crate::orchestrator::process;
use crate::orchestrator::process::StopSignal;
use crate::orchestrator::process::Variables;
use crate::orchestrator::supervised::Budget;
use crate::orchestrator::unit;

const SECOND: Duration = Duration::from_secs(1);
const KIND: &str = "orchestrator.kind";

text_kind!(
    StopSignal,
    "one of \"SIGTERM\", \"SIGINT\", \"SIGQUIT\", \"SIGHUP\", \"SIGUSR1\", \"SIGUSR2\"",
    StopSignal::parse,
    |signal: &StopSignal| signal.name().to_owned()
);

impl Kind for Variables {
    fn allowed() -> String {
        "a list such as [\"JAVA_OPTS=-Xmx2g\", \"NAME=value\"] (in the environment: JSON)".into()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_array()?.iter().map(|line| Self::parse(line.get_ref().as_str()?)).collect::<Option<_>>().map(Self)
    }

    fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str::<Vec<String>>(text).ok()?.iter().map(|line| Self::parse(line)).collect::<Option<_>>().map(Self)
    }

    fn show(&self) -> String {
        format!("[{}]", self.0.iter().map(|(name, value)| quoted(&format!("{name}={value}"))).collect::<Vec<_>>().join(", "))
    }
}

/// `orchestrator.unit`, where a unit is chosen.
pub(super) fn unit(sheet: &mut Sheet<'_>, holds: bool) -> Option<String> {
    let chosen = Chosen { holds, by: KIND, what: "\"unit\"" };
    sheet.needed::<String>(&chosen, "orchestrator.unit").filter(|_| holds)
}

/// What the agent looks after, without how it is asked.
pub(super) struct Care {
    process: Option<process::Settings>,
    budget: Budget,
}

/// The tables of both kinds; `process` and `unit` say which is chosen.
pub(super) fn tables(sheet: &mut Sheet<'_>, process: bool, unit: bool) -> Care {
    let within = Chosen { holds: process, by: KIND, what: "\"process\"" };
    let command = sheet.needed::<Vec<String>>(&within, "orchestrator.process.command");
    let directory = sheet.chosen::<PathBuf>(&within, "orchestrator.process.directory");
    let variables = sheet.chosen_or(&within, "orchestrator.process.environment", Variables::default());
    let environment_file = sheet.chosen::<PathBuf>(&within, "orchestrator.process.environment_file");
    let usual = ["PATH", "HOME", "LANG"].map(str::to_owned).to_vec();
    let Names(inherit) = sheet.chosen_or(&within, "orchestrator.process.inherit", Names(usual));
    let stop_signal = sheet.chosen_or(&within, "orchestrator.process.stop_signal", StopSignal(rustix::process::Signal::TERM));
    let lines_per_second = sheet.chosen_or(&within, "orchestrator.process.lines_per_second", 200u32);
    at_least_one(sheet, "orchestrator.process.lines_per_second", lines_per_second, "nothing it says would be kept");
    let either = Chosen { holds: process || unit, by: KIND, what: "\"process\" or \"unit\"" };
    let usual = Budget::default();
    let starts = sheet.chosen_or(&either, "orchestrator.restart.starts", usual.starts);
    at_least_one(sheet, "orchestrator.restart.starts", starts, "it would never be started");
    sheet.check("orchestrator.restart.starts", starts <= 100, "is more than is remembered", "allowed: 1 to 100");
    let window = sheet.chosen_or(&either, "orchestrator.restart.window", usual.window);
    bounded(sheet, "orchestrator.restart.window", window, 10 * SECOND, 86_400 * SECOND);
    let budget = Budget { starts, window };
    let process = command.filter(|_| process).map(|command| process::Settings {
        endpoint: endpoint::Settings::default(),
        command,
        directory,
        variables,
        environment_file,
        inherit,
        stop_signal,
        grace: Duration::ZERO,
        lines_per_second,
        budget,
    });
    Care { process, budget }
}

impl Care {
    /// With how it is asked and stopped. Where a part is missing it was noted, and the value is never used.
    pub(super) fn with(self, unit: Option<String>, endpoint: endpoint::Settings, grace: Duration) -> super::Orchestrator {
        match (self.process, unit) {
            (Some(settings), _) => super::Orchestrator::Process(Box::new(process::Settings { endpoint, grace, ..settings })),
            (None, Some(unit)) => super::Orchestrator::Unit(Box::new(unit::Settings { endpoint, unit, budget: self.budget })),
            (None, None) => super::Orchestrator::Endpoint(Box::new(endpoint)),
        }
    }
}
