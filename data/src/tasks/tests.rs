//! Prompts of tasks, and what is no task.

use super::*;
use crate::config;
use std::path::Path;

fn folder(rows: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rows.jsonl"), rows).unwrap();
    dir
}

fn task(dir: &Path, more: &str) -> Result<Task, DataError> {
    let text = format!("source = {{ path = {:?} }}\n{more}", dir.join("rows.jsonl").display().to_string());
    Task::load("mine", config::parse(&text, Path::new("task.toml"), &[]).unwrap(), 0)
}

const COPA: &str = r#"{"premise": "It rained. ", "choice1": "The grass grew.", "choice2": "A é sang.", "question": "effect", "label": 0}
{"premise": "He fell.", "choice1": "Ice lay there.", "choice2": "He sang.", "question": "cause", "label": 0}
{"premise": "She ran.", "choice1": "It was far.", "choice2": "She was late.", "question": "cause", "label": 1}
"#;

const CHOICE: &str = r#"
text = "{{ premise.strip()[:-1] }} {{ {'cause': 'because', 'effect': 'therefore'}[question] }}"
choices = ["{{ choice1[:1]|lower }}{{ choice1[1:] }}", "{{ choice2[:1]|lower }}{{ choice2[1:] }}"]
target = "{{ label }}"
description = "Why?\n"
"#;

#[test]
fn a_choice_becomes_contexts_and_continuations() {
    let dir = folder(COPA);
    let task = task(dir.path(), CHOICE).unwrap();
    assert_eq!(task.context(0, 0, 1).unwrap(), "Why?\nIt rained therefore");
    assert_eq!(task.continuations(0), [" the grass grew.", " a é sang."]);
    assert_eq!(task.items.iter().map(|i| i.right).collect::<Vec<_>>(), [0, 0, 1]);
    let both = [
        "Why?\nHe fell because ice lay there.\n\nShe ran because she was late.\n\nIt rained therefore",
        "Why?\nShe ran because she was late.\n\nHe fell because ice lay there.\n\nIt rained therefore",
    ];
    let met: Vec<usize> = (0..32)
        .map(|seed| both.iter().position(|b| *b == task.context(0, 2, seed).unwrap()).expect("both others, in some order"))
        .collect();
    assert!(met.contains(&0) && met.contains(&1), "the seed decides the order");
    assert_eq!(task.context(1, 2, 5).unwrap(), task.context(1, 2, 5).unwrap());
    let error = task.context(0, 3, 1).unwrap_err().to_string();
    assert!(error.contains("3 examples asked for, there are 2"), "{error}");
}

#[test]
fn examples_come_from_the_group_in_order_where_asked_and_never_read_as_the_item() {
    let row = |g: u32, q: &str, a: &str| format!("{{\"g\": {g}, \"q\": \"{q}\", \"a\": \"{a}\"}}\n");
    let dir = folder(&[row(1, "a", "x"), row(2, "b", "y"), row(1, "c", "z"), row(1, "a", "x"), row(1, "d", "w")].concat());
    let more = "kind = \"cloze\"\ntext = \"{{ q }}\"\ntarget = \"={{ a }}\"\ntarget_delimiter = \"\"\nexample_delimiter = \";\"\ngroup = \"g\"\ndraw = \"first\"";
    let task = task(dir.path(), more).unwrap();
    assert_eq!(task.context(0, 2, 9).unwrap(), "c=z;d=w;a", "row 3 reads as row 0 does");
    assert_eq!(task.context(4, 2, 9).unwrap(), "a=x;c=z;d");
    assert_eq!(task.continuations(4), ["=w"]);
    assert!(task.context(1, 1, 9).unwrap_err().to_string().contains("there are 0 with g = \"2\""));
}

#[test]
fn every_example_is_drawn_as_often() {
    let dir = folder(&(0..9).map(|i| format!("{{\"q\": \"{i}\"}}\n")).collect::<String>());
    let task =
        task(dir.path(), "kind = \"cloze\"\ntext = \"{{ q }}\"\ntarget = \"{{ q }}\"\ntarget_delimiter = \"\"\nexample_delimiter = \"\"")
            .unwrap();
    let mut met = [0u32; 9];
    (0..800).for_each(|seed| task.draw(4, 2, seed).unwrap().into_iter().for_each(|at| met[at] += 1));
    assert_eq!(met[4], 0);
    assert!(met.iter().enumerate().all(|(at, &n)| at == 4 || (150..250).contains(&n)), "200 each, deviation 12: {met:?}");
}

#[test]
fn all_columns_of_parquet_are_fields() {
    use polars::prelude::{ParquetWriter, df};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.parquet");
    let mut frame = df!("text" => ["a", "b"], "label" => ["x", "y"]).unwrap();
    ParquetWriter::new(std::fs::File::create(&path).unwrap()).finish(&mut frame).unwrap();
    let source = format!("source = {{ path = {:?} }}\n", path.display().to_string());
    let text = source + "kind = \"cloze\"\ntext = \"{{ text }}\"\ntarget = \"{{ label }}\"\n";
    let task = Task::load("mine", config::parse(&text, Path::new("task.toml"), &[]).unwrap(), 0).unwrap();
    assert_eq!(task.items.iter().map(|item| item.target.as_str()).collect::<Vec<_>>(), ["x", "y"]);
}

#[test]
fn what_is_no_task_is_refused_with_its_place() {
    let dir = folder(COPA);
    let error = |more: &str| task(dir.path(), more).unwrap_err().to_string();
    assert!(error("text = \"{{ premise }}\"\ntarget = \"{{ label }}\"").contains("`choices`"));
    assert!(
        error("text = \"{{ premiss }}\"\nchoices = [\"a\", \"b\"]\ntarget = \"{{ label }}\"")
            .contains("rows.jsonl, line 1: undefined value")
    );
    assert!(error("text = \"{{ premise }\"\nchoices = [\"a\", \"b\"]\ntarget = \"{{ label }}\"").contains("`text`"));
    assert!(
        error("text = \"{{ premise }}\"\nchoices = [\"a\", \"b\"]\ntarget = \"{{ question }}\"")
            .contains("line 1: the target \"effect\" is neither")
    );
    assert!(error("text = \"{{ premise }}\"\nchoice_field = \"label\"\ntarget = \"0\"").contains("is not a list"));
    assert!(error("kind = \"perplexity\"\ntext = \"a\"\ntarget = \"{{ premise }}\"").contains("use `target`"));
    assert!(error("kind = \"cloze\"\ntext = \"a\"").contains("`target`"));
    let broken = folder("{\"premise\": \n");
    assert!(
        task(broken.path(), "kind = \"cloze\"\ntext = \"a\"\ntarget = \"b\"")
            .unwrap_err()
            .to_string()
            .contains("1 of 1 rows cannot be read")
    );
}
