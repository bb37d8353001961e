//! The process between the agent and the orchestrator: it outlives the agent, reads the orchestrator's output, and records how it ended.
//!
//! What must stay true: its own record is in place before the command is begun; every orphan among the command's descendants becomes its child, so
//! that none is lost and none stays a zombie; the end is recorded at once, whatever holds the output open, or a second later where a daemon may be left;
//! and when it lets go of the lock on its standard input, nothing of the command runs any more. It starts nothing a second time. SIGTERM, whoever sends
//! it, ends the command.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use futures::FutureExt;
use rustix::process::Signal as Kill;
use rustix::process::WaitOptions;
use rustix::process::WaitStatus;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use super::output::Output;
use super::record;
use super::record::Order;
use super::record::Run;
use super::record::Stop;
use crate::host::boot;
use crate::host::clock::SystemClock;
use crate::host::family::Kin;
use crate::host::family::Member;
use crate::host::folder;
use crate::host::process;
use crate::host::process::Process;
use crate::model::Clock;
use crate::orchestrator::supervised::Exit;

/// From the end of the command, or of an asked stop's grace, until what it left behind is killed.
const LINGER: Duration = Duration::from_secs(2);
/// Between two tries to record what a full disk did not take, and between two counts of dropped lines.
const RECORD_EVERY: Duration = Duration::from_secs(15);
/// A daemon leaves its parent's process group right after the parent has ended well, when it gets to it.
const DAEMON_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks for it: each reads all of `/proc`.
const DAEMON_LOOK: Duration = Duration::from_millis(50);
/// What cannot be killed is tried again.
const KILL_AGAIN: Duration = Duration::from_secs(5);

/// Looks after the process of this folder until its end.
pub async fn run(at: &Path) -> io::Result<()> {
    // Out of the agent's session, so that no terminal and no group reaches us; refused only to one that leads its group.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let terminate = signal(SignalKind::terminate())?;
    let children = signal(SignalKind::child())?;
    let order: Order = folder::read(at, record::ORDER)?.ok_or_else(|| io::Error::other("there is no order in this folder"))?;
    let (me, boot) = (process::find(std::process::id())?, boot::id()?);
    let clock = SystemClock::start();
    let found = folder::read::<Run>(at, record::RUN)?.filter(|run| order.take_up && run.boot == boot);
    let now = clock.now().wall;
    let blank = Run { boot, digest: order.digest.clone(), keeper: me, founder: me, main: None, since: now, ended: None, dropped_lines: 0 };
    let run = found.map_or(blank, |found| Run { keeper: me, ..found });
    let mark = Some(format!("{}={}", record::MARK, at.display()));
    let kin = Kin { mark, session: Some(run.founder), ancestor: Some(me.pid) };
    let output = Output::open(at, &order)?;
    let (dropped_before, recorded_at) = (run.dropped_lines, clock.now().mono);
    let mut keeper = Keeper {
        at: at.to_owned(),
        order,
        kin,
        run,
        clock,
        children,
        terminate,
        output,
        dropped_before,
        is_recorded: false,
        recorded_at,
        grace_until: Duration::ZERO,
    };
    match folder::write(at, record::RUN, &keeper.run) {
        // What lives is on record, and its output has to be read; the record is tried again.
        Err(_) if keeper.order.take_up => {}
        // Without a record nobody would know of what is begun.
        written => written?,
    }
    keeper.live().await?;
    keeper.leave().await
}

struct Keeper {
    at: PathBuf,
    order: Order,
    kin: Kin,
    run: Run,
    clock: SystemClock,
    children: Signal,
    terminate: Signal,
    output: Output,
    dropped_before: u64,
    is_recorded: bool,
    recorded_at: Duration,
    /// Until when, by the monotonic clock, an asked stop has its grace.
    grace_until: Duration,
}

/// What happened next.
enum Event {
    /// The command ended, so far as it is known how.
    Ended(Option<WaitStatus>),
    /// It shall.
    Stop,
}

