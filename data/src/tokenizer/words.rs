//! Text cut into words as the regular expressions of GPT-2, GPT-4 and Qwen cut it, by hand: a regular expression with a look-ahead takes
//! longer over a word than all the rest of tokenising together.
//!
//! What is a letter, a number or a space is asked of the library's own regular expressions, once, for every character of Unicode: a table kept here
//! would differ from it wherever the two follow different versions of Unicode.

use serde_json::{Value, json};
use std::sync::LazyLock;
use tokenizers::SplitDelimiterBehavior::Isolated;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

/// How a text is cut into words. The words together are the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+` (openai/gpt-2 `src/encoder.py`)
    Gpt2,
    /// [`GPT4`], with at most so many digits in a word: 3 for GPT-4 and Llama 3, 1 for Qwen.
    Gpt4 { digits: usize },
}

/// The regular expression that follows GPT-2's in GPT-4 (openai/tiktoken `cl100k_base`), as `tokenizer.json` files spell it; Qwen has `\p{N}` for
/// `\p{N}{1,3}`.
const GPT4: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Pattern {
    /// The pattern of a byte-level pre-tokenizer (its form in `tokenizer.json`), if it is one of those known here.
    pub(super) fn of(pre_tokenizer: &Value) -> Option<Pattern> {
        let level = |v: &Value, regex: bool| {
            let flag = |key: &str, default: bool| v.get(key).and_then(Value::as_bool).unwrap_or(default);
            v["type"] == "ByteLevel" && !flag("add_prefix_space", true) && flag("use_regex", true) == regex
        };
        if level(pre_tokenizer, true) {
            return Some(Pattern::Gpt2);
        }
        let [split, bytes] = pre_tokenizer.get("pretokenizers")?.as_array()?.as_slice() else { return None };
        // Both keep every word: the patterns leave nothing between their matches.
        let behaviours = [json!(["Isolated", false]), json!(["Removed", true])];
        let known = split["type"] == "Split" && behaviours.contains(&json!([split["behavior"], split["invert"]]));
        if pre_tokenizer["type"] != "Sequence" || !known || !level(bytes, false) {
            return None;
        }
        let regex = split["pattern"].get("Regex")?.as_str()?;
        if regex == GPT4 {
            Some(Pattern::Gpt4 { digits: 3 })
        } else {
            (regex == GPT4.replace("{1,3}", "")).then_some(Pattern::Gpt4 { digits: 1 })
        }
    }

    /// The words of a text.
    pub(super) fn words(self, text: &str) -> impl Iterator<Item = &str> {
        let mut cursor = Cursor { text, classes: &CLASSES };
        std::iter::from_fn(move || {
            if cursor.text.is_empty() {
                return None;
            }
            let end = match self {
                Pattern::Gpt2 => cursor.gpt2(),
                Pattern::Gpt4 { digits } => cursor.gpt4(digits),
            };
            let (word, rest) = cursor.text.split_at(end);
            cursor.text = rest;
            Some(word)
        })
    }
}

/// What the patterns tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    Other,
    Letter,
    Number,
    Space,
}

/// Letters, numbers and spaces have code points below this: beyond the third plane there are but tags, private and unassigned characters.
const CLASSED: char = '\u{40000}';

/// The class of every character below [`CLASSED`], by its code point.
static CLASSES: LazyLock<Vec<Class>> = LazyLock::new(|| {
    let all: String = ('\0'..CLASSED).collect();
    let mut classes = vec![Class::Other; CLASSED as usize];
    for (regex, class) in [(r"\p{L}+", Class::Letter), (r"\p{N}+", Class::Number), (r"\s+", Class::Space)] {
        let split = Split::new(SplitPattern::Regex(regex.into()), Isolated, false).expect("a sound expression");
        for (start, end) in split.regex.find_iter(&all) {
            all[start..end].chars().for_each(|c| classes[c as usize] = class);
        }
    }
    classes
});

/// What is left of a text.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    text: &'a str,
    classes: &'a [Class],
}

