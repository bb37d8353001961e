//! What two states of an agent have to share in order to behave alike from now on: all that its `Debug` shows, with times relative to now.
//!
//! What must stay true: a field that is new in `decide::State` counts by itself; what does not count is named here, with the reason. A time counts no
//! further back than the longest span it is ever compared with, in whole ticks.

use std::collections::HashMap;
use std::fmt;
use std::fmt::Write;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::time::Duration;

use bellrock::decide::Action;
use bellrock::decide::Key;
use bellrock::decide::State;
use bellrock::model::InstanceId;
use bellrock::model::Moment;
use bellrock::model::Timestamp;

/// What the field that begins is to the view.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Counts as it is; its times count back to the longest span that anything is compared with.
    Plain,
    /// Its value changes nothing.
    LeftOut,
    /// A number that is compared with nothing above this.
    UpTo(u64),
    /// A time that counts so many ticks back.
    Back(i64),
    IdleSince,
    IdleUntil,
    /// Where it is a text, it is for people; where it is a time, it is now or before.
    Why,
    /// The wall clock's part of a time: the field round it says what it is.
    Wall,
    /// A time of the clock that does not jump, of which counts only whether it has come.
    Later,
}

/// How many ticks back a time counts that nothing better is known of.
const FAR: i64 = 12;
/// The quiet time in ticks.
const QUIET: i64 = 1;

/// What each field is, by its name, and how long a tick is.
pub struct Table {
    tick: Duration,
    fields: HashMap<&'static str, Field>,
}

