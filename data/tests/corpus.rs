//! Corpora: built once, split by document, keyed by their content, never torn.

use data::config::{Format, Source, TextData, TextSplit, TokenizerKind};
use data::corpus::{Corpus, TokenStream};
use data::error::DataError;
use data::tokenizer::{self, Tokenizer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A folder with sources in `src/` and shards in `cache/`.
struct World(tempfile::TempDir);

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("src")).unwrap();
        World(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path("src").join(name), text).unwrap();
    }

    fn config(&self) -> TextData {
        let source = Source { path: self.path("src").display().to_string(), ..Source::default() };
        TextData { sources: vec![source], cache: self.path("cache").display().to_string(), ..TextData::default() }
    }

    fn open(&self, tok: &Tokenizer, fraction: f64) -> Result<Corpus, DataError> {
        Corpus::open(&self.config(), tok, fraction, &self.path("bad.jsonl"), &mut |_, _| {})
    }

    /// Finished folders of shards.
    fn shards(&self) -> BTreeSet<PathBuf> {
        let entries = std::fs::read_dir(self.path("cache")).unwrap().map(|e| e.unwrap().path());
        entries.filter(|p| p.is_dir() && p.extension().is_none()).collect()
    }
}

fn documents(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("Document {i} says 红楼梦 {} times.\nIt ends.", i * i % 97)).collect()
}

fn jsonl(documents: &[String]) -> String {
    documents.iter().map(|d| format!("{}\n", serde_json::json!({ "text": d }))).collect()
}