impl Cursor<'_> {
    /// The character at a place and its class.
    fn at(&self, at: usize) -> Option<(char, Class)> {
        let c = self.text[at..].chars().next()?;
        Some((c, self.classes.get(c as usize).copied().unwrap_or(Class::Other)))
    }

    /// Where the run of a class that begins at a place ends, after at most `most` characters.
    fn run(&self, mut at: usize, class: Class, most: usize) -> usize {
        for _ in 0..most {
            match self.text.as_bytes().get(at) {
                Some(&b) if b < 0x80 && self.classes[b as usize] == class => at += 1,
                Some(&b) if b >= 0x80 => match self.at(at) {
                    Some((c, found)) if found == class => at += c.len_utf8(),
                    _ => break,
                },
                _ => break,
            }
        }
        at
    }

    /// `\s+(?!\S)|\s+` at the beginning: a run of spaces leaves its last one to the word that follows, unless it is the only one.
    fn spaces(&self) -> usize {
        let end = self.run(0, Class::Space, usize::MAX);
        let last = self.text[..end].chars().next_back().map_or(0, char::len_utf8);
        if end == self.text.len() || end == last { end } else { end - last }
    }

    /// End of the first word.
    fn gpt2(&self) -> usize {
        let bytes = self.text.as_bytes();
        if bytes[0] == b'\'' {
            match &bytes[1..] {
                [b's' | b't' | b'm' | b'd', ..] => return 2,
                [b'r' | b'v', b'e', ..] | [b'l', b'l', ..] => return 3,
                _ => {}
            }
        }
        let from = usize::from(bytes[0] == b' ');
        match self.at(from) {
            Some((c, class)) if class != Class::Space => self.run(from + c.len_utf8(), class, usize::MAX),
            _ => self.spaces(),
        }
    }

    /// End of the first word.
    fn gpt4(&self, digits: usize) -> usize {
        let rest = self.text;
        if let Some(rest) = rest.strip_prefix('\'') {
            // Without regard to case, in which U+017F is an s.
            let mut two = rest.chars().map(|c| if c == 'ſ' { 's' } else { c.to_ascii_lowercase() });
            match (two.next(), two.next()) {
                (Some('s' | 't' | 'm' | 'd'), _) => return 1 + rest.chars().next().map_or(0, char::len_utf8),
                (Some('r' | 'v'), Some('e')) | (Some('l'), Some('l')) => return 3,
                _ => {}
            }
        }
        let Some((first, class)) = self.at(0) else { return 0 };
        let after = first.len_utf8();
        let newline = |c: char| c == '\r' || c == '\n';
        match class {
            Class::Letter => return self.run(after, Class::Letter, usize::MAX),
            Class::Number => return self.run(after, Class::Number, digits - 1),
            _ if newline(first) => {}
            _ => {
                let end = self.run(after, Class::Letter, usize::MAX);
                if end > after {
                    return end;
                }
            }
        }
        let from = usize::from(first == ' ');
        let end = self.run(from, Class::Other, usize::MAX);
        if end > from {
            return end + (rest.len() - end - rest[end..].trim_start_matches(newline).len());
        }
        let end = self.run(0, Class::Space, usize::MAX);
        rest[..end].rfind(newline).map_or_else(|| self.spaces(), |at| at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pieces of text that the patterns tell apart, and any others.
    fn parts() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "[ \\n\\r\\t\\u{a0}\\u{3000}\\u{85}\\u{2028}]{1,3}",
            "'(s|S|ſ|t|re|RE|Ve|m|ll|lL|d|x|ſe)",
            "[a-zA-Zéñßſ\\u{4e00}-\\u{4e20}\\u{1f3ff}\\u{301}\\u{2160}ªˢ]{1,4}",
            "[0-9٠½Ⅷ²\\u{1d7ce}]{1,5}",
            "[!-/:-@\\[-`{-~，。🙂\\u{200d}\\u{ad}\\u{0}]{1,3}",
            any::<String>(),
        ];
        prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    fn by_regex<'a>(regex: &str, text: &'a str) -> Vec<&'a str> {
        let split = Split::new(SplitPattern::Regex(regex.into()), Isolated, false).unwrap();
        split.regex.find_iter(text).map(|(start, end)| &text[start..end]).collect()
    }

    const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    fn patterns() -> [(Pattern, String); 3] {
        let qwen = GPT4.replace("{1,3}", "");
        [(Pattern::Gpt2, GPT2.into()), (Pattern::Gpt4 { digits: 3 }, GPT4.into()), (Pattern::Gpt4 { digits: 1 }, qwen)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]
        #[test]
        fn words_are_those_of_the_regular_expressions(text in parts()) {
            for (pattern, regex) in patterns() {
                prop_assert_eq!(pattern.words(&text).collect::<Vec<_>>(), by_regex(&regex, &text), "{:?}", pattern);
            }
        }
    }

    /// Each character of Unicode between two letters, after a digit and after spaces.
    #[test]
    fn every_character_is_of_the_class_that_the_library_says() {
        for part in ('\0'..=char::MAX).collect::<Vec<_>>().chunks(5000) {
            let text: String = part.iter().map(|c| format!("a{c}b 1{c} {c}\n{c}'{c}e\n")).collect();
            for (pattern, regex) in patterns() {
                assert!(pattern.words(&text).eq(by_regex(&regex, &text)), "{pattern:?} from {:?}", part[0]);
            }
        }
    }

    #[test]
    fn only_known_forms_are_recognised() {
        let level =
            |prefix: bool, regex: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": regex});
        let sequence = |regex: &str, behavior: &str, invert: bool| {
            let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert});
            json!({"type": "Sequence", "pretokenizers": [split, level(false, false)]})
        };
        assert_eq!(Pattern::of(&level(false, true)), Some(Pattern::Gpt2));
        assert_eq!(Pattern::of(&sequence(GPT4, "Isolated", false)), Some(Pattern::Gpt4 { digits: 3 }));
        assert_eq!(Pattern::of(&sequence(GPT4, "Removed", true)), Some(Pattern::Gpt4 { digits: 3 }));
        assert_eq!(Pattern::of(&sequence(&patterns()[2].1, "Isolated", false)), Some(Pattern::Gpt4 { digits: 1 }));
        for other in [
            level(true, true),
            level(false, false),
            sequence(GPT4, "Removed", false),
            sequence(GPT2, "Isolated", false),
            json!({"type": "Whitespace"}),
            Value::Null,
        ] {
            assert_eq!(Pattern::of(&other), None, "{other}");
        }
    }
}
