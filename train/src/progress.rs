//! Progress of long work: a bar with loss, rate and time left on a terminal, plain lines now and then in a log file.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Only one of the processes of a run speaks.
static MUTED: AtomicBool = AtomicBool::new(false);

/// From here on this process shows no progress and says nothing but errors: another one speaks for all.
pub fn mute() {
    MUTED.store(true, Ordering::Relaxed);
}

fn muted() -> bool {
    MUTED.load(Ordering::Relaxed)
}

/// Prints a line on standard error, if this process is the one that speaks.
pub fn note(line: &str) {
    if !muted() {
        eprintln!("{line}");
    }
}

/// Seconds between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress of one piece of work.
#[derive(Debug)]
pub struct Progress {
    label: String,
    unit: Unit,
    start: u64,
    total: u64,
    begun: Instant,
    said: Option<Instant>,
    bar: Option<ProgressBar>,
}

/// Prints lines above a bar, or where there is none.
#[derive(Debug, Clone, Default)]
pub struct Voice(Option<ProgressBar>);

impl Voice {
    /// Prints a line of its own.
    pub fn say(&self, line: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| note(line)),
            None => note(line),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    Steps,
    Bytes,
}

impl Progress {
    /// Work counted in steps (rows, rounds), of which `start` were done before.
    pub fn steps(label: &str, start: u64, total: u64) -> Progress {
        Progress::new(label, Unit::Steps, start, total)
    }

    /// Work counted in bytes.
    pub fn bytes(label: &str, total: u64) -> Progress {
        Progress::new(label, Unit::Bytes, 0, total)
    }

    fn new(label: &str, unit: Unit, start: u64, total: u64) -> Progress {
        let bar = (!muted() && std::io::stderr().is_terminal()).then(|| {
            let count = if unit == Unit::Bytes { "{bytes}/{total_bytes}" } else { "{pos}/{len}" };
            let template = format!("{{prefix:.bold}} {{bar:24.cyan/blue}} {count} {{msg}}");
            let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8)).with_style(style);
            bar.set_prefix(label.to_owned());
            bar.set_position(start);
            bar
        });
        Progress { label: label.to_owned(), unit, start, total, begun: Instant::now(), said: None, bar }
    }

    /// `done` of the total are done; `values` such as `("loss", 2.31)` or `("tok/s", 12300.0)` are shown beside it.
    pub fn at(&mut self, done: u64, values: &[(&str, f64)]) {
        let text = format!("{}{}", fields(values), self.time_left(done));
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(text);
            }
            None if self.said.is_none_or(|t| t.elapsed() >= LINE_EVERY) => {
                self.said = Some(Instant::now());
                note(&self.plain(done, &text));
            }
            None => {}
        }
    }

    /// The work's length has become known or has changed.
    pub fn set_total(&mut self, total: u64) {
        self.total = total;
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    /// Prints a line of its own above the bar.
    pub fn say(&self, line: &str) {
        self.voice().say(line);
    }

    /// Lets somebody else speak above the bar.
    pub fn voice(&self) -> Voice {
        Voice(self.bar.clone())
    }

    /// Ends the bar with a last line.
    pub fn finish(&mut self, done: u64, values: &[(&str, f64)]) {
        let text = format!("{}in {}", fields(values), duration(self.begun.elapsed()));
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        note(&self.plain(done, &text));
    }

    fn plain(&self, done: u64, text: &str) -> String {
        let count = match self.unit {
            Unit::Steps => format!("{done}/{}", self.total),
            Unit::Bytes => format!("{}B/{}B", short(done as f64), short(self.total as f64)),
        };
        let percent = 100 * done.min(self.total) / self.total.max(1);
        format!("{} {count} ({percent}%) {text}", self.label).trim_end().to_owned()
    }

    fn time_left(&self, done: u64) -> String {
        let now = done.saturating_sub(self.start);
        if now == 0 || done >= self.total {
            return String::new();
        }
        let left = self.begun.elapsed().as_secs_f64() / now as f64 * (self.total - done) as f64;
        format!("{} left", duration(Duration::from_secs_f64(left)))
    }
}

impl Drop for Progress {
    /// An unfinished bar (an error, a stop) leaves the terminal to what comes next.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

fn fields(values: &[(&str, f64)]) -> String {
    values.iter().map(|(name, value)| format!("{name} {} · ", short(*value))).collect()
}

/// Three or four digits that matter: 2.314, 0.0123, 12.3k, 1.20M.
pub(crate) fn short(x: f64) -> String {
    match x.abs() {
        a if !x.is_finite() || a == 0.0 => format!("{x}"),
        a if a >= 1e12 => format!("{x:.1e}"),
        a if a >= 1e9 => format!("{:.2}G", x / 1e9),
        a if a >= 1e6 => format!("{:.2}M", x / 1e6),
        a if a >= 1e4 => format!("{:.1}k", x / 1e3),
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 1.0 => format!("{x:.3}"),
        a if a >= 1e-3 => format!("{x:.4}"),
        _ => format!("{x:.1e}"),
    }
}

fn duration(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short() {
        let shown = [0.0, 2.3141, 0.01234, 123.4, 12_345.0, 1_200_000.0, 3e-5, f64::NAN].map(short);
        assert_eq!(shown, ["0", "2.314", "0.0123", "123", "12.3k", "1.20M", "3.0e-5", "NaN"]);
    }

    #[test]
    fn plain_lines_tell_where_the_work_stands() {
        let mut p = Progress::steps("sft", 10, 40);
        p.bar = None;
        assert_eq!(p.plain(20, "loss 2.000"), "sft 20/40 (50%) loss 2.000");
        assert_eq!(p.time_left(40), "");
        assert_eq!(p.time_left(10), "");
        assert!(p.time_left(20).ends_with("s left"));
        assert_eq!([59, 61, 3661].map(|s| duration(Duration::from_secs(s))), ["59s", "1m01s", "1h01m"]);
    }
}
