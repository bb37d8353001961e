//! The evaluator: an [`Expr`] and a [`Scope`] to a [`Datum`].

use std::cell::Cell;

use serde_json::Map;
use serde_json::Value;

use super::Datum;
use super::Scope;
use super::Unknown;
use super::budget::Budget;
use super::datum::Style;
use super::derived;
use super::error::Error;
use super::error::Problem;
use super::error::cut;
use super::function;
use super::java;
use super::java::Thing;
use super::limit;
use super::method;
use super::operator;
use super::parse;
use super::syntax::Ask;
use super::syntax::Binary;
use super::syntax::Expr;
use super::syntax::Kind;
use super::syntax::Link;
use super::syntax::Unary;
use super::syntax::Which;

/// Evaluates a source on its share of the pass's budget; `take` makes of the result what the caller wants, at the same cost.
pub fn run<'a, T>(
    source: &str,
    scope: &'a dyn Scope,
    unknown: Unknown,
    total: &Budget,
    take: impl FnOnce(Datum<'a>, &Budget) -> Result<T, Problem>,
) -> Result<T, Error> {
    let expr = parse::parse(source)?;
    total.lend(|budget| {
        let machine = Machine { scope, unknown, budget, drawn: Cell::new(0) };
        let found = machine.eval(&expr, None)?;
        take(found, budget).map_err(|problem| problem.at(expr.at))
    })
}

/// One evaluation.
pub struct Machine<'a, 'b> {
    /// What names mean.
    pub scope: &'a dyn Scope,
    /// What an unknown name is.
    pub unknown: Unknown,
    /// What is left.
    pub budget: &'b Budget,
    /// Numbers drawn so far.
    drawn: Cell<u64>,
}

