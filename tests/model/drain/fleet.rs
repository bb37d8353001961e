//! What there is at one moment of the drain's model: the world, and two agents in it; and what of it tells one state from another.

use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::LazyLock;

use bellrock::decide;
use bellrock::decide::Durable;
use bellrock::decide::Phase;
use bellrock::decide::Progress;

use super::view::Field;
use super::view::Table;
use super::view::view;
use super::world::Life;
use super::world::TICK;
use super::world::Who;
use super::world::World;
use super::world::id;
use super::world::moment;

/// Turns of two members repeat after so many ticks.
pub const TURNS: u32 = 4;

/// What counts of an agent here.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    Table::new(
        TICK,
        &[
            (Field::Wall, &["wall"]),
            // The wall clock beside it says the same: here they never part.
            (Field::LeftOut, &["mono"]),
            // Keys count by what they belong to. The journal is written in the step that raises the version.
            (Field::LeftOut, &["next_key", "version"]),
            // Every look is due again at the next tick and not before, however its interval is jittered and stretched. That one is due at once counts: see `asked`.
            (Field::LeftOut, &["draws", "failures"]),
            // Every pause is over by the next tick, however often there was one before.
            (Field::LeftOut, &["held_count"]),
            // For people.
            (Field::LeftOut, &["finding", "fault", "fault_of", "deed_fault", "text", "unknown_since"]),
            // Read where there is no switch, where an instance protects itself, is healed, or waits in a hook: here none does.
            (Field::LeftOut, &["intake", "sample", "protection", "protected", "heal", "healed", "wait"]),
            // Compared by what AWS ends by itself and by hooks alone.
            (Field::LeftOut, &["doomed", "doomed_age", "target_back", "uninterrupted"]),
            // Of soak and deadline; there is neither.
            (Field::LeftOut, &["started", "age"]),
            (Field::Why, &["why", "reason", "last"]),
            // Agreeing reads, samples that make a quiet time, and reads that show the group enabled.
            (Field::UpTo(2), &["reads", "samples", "enabled"]),
            (Field::IdleSince, &["idle_since"]),
            (Field::IdleUntil, &["idle_until"]),
            // Of an order to terminate, when its drain began: a name for the intent.
            (Field::Back(0), &["drain"]),
            // Now or before; or not come yet.
            (Field::Back(0), &["from", "until", "again"]),
            (Field::Back(1), &["since", "at", "ordered", "asked"]),
            // A read of an earlier tick is too old, however old it is.
            (Field::Back(1), &["group", "cluster"]),
            // The settle time, and the time over which reads have to agree, are one tick each.
            (Field::Back(2), &["closed_since", "first"]),
        ],
    )
});

/// What may still go wrong, or come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Left {
    pub crashes: u8,
    pub lost: u8,
    pub stale: u8,
    /// Looks at an orchestrator that nobody can say anything of.
    pub unknown: u8,
    /// Ticks in which the gauge of one orchestrator falls to zero between two tasks of one execution (F4).
    pub gaps: u8,
    pub rollbacks: u8,
    /// The newer group falls sick, and gets well.
    pub sick: u8,
}

/// One agent.
#[derive(Clone, Debug)]
pub struct Agent {
    pub state: decide::State,
    pub disk: Durable,
    pub saved: u64,
    pub pending: Vec<decide::Action>,
    /// What tells it from others; none while it is being changed.
    pub view: Option<u64>,
}

impl Agent {
    pub fn phase(&self) -> &Phase {
        self.state.phase()
    }

    pub fn minds_work(&self) -> bool {
        !matches!(self.progress(), None | Some(Progress::Cancelled { .. }))
    }

    pub fn progress(&self) -> Option<&Progress> {
        self.state.durable().drain.as_ref().map(|drain| &drain.progress)
    }
}

/// All of it, at one moment.
#[derive(Clone)]
pub struct Fleet {
    pub tick: u32,
    pub world: World,
    pub left: Left,
    /// Whose gauge shows nothing for the rest of this tick.
    pub gap: Option<Who>,
    pub agents: [Arc<Agent>; 2],
    /// How many of the books that were before a read may show.
    pub reach: usize,
}

impl Fleet {
    /// The two are alike but for their turns, and those are two ticks apart: of a state and its mirror image one is enough.
    fn normal(&self) -> (u32, World, Option<Who>, [Option<u64>; 2], Left) {
        let world = self.world.normal(self.tick, self.reach);
        let views = [0, 1].map(|who| if self.world.life(who) == Life::Gone { None } else { self.agents[who].view });
        let plain = (self.tick % TURNS, world, self.gap, views, self.left);
        let mirrored = ((self.tick + TURNS / 2) % TURNS, world.mirrored(), self.gap.map(|who| 1 - who), [views[1], views[0]], self.left);
        plain.min(mirrored)
    }
}

impl Fleet {
    /// A superseded group is left by both; of an enabled one, whoever was not ended works.
    pub fn has_come_to_its_end(&self) -> bool {
        let has = |who: Who| match self.world.life(who) {
            Life::InService => self.world.books.enabled && self.works(who),
            Life::Ending | Life::Gone => true,
        };
        has(0) && has(1)
    }

    pub fn works(&self, who: Who) -> bool {
        self.world.machines[who].open && matches!(self.agents[who].phase(), Phase::Working)
    }

    pub fn look_back(&mut self) {
        let now = moment(self.tick);
        for who in [0, 1] {
            if self.agents[who].view.is_none() {
                let agent = Arc::make_mut(&mut self.agents[who]);
                let same = agent.disk == *agent.state.durable();
                agent.view = Some(view(&TABLE, &agent.state, &agent.pending, same, &[id(who), id(1 - who)], now));
            }
        }
    }
}

impl Hash for Fleet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.normal().hash(state);
    }
}

impl PartialEq for Fleet {
    fn eq(&self, other: &Self) -> bool {
        self.normal() == other.normal()
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phases = self.agents.each_ref().map(|agent| agent.phase().word());
        write!(f, "tick {} {phases:?} {:?}", self.tick, self.world)
    }
}
