//! A scrape: samples by metric, and the text that they become.
//!
//! What must stay true: labels come from the table, in its order, so that what is exposed and what is documented cannot differ; a metric without a
//! sample is not named.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::encoding::MetricEncoder;
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::counts::Drains;
use super::table;
use super::table::Kind;
use super::table::Metric;
use super::table::Unit;
use crate::model::Timestamp;

/// How a scrape is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, for those who ask for it.
    OpenMetrics,
    /// Prometheus's own text, version 0.0.4, which every scraper reads.
    Text,
}

impl Format {
    /// The one that an `Accept` header asks for.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// For the answer's head.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Samples of one scrape.
#[derive(Debug, Default)]
pub(super) struct Page {
    samples: Vec<(&'static Metric, Vec<Sample>)>,
    drains: Option<Drains>,
}

#[derive(Debug)]
struct Sample {
    labels: Vec<String>,
    value: Value,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Count(u64),
    Level(f64),
}

impl Page {
    /// A level.
    pub(super) fn level(&mut self, metric: &'static Metric, value: impl Into<f64>) {
        self.labelled(metric, &[], value);
    }

    /// A level, when it is known.
    pub(super) fn level_if(&mut self, metric: &'static Metric, value: Option<f64>) {
        if let Some(value) = value {
            self.level(metric, value);
        }
    }

    /// A level with labels, in the table's order.
    pub(super) fn labelled(&mut self, metric: &'static Metric, labels: &[&str], value: impl Into<f64>) {
        let labels = labels.iter().map(|value| (*value).to_owned()).collect();
        self.put(metric, vec![Sample { labels, value: Value::Level(value.into()) }]);
    }

    /// A time, in seconds since the epoch.
    pub(super) fn time(&mut self, metric: &'static Metric, at: Option<Timestamp>) {
        // Below 2^53 for the next 285 000 years.
        #[expect(clippy::cast_precision_loss, reason = "said above")]
        self.level_if(metric, at.map(|at| at.0 as f64 / 1000.0));
    }

    /// One of several states: 1 for this one, 0 for the others.
    pub(super) fn state<'a>(&mut self, metric: &'static Metric, all: impl IntoIterator<Item = &'a str>, now: Option<&'a str>) {
        let mut words: Vec<&str> = all.into_iter().collect();
        // Whatever is true is shown, also what a list forgot.
        words.extend(now.filter(|now| !words.contains(now)));
        let sample = |word: &&str| {
            let level = if Some(*word) == now { 1.0 } else { 0.0 };
            Sample { labels: vec![(*word).to_owned()], value: Value::Level(level) }
        };
        self.put(metric, words.iter().map(sample).collect());
    }

    /// A count.
    pub(super) fn count(&mut self, metric: &'static Metric, count: u64) {
        self.put(metric, vec![Sample { labels: vec![], value: Value::Count(count) }]);
    }

    /// Counts by their labels, in the table's order.
    pub(super) fn counts<L: Into<Vec<String>>>(&mut self, metric: &'static Metric, counts: impl IntoIterator<Item = (L, u64)>) {
        let sample = |(labels, count): (L, u64)| Sample { labels: labels.into(), value: Value::Count(count) };
        self.put(metric, counts.into_iter().map(sample).collect());
    }

    pub(super) fn drains(&mut self, drains: Drains) {
        self.drains = Some(drains);
    }

    fn put(&mut self, metric: &'static Metric, samples: Vec<Sample>) {
        debug_assert!(samples.iter().all(|sample| sample.labels.len() == metric.labels.len()), "{}", metric.stem);
        if !samples.is_empty() {
            self.samples.push((metric, samples));
        }
    }

