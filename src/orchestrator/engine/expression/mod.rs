//! Expressions: the part of Spring's expression language that pipelines use, as a small language of our own. *Pure*.
//!
//! ```text
//!   context ── render ──▶ template: text and ${…} ──▶ parse: Expr ──▶ eval ──▶ Datum ──▶ value, summary, needs
//!                              what the names mean: Scope ──────────────┘
//! ```
//!
//! What must stay true: nothing is reached but what the [`Scope`] hands out and the functions listed in `function`, `method` and `java`; there is no
//! reflection and no I/O. A page that `#fromUrl` and its kin want is asked for ([`Rendered::needs`]), fetched by the caller under its allow-list, and the
//! evaluation is run again with the page in the scope. Hostile input costs a bounded amount of time, stack and memory ([`limit`]).
//!
//! How it fails: an expression that fails leaves its text as it stood, and the summary says why, with the place. Nothing here decides what becomes of the
//! stage.
//!
//! # Orca's accidents, decided
//!
//! | accident | here |
//! |---|---|
//! | one failing part of a text keeps all parts of the text from being resolved | repaired: the other parts are resolved |
//! | `#doNotEval` holds for one pass; the next one evaluates what it kept | repaired: the context remembers (`notEvaluated`) |
//! | an answer, a judgment or a payload with `${` in it is evaluated | repaired: what was told is text ([`merge_told`]) |
//! | a condition is resolved as a text first, and its result evaluated | repaired: `${…}` within a condition gives plain words only ([`optional`]) |
//! | whole numbers wrap round at 32 bits | repaired: 64 bits, and an overflow is an error |
//! | regular expressions may take for ever | repaired: linear time; look-around and back-references are refused |
//! | a result that contains `${` is evaluated by the next pass | repaired: only a pipeline's own words are evaluated; a result may be anybody's text |
//! | an empty text counts as missing before `?:` | kept |
//! | a condition that cannot be evaluated skips its stage | kept, and said ([`optional`]) |

pub mod address;
mod budget;
mod datum;
mod derived;
mod error;
mod eval;
pub mod facts;
mod function;
mod java;
pub mod limit;
mod method;
mod notes;
mod operator;
pub mod optional;
mod parse;
mod pattern;
mod render;
mod summary;
mod syntax;
mod template;

#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;
use serde_json::Value;

pub use self::datum::Datum;
pub use self::datum::Record;
pub use self::error::Error;
pub use self::error::Problem;
pub use self::notes::KEY as NOTES_KEY;
pub use self::notes::has_open;
pub use self::notes::merge_told;
pub use self::render::Rendered;
pub use self::render::render;
pub use self::render::render_object;
pub use self::summary::Entry;
pub use self::summary::Level;
pub use self::summary::SUMMARY_KEY;
pub use self::summary::Summary;
use crate::model::Timestamp;

/// What the names in an expression mean. Implemented over an execution and one of its stages, or over plain JSON ([`facts::Facts`]).
pub trait Scope {
    /// What a plain name means: a key of the stage's context, of the nearest ancestor's outputs, `execution`, `trigger`, …; `None` when unknown.
    /// `parameters`, `scmInfo` and `deployedServerGroups` are derived from `trigger` and the stages when this knows nothing of them.
    fn root(&self, name: &str) -> Option<Datum<'_>>;

    /// The stages of the execution in order, for `#stage` and its kin. Each has the fields of a stored stage (`id`, `refId`, `name`, `type`, `status`,
    /// `context`, `outputs`).
    fn stages(&self) -> Vec<Datum<'_>> {
        Vec::new()
    }

    /// The stage whose text is evaluated.
    fn current_stage(&self) -> Option<Datum<'_>> {
        None
    }

    /// Who acts: whoever started the execution, or the judge who took over.
    fn user(&self) -> Option<&str> {
        None
    }

    /// Now.
    fn now(&self) -> Timestamp;

    /// Zone of dates without one.
    fn zone(&self) -> TimeZone {
        TimeZone::UTC
    }

    /// Chance, for `Math.random`, `Random` and `UUID`: another one for each pass, the same one when a pass is run again.
    fn seed(&self) -> u64 {
        0
    }

    /// A page asked for in an earlier run, or the id of a pipeline ([`address::of_pipeline`]): the text, or why it could not be had. `None` when it was not
    /// fetched.
    fn fetched(&self, url: &str) -> Option<Result<&str, &str>> {
        let _ = url;
        None
    }
}

/// What an unknown name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Null: within a stage.
    Null,
    /// An error: in the trigger and at the level of the pipeline.
    Refused,
}

/// Evaluates one expression, written without `${` and `}`.
///
/// Fails with [`Problem::Needs`] when a page has to be fetched first.
pub fn evaluate(source: &str, scope: &dyn Scope, unknown: Unknown) -> Result<Value, Error> {
    eval::run(source, scope, unknown, &budget::Budget::for_pass(), Datum::into_value)
}

/// Says what is wrong with the form of an expression, written without `${` and `}`, before anything is known of its names.
pub fn check(source: &str) -> Result<(), Error> {
    parse::parse(source).map(drop)
}

/// A text is one `${…}` and nothing else.
pub fn is_whole(text: &str) -> bool {
    matches!(template::parts(text.trim()).as_deref(), Ok([template::Part::Code { .. }]))
}

/// Says what is wrong with the form of every `${…}` in a text. Positions count from the start of the text.
pub fn check_text(text: &str) -> Result<(), Error> {
    let mut parts = template::parts(text)?.into_iter();
    parts.try_for_each(|part| match part {
        template::Part::Text(_) => Ok(()),
        template::Part::Code { source, at } => check(source).map_err(|e| e.moved(at)),
    })
}
