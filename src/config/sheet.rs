//! All that was written, as a flat sheet of keys with their places: the file first, the environment over it.
//!
//! Each key is asked for exactly once, by name and type. What nobody asked for is unknown, so the code that reads a key is its schema.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::kind::Kind;
use super::report::Exact;
use super::report::Place;
use super::report::Problem;
use super::report::Setting;

/// What the parser says of a key or a section that it has met before.
const DUPLICATE: &str = "duplicate key";

pub(super) struct Sheet<'a> {
    path: &'a Path,
    text: &'a str,
    written: DeTable<'a>,
    env: &'a BTreeMap<String, String>,
    used: BTreeSet<&'static str>,
    /// What the keys that are read now belong to, beside their own choice.
    within: Option<Chosen>,
    settings: Vec<Setting>,
    problems: Vec<Problem>,
    /// Lines where the text is no TOML.
    broken: BTreeSet<usize>,
}

/// A choice that gives other keys their meaning.
pub(super) struct Chosen {
    /// Whether it was made.
    pub(super) holds: bool,
    /// The key that makes it.
    pub(super) by: &'static str,
    /// The value of `by`, or whatever else makes it, for people.
    pub(super) what: &'static str,
}

impl Chosen {
    /// For keys that always have a meaning.
    pub(super) fn always() -> Self {
        Self { holds: true, by: "", what: "" }
    }

    fn name(&self) -> String {
        if self.what.starts_with('"') { format!("{} = {}", self.by, self.what) } else { self.what.to_owned() }
    }
}