/// The documents of a stream, by decoding what lies between end tokens.
fn decode(stream: &TokenStream, tok: &Tokenizer) -> Vec<String> {
    let ids = stream.window(0, stream.len() as usize);
    if let Some(last) = ids.last() {
        assert_eq!(*last, tok.eos(), "the last document has no end");
    }
    let documents: Vec<&[u32]> = ids.split(|&id| id == tok.eos()).collect();
    documents[..documents.len() - 1].iter().map(|ids| tok.decode(ids, false).unwrap()).collect()
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

#[test]
fn every_document_is_once_on_one_side_and_in_order() {
    let (world, tok) = (World::new(), Tokenizer::byte().unwrap());
    let (a, b) = (documents(400), vec!["The last one, in a text file.".to_owned()]);
    world.write("a.jsonl", jsonl(&a));
    world.write("b.txt", &b[0]);
    let mut progress = Vec::new();
    let corpus =
        Corpus::open(&world.config(), &tok, 0.1, &world.path("bad.jsonl"), &mut |done, total| progress.push((done, total))).unwrap();
    assert!(!corpus.reused);
    let (train, valid) = (decode(&corpus.train, &tok), decode(&corpus.valid, &tok));
    assert!((20..70).contains(&valid.len()), "{} of 400 documents held out", valid.len());
    let place: BTreeMap<&String, usize> = a.iter().chain(&b).enumerate().map(|(i, d)| (d, i)).collect();
    for side in [&train, &valid] {
        assert!(side.iter().map(|d| place[d]).is_sorted(), "the order of the sources is lost");
    }
    assert_eq!(corpus.train.documents() + corpus.valid.documents(), 401);
    assert_eq!(corpus.train.bytes(), train.iter().map(|d| d.len() as u64).sum::<u64>());
    assert_eq!(corpus.train.len(), corpus.train.bytes() + corpus.train.documents(), "one token a byte and one end a document");
    assert_eq!(sorted([train, valid].concat()), sorted([a, b].concat()));
    assert_eq!((corpus.report.read, corpus.report.rejected), (401, 0));
    assert!(progress.is_sorted() && progress.last().is_some_and(|(done, total)| done == total), "{progress:?}");
}

#[test]
fn shards_are_reused_until_a_byte_changes() {
    let world = World::new();
    let (byte, bpe) = (Tokenizer::byte().unwrap(), Tokenizer::train_bpe(&mut documents(50).into_iter(), 300).unwrap());
    world.write("a.jsonl", jsonl(&documents(50)));
    let first = world.open(&byte, 0.1).unwrap();
    let shards = world.shards();
    let files = |folder: &PathBuf| -> Vec<_> {
        let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
        entries.map(|e| (e.file_name(), e.metadata().unwrap().modified().unwrap())).collect()
    };
    let before: Vec<_> = shards.iter().map(files).collect();
    let mut builds = 0;
    let second = Corpus::open(&world.config(), &byte, 0.1, &world.path("bad.jsonl"), &mut |_, _| builds += 1).unwrap();
    assert!(!first.reused && second.reused && builds == 0);
    assert_eq!((shards.len(), &before), (1, &world.shards().iter().map(files).collect::<Vec<_>>()), "something was built again");
    assert_eq!(decode(&first.train, &byte), decode(&second.train, &byte));
    assert_eq!((first.train.bytes(), first.valid.documents()), (second.train.bytes(), second.valid.documents()));

    // The tokenizer, the split, one byte of a source: each makes another key.
    for (tok, fraction) in [(&bpe, 0.1), (&byte, 0.2)] {
        assert!(!world.open(tok, fraction).unwrap().reused);
    }
    world.write("a.jsonl", jsonl(&documents(50)).replacen("says", "sayz", 1));
    assert!(!world.open(&byte, 0.1).unwrap().reused);
    assert_eq!(world.shards().len(), 4);
    // The name does not matter, and the first shards are still there.
    std::fs::rename(world.path("src/a.jsonl"), world.path("src/b.jsonl")).unwrap();
    assert!(world.open(&byte, 0.1).unwrap().reused);
    world.write("b.jsonl", jsonl(&documents(50)));
    assert!(world.open(&byte, 0.1).unwrap().reused);
}

#[test]
fn other_names_of_columns_are_another_corpus() {
    let (world, tok) = (World::new(), Tokenizer::byte().unwrap());
    world.write("a.csv", (0..20).map(|i| format!("left {i},right {i}\n")).collect::<String>());
    let open = |header: &[&str]| {
        let mut config = world.config();
        config.sources[0].columns.header = header.iter().map(|name| (*name).to_string()).collect();
        Corpus::open(&config, &tok, 0.0, &world.path("bad.jsonl"), &mut |_, _| {}).unwrap()
    };
    assert!(decode(&open(&["text", "other"]).train, &tok)[0].starts_with("left"));
    assert!(open(&["text", "other"]).reused);
    let other = open(&["other", "text"]);
    assert!(!other.reused && decode(&other.train, &tok)[0].starts_with("right"));
}

#[test]
fn a_killed_build_and_damaged_shards_are_built_again() {
    let (world, tok) = (World::new(), Tokenizer::byte().unwrap());
    world.write("a.jsonl", jsonl(&documents(50)));
    let whole = decode(&world.open(&tok, 0.1).unwrap().train, &tok);
    let folder = world.shards().pop_first().unwrap();
    let again = |what: &str| {
        let corpus = world.open(&tok, 0.1).unwrap();
        assert!(!corpus.reused, "{what}");
        assert_eq!(decode(&corpus.train, &tok), whole, "{what}");
        assert!(!folder.with_extension("partial").exists(), "{what}");
        assert!(world.open(&tok, 0.1).unwrap().reused, "{what}");
    };
    // As a kill leaves it: everything under the temporary name, some of it half written.
    std::fs::rename(&folder, folder.with_extension("partial")).unwrap();
    std::fs::write(folder.with_extension("partial").join("train-00007.arrow"), "ARROW1 half").unwrap();
    again("killed");
    for file in ["train-00000.arrow", "valid-00000.arrow", "manifest.json"] {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        std::fs::write(folder.join(file), &bytes[..bytes.len() * 2 / 3]).unwrap();
        again(file);
        std::fs::remove_file(folder.join(file)).unwrap();
        again(file);
    }
}

/// One text, cut where nanoGPT cuts it: the end is held out, to the byte, also through a long document's pieces and beside a character of several bytes.
#[test]
fn the_end_of_the_corpus_can_be_held_out() {
    let tok = Tokenizer::byte().unwrap();
    for (text, wanted) in [
        ("0123456789\n".repeat(4000), 39_599), // the line end at the end of a file is none of its text: nine tenths of 43,999
        ("a line of text\n".to_owned(), 12),
        ("ab\u{3042}\u{3042}".to_owned(), 5), // nine tenths of 8 bytes end within the second character: it is held out whole
    ] {
        let world = World::new();
        world.write("book.txt", &text);
        let cfg = TextData { split: TextSplit::End, ..world.config() };
        let open = || Corpus::open(&cfg, &tok, 0.1, &world.path("bad.jsonl"), &mut |_, _| {}).unwrap();
        let corpus = open();
        let (train, valid) = (decode(&corpus.train, &tok).concat(), decode(&corpus.valid, &tok).concat());
        let text = text.trim_end();
        // Lengths first: the texts are too long to print.
        assert_eq!((train.len(), valid.len()), (wanted, text.len() - wanted));
        assert!(train == text[..wanted] && valid == text[wanted..]);
        assert!(open().reused);
        // Another split is another corpus.
        assert!(!Corpus::open(&world.config(), &tok, 0.0, &world.path("bad.jsonl"), &mut |_, _| {}).unwrap().reused);
    }
}

/// The process that [`a_build_killed_at_any_moment_leaves_nothing_torn`] kills; without its variable there is nothing to do.
#[test]
fn child_builds_a_corpus() {
    let Some(dir) = std::env::var_os("CORPUS_CHILD").map(PathBuf::from) else { return };
    let source = Source { path: dir.join("src").display().to_string(), ..Source::default() };
    let cfg = TextData { sources: vec![source], cache: dir.join("cache").display().to_string(), ..TextData::default() };
    Corpus::open(&cfg, &Tokenizer::byte().unwrap(), 0.1, &dir.join("bad.jsonl"), &mut |_, _| {}).unwrap();
}

#[test]
fn a_build_killed_at_any_moment_leaves_nothing_torn() {
    let (world, tok) = (World::new(), Tokenizer::byte().unwrap());
    world.write("a.jsonl", jsonl(&documents(20_000)));
    std::fs::create_dir(world.path("cache")).unwrap();
    let mut unfinished = 0;
    for milliseconds in [5, 20, 40, 80, 120, 160, 200, 300, 400] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "corpus::child_builds_a_corpus"])
            .env("CORPUS_CHILD", world.0.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        match world.shards().pop_first() {
            // What has its final name is whole: mapped without a build.
            Some(folder) => {
                assert!(world.open(&tok, 0.1).unwrap().reused, "killed after {milliseconds} ms");
                std::fs::remove_dir_all(folder).unwrap();
            }
            None => unfinished += 1,
        }
    }
    assert!(unfinished > 0, "no build was caught in the middle");
    // The lock went with the processes, and what they left behind is no hindrance.
    let corpus = world.open(&tok, 0.1).unwrap();
    assert_eq!(sorted([decode(&corpus.train, &tok), decode(&corpus.valid, &tok)].concat()), sorted(documents(20_000)));
}

