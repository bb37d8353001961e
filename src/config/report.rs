//! Where a value comes from and what is wrong with it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "in")]
pub enum Place {
    /// In the file, counted from 1.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Line.
        line: usize,
        /// Column, in characters.
        column: usize,
    },
    /// In this environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// Nowhere: the shipped default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One key with the value in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// `section.key`.
    pub key: &'static str,
    /// As it would be written in the file; `None` = not set. Passwords in URLs are blotted out.
    pub value: Option<String>,
    /// Who said so.
    pub from: Place,
    /// False for a key of something that was not chosen: its default has no effect.
    pub used: bool,
    /// Tells one password from another.
    #[serde(skip)]
    pub(super) exact: Exact,
}

/// A value with its passwords, which nothing shows.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Exact(pub(super) Option<String>);

impl fmt::Debug for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// `section.key`; empty when the text is no TOML at that place.
    pub key: String,
    /// What is wrong, with the value.
    pub wrong: String,
    /// What would be right.
    pub allowed: String,
}

impl Problem {
    /// What is wrong and what would be right, in one line.
    pub fn message(&self) -> String {
        if self.allowed.is_empty() { self.wrong.clone() } else { format!("{}; {}", self.wrong, self.allowed) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message())
    }
}

/// Everything that is wrong with a configuration, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    /// A line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}
