//! Types of values: how each is read from TOML and from an environment variable, and how it is written again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

/// A type that a key can have. Reading fails with what is wrong with the value.
pub(super) trait Kind: Sized {
    /// What may be written, for people.
    fn allowed() -> String;

    /// Reads what stands in the file.
    fn from_toml(value: &DeValue<'_>) -> Option<Self>;

    /// Reads what stands in an environment variable.
    fn from_text(text: &str) -> Option<Self>;

    /// Writes it as TOML, with passwords blotted out.
    fn show(&self) -> String;

    /// Writes it so that two different values differ, passwords included: never to be shown.
    fn exact(&self) -> String {
        self.show()
    }
}

/// A kind that is written as a TOML string.
macro_rules! text_kind {
    ($type:ty, $allowed:expr, $read:expr, $show:expr $(, exact $exact:expr)?) => {
        impl $crate::config::kind::Kind for $type {
            fn allowed() -> String {
                $allowed.into()
            }

            fn from_toml(value: &toml::de::DeValue<'_>) -> Option<Self> {
                value.as_str().and_then(Self::from_text)
            }

            fn from_text(text: &str) -> Option<Self> {
                $read(text)
            }

            fn show(&self) -> String {
                $crate::config::kind::quoted(&$show(self))
            }

            $(fn exact(&self) -> String {
                $exact(self)
            })?
        }
    };
}

pub(super) use text_kind;

text_kind!(String, "a text that is not empty", |t: &str| (!t.trim().is_empty()).then(|| t.to_owned()), String::clone);
text_kind!(PathBuf, "an absolute path", |t: &str| t.starts_with('/').then(|| PathBuf::from(t)), |p: &PathBuf| p
    .to_string_lossy()
    .into_owned());
text_kind!(SocketAddr, "address:port, e.g. \"127.0.0.1:7010\"", |t: &str| t.parse().ok(), SocketAddr::to_string);
text_kind!(Duration, "a duration such as \"250ms\", \"30s\", \"5m\", \"1h30m\" or \"2d\"", parse_duration, |d: &Duration| show_duration(
    *d
));

/// A duration, or `"never"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit(pub(super) Option<Duration>);

text_kind!(
    Limit,
    "\"never\" or a duration such as \"90m\"",
    |t: &str| if t == "never" { Some(Limit(None)) } else { parse_duration(t).map(|d| Limit(Some(d))) },
    |l: &Limit| l.0.map_or_else(|| "never".to_owned(), show_duration)
);

/// An `http` or `https` address; a password in it is not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpUrl(pub(super) String);

/// A `redis` or `rediss` address; a password in it is not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RedisUrl(pub(super) String);

text_kind!(
    HttpUrl,
    "an address such as \"http://127.0.0.1:8083\"",
    |t: &str| is_url(t, &["http", "https"]).then(|| HttpUrl(t.to_owned())),
    |u: &HttpUrl| without_password(&u.0),
    exact |u: &HttpUrl| u.0.clone()
);
text_kind!(
    RedisUrl,
    "an address such as \"redis://cache:6379/0\" or \"rediss://…\"",
    |t: &str| is_url(t, &["redis", "rediss"]).then(|| RedisUrl(t.to_owned())),
    |u: &RedisUrl| without_password(&u.0),
    exact |u: &RedisUrl| u.0.clone()
);

/// Where the engine's store is, in the forms of a fleet's Redis; a password in it is not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreUrl(pub(super) String);

const STORE_SCHEMES: [&str; 6] = ["redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"];

text_kind!(
    StoreUrl,
    "an address such as \"redis://cache:6379/0\", \"redis+sentinel://a:26379,b:26379/name/0\" or \"redis+cluster://a:6379,b:6379\"",
    |t: &str| {
        let (scheme, rest) = t.split_once("://")?;
        (STORE_SCHEMES.contains(&scheme) && !rest.is_empty()).then(|| StoreUrl(t.to_owned()))
    },
    |u: &StoreUrl| {
        // Several hosts are no address of the standard's, so the secret is cut out by hand.
        let secret = u.0.split_once("://").and_then(|(scheme, rest)| {
            let (who, places) = rest.rsplit_once('@')?;
            Some(format!("{scheme}://{}:***@{places}", who.split(':').next().unwrap_or_default()))
        });
        secret.unwrap_or_else(|| u.0.clone())
    },
    exact |u: &StoreUrl| u.0.clone()
);

/// A time zone of the IANA database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone(pub(super) jiff::tz::TimeZone);

text_kind!(Zone, "a time zone such as \"Europe/Berlin\" or \"UTC\"", |t: &str| jiff::tz::TimeZone::get(t).ok().map(Zone), |z: &Zone| {
    z.0.iana_name().unwrap_or("UTC").to_owned()
});

/// A list of names, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names(pub(super) Vec<String>);

impl Kind for Names {
    fn allowed() -> String {
        "a list of names such as [\"one\", \"two\"] (in the environment: one,two)".into()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let names: Vec<String> = value.as_array()?.iter().map(|name| name.get_ref().as_str().map(str::to_owned)).collect::<Option<_>>()?;
        names.iter().all(|name| !name.trim().is_empty()).then_some(Self(names))
    }