#[test]
fn two_at_once_build_once() {
    let (world, tok) = (World::new(), Tokenizer::byte().unwrap());
    world.write("a.jsonl", jsonl(&documents(3000)));
    let reused: Vec<bool> = std::thread::scope(|scope| {
        let open = || scope.spawn(|| world.open(&tok, 0.1).unwrap().reused);
        [open(), open(), open()].map(|handle| handle.join().unwrap()).to_vec()
    });
    assert_eq!(reused.iter().filter(|r| !**r).count(), 1, "{reused:?}");
}

#[test]
fn small_corpora_have_both_sides_or_say_why_not() {
    let tok = Tokenizer::byte().unwrap();
    for n in 2..6 {
        for fraction in [0.001, 0.999] {
            let world = World::new();
            world.write("a.jsonl", jsonl(&documents(n)));
            let corpus = world.open(&tok, fraction).unwrap();
            let few = if fraction < 0.5 { &corpus.valid } else { &corpus.train };
            assert_eq!(few.documents(), 1);
            assert_eq!(corpus.train.documents() + corpus.valid.documents(), n as u64);
        }
    }
    let world = World::new();
    world.write("a.jsonl", jsonl(&vec!["twice the same".to_owned(); 2]));
    let error = world.open(&tok, 0.1).unwrap_err().to_string();
    assert!(error.contains("eval.valid_fraction") && error.contains("single document"), "{error}");
    let all = world.open(&tok, 0.0).unwrap();
    assert_eq!((all.train.documents(), all.valid.len()), (2, 0));
    assert!(world.open(&tok, 1.0).unwrap_err().to_string().contains("eval.valid_fraction"));
}

