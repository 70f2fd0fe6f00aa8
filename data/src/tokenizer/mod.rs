//! Text to token ids and back, by the Hugging Face `tokenizers` library, so that a `tokenizer.json` means here what it means there.
//!
//! Three habits of that library are undone on loading, because each changes ids in silence: truncation and padding stored in the
//! file, BPE dropout (which makes encoding random), and special tokens recognised inside ordinary text. A document that contains
//! the characters `<|endoftext|>` must not end there; whoever means the token uses [`Tokenizer::encode_with_special`].

mod build;
mod encoder;
mod from_config;
mod llama2c;
mod pieces;
mod special;
mod vocabulary;
mod words;

use crate::error::DataError;
use serde_json::{Map, Value};
use special::Specials;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use tokenizers::{AddedToken, Tokenizer as HfTokenizer};

pub use encoder::Encoder;
pub use from_config::{choose, choose_from};
pub use pieces::{PIECE_BYTES, pieces};

/// End of a document, and its beginning: id 0 of the tokenizers made here.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Padding: id 1 of the tokenizers made here. It differs from the end token, so that a mask made from either is right.
pub const PAD: &str = "<|pad|>";
/// Begins a turn in ChatML: id 2 of the tokenizers made here.
pub const IM_START: &str = "<|im_start|>";
/// Ends a turn in ChatML: id 3 of the tokenizers made here.
pub const IM_END: &str = "<|im_end|>";

/// The special tokens of the tokenizers made here, in the order of their ids.
pub const SPECIAL_TOKENS: [&str; 4] = [END_OF_TEXT, PAD, IM_START, IM_END];

