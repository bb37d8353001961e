//! An error as a person on call reads it: what, why, what to do, and which page says more.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;

use serde::Serialize;

use super::Exit;
use super::Output;
use crate::config;

/// Why a command did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Names the page `runbooks/<code>.md`.
    pub code: &'static str,
    /// What went wrong, as a sentence without its end.
    pub what: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What to do next.
    pub help: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

impl Failure {
    /// Something that was tried and did not succeed.
    pub fn new(code: &'static str, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), causes: Vec::new(), help: None, exit: Exit::Failed }
    }

    /// Something that was not even tried.
    pub fn refused(code: &'static str, what: impl Into<String>) -> Self {
        Self { exit: Exit::Refused, ..Self::new(code, what) }
    }

    /// Adds an error and its sources as causes, leaving out what a message repeats of its source.
    pub fn because(mut self, error: &dyn Error) -> Self {
        let mut next = Some(error);
        while let Some(e) = next {
            let text = e.to_string();
            if self.causes.last().is_none_or(|last| !last.contains(&text)) {
                self.causes.push(text);
            }
            next = e.source();
        }
        self
    }

    /// Says what to do next.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The page that says more.
    pub fn runbook(&self) -> String {
        format!("runbooks/{}.md", self.code)
    }

    /// Prints it to stderr, where logs are, and says how the command ended.
    pub(super) fn print(&self, output: Output) -> Exit {
        let text = match output {
            Output::Text => self.text(),
            Output::Json => {
                let mut error = serde_json::json!({ "error": self });
                error["error"]["runbook"] = self.runbook().into();
                format!("{error}\n")
            }
        };
        // When stderr is gone the exit code is all that is left to say.
        let _ = anstream::stderr().write_all(text.as_bytes());
        self.exit
    }

    fn text(&self) -> String {
        let mut text = format!("\x1b[1;31merror\x1b[0m[{}]: {}\n", self.code, self.what);
        for cause in &self.causes {
            let _ = writeln!(text, "  {}", cause.replace('\n', "\n  "));
        }
        if let Some(help) = &self.help {
            let _ = writeln!(text, "\x1b[1mhelp\x1b[0m: {help}");
        }
        let _ = writeln!(text, "\x1b[1msee\x1b[0m: {}", self.runbook());
        text
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        match error {
            config::Error::Unreadable { path, source } => Self::refused("config-unreadable", format!("cannot read {}", path.display()))
                .because(&source)
                .help("name the file with --config FILE, and let the user of this process read it"),
            config::Error::Wrong(problems) => {
                let count = problems.0.len();
                let plural = if count == 1 { "" } else { "s" };
                Self::refused("config-wrong", format!("the configuration has {count} problem{plural}; nothing was started"))
                    .because(&problems)
                    .help("`bellrock config check` lists them again, `bellrock config show` what is in force once they are mended")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_wrong_configuration_is_told_line_by_line_with_what_to_do() {
        let problems = Config::parse(Path::new("/b.toml"), "[http]\nport = 1\n[drain]\nkeep = \"x\"", &BTreeMap::new()).unwrap_err();
        let failure = Failure::from(config::Error::from(problems));
        assert_eq!(failure.exit, Exit::Refused);
        assert_eq!(
            anstream::adapter::strip_str(&failure.text()).to_string(),
            "error[config-wrong]: the configuration has 2 problems; nothing was started\n  \
             /b.toml:2:1: http.port: is unknown; keys of [http]: listen, network.certificate_file, network.key_file, network.listen, socket, tokens_file\n  \
             /b.toml:4:8: drain.keep: \"x\" is not understood; allowed: a whole number, 0 or more\n\
             help: `bellrock config check` lists them again, `bellrock config show` what is in force once they are mended\n\
             see: runbooks/config-wrong.md\n"
        );
    }

    #[test]
    fn a_cause_that_its_message_repeats_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: {0}")]
        struct Outer(#[source] std::io::Error);
        let failure = Failure::new("output", "x").because(&Outer(std::io::Error::other("inner")));
        assert_eq!(failure.causes, ["outer: inner"]);
    }
}