#[test]
fn a_long_text_file_is_split_by_passages_and_loses_nothing() {
    let (world, tok) = (World::new(), Tokenizer::byte().unwrap());
    let text: String = (0..20_000).map(|i| format!("Line {i} of a book.{}", if i % 9 == 0 { "\n\n" } else { "\n" })).collect();
    world.write("book.txt", &text);
    let corpus = world.open(&tok, 0.1).unwrap();
    let (train, valid) = (decode(&corpus.train, &tok), decode(&corpus.valid, &tok));
    assert!(!valid.is_empty() && valid.len() + train.len() > 3);
    // In the order of the book the passages are the book: none lost, none twice.
    let mut passages = [train, valid].concat();
    passages.sort_by_key(|p| text.find(p.trim_end()).expect("a passage that is not in the book"));
    assert_eq!(passages.concat().trim_end(), text.trim_end());
}

#[test]
fn every_document_of_a_text_file_ends_wherever_its_pieces_do() {
    let (world, tok) = (World::new(), Tokenizer::byte().unwrap());
    // Lengths around the size of a piece, with and without paragraphs, and blank lines before the separator.
    let lengths = (16_000..16_900).step_by(7).chain((32_000..33_400).step_by(7));
    let documents: Vec<String> = lengths.map(|n| format!("{n} {}", "word of it.\n\nnext ".repeat(n).split_at(n).0.trim_end())).collect();
    let documents: Vec<String> =
        documents.iter().enumerate().map(|(i, d)| if i % 2 == 0 { d.clone() } else { d.replace("\n\n", "\n") }).collect();
    world.write("a.txt", documents.iter().map(|d| format!("{d}\n\n\n<|endoftext|>\n")).collect::<String>());
    let corpus = world.open(&tok, 0.0).unwrap();
    assert_eq!(decode(&corpus.train, &tok), documents);
    assert_eq!(corpus.report.rejected, 0);
}

