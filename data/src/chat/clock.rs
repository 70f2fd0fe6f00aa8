//! What templates that tell the date (`strftime_now`) take for the present: the clock, unless something stands in its place.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

static PINNED: OnceLock<i64> = OnceLock::new();

/// From here on `seconds` since 1970 are the present for all templates of this process, so that a run which goes on tomorrow reads the tokens of today. The first
/// call counts.
pub fn pin(seconds: i64) {
    let _ = PINNED.set(seconds);
}

/// Seconds since 1970: what was pinned, else the environment variable `SOURCE_DATE_EPOCH`, else the clock.
pub fn now() -> i64 {
    let given = || std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|s| s.parse().ok());
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    PINNED.get().copied().or_else(given).unwrap_or_else(clock)
}