impl Keeper {
    /// From the start of the command to its end.
    async fn live(&mut self) -> io::Result<()> {
        let mut group = match (self.order.take_up, self.run.main) {
            (false, _) => {
                if self.terminate.recv().now_or_never().is_some() {
                    self.end(Exit { asked: true, error: Some("it was called off before it was begun".to_owned()), ..Exit::default() });
                    return Ok(());
                }
                match self.begin() {
                    Ok(main) => main.pid,
                    Err(error) => {
                        self.end(Exit { error: Some(error), ..Exit::default() });
                        return Ok(());
                    }
                }
            }
            (true, Some(main)) => process::member(main.pid).map_or(main.pid, |member| member.group),
            (true, None) => 0,
        };
        self.record();
        let mut asked = false;
        loop {
            let event = match self.run.main {
                Some(main) => self.next(main).await?,
                // What is taken up has lost its command.
                None => Event::Ended(None),
            };
            let status = match event {
                Event::Ended(status) => status,
                Event::Stop => {
                    asked = true;
                    self.stop().await?
                }
            };
            let exit = Exit {
                code: status.and_then(WaitStatus::exit_status),
                signal: status.and_then(WaitStatus::terminating_signal),
                asked,
                ..Exit::default()
            };
            let Some(heir) = self.heir(group, &exit).await? else {
                self.end(exit);
                return Ok(());
            };
            self.output.say(&format!("the command went to the background; process {} is followed from here on", heir.process.pid));
            group = heir.group;
            self.run.main = Some(heir.process);
            self.run.since = self.clock.now().wall;
            self.record();
        }
    }

    /// Who takes the command's place, now or in a moment.
    async fn heir(&mut self, group: u32, exit: &Exit) -> io::Result<Option<Member>> {
        if !may_have_heirs(exit) {
            return Ok(None);
        }
        let until = self.clock.now().mono.saturating_add(DAEMON_WITHIN);
        loop {
            let left = self.kin.members()?;
            let heir = heir(&left, group, exit);
            if heir.is_some() || left.is_empty() || self.clock.now().mono >= until {
                return Ok(heir);
            }
            attend(&mut self.output, tokio::time::sleep(DAEMON_LOOK)).await?;
        }
    }

    /// Ends what the command left behind, and reads its last words.
    async fn leave(mut self) -> io::Result<()> {
        let grace = self.grace_until.saturating_sub(self.clock.now().mono);
        if !grace.is_zero() {
            // All were told when the stop was asked for; told again, some would cut short what they do to end.
            let kin = self.kin.clone();
            let _ = attend(&mut self.output, kin.gone_within(grace)).await?;
        }
        let lingering = self.kin.end(Kill::TERM, LINGER);
        let mut gone = attend(&mut self.output, lingering).await?;
        while !gone? {
            self.output.say("something of the orchestrator cannot be killed; it is tried again");
            let kin = self.kin.clone();
            let again = async {
                tokio::time::sleep(KILL_AGAIN).await;
                kin.kill().await
            };
            gone = attend(&mut self.output, again).await?;
        }
        self.run.dropped_lines = self.dropped_before + self.output.finish().await;
        // The end is there already; the count is worth one try.
        let _ = folder::write(&self.at, record::RUN, &self.run);
        Ok(())
    }

