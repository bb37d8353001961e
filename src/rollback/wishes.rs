//! How a rollback was asked to go, and with which clusters, as tags of its groups: another machine that goes on with it needs to be told nothing again.
//! Pure.
//!
//! What must stay true: written by the same call as the hold and the record, gone with them; a word that this version does not know is refused and
//! never guessed; no secret is in them: the URL that is notified is not, that there is one is.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::plan::Canary;
use super::plan::Request;
use super::record::RecordError;
use super::share::Share;
use super::share::Shares;
use super::words;
use crate::model::TAG_VALUE_MAX;

/// The group tags that carry [`Wishes`], in order; as many as it takes. Service URLs are what is long.
pub const WISHES_TAGS: [&str; 8] = [
    "bellrock:asked",
    "bellrock:asked-2",
    "bellrock:asked-3",
    "bellrock:asked-4",
    "bellrock:asked-5",
    "bellrock:asked-6",
    "bellrock:asked-7",
    "bellrock:asked-8",
];

/// What a tag holds at least when it is cut off: a cut may fall a little short of the longest value.
const TAG_LEAST: usize = TAG_VALUE_MAX - 2;
/// Characters of `parts=N `.
const PARTS: usize = 8;
/// Characters of ` of=N` at most: AWS has no more than a few hundred groups in a region, and this is for a million.
const OF: usize = 11;

/// Something that can be wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// `--settle`.
    Settle,
    /// `--timeout`.
    Timeout,
    /// `--bake`.
    Bake,
    /// `--canary`, `--no-canary`.
    Canary,
    /// `--keep-bad`.
    KeepBad,
    /// `--service-url`.
    ServiceUrls,
}

impl Wish {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Settle, Self::Timeout, Self::Bake, Self::Canary, Self::KeepBad, Self::ServiceUrls];
}

/// What was asked for, as far as the groups themselves do not tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wishes {
    settle: Duration,
    timeout: Duration,
    bake: Duration,
    canary: Canary,
    canary_within: Duration,
    keep_bad: u32,
    service_urls: Vec<String>,
    /// Somebody elsewhere was told.
    pub notifies: bool,
    /// Which clusters were asked for together.
    #[serde(skip)]
    pub shares: Shares,
}

impl Wishes {
    /// Those of a request.
    pub fn of(request: &Request) -> Self {
        Self {
            settle: request.settle,
            timeout: request.timeout,
            bake: request.bake,
            canary: request.canary,
            canary_within: request.canary_within,
            keep_bad: request.keep_bad,
            service_urls: request.service_urls.clone(),
            notifies: request.notifies,
            shares: Shares::default(),
        }
    }

    /// With these clusters, as many as so many tags have room for beside the rest.
    pub fn among(mut self, shares: Shares, tags: usize) -> Self {
        self.shares.of = shares.of;
        let room = (tags.min(WISHES_TAGS.len()) * TAG_LEAST).saturating_sub(self.words().len() + PARTS);
        Self { shares: shares.within(room), ..self }
    }

    /// One of them goes into this request.
    pub fn give(&self, wish: Wish, request: &mut Request) {
        match wish {
            Wish::Settle => request.settle = self.settle,
            Wish::Timeout => request.timeout = self.timeout,
            Wish::Bake => request.bake = self.bake,
            Wish::Canary => (request.canary, request.canary_within) = (self.canary, self.canary_within),
            Wish::KeepBad => request.keep_bad = self.keep_bad,
            Wish::ServiceUrls => request.service_urls.clone_from(&self.service_urls),
        }
    }

    /// As the command line has it.
    pub fn text(&self, wish: Wish) -> String {
        let time = |name: &str, time: Duration| format!("--{name} {}", show(time));
        match (wish, self.canary) {
            (Wish::Settle, _) => time("settle", self.settle),
            (Wish::Timeout, _) => time("timeout", self.timeout),
            (Wish::Bake, _) => time("bake", self.bake),
            (Wish::Canary, Canary::Always) => format!("--canary={}", show(self.canary_within)),
            (Wish::Canary, Canary::Never) => "--no-canary".to_owned(),
            (Wish::Canary, Canary::ForMany) => "a canary where many come".to_owned(),
            (Wish::KeepBad, _) => format!("--keep-bad {}", self.keep_bad),
            (Wish::ServiceUrls, _) if self.service_urls.is_empty() => "no --service-url".to_owned(),
            (Wish::ServiceUrls, _) => self.service_urls.iter().map(|url| format!("--service-url {url}")).collect::<Vec<_>>().join(" "),
        }
    }

