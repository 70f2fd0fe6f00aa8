//! How much a text repeats itself. A policy that learned to please a reward model by saying things twice shows here.

use std::collections::HashSet;

/// Words of a text: runs of letters and digits, lower case. Scripts written without spaces (Chinese, Japanese, Thai...) have no
/// words to find this way, so there each character is one.
pub fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false; // does the last word go on?
    for c in text.chars() {
        if unspaced(c) {
            words.push(c.to_string());
            open = false;
        } else if c.is_alphanumeric() {
            if !open {
                words.push(String::new());
            }
            if let Some(last) = words.last_mut() {
                last.extend(c.to_lowercase());
            }
            open = true;
        } else if c != '\'' && c != '’' {
            open = false; // an apostrophe does not end its word
        }
    }
    words
}

/// Scripts that put no spaces between words: Thai, Lao, Khmer, Burmese, kana, Han.
fn unspaced(c: char) -> bool {
    matches!(c, '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{3040}'..='\u{30FF}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
        && c.is_alphanumeric()
}

/// Share of a text's word 3-grams that occurred in it before: 0 when none does, near 1 when one phrase goes round. A text of
/// fewer than three words has 0.
pub fn repetition(text: &str) -> f64 {
    let words = words(text);
    let total = words.len().saturating_sub(2);
    if total == 0 {
        return 0.0;
    }
    let distinct: HashSet<&[String]> = words.windows(3).collect();
    1.0 - distinct.len() as f64 / total as f64
}

/// Distinct word n-grams divided by all word n-grams, over all texts together (distinct-n, arXiv 1510.03055): low when the answers
/// resemble one another. 0 when there are none.
pub fn distinct_n<S: AsRef<str>>(texts: &[S], n: usize) -> f64 {
    let words: Vec<Vec<String>> = texts.iter().map(|t| self::words(t.as_ref())).collect();
    let mut distinct: HashSet<&[String]> = HashSet::new();
    let mut total = 0usize;
    for gram in words.iter().flat_map(|w| w.windows(n.max(1))) {
        total += 1;
        distinct.insert(gram);
    }
    if total == 0 { 0.0 } else { distinct.len() as f64 / total as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_many_scripts() {
        assert_eq!(words("The Eagle's £20-25, café!"), ["the", "eagles", "20", "25", "café"]);
        assert_eq!(words("红楼梦 1791年"), ["红", "楼", "梦", "1791", "年"]);
        assert!(words(" … ").is_empty());
    }

    #[test]
    fn repetition_by_hand() {
        assert_eq!(repetition("a b"), 0.0);
        assert_eq!(repetition("a b c d e"), 0.0);
        // 3-grams: abc bca cab abc: 3 distinct of 4
        assert!((repetition("a b c a b c") - 0.25).abs() < 1e-12);
        assert!(repetition(&"cheap food ".repeat(50)) > 0.97);
    }

    #[test]
    fn distinct_over_all_texts() {
        assert_eq!(distinct_n(&["a b c", "a b d"], 2), 0.75);
        assert_eq!(distinct_n(&["a b c"; 4], 1), 0.25);
        assert_eq!(distinct_n::<&str>(&[], 2), 0.0);
    }
}
