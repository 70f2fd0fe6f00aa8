//! sacrebleu's tokenizers, without which a BLEU means nothing: `13a` (mteval-v13a, WMT's), `zh`, `char`, `none`.

use serde::{Deserialize, Serialize};

/// How a line falls into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenize {
    /// Western languages: punctuation apart, but within numbers.
    #[default]
    #[serde(rename = "13a")]
    V13a,
    /// Chinese: every character apart, the rest as 13a.
    Zh,
    /// Every character.
    Char,
    /// At blanks.
    None,
}

impl Tokenize {
    /// The tokens of a line.
    pub fn tokens(self, line: &str) -> Vec<String> {
        let line = line.trim_end();
        let text = match self {
            Tokenize::V13a => western(&format!(" {} ", unescaped(line))),
            Tokenize::Zh => {
                western(&line.trim().chars().map(|c| if is_chinese(c) { format!(" {c} ") } else { c.to_string() }).collect::<String>())
            }
            Tokenize::Char => line.chars().flat_map(|c| [c, ' ']).collect(),
            Tokenize::None => line.to_string(),
        };
        text.split_whitespace().map(str::to_string).collect()
    }
}

/// The language-independent part of mteval-v13a.
fn unescaped(line: &str) -> String {
    let line = line.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    line.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
}

/// The language-dependent part: four substitutions, one after the other, as sacrebleu's `TokenizerRegexp` makes them.
fn western(line: &str) -> String {
    let apart = |c: char| matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/');
    let line: String = line.chars().map(|c| if apart(c) { format!(" {c} ") } else { c.to_string() }).collect();
    let (digit, point) = (|c: char| c.is_ascii_digit(), |c: char| c == '.' || c == ',');
    let line = pairs(&line, |a, b| !digit(a) && point(b), |a, b| format!("{a} {b} "));
    let line = pairs(&line, |a, b| point(a) && !digit(b), |a, b| format!(" {a} {b}"));
    pairs(&line, |a, b| digit(a) && b == '-', |a, b| format!("{a} {b} "))
}

/// Replaces pairs of neighbours from the left, none of which overlap.
fn pairs(line: &str, is: impl Fn(char, char) -> bool, with: impl Fn(char, char) -> String) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(a) = chars.next() {
        match chars.peek() {
            Some(&b) if is(a, b) => {
                chars.next();
                out += &with(a, b);
            }
            _ => out.push(a),
        }
    }
    out
}

/// sacrebleu's ranges. Two of them are written with four hexadecimal digits too few in its source, and are here what they are there: one
/// of those takes in what stands between (symbols, dingbats).
fn is_chinese(c: char) -> bool {
    matches!(c as u32,
        0x3400..=0x4db5 | 0x4e00..=0x9fa5 | 0x9fa6..=0x9fbb | 0xf900..=0xfa2d | 0xfa30..=0xfa6a | 0xfa70..=0xfad9 | 0x2001..=0x2a6d | 0x2f81..=0x2fa1
        | 0xff00..=0xffef | 0x2e80..=0x2eff | 0x3000..=0x303f | 0x31c0..=0x31ef | 0x2f00..=0x2fdf | 0x2ff0..=0x2fff | 0x3100..=0x312f | 0x31a0..=0x31bf
        | 0xfe10..=0xfe1f | 0xfe30..=0xfe4f | 0x3200..=0x32ff | 0x3300..=0x33ff)
}
