//! Rows for pairs of languages, classes and choices: how each becomes one sequence or several.

use super::rows::{ANY, source};
use data::config::{Columns, DemoData, InputShape, Source, Target};
use data::demos::{Demo, Layout, load_classes, load_demos};
use data::frames::{Frame, MARKS};
use data::split::Split;
use data::tokenizer::Tokenizer;
use tempfile::TempDir;

fn laid_out(dir: &TempDir, config: &DemoData, layout: &Layout, tokenizer: &Tokenizer, context: usize) -> Split<Demo> {
    load_demos(config, tokenizer, layout, context, 0.0, 1, &dir.path().join("bad.jsonl")).unwrap()
}

#[test]
fn pairs_have_a_source_and_a_target_each_with_an_end() {
    let dir = TempDir::new().unwrap();
    let text = concat!(
        "{\"prompt\": \"ab\", \"response\": \"cde\"}\n",
        "{\"prompt\": \"abcde\", \"response\": \"c\"}\n",
        "{\"prompt\": \"abcdef\", \"response\": \"c\"}\n"
    );
    let config = DemoData { sources: vec![source(&dir, "a.jsonl", text)], quarantine: ANY, ..DemoData::default() };
    let tokenizer = Tokenizer::byte().unwrap();
    let split = laid_out(&dir, &config, &Layout::Pair, &tokenizer, 6);
    let side = |text: &str| [tokenizer.encode(text).unwrap(), vec![tokenizer.eos()]].concat();
    assert_eq!(split.train.len(), 2, "a source of seven tokens is too long for a context of six");
    let demo = &split.train[0];
    assert_eq!((demo.prompt_ids(), &demo.ids[3..]), (side("ab").as_slice(), side("cde").as_slice()));
    assert_eq!(demo.targets(), 4);
}

#[test]
fn classified_rows_stand_between_special_tokens_and_held_out_ones_stay_out() {
    let dir = TempDir::new().unwrap();
    let tokenizer = Tokenizer::train_wordpiece(&mut ["good bad film".to_string(), "good bad film".to_string()].into_iter(), 40).unwrap();
    let columns = Columns { prompt: "text".into(), response: "label".into(), second: "other".into(), ..Columns::default() };
    let with = |name: &str, text: &str| Source { columns: columns.clone(), ..source(&dir, name, text) };
    let train = concat!(
        "{\"text\": \"good film\", \"label\": 1}\n",
        "{\"text\": \"Bad Film\", \"label\": \"0\", \"other\": \"good\"}\n",
        "{\"text\": \"film\", \"label\": 0}\n"
    );
    let config = DemoData {
        sources: vec![with("a.jsonl", train)],
        heldout: vec![with("b.jsonl", "{\"text\": \"film\", \"label\": 1}\n")],
        quarantine: ANY,
        ..DemoData::default()
    };
    let split = laid_out(&dir, &config, &Layout::Framed, &tokenizer, 16);
    let ids = |tokens: &[&str]| tokens.iter().map(|t| tokenizer.token_to_id(t).unwrap()).collect::<Vec<_>>();
    assert_eq!((split.train.len(), split.valid.len(), split.report.skipped["held-out"]), (2, 1, 1));
    assert_eq!(split.train[0].ids, ids(&["[CLS]", "good", "film", "[SEP]"]));
    assert_eq!(split.train[1].ids, ids(&["[CLS]", "bad", "film", "[SEP]", "good", "[SEP]"]));
    assert_eq!((split.train[0].response.as_str(), split.train[0].targets(), split.train[1].response.as_str()), ("1", 1, "0"));
    assert_eq!(load_classes(&config, &dir.path().join("bad.jsonl")).unwrap().into_iter().collect::<Vec<_>>(), ["0", "1"]);
}

#[test]
fn marked_rows_keep_their_sequences_apart_and_their_labels_in_one_form() {
    let dir = TempDir::new().unwrap();
    let tokenizer = Tokenizer::byte().unwrap().with_special(&MARKS).unwrap();
    let columns = Columns { answers: vec!["one".into(), "two".into(), "three".into()], response: "label".into(), ..Columns::default() };
    let text = concat!(
        "{\"prompt\": \"ab\", \"one\": \"c\", \"two\": \"def\", \"three\": null, \"label\": 1}\n",
        "{\"prompt\": \"a\", \"one\": \"c\", \"two\": \"d\", \"three\": \"e\", \"label\": \"e\"}\n",
        "{\"prompt\": \"a\", \"one\": \"c\", \"two\": \"d\", \"three\": null, \"label\": 2}\n",
        "{\"prompt\": \"a\", \"one\": \"c\", \"two\": null, \"three\": \"e\", \"label\": 0}\n",
        "{\"prompt\": \"abcdef\", \"one\": \"c\", \"two\": \"d\", \"three\": null, \"label\": 0}\n"
    );
    let config = DemoData { sources: vec![Source { columns, ..source(&dir, "a.jsonl", text) }], quarantine: ANY, ..DemoData::default() };
    let frame = Frame::of(&tokenizer, InputShape::Choice, Target::Class).unwrap();
    // The longest sequence counts, not the row: start, "ab", delimiter, "def", extract are eight tokens.
    let split = laid_out(&dir, &config, &Layout::Marked(&frame), &tokenizer, 8);
    assert_eq!((split.train.len(), split.report.rejected), (2, 3), "{:?}", split.report);
    assert_eq!(split.train[0].ids.len(), 6 + 8);
    assert_eq!(split.train.iter().map(Demo::targets).collect::<Vec<_>>(), [2, 3], "a mark for each choice");
    assert_eq!(split.train.iter().map(|d| d.response.as_str()).collect::<Vec<_>>(), ["1", "2"]);
}
