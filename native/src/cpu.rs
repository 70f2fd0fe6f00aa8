//! What Linux says of the processor.

use std::sync::LazyLock;

static WORDS: LazyLock<String> = LazyLock::new(|| std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default());

/// Is this one of the processor's flags, or its maker? A flag is only there if the system lets programs use it.
pub fn has(word: &str) -> bool {
    WORDS.split_whitespace().any(|w| w == word)
}