/// A tokenizer with its special tokens known. Cloning is cheap.
#[derive(Clone)]
pub struct Tokenizer {
    /// Takes special tokens in a text for ordinary characters.
    plain: Arc<HfTokenizer>,
    /// Takes them for what they are; made at the first use, since most stages never need it.
    special: Arc<OnceLock<HfTokenizer>>,
    /// How to tokenise word by word, made at the first use.
    method: Arc<OnceLock<Option<encoder::Method>>>,
    /// The words that [`Tokenizer::encode`] has met.
    known: Arc<Mutex<encoder::Known>>,
    /// `tokenizer_config.json` as found, or as made here.
    config: Map<String, Value>,
    /// The chat template that is saved with it.
    chat_template: Option<String>,
    specials: Specials,
    vocab_size: usize,
    hash: String,
    origin: String,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("origin", &self.origin)
            .field("vocab_size", &self.vocab_size)
            .field("specials", &self.specials)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, or a folder that holds one. A folder of GPT-2's first form (`vocab.json` and `merges.txt`, or
    /// `encoder.json` and `vocab.bpe`) is read as well. The special tokens come from `tokenizer_config.json`,
    /// `generation_config.json` or `config.json` beside it, else they are found by their usual names.
    pub fn load(path: &Path) -> Result<Tokenizer, DataError> {
        let (hf, folder) = if path.is_dir() {
            let json = path.join("tokenizer.json");
            let hf = if json.is_file() { build::from_file(&json)? } else { build::from_vocab_and_merges(path)? };
            (hf, path.to_path_buf())
        } else {
            (build::from_file(path)?, path.parent().map(Path::to_path_buf).unwrap_or_default())
        };
        let config = special::read_json(&folder, "tokenizer_config.json")?.unwrap_or_default();
        let template = folder.join("chat_template.jinja");
        let chat_template = match std::fs::read_to_string(&template) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => config.get("chat_template").and_then(Value::as_str).map(str::to_owned),
            Err(e) => return Err(DataError::io("read", &template)(e)),
        };
        let specials = special::find(&hf, &config, &folder, path)?;
        Tokenizer::assemble(hf, config, chat_template, specials, path.display().to_string())
    }

    /// Trains a byte-level BPE (GPT-2's pre-tokenizer, arXiv 1508.07909) with `vocab_size` tokens, the 256 bytes and the special
    /// tokens included. A corpus too small for so many merges gives fewer tokens: [`Tokenizer::vocab_size`] tells. Pairs that
    /// occur once are not merged. The same texts give the same tokenizer, whatever the number of threads.
    pub fn train_bpe(texts: &mut (dyn Iterator<Item = String> + Send), vocab_size: usize) -> Result<Tokenizer, DataError> {
        Tokenizer::ours(build::train_bpe(texts, vocab_size)?, "trained BPE")
    }

    /// Trains BERT's WordPiece with `vocab_size` tokens: lower-cased, with [PAD], [UNK], [CLS], [SEP] and [MASK] as ids 0 to 4. [SEP] ends a document. What is
    /// spelt with characters that the texts lack becomes [UNK].
    pub fn train_wordpiece(texts: &mut (dyn Iterator<Item = String> + Send), vocab_size: usize) -> Result<Tokenizer, DataError> {
        let specials = Specials { eos: 3, bos: Some(2), pad: 0 };
        let hf = build::train_wordpiece(texts, vocab_size)?;
        Tokenizer::assemble(hf, special::bert_config(), None, specials, "trained WordPiece".to_owned())
    }

    /// The same tokenizer as others should use it for an encoder-decoder: its `tokenizer.json` puts the end token behind every text. Here nothing is put
    /// anywhere.
    pub fn ending(self) -> Result<Tokenizer, DataError> {
        let token = self.id_to_token(self.eos()).unwrap_or_default();
        let hf = build::ending(&self.plain, &token, self.eos(), &self.origin)?;
        Tokenizer::assemble(hf, self.config, self.chat_template, self.specials, self.origin)
    }

    /// The same tokenizer with these special tokens, the new ones behind all others.
    pub fn with_special(self, tokens: &[&str]) -> Result<Tokenizer, DataError> {
        let mut hf = HfTokenizer::clone(&self.plain);
        hf.add_special_tokens(&tokens.iter().map(|t| AddedToken::from(*t, true)).collect::<Vec<_>>());
        // A foreign vocabulary with gaps may already use the id that the library gives.
        if let Some(lost) = tokens.iter().find(|t| hf.token_to_id(t).and_then(|id| hf.id_to_token(id)).as_deref() != Some(**t)) {
            return Err(failed(&self.origin, "takes no new special token", &format!("{lost} would share its id with another")));
        }
        Tokenizer::assemble(hf, self.config, self.chat_template, self.specials, self.origin)
    }

    /// One token a byte of UTF-8: byte b has id 4 + b.
    pub fn byte() -> Result<Tokenizer, DataError> {
        Tokenizer::ours(build::byte()?, "byte tokenizer")
    }

    /// One token a character of the texts, in the order of their code points, after 256 tokens for single bytes: a character that
    /// the texts lack is spelt in UTF-8 bytes, so that nothing is lost.
    pub fn characters(texts: &mut dyn Iterator<Item = String>) -> Result<Tokenizer, DataError> {
        Tokenizer::ours(build::characters(texts)?, "character tokenizer")
    }

    /// Reads a tokenizer of llama2.c (`tokenizer.bin`, `tok512.bin`: SentencePiece's pieces with their scores) for a model of `vocab_size` tokens.
    pub fn load_llama2c(path: &Path, vocab_size: usize) -> Result<Tokenizer, DataError> {
        let bytes = std::fs::read(path).map_err(DataError::io("read", path))?;
        let origin = path.display().to_string();
        let json = llama2c::tokenizer_json(&bytes, vocab_size).map_err(|why| failed(&origin, "is no tokenizer of llama2.c", &why))?;
        let specials = Specials { eos: llama2c::EOS, bos: Some(llama2c::BOS), pad: llama2c::EOS };
        Tokenizer::assemble(build::from_json(&json, &origin)?, llama2c::config(), None, specials, origin)
    }

    /// Wraps a tokenizer made here, whose special tokens are [`SPECIAL_TOKENS`].
    fn ours(hf: HfTokenizer, origin: &str) -> Result<Tokenizer, DataError> {
        let specials = Specials { eos: 0, bos: Some(0), pad: 1 };
        Tokenizer::assemble(hf, special::our_config(), None, specials, origin.to_owned())
    }

    fn assemble(
        mut hf: HfTokenizer,
        config: Map<String, Value>,
        chat_template: Option<String>,
        specials: Specials,
        origin: String,
    ) -> Result<Tokenizer, DataError> {
        hf.set_encode_special_tokens(true);
        // Not the count: a foreign vocabulary may have gaps, and the embedding must reach the last id.
        let vocab_size = hf.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        let json = hf.to_string(false).map_err(|e| failed(&origin, "cannot be written as JSON", &e))?;
        let hash = blake3::hash(json.as_bytes()).to_hex().to_string();
        let (plain, special, method, known) = (Arc::new(hf), Arc::default(), Arc::default(), Arc::default());
        Ok(Tokenizer { plain, special, method, known, config, chat_template, specials, vocab_size, hash, origin })
    }

    /// Token ids of a text. Nothing is put before or after, and special tokens in the text are ordinary characters.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut ids = Vec::new();
        encoder::encode(self, &mut known, text, &mut ids)?;
        Ok(ids)
    }

    /// As [`Tokenizer::encode`], for a thread that has much to encode beside others.
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder { tok: self, known: encoder::Known::default() }
    }

    /// Whether every text is left to the library, because of a pre-tokenizer that is not known here: then it takes its time.
    pub fn is_slow(&self) -> bool {
        self.method().is_none()
    }

    fn method(&self) -> Option<&encoder::Method> {
        self.method.get_or_init(|| encoder::Method::of(&self.plain)).as_ref()
    }

    /// As [`Tokenizer::encode`], but special tokens in the text become their ids: for what a chat template has written.
    pub fn encode_with_special(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let hf = self.special.get_or_init(|| {
            let mut hf = HfTokenizer::clone(&self.plain);
            hf.set_encode_special_tokens(false);
            hf
        });
        let encoding = hf.encode_fast(text, false).map_err(|e| failed(&self.origin, "cannot encode a text", &e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens that the tokenizer's own post-processor puts before a text (`add_special_tokens` in transformers): a begin token, or nothing.
    pub fn beginning(&self) -> Result<Vec<u32>, DataError> {
        let ids = |special| self.plain.encode_fast("a", special).map_err(|e| failed(&self.origin, "cannot encode a text", &e));
        let (bare, whole) = (ids(false)?.get_ids().to_vec(), ids(true)?.get_ids().to_vec());
        let at = whole.windows(bare.len().max(1)).position(|w| w == bare.as_slice());
        Ok(whole[..at.unwrap_or(0)].to_vec())
    }

    /// The text of token ids. Bytes that are not UTF-8 (a character cut in two) become U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, DataError> {
        self.plain.decode(ids, skip_special).map_err(|e| failed(&self.origin, "cannot decode token ids", &e))
    }

    /// The last tokens of `ids`, whole characters: with them what follows is decoded as it stands there, for decoders of SentencePiece's kind drop the blank that begins
    /// a text. None where the last characters are broken.
    pub fn context<'a>(&self, ids: &'a [u32]) -> Result<&'a [u32], DataError> {
        // A character of UTF-8 has four bytes at most.
        for n in 1..=ids.len().min(4) {
            let last = &ids[ids.len() - n..];
            if !self.decode(last, true)?.contains('\u{FFFD}') {
                return Ok(last);
            }
        }
        Ok(&[])
    }

    /// The text that `ids` add behind `before`.
    pub fn decode_after(&self, before: &[u32], ids: &[u32]) -> Result<String, DataError> {
        let context = self.context(before)?;
        let (begun, whole) = (self.decode(context, true)?, self.decode(&[context, ids].concat(), true)?);
        whole.strip_prefix(&begun).map_or_else(|| self.decode(ids, true), |more| Ok(more.to_owned()))
    }

    /// The largest id plus one: rows that an embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The token that ends a document or an answer.
    pub fn eos(&self) -> u32 {
        self.specials.eos
    }

    /// The token that begins a document, where there is one.
    pub fn bos(&self) -> Option<u32> {
        self.specials.bos
    }

    /// The padding token; the end token where the vocabulary has none (masks are explicit, so that this is harmless).
    pub fn pad(&self) -> u32 {
        self.specials.pad
    }

    /// The token that stands for a masked one, where the vocabulary has one.
    pub fn mask(&self) -> Option<u32> {
        let named = self.config.get("mask_token").and_then(|v| v.as_str().or_else(|| v.get("content")?.as_str()));
        named.and_then(|name| self.token_to_id(name)).or_else(|| self.token_to_id("[MASK]"))
    }

    /// Ids of the special tokens.
    pub fn special_ids(&self) -> Vec<u32> {
        let added = self.plain.get_added_tokens_decoder();
        let mut ids: Vec<u32> = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// The id of a token by its name.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.plain.token_to_id(token)
    }

    /// The name of a token: bytes in GPT-2's spelling (`Ġ` for a space), not text.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.plain.id_to_token(id)
    }

    /// blake3 of the canonical `tokenizer.json`: equal for tokenizers that give equal ids.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Where it came from, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The Jinja chat template found with the tokenizer or set since.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The chat template to be saved with the tokenizer, so that others prompt the model as it was trained.
    pub fn set_chat_template(&mut self, template: Option<String>) {
        self.chat_template = template;
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json`, which `transformers.AutoTokenizer` loads as they are. The configuration
    /// of a loaded tokenizer is kept, with the special tokens that it left unsaid.
    pub fn save(&self, dir: &Path) -> Result<(), DataError> {
        std::fs::create_dir_all(dir).map_err(DataError::io("create", dir))?;
        let json = self.plain.to_string(true).map_err(|e| failed(&self.origin, "cannot be written as JSON", &e))?;
        write(&dir.join("tokenizer.json"), &json)?;
        let name = |id: u32| self.id_to_token(id).unwrap_or_default();
        let mut config = self.config.clone();
        special::complete(&mut config, &name(self.eos()), &name(self.pad()), self.chat_template.as_deref());
        let config = serde_json::to_string_pretty(&config).map_err(|e| failed(&self.origin, "cannot be written as JSON", &e))?;
        write(&dir.join("tokenizer_config.json"), &config)
    }
}

fn write(path: &PathBuf, text: &str) -> Result<(), DataError> {
    std::fs::write(path, text).map_err(DataError::io("write", path))
}

/// A [`DataError::Tokenizer`] from what the library says.
fn failed(origin: &str, what: &str, why: &dyn std::fmt::Display) -> DataError {
    DataError::Tokenizer { origin: origin.to_owned(), detail: format!("{what}: {why}") }
}
