//! Finding phrases in text: lower-cased words, sentence by sentence, matched against small patterns.
//!
//! A pattern is words apart by spaces. `a|b` is either word, `?a|b` may be absent, `~3` skips up to three words (never across the end of a
//! sentence or "and", "with", "but", "while"), `-` in a pattern or a text is a space. The first word of a pattern is always a plain word or `a|b`.

use std::collections::HashMap;

/// The mark that `words` puts between sentences.
pub const END: &str = ".";

/// What comes after one of these is about something else: "low prices and a high rating".
const CONNECTIVES: &[&str] = &["and", "with", "but", "while", "although"];

/// Lower-cased words of `text`; [`END`] stands for `.`, `!`, `?`, `;` and line ends. Apostrophes vanish (`it's` → `its`), accents of é fall,
/// `£` stays with its number, other marks part words.
pub fn words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let between_digits = |next: Option<&char>| word.ends_with(|c: char| c.is_ascii_digit()) && next.is_some_and(char::is_ascii_digit);
        match c {
            'é' | 'è' | 'É' | 'È' => word.push('e'),
            '\'' | '’' | '`' => {}
            // 3.5 and 1,000 are one word.
            '.' | ',' if between_digits(chars.peek()) => word.push(c),
            c if c.is_alphanumeric() || c == '£' || c == '$' || c == '€' => {
                if c == '£' && !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                word.extend(c.to_lowercase());
            }
            c => {
                if !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                if matches!(c, '.' | '!' | '?' | ';' | '\n') && out.last().is_some_and(|w| w != END) {
                    out.push(END.into());
                }
            }
        }
    }
    if !word.is_empty() {
        out.push(word);
    }
    out
}

enum Item {
    Word(Vec<String>),
    Optional(Vec<String>),
    Gap(usize),
}

/// A compiled pattern.
struct Pattern(Vec<Item>);

impl Pattern {
    fn new(text: &str) -> Pattern {
        let alternatives = |s: &str| s.split('|').map(String::from).collect::<Vec<_>>();
        let text = text.to_lowercase().replace('-', " ");
        let items = text.split_whitespace().map(|w| match (w.strip_prefix('~'), w.strip_prefix('?')) {
            (Some(n), _) => Item::Gap(n.parse().unwrap_or(0)),
            (_, Some(w)) => Item::Optional(alternatives(w)),
            _ => Item::Word(alternatives(w)),
        });
        Pattern(items.collect())
    }

    /// Length of the shortest match at the start of `words`, and how many of its words are named (not skipped).
    fn at(items: &[Item], words: &[String]) -> Option<(usize, usize)> {
        let Some(item) = items.first() else { return Some((0, 0)) };
        let rest = &items[1..];
        match item {
            Item::Word(any) => {
                let (len, named) = any.contains(words.first()?).then(|| Self::at(rest, &words[1..]))??;
                Some((len + 1, named + 1))
            }
            Item::Optional(any) => {
                if words.first().is_some_and(|w| any.contains(w))
                    && let Some((len, named)) = Self::at(rest, &words[1..])
                {
                    return Some((len + 1, named + 1));
                }
                Self::at(rest, words)
            }
            Item::Gap(most) => {
                for skip in 0..=*most {
                    if let Some((len, named)) = Self::at(rest, words.get(skip..)?) {
                        return Some((len + skip, named));
                    }
                    if words.get(skip).is_none_or(|w| w == END || CONNECTIVES.contains(&w.as_str())) {
                        return None;
                    }
                }
                None
            }
        }
    }
}

/// Where a phrase was found: words `start..end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit<Slot, Value> {
    /// Slot that the phrase speaks of.
    pub slot: Slot,
    /// Value that it gives.
    pub value: Value,
    /// First word.
    pub start: usize,
    /// One past the last word.
    pub end: usize,
    named: usize,
}

/// Phrases, each saying that a slot has a value.
pub struct Phrases<Slot, Value> {
    patterns: Vec<(Slot, Value, Pattern)>,
    /// First word → patterns that begin with it.
    first: HashMap<String, Vec<usize>>,
}

impl<Slot: Copy + PartialEq, Value: Copy> Phrases<Slot, Value> {
    /// Compiles `(slot, value, pattern)` triples.
    pub fn new<P: AsRef<str>>(entries: impl IntoIterator<Item = (Slot, Value, P)>) -> Self {
        let mut phrases = Phrases { patterns: Vec::new(), first: HashMap::new() };
        for (slot, value, text) in entries {
            let pattern = Pattern::new(text.as_ref());
            if let Some(Item::Word(any)) = pattern.0.first() {
                for word in any {
                    phrases.first.entry(word.clone()).or_default().push(phrases.patterns.len());
                }
                phrases.patterns.push((slot, value, pattern));
            }
        }
        phrases
    }

    /// All phrases in `words` from left to right. Of phrases that overlap and speak of the same slot the one that names most words
    /// stands, then the shortest (so that "not good for families" is not "good for families").
    pub fn find(&self, words: &[String]) -> Vec<Hit<Slot, Value>> {
        let mut all = Vec::new();
        for start in 0..words.len() {
            for &i in self.first.get(&words[start]).into_iter().flatten() {
                let (slot, value, pattern) = &self.patterns[i];
                if let Some((len, named)) = Pattern::at(&pattern.0, &words[start..]) {
                    all.push(Hit { slot: *slot, value: *value, start, end: start + len, named });
                }
            }
        }
        all.sort_by_key(|h| (std::cmp::Reverse(h.named), h.end - h.start, h.start));
        // Few phrases end inside one another, but a text may be long: remember what is taken by word.
        let mut taken: Vec<Vec<Slot>> = vec![Vec::new(); words.len()];
        all.retain(|h| {
            let free = taken[h.start..h.end].iter().all(|slots| !slots.contains(&h.slot));
            if free {
                taken[h.start..h.end].iter_mut().for_each(|slots| slots.push(h.slot));
            }
            free
        });
        all.sort_by_key(|h| (h.start, h.end));
        all
    }
}

/// Three-word runs (within sentences) that have been there before: 0 for a text that never repeats itself.
pub fn repeated_trigrams(words: &[String]) -> usize {
    let mut seen = std::collections::HashSet::new();
    words.windows(3).filter(|w| !w.iter().any(|x| x == END) && !seen.insert(*w)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_part_and_fold() {
        assert_eq!(words("It's a 5-star Café, £20-25. Yes!"), ["its", "a", "5", "star", "cafe", "£20", "25", ".", "yes", "."]);
        assert_eq!(words("3.5 out of 5..."), ["3.5", "out", "of", "5", "."]);
        assert!(words(" \u{0}…").is_empty());
    }

    #[test]
    fn longer_phrases_shadow_shorter_ones_of_their_slot_only() {
        let p = Phrases::new([(0, true, "good for families"), (0, false, "not ~2 good for families"), (1, true, "families")]);
        let hits = p.find(&words("It is not really good for families."));
        assert_eq!(hits.iter().map(|h| (h.slot, h.value)).collect::<Vec<_>>(), [(0, false), (1, true)]);
        let p = Phrases::new([(0, true, "good for families"), (0, false, "not ?really good for families")]);
        assert_eq!(p.find(&words("not really good for families")).len(), 1);
        assert!(!p.find(&words("not good for families"))[0].value);
        assert!(p.find(&words("not good for. families")).is_empty());
    }

    #[test]
    fn repetition_is_counted_by_threes() {
        assert_eq!(repeated_trigrams(&words("a b c d. a b c d.")), 2);
        assert_eq!(repeated_trigrams(&words("a b. c a b. c")), 0);
    }
}