    /// Characters by which they are too long for the tags; zero where they fit.
    pub fn excess(&self) -> usize {
        (self.words().len() + PARTS + OF).saturating_sub(WISHES_TAGS.len() * TAG_LEAST)
    }

    /// The tags that say so.
    pub fn to_tags(&self) -> Vec<(String, String)> {
        let words = self.words();
        let parts = (1..WISHES_TAGS.len()).find(|n| cut(&format!("parts={n} {words}")).len() == *n).unwrap_or(WISHES_TAGS.len());
        WISHES_TAGS.iter().map(|key| (*key).to_owned()).zip(cut(&format!("parts={parts} {words}"))).collect()
    }

    fn words(&self) -> String {
        let canary = match self.canary {
            Canary::ForMany => "for_many",
            Canary::Always => "always",
            Canary::Never => "never",
        };
        let ms = |time: Duration| time.as_millis();
        let mut text = format!(
            "settle_ms={} timeout_ms={} bake_ms={} canary={canary} canary_ms={} keep_bad={} notifies={}",
            ms(self.settle),
            ms(self.timeout),
            ms(self.bake),
            ms(self.canary_within),
            self.keep_bad,
            if self.notifies { "yes" } else { "no" }
        );
        for url in &self.service_urls {
            text.push_str(" url=");
            text.push_str(&words::escape(url));
        }
        if self.shares.of > 0 {
            text.push_str(&format!(" of={}", self.shares.of));
        }
        for share in &self.shares.listed {
            text.push_str(" share=");
            text.push_str(&share.word());
        }
        text
    }

    /// The wishes that these group tags carry; `None` where an older version left none.
    ///
    /// # Errors
    /// There are some and they cannot be read, or not all of them.
    pub fn parse(tags: &BTreeMap<String, String>) -> Result<Option<Self>, RecordError> {
        let Some(first) = tags.get(WISHES_TAGS[0]) else { return Ok(None) };
        let fail = |problem: &'static str| RecordError { tag: WISHES_TAGS[0], text: first.clone(), problem };
        let parts = first.split_once(' ').and_then(|(word, _)| word.strip_prefix("parts=")?.parse().ok());
        let parts: usize = parts.filter(|n| (1..=WISHES_TAGS.len()).contains(n)).ok_or_else(|| fail("no number of parts"))?;
        let text: Vec<&str> = WISHES_TAGS[..parts].iter().filter_map(|key| tags.get(*key).map(String::as_str)).collect();
        if text.len() != parts {
            return Err(fail("a part is missing"));
        }
        let text = text.concat();
        let mut words: BTreeMap<&str, &str> = BTreeMap::new();
        let (mut service_urls, mut listed) = (Vec::new(), Vec::new());
        for (key, value) in text.split_whitespace().filter_map(|word| word.split_once('=')) {
            match key {
                "url" => service_urls.push(words::unescape(value).ok_or_else(|| fail("a URL that makes no sense"))?),
                "share" => listed.push(Share::parse(value).ok_or_else(|| fail("a cluster's share that makes no sense"))?),
                "parts" | "of" | "settle_ms" | "timeout_ms" | "bake_ms" | "canary" | "canary_ms" | "keep_bad" | "notifies" => {
                    words.insert(key, value);
                }
                _ => return Err(fail("a word that this version does not know")),
            }
        }
        let ms = |key: &'static str| words.get(key).and_then(|text| text.parse().ok()).map(Duration::from_millis).ok_or_else(|| fail(key));
        Ok(Some(Self {
            settle: ms("settle_ms")?,
            timeout: ms("timeout_ms")?,
            bake: ms("bake_ms")?,
            canary: match words.get("canary") {
                Some(&"for_many") => Canary::ForMany,
                Some(&"always") => Canary::Always,
                Some(&"never") => Canary::Never,
                Some(_) | None => return Err(fail("canary")),
            },
            canary_within: ms("canary_ms")?,
            keep_bad: words.get("keep_bad").and_then(|text| text.parse().ok()).ok_or_else(|| fail("keep_bad"))?,
            service_urls,
            notifies: match words.get("notifies") {
                Some(&"yes") => true,
                Some(&"no") => false,
                Some(_) | None => return Err(fail("notifies")),
            },
            shares: Shares { of: words.get("of").map_or(Ok(0), |text| text.parse().map_err(|_| fail("of")))?, listed },
        }))
    }
}

