//! Why an expression has no value, and where.

use super::limit;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is not an expression.
    #[error("{0}")]
    Syntax(String),
    /// Too many characters.
    #[error("the expression has more than {} characters", limit::SOURCE_CHARS)]
    TooLong,
    /// Too many levels.
    #[error("the expression is nested more than {} levels deep", limit::DEPTH)]
    TooDeep,
    /// Too many steps.
    #[error("the expression takes too much work")]
    TooMuchWork,
    /// Too many bytes.
    #[error("the expression makes too much data")]
    TooLarge,
    /// Nobody knows the name.
    #[error("property '{name}' cannot be found on {on}")]
    NoProperty {
        /// The name.
        name: String,
        /// Kind of value that was asked.
        on: &'static str,
    },
    /// No such method, or not with these arguments.
    #[error("method {name} with {arguments} arguments cannot be called on {on}")]
    NoMethod {
        /// Its name.
        name: String,
        /// How many were given.
        arguments: usize,
        /// Kind of value that was asked.
        on: &'static str,
    },
    /// The values do not fit what is done with them.
    #[error("{0}")]
    Unfit(String),
    /// A type or a method that expressions may not use.
    #[error("{0} is not allowed in an expression")]
    Refused(String),
    /// One of the `#` functions said no.
    #[error("{why} - #{name} failed")]
    Function {
        /// Its name, without `#`.
        name: String,
        /// What it said.
        why: String,
    },
    /// A page has to be fetched first; then evaluate again with it in the scope.
    #[error("{0} has to be fetched first")]
    Needs(String),
}

impl Problem {
    /// An [`Problem::Unfit`].
    pub(super) fn unfit(text: impl Into<String>) -> Self {
        Self::Unfit(text.into())
    }

    /// With its place: bytes from the start of the source.
    pub(super) fn at(self, at: usize) -> Error {
        Error { problem: self, at }
    }

    /// The class Orca would have named; readers of `exceptionType` know these.
    pub fn exception_type(&self) -> &'static str {
        match self {
            Self::Syntax(_) | Self::TooDeep => "org.springframework.expression.ParseException",
            Self::TooLong
            | Self::TooMuchWork
            | Self::TooLarge
            | Self::NoProperty { .. }
            | Self::NoMethod { .. }
            | Self::Unfit(_)
            | Self::Refused(_) => "org.springframework.expression.spel.SpelEvaluationException",
            Self::Function { .. } | Self::Needs(_) => "com.netflix.spinnaker.kork.expressions.SpelHelperFunctionException",
        }
    }
}

/// A problem at its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} (at position {at})")]
pub struct Error {
    /// What.
    #[source]
    pub problem: Problem,
    /// Where: bytes from the start of what was evaluated.
    pub at: usize,
}

impl Error {
    /// The same, `by` bytes further on: from a part of a text to the text.
    pub(super) fn moved(mut self, by: usize) -> Self {
        self.at += by;
        self
    }

    /// The line of the source it is in, and a caret below the place: two lines for people. A long line is cut to what surrounds the place.
    pub fn caret(&self, source: &str) -> String {
        const AROUND: usize = 60;
        let at = floor(source, self.at.min(source.len()));
        let line_start = source[..at].rfind('\n').map_or(0, |n| n + 1);
        let line_end = source[at..].find('\n').map_or(source.len(), |n| at + n);
        let from = source[line_start..at].char_indices().rev().nth(AROUND - 1).map_or(line_start, |(i, _)| line_start + i);
        let to = source[at..line_end].char_indices().nth(AROUND).map_or(line_end, |(i, _)| at + i);
        let indent = source[from..at].chars().count();
        format!("{}\n{}^", &source[from..to], " ".repeat(indent))
    }
}

/// At most `limit` bytes of a text, cut between characters.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    &text[..floor(text, limit.min(text.len()))]
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