impl<'a> Machine<'a, '_> {
    /// `this` is the element a selection or projection looks at; at the top it is the scope itself.
    fn eval(&self, expr: &Expr, this: Option<&Datum<'a>>) -> Result<Datum<'a>, Error> {
        let here = |problem: Problem| problem.at(expr.at);
        self.budget.work(1).map_err(here)?;
        match &expr.kind {
            Kind::Null => Ok(Datum::NULL),
            Kind::Bool(b) => Ok((*b).into()),
            Kind::Int(n) => Ok((*n).into()),
            Kind::Real(n) => Datum::real(*n).map_err(here),
            Kind::Text(text) => self.made(text.as_str().into()).map_err(here),
            Kind::Name(name) => match this {
                None => self.root(name),
                Some(this) => self.property(this, name),
            }
            .map_err(here),
            Kind::Variable(name) => Ok(match (name.as_str(), this) {
                ("this", Some(this)) => this.clone(),
                ("this" | "root", _) => Thing::Root.into(),
                _ => Datum::NULL,
            }),
            Kind::Function(name, arguments) => {
                let arguments = self.all(arguments, this)?;
                function::call(self, name, &arguments).and_then(|d| self.made(d)).map_err(here)
            }
            Kind::Call(name, arguments) => {
                let arguments = self.all(arguments, this)?;
                let target = this.cloned().unwrap_or_else(|| Thing::Root.into());
                self.call(&target, name, &arguments).map_err(here)
            }
            Kind::Type(name) => java::Class::named(name).map(|class| Thing::Type(class).into()).map_err(here),
            Kind::New(name, arguments) => {
                let arguments = self.all(arguments, this)?;
                java::construct(self, name, &arguments).and_then(|d| self.made(d)).map_err(here)
            }
            Kind::List(items) => self.made(self.all(items, this)?.into()).map_err(here),
            Kind::Map(entries) => self.map(entries, this),
            Kind::Chain(start, links) => {
                let first = self.eval(start, this)?;
                links.iter().try_fold(first, |target, link| self.link(&target, link, this))
            }
            Kind::Unary(op, inner) => {
                let value = self.eval(inner, this)?;
                match op {
                    Unary::Not => value.truth().map(|b| (!b).into()),
                    Unary::Minus => operator::negate(&value),
                    Unary::Plus => operator::number(&value).map(|_| value),
                }
                .map_err(here)
            }
            Kind::Fold(first, rest) => {
                let first = self.eval(first, this)?;
                rest.iter().try_fold(first, |left, (op, right)| self.binary(&left, *op, right, this, expr.at))
            }
            Kind::Ternary(test, yes, no) => {
                let test = self.eval(test, this)?.truth().map_err(|p| p.at(test.at))?;
                self.eval(if test { yes } else { no }, this)
            }
            Kind::Elvis(value, other) => {
                let value = self.eval(value, this)?;
                if value.is_null() || value.as_str() == Some("") { self.eval(other, this) } else { Ok(value) }
            }
        }
    }

    fn all(&self, list: &[Expr], this: Option<&Datum<'a>>) -> Result<Vec<Datum<'a>>, Error> {
        list.iter().map(|item| self.eval(item, this)).collect()
    }

    fn map(&self, entries: &[(Expr, Expr)], this: Option<&Datum<'a>>) -> Result<Datum<'a>, Error> {
        let mut map = Map::new();
        for (key, value) in entries {
            let name = match &key.kind {
                Kind::Name(name) => name.clone(),
                _ => self.eval(key, this).and_then(|key_value| self.text(&key_value, Style::Java).map_err(|p| p.at(key.at)))?,
            };
            let json = self.eval(value, this)?.into_value(self.budget).map_err(|p| p.at(value.at))?;
            map.insert(name, json);
        }
        Ok(Value::Object(map).into())
    }

    /// Pays for a value that was made.
    pub fn made(&self, datum: Datum<'a>) -> Result<Datum<'a>, Problem> {
        self.budget.room(datum.held()).map(|()| datum)
    }

    /// A text for a value, paid for.
    pub fn text(&self, value: &Datum<'_>, style: Style) -> Result<String, Problem> {
        self.budget.room(value.weight())?;
        value.text(style).map(|text| text.into_owned()).ok_or_else(|| Problem::unfit("a map has no text: use #toJson"))
    }

    /// A random number: the same one at the same place of the same pass.
    pub fn draw(&self) -> u64 {
        let drawn = self.drawn.get().wrapping_add(1);
        self.drawn.set(drawn);
        // SplitMix64: good enough to spread, and reproducible.
        let mut z = self.scope.seed().wrapping_add(drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A plain name at the top.
    fn root(&self, name: &str) -> Result<Datum<'a>, Problem> {
        match self.known(name)? {
            Some(found) => Ok(found),
            None => self.missing(name, "the context"),
        }
    }

    /// A plain name at the top, if anybody knows it.
    pub fn known(&self, name: &str) -> Result<Option<Datum<'a>>, Problem> {
        match self.scope.root(name) {
            Some(found) => Ok(Some(found)),
            None => derived::root(self, name),
        }
    }

    fn missing(&self, name: &str, on: &'static str) -> Result<Datum<'a>, Problem> {
        match self.unknown {
            Unknown::Null => Ok(Datum::NULL),
            Unknown::Refused => Err(Problem::NoProperty { name: cut(name, limit::QUOTE).to_owned(), on }),
        }
    }

    fn property(&self, target: &Datum<'a>, name: &str) -> Result<Datum<'a>, Problem> {
        let none = || Problem::NoProperty { name: cut(name, limit::QUOTE).to_owned(), on: target.kind() };
        if let Datum::Thing(thing) = target {
            return match thing.as_ref() {
                Thing::Root => self.root(name),
                other => java::property(other, name).ok_or_else(none),
            };
        }
        if target.is_map() {
            return match target.field(name).or_else(|| derived::of_stage(target, name)) {
                Some(found) => self.made(found),
                None => self.missing(name, "a map"),
            };
        }
        match (name, target.len()) {
            ("length" | "size", Some(n)) => Ok(method::count(n)),
            ("empty", Some(n)) => Ok((n == 0).into()),
            _ => Err(none()),
        }
    }

    fn link(&self, target: &Datum<'a>, link: &Link, this: Option<&Datum<'a>>) -> Result<Datum<'a>, Error> {
        let here = |problem: Problem| problem.at(link.at);
        self.budget.work(1).map_err(here)?;
        if link.safe && target.is_null() {
            return Ok(Datum::NULL);
        }
        match &link.ask {
            Ask::Name(name) => self.property(target, name).map_err(here),
            Ask::Call(name, arguments) => {
                let arguments = self.all(arguments, this)?;
                self.call(target, name, &arguments).map_err(here)
            }
            Ask::Index(key) => self.index(target, key, this, link.at),
            Ask::Project(each) => {
                let elements = self.elements(target, "projected").map_err(here)?;
                let list: Vec<_> = elements.iter().map(|element| self.eval(each, Some(element))).collect::<Result<_, _>>()?;
                self.made(list.into()).map_err(here)
            }
            Ask::Select(which, test) => self.select(target, *which, test, link.at),
        }
    }

    fn call(&self, target: &Datum<'a>, name: &str, arguments: &[Datum<'a>]) -> Result<Datum<'a>, Problem> {
        let answer = match target {
            Datum::Thing(thing) => match (thing.as_ref(), name, arguments) {
                (Thing::Root, "get", [key]) => Ok(self.known(&self.text(key, Style::Java)?)?.unwrap_or(Datum::NULL)),
                (Thing::Root, "containsKey", [key]) => Ok(self.known(&self.text(key, Style::Java)?)?.is_some().into()),
                (thing, ..) => java::call(self, thing, name, arguments),
            },
            Datum::Value(_) | Datum::Object(_) | Datum::List(_) | Datum::Record(_) => method::call(self, target, name, arguments),
        };
        self.made(answer?)
    }

    /// What a selection or projection goes through. The entries of a map are `{key, value}`.
    fn elements(&self, target: &Datum<'a>, done: &str) -> Result<Vec<Datum<'a>>, Problem> {
        let elements = match target.items() {
            Some(items) => items,
            None => {
                let entries = target.entries().ok_or_else(|| Problem::unfit(format!("{} cannot be {done}", target.kind())))?;
                self.budget.room(target.weight())?;
                let entry = |(key, value): (String, Datum<'a>)| method::entry(key, value, self.budget);
                entries.into_iter().map(entry).collect::<Result<_, _>>()?
            }
        };
        self.budget.work(elements.len())?;
        self.budget.room(elements.iter().map(Datum::held).sum())?;
        Ok(elements)
    }

    fn select(&self, target: &Datum<'a>, which: Which, test: &Expr, at: usize) -> Result<Datum<'a>, Error> {
        let here = |problem: Problem| problem.at(at);
        let mut chosen = Vec::new();
        let mut elements = self.elements(target, "selected from").map_err(here)?;
        if which == Which::Last {
            elements.reverse();
        }
        for element in elements {
            if self.eval(test, Some(&element))?.truth().map_err(|p| p.at(test.at))? {
                chosen.push(element);
                if which != Which::All {
                    break;
                }
            }
        }
        if !target.is_map() {
            return match which {
                Which::All => self.made(chosen.into()).map_err(here),
                Which::First | Which::Last => Ok(chosen.pop().unwrap_or(Datum::NULL)),
            };
        }
        if chosen.is_empty() && which != Which::All {
            return Ok(Datum::NULL);
        }
        let map = chosen.into_iter().filter_map(|entry| {
            let key = entry.field("key")?.as_str()?.to_owned();
            Some((key, entry.field("value")?.into_value(self.budget)))
        });
        let map: Result<Map<String, Value>, Problem> = map.map(|(key, value)| Ok((key, value?))).collect();
        map.map(|map| Value::Object(map).into()).map_err(here)
    }

    fn index(&self, target: &Datum<'a>, key: &Expr, this: Option<&Datum<'a>>, at: usize) -> Result<Datum<'a>, Error> {
        let here = |problem: Problem| problem.at(at);
        let is_root = matches!(target, Datum::Thing(thing) if matches!(thing.as_ref(), Thing::Root));
        if target.is_map() || is_root {
            let name = match &key.kind {
                // A bare word between the brackets of a map is the key itself.
                Kind::Name(name) => name.clone(),
                _ => self.eval(key, this).and_then(|found| self.text(&found, Style::Java).map_err(|p| p.at(key.at)))?,
            };
            let found = if is_root { self.known(&name).map_err(here)? } else { target.field(&name) };
            return self.made(found.unwrap_or(Datum::NULL)).map_err(here);
        }
        let found = self.eval(key, this)?;
        let place = found.as_i64().or_else(|| found.as_str()?.trim().parse().ok());
        let place = place.ok_or_else(|| Problem::unfit(format!("{} is no index of {}", found.kind(), target.kind())).at(key.at))?;
        let element = usize::try_from(place).ok().and_then(|n| match target.as_str() {
            Some(text) => text.chars().nth(n).map(|c| c.to_string().into()),
            None => target.element(n),
        });
        match element {
            Some(element) => self.made(element).map_err(here),
            None if target.is_list() || target.as_str().is_some() => {
                Err(here(Problem::unfit(format!("{} has no element {place}", target.kind()))))
            }
            None => Err(here(Problem::unfit(format!("{} cannot be indexed", target.kind())))),
        }
    }

    fn binary(&self, left: &Datum<'a>, op: Binary, right: &Expr, this: Option<&Datum<'a>>, at: usize) -> Result<Datum<'a>, Error> {
        if let Binary::And | Binary::Or = op {
            let left = left.truth().map_err(|p| p.at(at))?;
            if left == (op == Binary::Or) {
                return Ok(left.into());
            }
            return self.eval(right, this)?.truth().map(Datum::from).map_err(|p| p.at(right.at));
        }
        let value = self.eval(right, this)?;
        operator::apply(self, left, op, &value).map_err(|p| p.at(right.at))
    }
}
