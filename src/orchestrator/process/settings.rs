//! What the owner says about a process that the agent runs, as checked values.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::orchestrator::endpoint;
use crate::orchestrator::supervised::Budget;

/// Longest file of variables that is read, in bytes.
const LONGEST_FILE: u64 = 256 << 10;
/// Where programs are looked for when no `PATH` is given: the system's own folders.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Everything about the command, and how it is asked once it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How it is looked at and switched.
    pub endpoint: endpoint::Settings,
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// Where it runs; `None` = `/`.
    pub directory: Option<PathBuf>,
    /// Variables it gets.
    pub variables: Variables,
    /// A file with more of them, a line each, `NAME=value`; for secrets. Read at each start.
    pub environment_file: Option<PathBuf>,
    /// Variables of the agent it gets as well.
    pub inherit: Vec<String>,
    /// What asks it to end.
    pub stop_signal: StopSignal,
    /// From that to the kill, unless a drain says otherwise.
    pub grace: Duration,
    /// Lines of output that are kept; ten seconds' worth may come at once.
    pub lines_per_second: u32,
    /// How often it is started again.
    pub budget: Budget,
}

/// `NAME=value`, in the order they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(pub Vec<(String, String)>);

impl Variables {
    /// One line of it. A name has no blanks, and a value keeps its own.
    pub fn parse(line: &str) -> Option<(String, String)> {
        let (name, value) = line.split_once('=')?;
        let sound = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '\0') && !value.contains('\0');
        sound.then(|| (name.to_owned(), value.to_owned()))
    }
}

/// A signal that asks to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSignal(pub Signal);

/// Those that programs end on.
const SIGNALS: [(&str, Signal); 6] = [
    ("SIGTERM", Signal::TERM),
    ("SIGINT", Signal::INT),
    ("SIGQUIT", Signal::QUIT),
    ("SIGHUP", Signal::HUP),
    ("SIGUSR1", Signal::USR1),
    ("SIGUSR2", Signal::USR2),
];

impl StopSignal {
    /// By its name, as in systemd's `KillSignal=`.
    pub fn parse(name: &str) -> Option<Self> {
        SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, signal)| Self(*signal))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        SIGNALS.iter().find(|(_, signal)| *signal == self.0).map_or("SIGTERM", |(name, _)| name)
    }
}

impl Settings {
    /// What the command's environment is made of, ours last. `agent` is the agent's own.
    pub(super) fn environment(&self, agent: &[(String, String)]) -> io::Result<Vec<(String, String)>> {
        let mut env: Vec<_> = agent.iter().filter(|(name, _)| self.inherit.contains(name)).cloned().collect();
        if let Some(path) = &self.environment_file {
            env.extend(read_variables(path)?);
        }
        env.extend(self.variables.0.clone());
        Ok(env)
    }

    /// Everything on this machine that keeps it from being started now, in words.
    pub fn problems_here(&self, agent: &[(String, String)]) -> Vec<String> {
        let mut problems = Vec::new();
        let env = self.environment(agent).unwrap_or_else(|e| {
            problems.push(format!("the variables cannot be read: {e}"));
            Vec::new()
        });
        if let Some(directory) = self.directory.as_ref().filter(|directory| !directory.is_dir()) {
            problems.push(format!("{} is no directory", directory.display()));
        }
        let path = env.iter().rev().find(|(name, _)| name == "PATH").map_or(USUAL_PATH, |(_, value)| value);
        let program = self.command.first().map_or("", String::as_str);
        problems.extend(not_runnable(program, self.directory.as_deref(), path));
        problems
    }
}

/// Why this program cannot be run; `None` = it can.
fn not_runnable(program: &str, directory: Option<&Path>, path: &str) -> Option<String> {
    let runnable = |file: &Path| file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    if !program.contains('/') {
        let found = path.split(':').any(|folder| runnable(&Path::new(folder).join(program)));
        return (!found).then(|| format!("there is no program {program} in {path}"));
    }
    let file = directory.unwrap_or(Path::new("/")).join(program);
    match file.metadata() {
        Err(e) => Some(format!("{} cannot be run: {e}", file.display())),
        Ok(meta) if meta.is_dir() => Some(format!("{} is a directory", file.display())),
        Ok(_) if !runnable(&file) => Some(format!("{} is not executable", file.display())),
        Ok(_) => None,
    }
}

fn read_variables(path: &Path) -> io::Result<Vec<(String, String)>> {
    let broken = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    if path.metadata().map_err(|e| broken(format!("{}: {e}", path.display())))?.len() > LONGEST_FILE {
        return Err(broken(format!("{} is longer than {LONGEST_FILE} bytes", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(|e| broken(format!("{}: {e}", path.display())))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    // The line itself may be a secret.
    lines
        .map(|(i, line)| Variables::parse(line).ok_or_else(|| broken(format!("{}: line {} is no NAME=value", path.display(), i + 1))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(command: &[&str]) -> Settings {
        Settings {
            endpoint: endpoint::Settings::default(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            directory: None,
            variables: Variables::default(),
            environment_file: None,
            inherit: vec!["PATH".to_owned()],
            stop_signal: StopSignal(Signal::TERM),
            grace: Duration::from_secs(1),
            lines_per_second: 100,
            budget: Budget::default(),
        }
    }

    #[test]
    fn the_command_gets_what_is_configured_and_nothing_else() {
        let at = tempfile::tempdir().unwrap();
        let file = at.path().join("env");
        std::fs::write(&file, "# secret\nTOKEN= a=b \n\nCOLOUR=blue\n").unwrap();
        let agent = [("PATH", "/bin"), ("AWS_SECRET_ACCESS_KEY", "hush")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let variables = Variables(vec![("COLOUR".to_owned(), "red".to_owned())]);
        let settings = Settings { variables, environment_file: Some(file.clone()), ..settings(&["true"]) };
        let env = settings.environment(&agent).unwrap();
        let env: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(env, [("PATH", "/bin"), ("TOKEN", " a=b "), ("COLOUR", "blue"), ("COLOUR", "red")]);
        std::fs::write(&file, "A=1\nhush").unwrap();
        assert!(settings.environment(&agent).unwrap_err().to_string().ends_with("line 2 is no NAME=value"));
    }

    #[test]
    fn what_keeps_it_from_being_started_is_told_together() {
        let at = tempfile::tempdir().unwrap();
        let plain = at.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        let agent = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        assert!(settings(&["sh"]).problems_here(&agent).is_empty());
        assert!(settings(&["/bin/sh"]).problems_here(&[]).is_empty());
        let text = plain.display().to_string();
        let broken = Settings { directory: Some("/no/such".into()), environment_file: Some("/no/file".into()), ..settings(&[&text]) };
        let problems = broken.problems_here(&agent);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[2].ends_with("is not executable"), "{problems:?}");
        assert_eq!(settings(&["no-such"]).problems_here(&agent), ["there is no program no-such in /usr/bin:/bin"]);
        assert!(settings(&["/bin"]).problems_here(&agent)[0].ends_with("is a directory"));
    }

    #[test]
    fn a_signal_has_its_name() {
        for (name, signal) in SIGNALS {
            assert_eq!((StopSignal::parse(name), StopSignal(signal).name()), (Some(StopSignal(signal)), name));
        }
        assert_eq!(StopSignal::parse("SIGKILL"), None, "it asks for nothing");
    }
}
