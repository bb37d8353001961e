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
use std::sync::LazyLock;

use bellrock::decide::Action;
use bellrock::decide::Key;
use bellrock::decide::State;
use bellrock::model::InstanceId;
use bellrock::model::Timestamp;

use super::world::TICK;

/// What the field that begins is to the view.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
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
}

/// How many ticks back a time counts that nothing better is known of.
const FAR: i64 = 12;
/// The quiet time in ticks.
const QUIET: i64 = 1;

const FIELDS: &[(Field, &[&str])] = &[
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
    (Field::LeftOut, &["doomed", "target_back", "uninterrupted"]),
    // Of soak and deadline; there is neither.
    (Field::LeftOut, &["started"]),
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
];

static BY_NAME: LazyLock<HashMap<&str, Field>> =
    LazyLock::new(|| FIELDS.iter().flat_map(|(field, names)| names.iter().map(|name| (*name, *field))).collect());

/// One number for all that counts of an agent and of what it has asked for.
pub fn view(state: &State, pending: &[Action], same_on_disk: bool, who: [InstanceId; 2], now: Timestamp) -> u64 {
    let keys = pending.iter().map(|action| action.key).collect();
    let mut normal = Normal::new(now, keys, who);
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
struct Normal {
    out: String,
    now: Timestamp,
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
    who: [InstanceId; 2],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    Plain,
    Time,
    Key,
}

impl Normal {
    fn new(now: Timestamp, keys: Vec<Key>, who: [InstanceId; 2]) -> Self {
        Self {
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
        true
    }

    fn go_on(&mut self) -> bool {
        self.skipping = None;
        false
    }

    fn piece(&mut self, piece: &str) {
        if self.skips(piece) {
            return;
        }
        let last = std::mem::replace(&mut self.last, self.out.len());
        if piece == ": " {
            match BY_NAME.get(&self.out[last..]).copied().unwrap_or(Field::Plain) {
                Field::Wall => {}
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
        let tick = i64::try_from(TICK.as_millis()).unwrap_or(1);
        let ms = ms - self.now.0;
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
            let _infallible = write!(&mut self.out, "held for {} s", end.since(self.now).as_secs());
        } else if let Some(at) = self.who.iter().position(|id| id.as_str() == said) {
            self.out.truncate(from);
            self.out.push_str(["own", "other"][at]);
        } else if self.field == Field::Why {
            self.out.truncate(from);
        }
    }
}

impl Write for Normal {
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