    /// The text of the scrape.
    pub(super) fn text(self, format: Format) -> String {
        let mut registry = Registry::with_prefix(table::PREFIX);
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("a string takes all that is written to it");
        match format {
            Format::OpenMetrics => text,
            Format::Text => plain(&text),
        }
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for (metric, samples) in &self.samples {
            let mut encoder = describe(&mut encoder, metric)?;
            for Sample { labels, value } in samples {
                if labels.is_empty() {
                    write(&mut encoder, *value)?;
                } else {
                    let labels: Vec<(&str, &str)> =
                        metric.labels.iter().map(|(name, _)| *name).zip(labels.iter().map(String::as_str)).collect();
                    write(&mut encoder.encode_family(&labels)?, *value)?;
                }
            }
        }
        match &self.drains {
            Some(drains) => drains.encode(describe(&mut encoder, table::DRAIN_LENGTH)?),
            None => Ok(()),
        }
    }
}

fn describe<'e>(encoder: &'e mut DescriptorEncoder<'_>, metric: &'e Metric) -> Result<MetricEncoder<'e>, fmt::Error> {
    const SECONDS: &prometheus_client::registry::Unit = &prometheus_client::registry::Unit::Seconds;
    const BYTES: &prometheus_client::registry::Unit = &prometheus_client::registry::Unit::Bytes;
    let unit = match metric.unit {
        Unit::None => None,
        Unit::Seconds => Some(SECONDS),
        Unit::Bytes => Some(BYTES),
    };
    let kind = match metric.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    encoder.encode_descriptor(metric.stem, metric.help, unit, kind)
}

fn write(encoder: &mut MetricEncoder<'_>, value: Value) -> fmt::Result {
    match value {
        Value::Count(count) => encoder.encode_counter::<NoLabelSet, _, u64>(&count, None),
        Value::Level(level) => encoder.encode_gauge(&level),
    }
}

/// OpenMetrics as the older text: there a counter is described under its whole name, and units and the end are not said.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut help = "";
    for line in text.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described;
            continue;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|described| described.split_once(' ')) {
            let total = if kind == "counter" { "_total" } else { "" };
            let said = help.split_once(' ').map_or("", |(_, said)| said);
            plain.push_str(&format!("# HELP {name}{total} {said}\n# TYPE {name}{total} {kind}\n"));
            continue;
        }
        plain.push_str(line);
        plain.push('\n');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut page = Page::default();
        page.labelled(table::BUILD, &["1.0", "a\"b\\c\nd"], 1.0);
        page.count(table::PROCESS_RESTARTS, 3);
        page.time(table::STARTED, Some(Timestamp(1_700_000_000_500)));
        page.time(table::DRAIN_STARTED, None);
        page.state(table::ACTIVITY, ["idle", "busy"], Some("odd"));
        page
    }

    #[test]
    fn a_scrape_is_open_metrics_with_labels_from_the_table() {
        let text = page().text(Format::OpenMetrics);
        for line in [
            r#"bellrock_build_info{version="1.0",commit="a\"b\\c\nd"} 1.0"#,
            "# TYPE bellrock_orchestrator_restarts counter\nbellrock_orchestrator_restarts_total 3\n",
            "# UNIT bellrock_agent_start_timestamp_seconds seconds\nbellrock_agent_start_timestamp_seconds 1700000000.5\n",
            "bellrock_activity{activity=\"busy\"} 0.0\nbellrock_activity{activity=\"odd\"} 1.0\n",
        ] {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n") && !text.contains("drain_start"), "{text}");
    }

    #[test]
    fn who_does_not_ask_for_open_metrics_gets_the_older_text() {
        let text = page().text(Format::Text);
        assert!(text.contains("# TYPE bellrock_orchestrator_restarts_total counter\nbellrock_orchestrator_restarts_total 3\n"), "{text}");
        assert!(!text.contains("# EOF") && !text.contains("# UNIT") && text.contains("# HELP bellrock_activity 1 for"), "{text}");
        assert_eq!(Format::accepted("text/html, */*"), Format::Text);
        assert_eq!(Format::accepted("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1"), Format::OpenMetrics);
    }
}
