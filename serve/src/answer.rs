//! From tokens to text that may be shown: a character whose bytes are not all there yet waits, and so does what may become a stop string.

use data::error::DataError;
use data::tokenizer::Tokenizer;

/// The text of one answer as it grows.
#[derive(Debug)]
pub struct Answer {
    ids: Vec<u32>,
    /// Tokens before this one are text already; those from `context` on are decoded again, since a token's text may depend on the one before it.
    read: usize,
    context: usize,
    /// Text that may begin a stop string.
    held: String,
    /// Characters that are text already, the held ones among them.
    length: usize,
    stops: Vec<String>,
    stopped: bool,
}

/// Stands for bytes that are no character, or not yet.
const BROKEN: char = '\u{FFFD}';

impl Answer {
    /// An empty answer behind the tokens of `before`, which ends before the first of `stops`.
    pub fn new(before: &[u32], stops: Vec<String>) -> Answer {
        Answer { ids: before.to_vec(), read: before.len(), context: 0, held: String::new(), length: 0, stops, stopped: false }
    }

    /// What the token that comes next adds to the text, and where, in characters. Amid a character it is the token's own, broken text.
    pub fn adds(&self, tokenizer: &Tokenizer, id: u32) -> Result<(String, usize), DataError> {
        let before = tokenizer.decode(&self.ids[self.context..], true)?;
        let now = tokenizer.decode(&[&self.ids[self.context..], &[id]].concat(), true)?;
        let text = match now.strip_prefix(&before).filter(|_| !now.ends_with(BROKEN)) {
            Some(text) => text.to_owned(),
            None => tokenizer.decode(&[id], true)?,
        };
        Ok((text, self.length))
    }

    /// A token more: the text that is certain now.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String, DataError> {
        if self.stopped {
            return Ok(String::new());
        }
        self.ids.push(id);
        let before = tokenizer.decode(&self.ids[self.context..self.read], true)?;
        let now = tokenizer.decode(&self.ids[self.context..], true)?;
        // A replacement character at the end: bytes of a character that is not whole.
        if now.len() > before.len() && !now.ends_with(BROKEN) {
            let new = now.get(before.len()..).unwrap_or_default().to_owned();
            (self.context, self.read) = (self.read, self.ids.len());
            return Ok(self.release(&new));
        }
        Ok(String::new())
    }

    /// What is left when no token follows, broken characters included.
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String, DataError> {
        if self.stopped {
            return Ok(String::new());
        }
        let before = tokenizer.decode(&self.ids[self.context..self.read], true)?;
        let now = tokenizer.decode(&self.ids[self.context..], true)?;
        self.read = self.ids.len();
        let text = self.release(now.get(before.len()..).unwrap_or_default());
        Ok(text + &std::mem::take(&mut self.held))
    }

    /// A stop string was met: nothing follows.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Takes up new text and lets go what cannot be part of a stop string.
    fn release(&mut self, new: &str) -> String {
        self.length += new.chars().count();
        self.held.push_str(new);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let begins = |at: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[*at..]));
        let keep = self.held.char_indices().map(|(at, _)| at).find(begins).unwrap_or(self.held.len());
        let rest = self.held.split_off(keep);
        std::mem::replace(&mut self.held, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The pieces that come out as the bytes of `text` go in one by one, and whether a stop string ended them.
    fn pieces(text: &str, stops: &[&str]) -> (Vec<String>, bool) {
        let tokenizer = Tokenizer::byte().unwrap();
        let mut answer = Answer::new(&[], stops.iter().map(ToString::to_string).collect());
        let mut out = Vec::new();
        for id in tokenizer.encode(text).unwrap() {
            out.push(answer.push(&tokenizer, id).unwrap());
        }
        out.push(answer.finish(&tokenizer).unwrap());
        (out.into_iter().filter(|s| !s.is_empty()).collect(), answer.stopped())
    }

    #[test]
    fn characters_come_whole() {
        assert_eq!(pieces("a你é🦀", &[]), (["a", "你", "é", "🦀"].map(String::from).to_vec(), false));
    }

    /// SentencePiece's decoders drop the blank that begins a text, which a continuation does not.
    #[test]
    fn a_continuation_keeps_its_blanks() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../evaluate/tests/golden/llama2c/tokenizer.bin");
        let tokenizer = Tokenizer::load_llama2c(&file, 306).unwrap();
        let ids = tokenizer.encode("the cat sat on").unwrap();
        assert!(ids.len() > 3);
        for before in [0, 1, 2] {
            let mut answer = Answer::new(tokenizer.context(&ids[..before]).unwrap(), vec![]);
            let (mut text, mut tokens) = (String::new(), String::new());
            for &id in &ids[before..] {
                let (token, offset) = answer.adds(&tokenizer, id).unwrap();
                assert_eq!(offset, tokens.chars().count());
                tokens += &token;
                text += &answer.push(&tokenizer, id).unwrap();
            }
            text += &answer.finish(&tokenizer).unwrap();
            let begun = tokenizer.decode(&ids[..before], true).unwrap();
            assert_eq!((begun.clone() + &text, begun + &tokens), ("the cat sat on".into(), "the cat sat on".into()));
        }
    }

    #[test]
    fn stop_strings_never_show() {
        assert_eq!(pieces("abc. END d", &["END"]), (["a", "b", "c", ".", " "].map(String::from).to_vec(), true));
        assert_eq!(pieces("aEbENc", &["END"]).0.concat(), "aEbENc");
        assert_eq!(pieces("aEN", &["END"]).0.concat(), "aEN", "what might have become one is text after all");
        assert_eq!(pieces("xxyz", &["xyz", "yz"]).0.concat(), "x");
        assert_eq!(pieces("你好吗", &["好"]), (vec!["你".to_string()], true));
    }

    #[test]
    fn what_is_cut_in_the_middle_of_a_character_is_said_to_be_broken() {
        let tokenizer = Tokenizer::byte().unwrap();
        let mut answer = Answer::new(&[], vec![]);
        let ids = tokenizer.encode("你").unwrap();
        assert_eq!(answer.push(&tokenizer, ids[0]).unwrap(), "");
        assert!(answer.finish(&tokenizer).unwrap().contains('\u{FFFD}'));
    }
}