    fn from_text(text: &str) -> Option<Self> {
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        names.iter().all(|name| !name.is_empty()).then_some(Self(names))
    }

    fn show(&self) -> String {
        format!("[{}]", self.0.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "))
    }
}

fn names_a_program(argv: &[String]) -> bool {
    argv.first().is_some_and(|program| !program.trim().is_empty())
}

/// A value to compare with: text, whole number, true or false.
impl Kind for serde_json::Value {
    fn allowed() -> String {
        "a text, a whole number, true or false (in the environment: JSON)".into()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let number = || value.as_integer().and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok()).map(Self::from);
        value.as_str().map(Self::from).or_else(|| value.as_bool().map(Self::from)).or_else(number)
    }

    fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Kind for bool {
    fn allowed() -> String {
        "true or false".into()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Kind for u32 {
    fn allowed() -> String {
        "a whole number, 0 or more".into()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let number = value.as_integer()?;
        u32::from_str_radix(number.as_str(), number.radix()).ok()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Kind for Vec<String> {
    fn allowed() -> String {
        "a program and its arguments, e.g. [\"/usr/bin/systemctl\", \"stop\", \"orca\"] (in the environment: JSON)".into()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value
            .as_array()?
            .iter()
            .map(|word| word.get_ref().as_str().map(str::to_owned))
            .collect::<Option<Self>>()
            .filter(|argv| names_a_program(argv))
    }

    fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str::<Self>(text).ok().filter(|argv| names_a_program(argv))
    }

    fn show(&self) -> String {
        format!("[{}]", self.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "))
    }
}

/// Makes an enum a kind: one word per variant.
macro_rules! choice {
    ($type:ty { $($word:literal => $variant:path),+ $(,)? }) => {
        impl $crate::config::kind::Kind for $type {
            fn allowed() -> String {
                format!("one of {}", [$(concat!("\"", $word, "\"")),+].join(", "))
            }

            fn from_toml(value: &toml::de::DeValue<'_>) -> Option<Self> {
                value.as_str().and_then(Self::from_text)
            }

            fn from_text(text: &str) -> Option<Self> {
                match text {
                    $($word => Some($variant),)+
                    _ => None,
                }
            }

            fn show(&self) -> String {
                match self {
                    $($variant => concat!("\"", $word, "\"").to_owned(),)+
                }
            }
        }
    };
}
pub(super) use choice;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads `1h30m`: whole numbers with a unit each, larger units first or not. Nothing without a unit is a duration.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, ms) = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters])?;
        total = total.checked_add(number.checked_mul(*ms)?)?;
        rest = &rest[letters..];
    }
    (!text.trim().is_empty()).then(|| Duration::from_millis(total))
}

/// Writes a duration as the file would: `90s` is `1m30s`.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, ms) in UNITS.iter().rev() {
        if rest >= *ms {
            text.push_str(&format!("{}{unit}", rest / ms));
            rest %= ms;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| schemes.contains(&url.scheme()) && url.has_host())
}

fn without_password(text: &str) -> String {
    match reqwest::Url::parse(text) {
        Ok(mut url) if url.password().is_some() => {
            // Setting a password fails only for an address without a host, and those are not read as one.
            let _ = url.set_password(Some("***"));
            url.to_string()
        }
        _ => text.to_owned(),
    }
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_with_units() {
        for (text, ms) in [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("2d", 172_800_000), ("0s", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
            assert_eq!(show_duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "1m30s");
    }

    #[test]
    fn a_duration_without_a_known_unit_is_none() {
        for text in ["", "5", "s", "5 m", "5x", "-5s", "1.5h", "5m3", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(RedisUrl("redis://user:hush@cache:6379/0".into()).show(), "\"redis://user:***@cache:6379/0\"");
        assert_eq!(HttpUrl("http://127.0.0.1:8083".into()).show(), "\"http://127.0.0.1:8083\"");
    }
}
