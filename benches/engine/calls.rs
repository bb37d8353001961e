//! Each kind of call to the store by itself, with what the engine does between them.

use std::sync::Arc;
use std::time::Duration;

use bellrock::host::clock::SystemClock;
use bellrock::model::Clock;
use bellrock::orchestrator::engine::advance::World;
use bellrock::orchestrator::engine::advance::advance;
use bellrock::orchestrator::engine::effect::Outcome;
use bellrock::orchestrator::engine::event::Command;
use bellrock::orchestrator::engine::event::Event;
use bellrock::orchestrator::engine::execution::Execution;
use bellrock::orchestrator::engine::stage::Registry;
use bellrock::orchestrator::engine::stage::noop::Noop;
use bellrock::orchestrator::store::Claimed;
use bellrock::orchestrator::store::Lease;
use bellrock::orchestrator::store::Session;
use bellrock::orchestrator::store::Store;
use bellrock::orchestrator::store::Then;
use bellrock::orchestrator::store::Write;
use bellrock::orchestrator::store::record;
use futures::StreamExt;
use futures::stream;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::Arguments;
use crate::Result;
use crate::place;
use crate::place::Place;
use crate::submit;
use crate::submit::AT_ONCE;
use crate::submit::TASKS;

/// The lease of the session that does it all: longer than any measurement.
const LEASE: Duration = Duration::from_secs(3_600);

/// An owner of many executions that does one thing with all of them before the next.
pub(crate) struct Owner {
    pub(crate) store: Arc<dyn Store>,
    session: Session,
    registry: Registry,
    clock: SystemClock,
}

/// One of them.
pub(crate) struct Life {
    execution: Execution,
    lease: Lease,
    /// Writes of this ownership.
    writes: u32,
    event: Event,
}

impl Owner {
    pub(crate) async fn new(store: Arc<dyn Store>) -> Result<Self> {
        let session = Session { instance: "bench".into(), process: "1".into() };
        if !store.beat(&session, LEASE).await? {
            return Err("the session is another's".into());
        }
        Ok(Self { store, session, registry: Registry::standard().with(Noop), clock: SystemClock::start() })
    }

    pub(crate) async fn claim(&self, executions: usize) -> Result<Vec<Claimed>> {
        let mut claimed = Vec::with_capacity(executions);
        while claimed.len() < executions {
            claimed.extend(self.store.claim(&self.session, AT_ONCE).await?);
        }
        Ok(claimed)
    }

    pub(crate) fn advance(&self, lives: &mut [Life]) -> Result<()> {
        for Life { execution, event, .. } in lives {
            let now = self.clock.now().wall;
            let world = World { registry: &self.registry, now, zone: &TimeZone::UTC, instance: "bench", seed: 0 };
            let advanced = advance(execution, std::mem::replace(event, Event::Tick), &world);
            for command in advanced.commands {
                if let Command::Perform { key, .. } = command {
                    *event = Event::Done { key, outcome: Outcome::Done { output: Value::Null } };
                } else if let Command::Admit { .. } = command {
                    return Err("an execution waits for a slot".into());
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn write(&self, writes: Vec<Write>) -> Result<()> {
        let mut written = stream::iter(writes).map(|write| self.store.write(write)).buffer_unordered(AT_ONCE);
        while let Some(done) = written.next().await {
            done?;
        }
        Ok(())
    }
}

pub(crate) fn decode(claimed: Vec<Claimed>) -> Result<Vec<Life>> {
    let decode = |Claimed { lease, record, .. }| {
        let execution = record::decode(&lease.execution, None, &record)?;
        Ok(Life { execution, lease, writes: 0, event: Event::Tick })
    };
    claimed.into_iter().map(decode).collect()
}

/// What changed, as it is to be written. Those that ended are finished.
pub(crate) fn encode(lives: &mut [Life]) -> Vec<Write> {
    let encode = |Life { execution, lease, writes, event: _ }: &mut Life| {
        *writes += 1;
        let changes = execution.take_changes();
        let record::FieldChanges { set, remove, stage_index } = record::encode_changes(execution, &changes);
        let listing = changes.summary.then(|| record::listing(execution));
        let then = if execution.status().is_complete() { Then::Finish } else { Then::Keep };
        Write { lease: lease.clone(), number: *writes, set, remove, stage_index, listing, taken: 0, notices: vec![], then }
    };
    lives.iter_mut().map(encode).collect()
}

fn bytes(writes: &[Write]) -> usize {
    writes.iter().flat_map(|write| &write.set).map(|(name, text)| name.len() + text.len()).sum()
}

/// The life of executions call by call: all of them are taken through each before the next begins.
pub(crate) async fn phases(arguments: &Arguments, executions: usize) -> Result<()> {
    let place = Place::new(arguments)?;
    let (store, background) = place::open(place.kind, &place.address, "phases").await?;
    let work = async {
        println!("| phase | this process, µs an execution | Redis CPU, µs an execution | bytes of fields |\n|---|---|---|---|");
        let owner = Owner::new(store).await?;
        let mut phase = Phase::new(&place);
        submit::submit_all(&*owner.store, &submit::chain(), executions).await?;
        phase.print("create", executions, 0);
        let claimed = owner.claim(executions).await?;
        phase.print("claim", executions, 0);
        let mut lives = decode(claimed)?;
        phase.print("decode", executions, 0);
        for step in 0..=TASKS {
            owner.advance(&mut lives)?;
            phase.print(&format!("advance {step}"), executions, 0);
            let writes = encode(&mut lives);
            let bytes = bytes(&writes);
            phase.print(&format!("encode {step}"), executions, bytes);
            owner.write(writes).await?;
            phase.print(&format!("write {step}"), executions, bytes);
        }
        Result::Ok(())
    };
    place::beside_background(background, work).await?
}

/// Processor time since the last phase ended.
pub(crate) struct Phase<'a> {
    place: &'a Place,
    own: Duration,
    server: Duration,
}

impl<'a> Phase<'a> {
    pub(crate) fn new(place: &'a Place) -> Self {
        Self { place, own: place::cpu_of(std::process::id()), server: place.server_cpu() }
    }

    /// Microseconds for each of so many: of this process, of Redis.
    pub(crate) fn ends(&mut self, times: usize) -> (f64, f64) {
        let now = Self::new(self.place);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / times as f64;
        let took = (each(now.own - self.own), each(now.server - self.server));
        *self = now;
        took
    }

    fn print(&mut self, name: &str, executions: usize, bytes: usize) {
        let (own, server) = self.ends(executions);
        println!("| {name} | {own:.1} | {server:.1} | {} |", bytes / executions);
    }
}
