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
    stops: Vec<String>,
    stopped: bool,
}

impl Answer {
    /// An empty answer that ends before the first of `stops`.
    pub fn new(stops: Vec<String>) -> Answer {
        Answer { ids: vec![], read: 0, context: 0, held: String::new(), stops, stopped: false }
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
        if now.len() > before.len() && !now.ends_with('\u{FFFD}') {
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

    /// The pieces that come out as the bytes of `text` go in one by one, and whether a stop string ended them.
    fn pieces(text: &str, stops: &[&str]) -> (Vec<String>, bool) {
        let tokenizer = Tokenizer::byte().unwrap();
        let mut answer = Answer::new(stops.iter().map(ToString::to_string).collect());
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
        let mut answer = Answer::new(vec![]);
        let ids = tokenizer.encode("你").unwrap();
        assert_eq!(answer.push(&tokenizer, ids[0]).unwrap(), "");
        assert!(answer.finish(&tokenizer).unwrap().contains('\u{FFFD}'));
    }
}