    fn begin(&mut self) -> Result<Process, String> {
        let (program, arguments) = self.order.argv.split_first().ok_or("the command is empty")?;
        let ends = || Ok::<_, io::Error>((Output::end(&self.at)?, Output::end(&self.at)?));
        let (out, err) = ends().map_err(|e| format!("its output cannot be opened: {e}"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        command.current_dir(self.order.directory.as_deref().unwrap_or(Path::new("/")));
        let child = command.spawn().map_err(|e| format!("{program} could not be started: {e}"))?;
        // Only we wait for it, so that its pid is its own, dead or alive.
        let main = process::find_child(child.id()).map_err(|e| format!("{program} cannot be told from others: {e}"))?;
        unprotect(main.pid);
        self.run.main = Some(main);
        self.run.since = self.clock.now().wall;
        Ok(main)
    }

    async fn next(&mut self, main: Process) -> io::Result<Event> {
        loop {
            // All arms may be dropped: a status that was waited for is answered at once, a signal stays until it is taken.
            tokio::select! {
                status = ended(&mut self.children, main) => return Ok(Event::Ended(status)),
                _ = self.terminate.recv() => return Ok(Event::Stop),
                done = self.output.turn() => done?,
                () = tokio::time::sleep(RECORD_EVERY), if !self.is_current() => {}
            }
            if !self.is_current() && self.clock.now().mono.saturating_sub(self.recorded_at) >= RECORD_EVERY {
                self.record();
            }
        }
    }

    /// Asks the command and all that came of it to end, then makes them.
    async fn stop(&mut self) -> io::Result<Option<WaitStatus>> {
        let Some(main) = self.run.main else { return Ok(None) };
        let asked = folder::read::<Stop>(&self.at, record::STOP).ok().flatten().map(|stop| stop.grace_ms);
        let grace = Duration::from_millis(asked.unwrap_or(self.order.grace_ms));
        self.grace_until = self.clock.now().mono.saturating_add(grace);
        let signal = Kill::from_named_raw(self.order.signal).unwrap_or(Kill::TERM);
        for member in self.kin.members()? {
            // One that ended by itself is what was wanted.
            let _ = process::signal(member.process, signal);
        }
        let ending = tokio::time::timeout(grace, ended(&mut self.children, main));
        if let Ok(status) = attend(&mut self.output, ending).await? {
            return Ok(status);
        }
        self.output.say(&format!("the orchestrator did not end within {} s and is killed", grace.as_secs()));
        let killing = self.kin.kill();
        // What is left is tried again before we leave.
        let _ = attend(&mut self.output, killing).await?;
        let waiting = tokio::time::timeout(LINGER, ended(&mut self.children, main));
        Ok(attend(&mut self.output, waiting).await?.unwrap_or(None))
    }

    fn end(&mut self, exit: Exit) {
        let exit = Exit { at: self.clock.now().wall, ..exit };
        self.output.say(&format!("the orchestrator ended: {}", exit.describe()));
        self.run.ended = Some(exit);
        self.record();
    }

    fn is_current(&self) -> bool {
        self.is_recorded && self.run.dropped_lines == self.dropped_before + self.output.dropped()
    }

    fn record(&mut self) {
        self.run.dropped_lines = self.dropped_before + self.output.dropped();
        let written = folder::write(&self.at, record::RUN, &self.run);
        if let (Err(e), true) = (&written, self.is_recorded) {
            self.output.say(&format!("the run cannot be recorded: {e}; it is tried again"));
        }
        (self.is_recorded, self.recorded_at) = (written.is_ok(), self.clock.now().mono);
    }
}

/// Reads the output while something else goes on.
async fn attend<T>(output: &mut Output, work: impl Future<Output = T>) -> io::Result<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            // Dropped in the middle, it loses nothing.
            turned = output.turn() => turned?,
        }
    }
}

/// Waits for the end of this process and for every orphan that ends before. `None`: it was no child of ours, so nobody knows how it ended.
async fn ended(children: &mut Signal, main: Process) -> Option<WaitStatus> {
    loop {
        // Looked at first: one that dies after this look is waited for, or looked at again. Who cannot be looked at is not taken for dead.
        let lives = process::lives(main).unwrap_or(true);
        let mut found = None;
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if u32::try_from(pid.as_raw_nonzero().get()) == Ok(main.pid) {
                found = Some(status);
            }
        }
        if found.is_some() || !lives {
            return found;
        }
        // A signal that comes while nobody waits stays; both are looked into by the loop.
        tokio::select! {
            _ = children.recv() => {}
            () = process::gone(main) => {}
        }
    }
}

/// Who takes the place of a command that went to the background: the oldest it left outside its own process group. A command that failed or was told
/// to end has no heir; one whose end nobody saw may have.
fn heir(left: &[Member], group: u32, exit: &Exit) -> Option<Member> {
    left.iter().find(|member| may_have_heirs(exit) && member.group != group).copied()
}

fn may_have_heirs(exit: &Exit) -> bool {
    let failed = exit.signal.is_some() || exit.code.is_some_and(|code| code != 0);
    !exit.asked && !failed
}

/// The agent's unit guards the agent against a host without memory. The orchestrator is what memory is wanted for, so it is not guarded.
fn unprotect(pid: u32) {
    let path: OsString = format!("/proc/{pid}/oom_score_adj").into();
    let guarded = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<i32>().ok()).is_some_and(|score| score < 0);
    if guarded {
        // One that has ended needs none.
        let _ = std::fs::write(&path, "0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_went_to_the_background_has_an_heir() {
        let member = |pid, group| Member { process: Process { pid, start_ticks: 1 }, parent: 1, group, session: 1 };
        let (helper, daemon) = (member(11, 10), member(12, 12));
        let left = [helper, daemon];
        let exit = |code, signal, asked| Exit { code, signal, asked, ..Exit::default() };
        assert_eq!(heir(&left, 10, &exit(Some(0), None, false)), Some(daemon));
        assert_eq!(heir(&left, 10, &exit(None, None, false)), Some(daemon), "nobody saw how it ended, and it may work");
        assert_eq!(heir(&[helper], 10, &exit(Some(0), None, false)), None, "a helper is no daemon");
        for failed in [exit(Some(1), None, false), exit(None, Some(9), false), exit(Some(0), None, true)] {
            assert_eq!(heir(&left, 10, &failed), None, "{failed:?}");
        }
    }
}