impl<'a> Sheet<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str, env: &'a BTreeMap<String, String>) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut sheet = Self {
            path,
            text,
            written: table.into_inner(),
            env,
            used: BTreeSet::new(),
            within: None,
            settings: Vec::new(),
            problems: Vec::new(),
            broken: BTreeSet::new(),
        };
        for error in errors {
            let place = sheet.at(error.span().map_or(text.len(), |span| span.start));
            if matches!(place, Place::File { line, .. } if !sheet.broken.insert(line)) {
                continue;
            }
            let written = error.span().and_then(|span| text.get(span)).filter(|written| !written.is_empty() && !written.contains('\n'));
            let wrong = match (error.message(), written) {
                (DUPLICATE, Some(written)) => format!("{DUPLICATE}: {written} is written twice"),
                (message, _) => message.to_owned(),
            };
            sheet.problems.push(Problem { place, key: String::new(), wrong, allowed: String::new() });
        }
        sheet
    }

    /// Keys that are read from now on belong to `within` as well. Answers what they belonged to until now.
    pub(super) fn within(&mut self, within: Option<Chosen>) -> Option<Chosen> {
        std::mem::replace(&mut self.within, within)
    }

    /// The value of a key, or `default` when it is not written (or wrong, which is noted).
    pub(super) fn read<T: Kind>(&mut self, key: &'static str, default: T) -> T {
        self.chosen_or(&Chosen::always(), key, default)
    }

    /// The value of a key that has no default.
    pub(super) fn optional<T: Kind>(&mut self, key: &'static str) -> Option<T> {
        self.chosen(&Chosen::always(), key)
    }

    /// The value of a key that belongs to `chosen`, or `default`.
    pub(super) fn chosen_or<T: Kind>(&mut self, chosen: &Chosen, key: &'static str, default: T) -> T {
        let (value, from) = self.take(key).unwrap_or((default, Place::Default));
        self.settle(chosen, key, Some(&value), from);
        value
    }

    /// The value of a key that belongs to `chosen`, where it may be missing.
    pub(super) fn chosen<T: Kind>(&mut self, chosen: &Chosen, key: &'static str) -> Option<T> {
        let (value, from) = self.take::<T>(key).map_or((None, Place::Default), |(value, from)| (Some(value), from));
        self.settle(chosen, key, value.as_ref(), from);
        value
    }

    /// The value of a key that `chosen` cannot do without.
    pub(super) fn needed<T: Kind>(&mut self, chosen: &Chosen, key: &'static str) -> Option<T> {
        let value = self.chosen(chosen, key);
        if chosen.holds && self.within.as_ref().is_none_or(|within| within.holds) && !self.is_written(key) {
            self.wrong(chosen.by, format!("{} needs {key}", chosen.what), format!("allowed there: {}", T::allowed()));
        }
        value
    }

    fn settle<T: Kind>(&mut self, chosen: &Chosen, key: &'static str, value: Option<&T>, from: Place) {
        let written = from != Place::Default;
        let exact = Exact(value.map(Kind::exact));
        let beyond = self.within.as_ref().filter(|within| !within.holds).map(Chosen::name);
        self.settings.push(Setting { key, value: value.map(Kind::show), from, used: chosen.holds && beyond.is_none(), exact });
        if let Some(beyond) = beyond.filter(|_| written) {
            self.wrong(key, "has no effect here", format!("set {beyond}"));
        } else if written && !chosen.holds {
            self.wrong(key, "has no effect here", format!("it belongs to {}", chosen.name()));
        }
    }

    /// Notes a problem with a key that was read, at the place where it was written.
    pub(super) fn wrong(&mut self, key: &'static str, wrong: impl Into<String>, allowed: impl Into<String>) {
        let place = self.settings.iter().find(|s| s.key == key).map_or(Place::Default, |s| s.from.clone());
        self.problems.push(Problem { place, key: key.into(), wrong: wrong.into(), allowed: allowed.into() });
    }

    /// Notes a problem unless `good`.
    pub(super) fn check(&mut self, key: &'static str, good: bool, wrong: impl Into<String>, allowed: impl Into<String>) {
        if !good {
            self.wrong(key, wrong, allowed);
        }
    }

    /// Whether the file or the environment says anything of this key, right or wrong.
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.env.get(&variable(key)).is_some_and(|text| !text.is_empty()) || find(&self.written, key).is_some()
    }

    /// True when each of these keys is in order by itself: only then is their combination worth judging.
    pub(super) fn are_sound(&self, keys: &[&str]) -> bool {
        !self.problems.iter().any(|p| keys.contains(&p.key.as_str()))
    }

    /// True when each key whose name begins so is in order.
    pub(super) fn is_sound_below(&self, prefix: &str) -> bool {
        !self.problems.iter().any(|p| p.key.starts_with(prefix))
    }

    /// Ends the reading: what nobody asked for is unknown. While the text is no TOML only that is told: what a key belongs to, and what is missing,
    /// would be guesses.
    pub(super) fn finish(mut self) -> (Vec<Setting>, Vec<Problem>) {
        let written = std::mem::take(&mut self.written);
        self.unknown_in(&written, "");
        self.unknown_variables();
        let mut problems = self.problems;
        if !self.broken.is_empty() {
            problems.retain(|problem| problem.key.is_empty() && matches!(problem.place, Place::File { .. }));
        }
        problems.sort();
        problems.dedup();
        (self.settings, problems)
    }

    fn take<T: Kind>(&mut self, key: &'static str) -> Option<(T, Place)> {
        self.used.insert(key);
        let variable = variable(key);
        // An empty variable is how service managers spell "not set".
        if let Some(text) = self.env.get(&variable).filter(|text| !text.is_empty()) {
            let place = Place::Environment { variable };
            return self.noted(key, place, T::from_text(text), text.clone());
        }
        let (value, start) = find(&self.written, key).map(|v| (T::from_toml(v.get_ref()), v.span()))?;
        let shown = self.text.get(start.clone()).unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        let place = self.at(start.start);
        self.noted(key, place, value, shown)
    }

    fn noted<T: Kind>(&mut self, key: &str, place: Place, value: Option<T>, shown: String) -> Option<(T, Place)> {
        if value.is_none() {
            let allowed = format!("allowed: {}", T::allowed());
            self.problems.push(Problem { place: place.clone(), key: key.into(), wrong: format!("{shown} is not understood"), allowed });
        }
        value.map(|value| (value, place))
    }

    fn unknown_in(&mut self, table: &DeTable<'_>, prefix: &str) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            if self.used.contains(key.as_str()) {
                continue;
            }
            let is_section = self.used.iter().any(|known| known.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with('.')));
            let place = self.at(name.span().start);
            match (value.get_ref(), is_section) {
                (DeValue::Table(inner), true) => self.unknown_in(inner, &key),
                (_, true) => {
                    let allowed = format!("write [{key}] and its keys below");
                    self.problems.push(Problem { place, key, wrong: "is a section, not a key".into(), allowed });
                }
                (_, false) => {
                    let allowed = self.meant(&key);
                    self.problems.push(Problem { place, key, wrong: "is unknown".into(), allowed });
                }
            }
        }
    }

    fn unknown_variables(&mut self) {
        let known: BTreeSet<String> = self.used.iter().map(|key| variable(key)).collect();
        for name in self.env.keys().filter(|name| !known.contains(*name)) {
            let Some(rest) = name.strip_prefix("BELLROCK_") else { continue };
            // One that begins with a section is meant for us.
            if self.sections().iter().any(|section| rest.strip_prefix(&section.to_uppercase()).is_some_and(|r| r.starts_with('_'))) {
                let allowed = nearest(name, known.iter().map(String::as_str)).map_or_else(String::new, |k| format!("did you mean {k}?"));
                let place = Place::Environment { variable: name.clone() };
                self.problems.push(Problem { place, key: String::new(), wrong: "overrides no key".into(), allowed });
            }
        }
    }

    fn meant(&self, key: &str) -> String {
        if let Some(near) = nearest(key, self.used.iter().copied()) {
            return format!("did you mean {near}?");
        }
        if !key.contains('.')
            && let Some(near) = nearest(key, self.sections().into_iter())
        {
            return format!("did you mean [{near}]?");
        }
        let (prefix, known): (_, Vec<&str>) = match key.rsplit_once('.') {
            Some((prefix, _)) => (prefix, self.used.iter().filter_map(|k| k.strip_prefix(prefix)?.strip_prefix('.')).collect()),
            None => ("", self.sections().into_iter().collect()),
        };
        let place = if prefix.is_empty() { "sections".to_owned() } else { format!("keys of [{prefix}]") };
        format!("{place}: {}", known.join(", "))
    }

    /// Those at the top that have keys.
    fn sections(&self) -> BTreeSet<&'static str> {
        self.used.iter().filter_map(|key| Some(key.split_once('.')?.0)).collect()
    }

    fn at(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Place::File { path: self.path.to_owned(), line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

/// `drain.quiet` is overridden by `BELLROCK_DRAIN_QUIET`.
pub(super) fn variable(key: &str) -> String {
    format!("BELLROCK_{}", key.replace('.', "_").to_uppercase())
}

fn find<'t, 'a>(table: &'t DeTable<'a>, key: &str) -> Option<&'t Spanned<DeValue<'a>>> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, rest)) => find(table.get(section)?.get_ref().as_table()?, rest),
    }
}

/// The known name that differs in at most two letters, or in one where there are few.
pub fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let most = if name.chars().count() < 4 { 1 } else { 2 };
    known.map(|k| (distance(name, k), k)).filter(|(d, _)| *d <= most).min().map(|(_, k)| k)
}

/// Letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[b.len()]
}