/// As long as may be, and with no blank at either end, which nobody promises to keep.
fn cut(text: &str) -> Vec<String> {
    let mut rest = text.as_bytes();
    let mut parts = Vec::new();
    while rest.len() > TAG_VALUE_MAX {
        let mut at = TAG_VALUE_MAX;
        while rest[at] == b' ' || rest[at - 1] == b' ' {
            at -= 1;
        }
        parts.push(String::from_utf8_lossy(&rest[..at]).into_owned());
        rest = &rest[at..];
    }
    parts.push(String::from_utf8_lossy(rest).into_owned());
    parts
}

fn show(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tags(wishes: &Wishes) -> BTreeMap<String, String> {
        wishes.to_tags().into_iter().collect()
    }

    fn wishes(service_urls: Vec<String>) -> Wishes {
        Wishes::of(&Request { service_urls, ..Request::of("spin", "ann@laptop") })
    }

    fn share() -> impl Strategy<Value = Share> {
        let numbers = (0_u64..1000, 0_u32..1000, any::<bool>(), any::<bool>());
        ("[a-z0-9._^~:-]{1,60}", "v[0-9]{3}", "v[0-9]{3,4}", numbers).prop_map(
            |(cluster, restore, newest, (generation, count, undoes, singleton))| Share {
                cluster,
                restore,
                newest,
                generation,
                count,
                undoes,
                singleton,
            },
        )
    }

    #[test]
    fn of_many_clusters_as_many_are_named_as_the_tags_take_and_their_number_always() {
        let one = |n: u32| Share {
            cluster: format!("spinnaker-main-worker{n:03}"),
            restore: "v023".to_owned(),
            newest: "v024".to_owned(),
            generation: 7,
            count: 3,
            undoes: false,
            singleton: false,
        };
        let all: Vec<Share> = (0..200).map(one).collect();
        let named = |at: usize, room: usize| wishes(Vec::new()).among(Shares::from(&all, at), room);
        for room in 0..=WISHES_TAGS.len() {
            let wishes = named(190, room);
            assert_eq!((wishes.shares.of, wishes.to_tags().len().max(1)), (200, room.max(1)), "{room} tags are used and no more");
            let names: Vec<&String> = wishes.shares.listed.iter().map(|share| &share.cluster).collect();
            assert!(
                names.is_empty() == (room == 0) && names.iter().zip(190..).all(|(name, n)| **name == all[n % 200].cluster),
                "{names:?}"
            );
        }
        assert!(named(0, 8).shares.listed.len() >= 40);
    }

    proptest! {
        #[test]
        fn wishes_survive_their_tags(
            times in (0_u64..1 << 40, 0_u64..1 << 40, 0_u64..1 << 40, 0_u64..1 << 40),
            canary in proptest::sample::select(vec![Canary::ForMany, Canary::Always, Canary::Never]),
            (notifies, keep_bad) in (any::<bool>(), 0_u32..100),
            urls in proptest::collection::vec("https://[a-z0-9.]{1,40}/[ -~äß]{0,120}", 0..6),
            shares in proptest::collection::vec(share(), 1..90),
            (at, room) in (any::<proptest::sample::Index>(), 0..=WISHES_TAGS.len()),
        ) {
            let ms = Duration::from_millis;
            let wishes = Wishes {
                settle: ms(times.0), timeout: ms(times.1), bake: ms(times.2), canary, canary_within: ms(times.3), keep_bad, notifies,
                service_urls: urls, shares: Shares::default(),
            };
            prop_assume!(wishes.excess() == 0);
            let wishes = wishes.among(Shares::from(&shares, at.index(shares.len())), room);
            let tags = tags(&wishes);
            for text in tags.values() {
                prop_assert!(text.len() <= TAG_VALUE_MAX && text.trim() == text, "{text:?}");
                prop_assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || " +-=._:/@".contains(c)), "{text:?}");
            }
            prop_assert_eq!(Wishes::parse(&tags), Ok(Some(wishes)));
        }
    }

    #[test]
    fn what_is_not_whole_or_not_known_is_refused() {
        let long = tags(&wishes(vec![format!("https://gate/{}", "x".repeat(300))]));
        assert_eq!(long.len(), 2);
        let cut: BTreeMap<_, _> = long.iter().filter(|(key, _)| *key != WISHES_TAGS[1]).map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(Wishes::parse(&cut).unwrap_err().problem, "a part is missing");
        let newer = tags(&wishes(Vec::new())).into_iter().map(|(key, text)| (key, text + " weather=good")).collect();
        assert_eq!(Wishes::parse(&newer).unwrap_err().problem, "a word that this version does not know");
        assert_eq!(Wishes::parse(&BTreeMap::new()), Ok(None));
        assert!(wishes(vec!["x".repeat(3000)]).excess() > 0 && wishes(vec!["x".repeat(1800)]).excess() == 0);
    }
}
