//! The pipeline engine: [`advance`](advance::advance): (execution, event) → (execution, commands). *Pure*: no I/O, no clock, no chance; seeds and times are arguments.
//!
//! ```text
//!   inbox, timers, outcomes ── Event ──▶ advance ── Changes ──▶ store (fenced write)
//!                                           │
//!                                           └───── Commands ──▶ runner: effects, outbox, gate ── Event …
//! ```
//!
//! What must stay true: every transition is guarded by the status it expects, so an event that comes twice or late changes nothing; an attempt is in the
//! changes before its effect is in the commands; whatever happens, an execution that was cancelled ends.
//!
//! # Orca's accidents, decided
//!
//! | accident | here |
//! |---|---|
//! | remaining tasks of a stage run on after a failure that `continuePipeline` forgives | repaired: the stage ends, the flow goes on |
//! | a cancelled execution without a message in the queue never ends | repaired: cancel completes it in the same step when no attempt is in flight |
//! | `"true"` as a text means "stop this branch" | repaired: refused when the pipeline is saved; read as the boolean it names in executions of other origin |
//! | the shown opening of an execution window is a day late | repaired: the true next opening |
//! | only the last pause counts against timeouts | repaired: all pauses do |
//! | a falsy parameter is replaced by its default | repaired: only an absent one is |
//! | an execution without any stage succeeds or fails depending on the path | kept as seen at start: no initial stage is `TERMINAL` |
//! | a restart leaves cancelled siblings as they were | kept: the execution then ends `CANCELED` |
//! | stages that wait for each other hang for ever | repaired: when nothing runs and nothing can start, the execution is `TERMINAL` |
//! | synthetic stages run on beside one that halted, after their parent has ended | repaired: they are called off, and the parent ends after them |
//! | a stage that goes on after a failure leaves its parallel siblings running when the parent ends | repaired: the parent ends after them |
//! | a paused execution leaves its slot to the next one, so that both run once it is resumed | repaired: it keeps its slot until it ends |
//! | a cancel is told as an end before anything has stopped | repaired: attempts in flight are aborted and their outcomes learnt, then it ends; within 30 s, a second cancel at once |

pub mod advance;
pub mod context;
pub mod cron;
pub mod definition;
pub mod effect;
pub mod event;
pub mod execution;
pub mod expression;
mod graph;
pub mod nesting;
pub mod problem;
pub mod seed;
pub mod stage;
pub mod status;
pub mod window;
