//! How long a run takes to get going: seconds from the start of the process, loading of its libraries included, to its first step.

use std::sync::OnceLock;

static BEGUN: OnceLock<Option<f64>> = OnceLock::new();
static ENDED: OnceLock<Option<f64>> = OnceLock::new();

/// A step begins; the process's first one is remembered.
pub(crate) fn step_begins() {
    BEGUN.get_or_init(age);
}

/// A step has ended.
pub(crate) fn step_ends() {
    ENDED.get_or_init(age);
}

/// `start_s`, when the first step of this process began, and `first_step_s`, when it had ended. Nothing where no step was made.
pub(crate) fn figures() -> impl Iterator<Item = (&'static str, f64)> {
    let of = |name, cell: &OnceLock<Option<f64>>| Some((name, cell.get().copied().flatten()?));
    [of("start_s", &BEGUN), of("first_step_s", &ENDED)].into_iter().flatten()
}

/// Seconds since this process was started, to a hundredth; `None` where the system has no /proc.
fn age() -> Option<f64> {
    /// Of the times in /proc/self/stat, a second: proc_pid_stat(5), the same on every Linux of today.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Field 22; the name in the second field is in brackets and may hold spaces.
    let started: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let up: f64 = std::fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    Some(((up - started / TICKS) * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_age() {
        if !std::path::Path::new("/proc/self/stat").exists() {
            eprintln!("SKIPPED: the age of a process, because there is no /proc here");
            return;
        }
        let first = age().unwrap();
        assert!((0.0..86_400.0).contains(&first), "{first}");
        step_begins();
        step_ends();
        let figures: Vec<_> = figures().collect();
        assert_eq!(figures.iter().map(|f| f.0).collect::<Vec<_>>(), ["start_s", "first_step_s"]);
        assert!(first <= figures[0].1 && figures[0].1 <= figures[1].1, "{figures:?}");
    }
}
