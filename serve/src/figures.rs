//! Figures for Prometheus.

use prometheus::{Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};
use std::time::Duration;

/// Counters of the server's life.
#[derive(Debug)]
pub struct Figures {
    registry: Registry,
    requests: IntCounterVec,
    /// Tokens of prompts.
    pub prompt: IntCounter,
    /// Tokens written.
    pub generated: IntCounter,
    /// Answers being written or waiting.
    pub active: IntGauge,
    /// Answers given up because nobody listened any more.
    pub cancelled: IntCounter,
    first: Histogram,
    whole: Histogram,
}

impl Figures {
    /// All at zero.
    pub fn new() -> prometheus::Result<Figures> {
        let registry = Registry::new();
        let seconds = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
        let histogram = |name: &str, help: &str| Histogram::with_opts(HistogramOpts::new(name, help).buckets(seconds.clone()));
        let figures = Figures {
            requests: IntCounterVec::new(Opts::new("serve_requests_total", "Requests by path and status"), &["path", "status"])?,
            prompt: IntCounter::new("serve_prompt_tokens_total", "Tokens of prompts")?,
            generated: IntCounter::new("serve_generated_tokens_total", "Tokens written")?,
            active: IntGauge::new("serve_active_answers", "Answers being written or waiting")?,
            cancelled: IntCounter::new("serve_cancelled_answers_total", "Answers given up because the client went away")?,
            first: histogram("serve_first_token_seconds", "From the request to the first token of an answer")?,
            whole: histogram("serve_answer_seconds", "From the request to its last token")?,
            registry,
        };
        let Figures { registry, requests, prompt, generated, active, cancelled, first, whole } = &figures;
        registry.register(Box::new(requests.clone()))?;
        [prompt, generated, cancelled].into_iter().try_for_each(|c| registry.register(Box::new(c.clone())))?;
        registry.register(Box::new(active.clone()))?;
        [first, whole].into_iter().try_for_each(|h| registry.register(Box::new(h.clone())))?;
        Ok(figures)
    }

    /// A request was answered. `path` is one of our own, so that nobody can make up labels.
    pub fn request(&self, path: &str, status: u16) {
        self.requests.with_label_values(&[path, &status.to_string()]).inc();
    }

    /// The first token of an answer has come.
    pub fn first_token(&self, after: Duration) {
        self.first.observe(after.as_secs_f64());
    }

    /// All answers of a request are complete.
    pub fn answered(&self, after: Duration) {
        self.whole.observe(after.as_secs_f64());
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        let written = TextEncoder::new().encode(&self.registry.gather(), &mut out);
        written.map(|()| String::from_utf8_lossy(&out).into_owned()).unwrap_or_default()
    }
}
