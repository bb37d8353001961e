//! A play as it goes: a picture that is drawn anew in a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::time::Duration;

use crate::cloud::sim::Region;
use crate::cloud::sim::SimTime;
use crate::drill::Counts;
use crate::drill::Scenario;
use crate::drill::Stations;
use crate::drill::Watcher;
use crate::host::clock::stand_still;
use crate::model::InstanceId;

/// Lines of the timeline that are kept in the picture.
const TIMELINE: usize = 12;
/// Pictures a second at most.
const FRAME: Duration = Duration::from_millis(100);

/// Watches a play.
pub(super) struct Live {
    scenario: Scenario,
    seed: u64,
    speed: f64,
    picture: bool,
    phases: BTreeMap<InstanceId, String>,
    timeline: VecDeque<String>,
    before: Option<SimTime>,
    owed: Duration,
}

impl Live {
    pub(super) fn new(scenario: Scenario, seed: u64, speed: Option<f64>) -> Self {
        let picture = std::io::stdout().is_terminal();
        let speed = speed.unwrap_or(if picture { 60.0 } else { 0.0 });
        Self { scenario, seed, speed, picture, phases: BTreeMap::new(), timeline: VecDeque::new(), before: None, owed: Duration::ZERO }
    }

    /// Leaves the last picture on the screen.
    pub(super) fn end(&mut self) {
        if self.picture {
            put("\n");
        }
    }

    fn note(&mut self, at: SimTime, line: &str) {
        let line = format!("{:>3}:{:02}  {line}", at.as_secs() / 60, at.as_secs() % 60);
        if !self.picture {
            put(&format!("{line}\n"));
        }
        self.timeline.push_back(line);
        if self.timeline.len() > TIMELINE {
            self.timeline.pop_front();
        }
    }

    fn moves(&mut self, at: SimTime, region: &Region, stations: &Stations) {
        for (id, station) in stations {
            let status = station.status.borrow().clone();
            if status.phase.is_empty() || self.phases.get(id) == Some(&status.phase) {
                continue;
            }
            let before = self.phases.insert(id.clone(), status.phase.clone());
            let Some(before) = before else { continue };
            let group = region.instance(id).and_then(|i| i.group.clone()).map(|g| g.to_string()).unwrap_or_default();
            let why = status.held.or(status.reason).map(|why| format!("  ({why})")).unwrap_or_default();
            self.note(at, &format!("{} {group}: {before} → {}{why}", short(id), status.phase));
        }
    }

    fn draw(&self, at: SimTime, region: &mut Region, stations: &Stations, counts: Option<Counts>) {
        let mut text = String::from("\x1b[H\x1b[J");
        let clock = format!("{}:{:02}", at.as_secs() / 60, at.as_secs() % 60);
        let _ = writeln!(text, "bellrock drill {}   seed {}   {clock} (virtual)\n", self.scenario.name(), self.seed);
        let _ = writeln!(text, "  {:<26}{:<12}{:<12}{:<18}executions", "group / instance", "state", "intake", "agent");
        for name in region.group_names() {
            let Some(group) = region.group_now(&name).map(|d| d.group) else { continue };
            let mark = if group.is_disabled() { "disabled" } else { "enabled" };
            let _ = writeln!(text, "  {name:<26}{mark:<12}{}", group.capacity);
            for member in &group.instances {
                let phase = stations.get(&member.id).map(|s| s.status.borrow().phase.clone()).unwrap_or_default();
                let engine = stations.get(&member.id).and_then(|station| station.engine());
                let (intake, work) = engine.unwrap_or_else(|| (region.read_intake(&member.id), region.executing(&member.id).len()));
                let intake = match intake {
                    Some(true) => "open",
                    Some(false) => "closed",
                    None => "-",
                };
                let _ =
                    writeln!(text, "    {:<24}{:<12}{intake:<12}{phase:<18}{}", short(&member.id), member.state.as_str(), "▪".repeat(work));
            }
        }
        let truth = region.truth();
        let (mut finished, mut lost) = (0, 0);
        for execution in &truth.executions {
            finished += usize::from(execution.is_finished());
            lost += usize::from(execution.is_lost());
        }
        let _ = match counts {
            None => writeln!(text, "\n  executions: {} in, {finished} finished, {lost} lost\n", truth.executions.len()),
            Some(Counts { started, ended }) => {
                writeln!(text, "\n  executions: {started} in, {ended} ended; those that only wait are owned by nobody\n")
            }
        };
        for line in &self.timeline {
            let _ = writeln!(text, "  {line}");
        }
        put(&text);
    }

    /// Holds the play up, so that virtual time passes at the speed that was asked for.
    fn pace(&mut self, passed: Duration) {
        if self.speed > 0.0 {
            self.owed += passed.div_f64(self.speed);
        }
        if self.owed >= FRAME {
            stand_still(std::mem::take(&mut self.owed));
        }
    }
}

impl Watcher for Live {
    fn look(&mut self, region: &mut Region, stations: &Stations, counts: Option<Counts>, news: &[String]) {
        let at = region.now();
        for line in news {
            self.note(at, line);
        }
        self.moves(at, region, stations);
        if self.picture && self.owed + FRAME / 10 >= FRAME {
            self.draw(at, region, stations, counts);
        }
        let passed = at - self.before.replace(at).unwrap_or(at);
        self.pace(passed);
    }
}

fn short(id: &InstanceId) -> String {
    id.as_str().chars().take(10).collect()
}

/// A reader that has gone away must not stop the play.
fn put(text: &str) {
    let mut out = anstream::stdout();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
