//! Whether two tokenizers speak of the same tokens.

use super::Tokenizer;

impl Tokenizer {
    /// Where the vocabularies of two tokenizers differ, in words; `None` where each id stands for the same token in both.
    pub fn vocabulary_gap(&self, other: &Tokenizer) -> Option<String> {
        if self.vocab_size() != other.vocab_size() {
            return Some(format!("one has {} tokens, the other {}", self.vocab_size(), other.vocab_size()));
        }
        let name = |t: &Tokenizer, id: u32| t.id_to_token(id).unwrap_or_default();
        let strange = (0..self.vocab_size() as u32).find(|&id| name(self, id) != name(other, id));
        strange.map(|id| format!("token {id} is {:?} in one and {:?} in the other", name(self, id), name(other, id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vocabularies_are_the_same_or_the_first_difference_is_named() {
        let bytes = Tokenizer::byte().unwrap();
        assert_eq!(bytes.vocabulary_gap(&Tokenizer::byte().unwrap()), None);
        let of = |text: &str| Tokenizer::characters(&mut std::iter::once(text.to_owned())).unwrap();
        assert!(bytes.vocabulary_gap(&of("abc")).unwrap().contains("tokens, the other"));
        assert_eq!(of("abc").vocabulary_gap(&of("abc")), None);
        let gap = of("abc").vocabulary_gap(&of("abd")).unwrap();
        assert!(gap.contains("\"c\" in one and \"d\" in the other"), "{gap}");
    }
}