impl Table {
    pub fn new(tick: Duration, fields: &[(Field, &[&'static str])]) -> Self {
        Self { tick, fields: fields.iter().flat_map(|(field, names)| names.iter().map(|name| (*name, *field))).collect() }
    }
}

/// One number for all that counts of an agent and of what it has asked for.
pub fn view(table: &Table, state: &State, pending: &[Action], same_on_disk: bool, who: &[InstanceId], now: Moment) -> u64 {
    let keys = pending.iter().map(|action| action.key).collect();
    let mut normal = Normal::new(table, now, keys, who);
    // A String takes everything.
    let _infallible = write!(normal, "{state:?}");
    for action in pending {
        let _infallible = write!(normal, "{:?}", action.what);
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(normal.out.as_bytes());
    same_on_disk.hash(&mut hasher);
    hasher.finish()
}

/// Takes derived `Debug` output piece by piece: names, punctuation and values come each in one piece.
struct Normal<'a> {
    table: &'a Table,
    out: String,
    now: Moment,
    keys: Vec<Key>,
    /// Where the last piece begins in `out`.
    last: usize,
    /// The field under way.
    field: Field,
    /// How deep in a value that is left out.
    skipping: Option<u32>,
    /// A number that comes next.
    number: Number,
    /// In a text, where it begins in `out`; and whether its next character is an escaped one.
    text: Option<usize>,
    escaped: bool,
    idle_since: Option<i64>,
    /// Its own id and the other one's.
    who: &'a [InstanceId],
    /// What there is so far of a time of the clock that does not jump.
    later: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    Plain,
    Time,
    Key,
}

impl<'a> Normal<'a> {
    fn new(table: &'a Table, now: Moment, keys: Vec<Key>, who: &'a [InstanceId]) -> Self {
        Self {
            table,
            out: String::with_capacity(4096),
            now,
            keys,
            last: 0,
            field: Field::Plain,
            skipping: None,
            number: Number::Plain,
            text: None,
            escaped: false,
            idle_since: None,
            who,
            later: None,
        }
    }

    /// Whether this piece is the value's that is left out.
    fn skips(&mut self, piece: &str) -> bool {
        let Some(depth) = self.skipping else { return false };
        let depth = match piece {
            " { " | "(" | "[" | "{" => depth + 1,
            " }" | ")" | "]" | "}" if depth == 0 => return self.go_on(),
            " }" | ")" | "]" | "}" => depth - 1,
            ", " if depth == 0 => return self.go_on(),
            _ => depth,
        };
        self.skipping = Some(depth);
        if let Some(later) = &mut self.later {
            later.push_str(piece);
        }
        true
    }

    fn go_on(&mut self) -> bool {
        self.skipping = None;
        if let Some(later) = self.later.take() {
            // Whole seconds and their parts, as `Duration` shows what is not short.
            let comes = later.trim_end_matches('s').parse::<f64>().is_ok_and(|at| at > self.now.mono.as_secs_f64());
            self.out.push_str(if comes { "later" } else { "due" });
        }
        false
    }

    fn piece(&mut self, piece: &str) {
        if self.skips(piece) {
            return;
        }
        let last = std::mem::replace(&mut self.last, self.out.len());
        if piece == ": " {
            match self.table.fields.get(&self.out[last..]).copied().unwrap_or(Field::Plain) {
                Field::Wall => {}
                Field::Later => {
                    self.skipping = Some(0);
                    self.later = Some(String::new());
                }
                Field::LeftOut => {
                    self.out.truncate(last);
                    self.skipping = Some(0);
                }
                other => self.field = other,
            }
            return;
        }
        if piece == "(" {
            self.number = match &self.out[last..] {
                "Timestamp" => Number::Time,
                "Key" => Number::Key,
                _ => Number::Plain,
            };
        } else if self.number != Number::Plain || matches!(self.field, Field::UpTo(_)) {
            self.number(piece);
            return;
        }
        self.out.push_str(piece);
    }

    fn number(&mut self, piece: &str) {
        let number = piece.parse::<i64>();
        match (std::mem::replace(&mut self.number, Number::Plain), number, self.field) {
            (Number::Time, Ok(ms), _) => self.time(ms),
            (Number::Key, Ok(key), _) => {
                let at = self.keys.iter().position(|k| i64::try_from(k.0) == Ok(key));
                let _infallible = write!(&mut self.out, "{at:?}");
            }
            (Number::Plain, Ok(number), Field::UpTo(most)) => {
                let _infallible = write!(&mut self.out, "{}", u64::try_from(number).unwrap_or_default().min(most));
            }
            _ => self.out.push_str(piece),
        }
    }

    /// In whole ticks, rounded up: whatever lies between two ticks is met at the second.
    fn time(&mut self, ms: i64) {
        let tick = i64::try_from(self.table.tick.as_millis()).unwrap_or(1);
        let ms = ms - self.now.wall.0;
        let ticks = ms.div_euclid(tick) + i64::from(ms.rem_euclid(tick) > 0);
        let back = match self.field {
            Field::IdleSince => {
                self.idle_since = Some(ticks);
                return;
            }
            // Of the idle time its length counts, and how long ago it was seen last.
            Field::IdleUntil => {
                let length = self.idle_since.map(|since| (ticks - since).min(QUIET));
                let _infallible = write!(&mut self.out, "{length:?} ");
                3
            }
            Field::Back(back) => back,
            Field::Why => 1,
            _ => FAR,
        };
        let _infallible = write!(&mut self.out, "{}", ticks.max(-back));
    }

    /// The end of a hold is a time in a text.
    fn said(&mut self, from: usize) {
        let said = &self.out[from..];
        if let Some(end) = said.split_once("expires=").and_then(|(_, end)| end.split(' ').next()).and_then(Timestamp::parse) {
            self.out.truncate(from);
            let _infallible = write!(&mut self.out, "held for {} s", end.since(self.now.wall).as_secs());
        } else if let Some(at) = self.who.iter().position(|id| id.as_str() == said) {
            self.out.truncate(from);
            self.out.push_str(["own", "other"][at]);
        } else if self.field == Field::Why {
            self.out.truncate(from);
        }
    }
}

impl Write for Normal<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        match self.text {
            None if piece == "\"" => self.text = Some(self.out.len()),
            None => self.piece(piece),
            Some(from) if piece == "\"" && !self.escaped => {
                self.text = None;
                if self.skipping.is_none() {
                    self.said(from);
                }
                self.last = self.out.len();
            }
            Some(_) => {
                self.escaped = piece == "\\" && !self.escaped;
                if self.skipping.is_none() {
                    self.out.push_str(piece);
                }
            }
        }
        Ok(())
    }
}