#[test]
fn bad_rows_are_listed_each_time_and_limited() {
    let (world, tok) = (World::new(), Tokenizer::byte().unwrap());
    let lines = ["{\"text\": \"good\"}", "{\"text\": \"  \"}", "{\"txt\": \"no\"}", "{\"text\": 5}", "{", "{\"text\": \"good too\"}"];
    world.write("a.jsonl", lines.join("\n"));
    let error = world.open(&tok, 0.0).unwrap_err();
    assert!(matches!(error, DataError::TooManyBad { rejected: 4, read: 6, allowed: 0, .. }), "{error}");
    assert!(world.shards().is_empty(), "shards of a refused corpus");
    let mut cfg = world.config();
    cfg.quarantine.always_allow = 4;
    for (reused, name) in [(false, "bad.jsonl"), (true, "runs/later/bad.jsonl")] {
        let path = world.path(name);
        let corpus = Corpus::open(&cfg, &tok, 0.0, &path, &mut |_, _| {}).unwrap();
        assert_eq!(corpus.reused, reused);
        assert_eq!((corpus.report.read, corpus.report.rejected, &corpus.report.path), (6, 4, &path));
        let list = std::fs::read_to_string(&path).unwrap();
        for (line, reason) in [(2, "empty"), (3, "missing-field"), (4, "wrong-type"), (5, "broken-json")] {
            assert!(list.lines().any(|l| l.contains(&format!("\"line\":{line},\"reason\":\"{reason}\""))), "{list}");
        }
    }
    // Stricter limits judge again.
    assert!(matches!(world.open(&tok, 0.0), Err(DataError::TooManyBad { .. })));
    let nothing = World::new();
    nothing.write("a.jsonl", "\n\n");
    assert!(matches!(nothing.open(&tok, 0.0), Err(DataError::Empty { what: "documents", .. })));
    let none = TextData { cache: world.path("cache").display().to_string(), ..TextData::default() };
    let error = Corpus::open(&none, &tok, 0.0, &world.path("bad.jsonl"), &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("data.sources"), "{error}");
}

#[test]
fn tokenizers_from_the_configuration() {
    let world = World::new();
    let documents = documents(2000);
    world.write("a.jsonl", jsonl(&documents));
    let choose = |cfg: &data::config::Tokenizer| tokenizer::choose(cfg, &world.config(), &mut |_, _| {});
    let cfg = data::config::Tokenizer { vocab_size: 300, ..Default::default() };
    let whole = choose(&cfg).unwrap();
    assert_eq!(whole.hash(), Tokenizer::train_bpe(&mut documents.clone().into_iter(), 300).unwrap().hash(), "all of a small corpus");
    // A bounded sample: repeatable, and still of the whole corpus (numbers from its second half have their merges).
    let cfg = data::config::Tokenizer { train_bytes: 20_000, ..cfg };
    assert_eq!(choose(&cfg).unwrap().hash(), choose(&cfg).unwrap().hash());
    let tiny = data::config::Tokenizer { train_bytes: 1, ..cfg.clone() };
    assert!(choose(&tiny).unwrap().vocab_size() >= 260, "at least one document");
    let characters = choose(&data::config::Tokenizer { kind: TokenizerKind::Char, ..cfg.clone() }).unwrap();
    assert_eq!(characters.encode("红楼梦").unwrap().len(), 3);
    let file = data::config::Tokenizer { kind: TokenizerKind::File, ..cfg.clone() };
    assert!(choose(&file).unwrap_err().to_string().contains("tokenizer.path"));
    whole.save(&world.path("saved")).unwrap();
    let file = data::config::Tokenizer { path: world.path("saved").display().to_string(), ..file };
    assert_eq!(choose(&file).unwrap().hash(), whole.hash());
    // What the trainer says is heard, not the broken pipe behind it.
    let error = choose(&data::config::Tokenizer { vocab_size: 10, ..cfg }).unwrap_err().to_string();
    assert!(error.contains("tokenizer.vocab_size"), "{error}");
    assert!(Path::new(&world.path("src")).exists());
}

#[test]
fn the_format_may_be_said() {
    let (world, tok) = (World::new(), Tokenizer::byte().unwrap());
    world.write("a.data", jsonl(&documents(3)));
    let mut cfg = world.config();
    cfg.sources[0] = Source { path: world.path("src/a.data").display().to_string(), format: Some(Format::Jsonl), ..Source::default() };
    let corpus = Corpus::open(&cfg, &tok, 0.0, &world.path("bad.jsonl"), &mut |_, _| {}).unwrap();
    assert_eq!(decode(&corpus.train, &tok), documents(3));
}
