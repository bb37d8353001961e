//! Bellrock keeps an orchestrator fleet on EC2 alive through its own redeployments: an old instance leaves only when it executes nothing,
//! and a bad deploy is rolled back without the orchestrator's help.
//!
//! This page is the architecture. `tests/architecture.rs` holds the same table of who may import whom and fails on an arrow that is not
//! in it; a change of the picture and of the table is one commit.
//!
//! # One way through the house
//!
//! ```text
//!  cloud   host   orchestrator   operators        outside systems, each behind a narrow trait of ours
//!     \      |        |         /
//!      observe ── Observation ──▶ decide::step ── Action ──▶ act ──▶ cloud, host, orchestrator
//!         ▲          pure: state + observation → state + actions      │
//!         └──────────────── an answer is an Observation ──────────────┘
//! ```
//!
//! The daemon owns one loop round this: take an observation, step, write the journal, act; where it runs pipelines itself, its engine works beside the
//! loop, and where it runs an orchestrator as a process, the care of it: `agent ─▶ keeper ─▶ command`, of which the agent may come and go. The rollback has the same shape, turned once per cluster: facts → plan → one step at a time → facts again, measured against what the plan
//! promised. The drill puts all three, unchanged, on a simulated region and keeps the verdict: of embedded engines a whole fleet, on one store in memory,
//! with a ledger of what their tasks really did.
//!
//! # Rooms, and who may import whom
//!
//! | room | what it is | may import |
//! |---|---|---|
//! | [`model`] | facts all rooms share: names, groups, activity, health, time as a value. *Pure* | nothing |
//! | [`supervise`] | every spawned task has a name and a policy; ordered stop | nothing |
//! | [`decide`] | the drain protocol as a state machine; `heal`: what is done about a sick orchestrator, in the same step. *Pure* | model |
//! | [`config`] | what was written becomes what is meant, with all problems at once | model, and the settings of decide, cloud, orchestrator |
//! | [`cloud`] | the cloud as traits; `aws` is the real one, the only place of SDK types | model |
//! | `cloud::sim` | the simulated region. Its core is *pure*; `local` fronts it in-process, `serve` over HTTP | model; `local`: orchestrator, host; `serve`: host, supervise |
//! | [`host`] | this machine: clock, service manager and its journal, processes and their figures | model, supervise |
//! | [`orchestrator`] | busy? taking new work? stop. `endpoint`: something else runs it; `supervised`: the agent sees that it runs, as a `process` under a keeper or as a `unit` of systemd's. `probe`: is it well? `permits`: may it be away? The only place of Redis and SQLite types | model, cloud, host, supervise |
//! | `orchestrator::engine` | our own pipelines: [`advance`](orchestrator::engine::advance::advance) takes an execution and an event to changes and commands; stage types, expressions, windows, documents. *Pure* | model |
//! | `orchestrator::orca` | an Orca beside the agent, as a person mends it: `zombie` (*pure*) tells which of its executions nobody works on | as orchestrator |
//! | `orchestrator::store` | where executions live and who owns which: a trait, one contract, three that keep it (Redis, a file, memory) | as orchestrator |
//! | `orchestrator::runner` | the shell round the engine: claims, writes, carries out effects, hands back; crons, notices, history | as orchestrator |
//! | [`rollback`] | plan (*pure*), carry out, verify, journal | model, cloud, host, supervise |
//! | [`observe`], [`act`] | the shells on either side of decide | model, decide, cloud, host, orchestrator; act: observe |
//! | [`journal`] | what an agent must remember over a crash, synced before it acts | model, decide |
//! | [`metrics`] | what an agent shows a scraper: its state and counts of what it did, as Prometheus's text. The only place of Prometheus types | model, decide, cloud, host, orchestrator |
//! | [`http`] | health, status, metrics, orders on the unix socket; `api`: the engine's calls, as Gate has them; for other machines over TLS, with tokens | model, decide, orchestrator, supervise, metrics |
//! | [`daemon`] | puts the agent together, owns its loop; `engine`: the embedded engine beside it | all but cli, rollback, drill |
//! | [`drill`] | rehearsals with a verdict | all but cli |
//! | [`cli`] | one file per command | all |
//!
//! `orchestrator` and `rollback` never import each other. A pure file names no runtime, no clock, no file, no log. A trait and its types
//! live in the room's `mod.rs`; the wire types behind it never leave their folder.
//!
//! # What must stay true
//!
//! * *Unknown is busy.* Activity has three values; an answer that is not understood, is old, or is from before intake was closed proves nothing.
//! * *Only ourselves.* The one call that ends an instance takes an id that only instance metadata can give, and it always decrements, unless
//!   healing has the instance replaced, or the group's desired is 0 already.
//! * *Written first.* What justifies an effect is in the journal, synced, before the effect; after a crash the journal is read, the world observed
//!   anew, and the effect perhaps repeated: every one of them is harmless twice, or is looked for before it is repeated.
//! * *The agent may come and go.* What it runs, jobs and the orchestrator, outlives it and is found again; nothing is begun beside something that lives.
//! * *A lost answer is not a no.* A mutation whose answer was lost is not repeated before reads have had time to show what it did.
//! * *Sizes are others' business.* The agent never sets desired, max or suspended processes; min only as its policy allows, on a superseded
//!   group that nobody holds, and only to desired − 1. What they were when the group was superseded it writes into a tag, once.
//! * *A rollback outranks a drain.* It marks its groups with a tag; agents read it before they end anything, hold, and take work again once
//!   their group is enabled. Not sooner: in a polling cluster the newest instance still polls then.
//! * *Healing helps or holds.* Nothing is restarted or replaced on a single sample, for a cause that siblings or the store share, on facts that are
//!   old, more often than its budget, or by more of a group at once than its share; where a fleet shares a store, not without a permit of it either.
//! * *Time is an argument.* One file reads the clock. Everything else can be run through a night in milliseconds.
//! * *Every wait ends.* Each call, queue and retry has a bound; when it is reached somebody is told, with a code that has a page in `runbooks/`.
//! * *Waiting owns nothing.* An execution with nothing under way belongs to no instance; one with work under way to exactly one, whose writes are
//!   fenced by an epoch. So a drain hands work back in moments, and a dead instance's work is adopted when its lease runs out.
//! * *An attempt is recorded before its effect.* An effect may be repeated after a crash, under the same key, and only where its kind says that this does no harm.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | application, cluster, server group | Spinnaker's: `app`, `app-stack-detail`, and an Auto Scaling group `app-stack-detail-vNNN` of it |
//! | superseded | a newer, enabled server group of the same cluster has enough healthy instances, in several agreeing reads |
//! | disabled | the group's `AddToLoadBalancer` process is suspended, as Spinnaker leaves it |
//! | intake | the orchestrator takes new work |
//! | activity | busy, idle or unknown: whether work is in flight on one instance |
//! | keeper | the process between an agent and the orchestrator it runs: it outlives the agent, and decides nothing |
//! | charge, care | an orchestrator whose process the agent looks after; that it does |
//! | generation | which process of the orchestrator answered; of a group, how many rollbacks it has seen |
//! | drain | close intake, wait until idle, end the instance, see it gone |
//! | retire | what becomes of a drained instance: out of the group, which shrinks by one |
//! | hold | of an agent: it waits for somebody, with a code. Of a group: a rollback has it in hand, by tag |
//! | look, deed | an action that reads, an action with an effect outside |
//! | probe, figure | a question from outside whether the orchestrator, or its store, is well; what the kernel shows of a process or of this host |
//! | sick | of an orchestrator: probes or figures say so for as long as is believed. *Hold*, of healing: nothing that is ours to do would help |
//! | permit, book | leave to be away for a while to be healed, of which a group has as many as its budget; where a fleet's store keeps them, one for each group of a region and account, its home |
//! | turn | the time in which one rank of a group's instances may act, so that no two do without a word between them |
//! | settle, quiet | the pause after intake is closed; the time idleness has to last before it is believed |
//! | found, record | of a group: as a rollback met it; the tag that says so as long as the rollback has not ended |
//! | freeze, bake | suspend what would fight a rollback, for as long as it works; see that what was verified stays true |
//! | canary | the one restored instance that has to serve before the others are launched |
//! | switch, put back, forward | the newest group goes to nothing; undoing before that, and undoing after it |
//! | refusal, finding | why a rollback is not begun; what may spoil it |
//! | heed | act on what AWS says of an instance's future: a spot interruption, a lifecycle hook, a recommendation |
//! | soak, keep | how long a superseded group is kept for a rollback; how many of its instances |
//! | execution, stage, task, attempt | Orca's: a pipeline on its way, its steps, their parts; one try of a task at an effect |
//! | effect, outcome | what a task wants done outside, as data; what came of it |
//! | session, lease, epoch | one life of an agent process; how long silence is allowed it; which ownership of an execution a write belongs to |
//! | park, adopt, hand off | give an execution back until something happens; take it from a session that is gone; give it back because of a drain |
//! | zombie | an execution that Orca has as RUNNING and that nobody works on |
//! | singleton | a cluster that must have one instance at most, such as the polling one: handed over, never doubled |

pub mod act;
pub mod cli;
pub mod cloud;
pub mod config;
pub mod daemon;
pub mod decide;
pub mod drill;
pub mod host;
pub mod http;
pub mod journal;
pub mod metrics;
pub mod model;
pub mod observe;
pub mod orchestrator;
pub mod rollback;
pub mod supervise;
