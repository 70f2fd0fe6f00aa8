//! The binary as a user drives it.

use data::chat::Message;
use data::labels::table::write_table;
use data::labels::{Judgment, Kind};
use std::path::Path;
use std::process::{Command, Output};

fn recipes(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_recipes")).args(args).output().unwrap()
}

#[test]
fn samples_are_scored_and_other_fields_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    std::fs::write(
        path("in.jsonl"),
        "{\"prompt\": \"name: The Blue Fig | kind: cafe\", \"response\": \"The Blue Fig is a cafe. See you there!\", \"step\": 3}\n\n\
         {\"prompt\": \"name: The Blue Fig | kind: cafe\", \"response\": \"\"}\n",
    )
    .unwrap();
    let out = recipes(&["demo", "score", "--in", &path("in.jsonl"), "--out", &path("out.jsonl")]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stdout).starts_with("2 samples: gold 1.750"));
    let text = std::fs::read_to_string(path("out.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((first["gold"].as_f64(), first["step"].as_i64(), first["right"].as_i64()), (Some(4.0), Some(3), Some(2)));

    let row = "{\"prompt\": \"name[Cotto], area[riverside]\", \"response\": \"Cotto is by the river.\"}\n";
    std::fs::write(path("e2e.jsonl"), row).unwrap();
    let out = recipes(&["e2e", "score", "--in", &path("e2e.jsonl"), "--out", &path("e2e.out")]);
    assert!(String::from_utf8_lossy(&out.stdout).starts_with("1 samples: slots right 100.0%"));
}

#[test]
fn wrong_input_is_named_and_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let fails = |recipe: &str, text: Option<&str>, said: &str| {
        if let Some(text) = text {
            std::fs::write(path("in.jsonl"), text).unwrap();
        }
        let out = recipes(&[recipe, "score", "--in", &path("in.jsonl"), "--out", &path("out.jsonl")]);
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{error}");
        assert!(error.contains(said) && error.contains("in.jsonl"), "{error}");
        assert!(!dir.path().join("out.jsonl").exists());
    };
    fails("demo", None, "No such file");
    fails("demo", Some("{\"prompt\": \"\", \"response\": \"\"}\n{\"prompt\": 1}\n"), "line 2: no text field `prompt`");
    fails("demo", Some("[1]\n"), "line 1: not a JSON object");
    fails("e2e", Some("{\"prompt\": \"hello\", \"response\": \"\"}\n"), "line 1: no meaning representation in \"hello\"");
}

#[test]
fn a_world_is_written_where_it_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("deep/er");
    let run = recipes(&["demo", "generate", "--out", out.to_str().unwrap(), "--seed", "3", "--size", "tiny"]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let world: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(out.join("world.json")).unwrap()).unwrap();
    assert_eq!((world["seed"].as_i64(), world["rankings"].as_i64()), (Some(3), Some(160)));
    std::fs::write(dir.path().join("file"), "").unwrap();
    let run = recipes(&["demo", "generate", "--out", dir.path().join("file/sub").to_str().unwrap()]);
    assert_eq!(run.status.code(), Some(2));
}

#[test]
fn documents_of_the_task_have_so_many_lines() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let write = |lines: &str| recipes(&["in-context", "generate", "--out", out, "--documents", "3", "--items", "1", "--lines", lines]);
    assert!(write("5").status.success());
    let text = std::fs::read_to_string(dir.path().join("documents.txt")).unwrap();
    assert_eq!(text.split("<|endoftext|>\n").map(|document| document.lines().count()).collect::<Vec<_>>(), [5, 5, 5]);
    let refused = write("0");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--lines 0"));
}

#[test]
fn a_result_does_not_replace_what_it_is_made_from() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let judgment = |kind: Kind| {
        let answers = ["one", "two"].map(String::from).to_vec();
        let ranks = (kind == Kind::Ranking).then(|| vec![1, 2]);
        Judgment { ranks, ..Judgment::new(kind, vec![Message::new("user", "q")], answers) }
    };
    write_table(Path::new(&at("open.arrow")), [judgment(Kind::Open)]).unwrap();
    write_table(Path::new(&at("said.arrow")), [judgment(Kind::Ranking)]).unwrap();
    std::fs::write(at("io.csv"), "mr,ref\nname[Cotto],Cotto it is.\n").unwrap();
    std::fs::write(at("reward.toml"), format!("[data]\nsources = [{{ path = {:?} }}]\n", at("said.arrow"))).unwrap();
    let (open, said, io, config, link) = (at("open.arrow"), at("said.arrow"), at("io.csv"), at("reward.toml"), at("link.arrow"));
    std::os::unix::fs::symlink(&said, &link).unwrap();
    let (none, other) = (at("none.arrow"), at("./none.arrow"));
    let before = [&open, &said, &io].map(|path| std::fs::read(path).unwrap());
    for args in [
        vec!["demo", "judge", "--in", &open, "--out", &open],
        vec!["judgments", "majority", "--in", &said, "--out", &said],
        vec!["judgments", "majority", "--in", &said, "--out", &link],
        vec!["judgments", "split", "--config", &config, "--train", &none, "--heldout", &link],
        vec!["judgments", "split", "--config", &config, "--train", &none, "--heldout", &other],
        vec!["e2e", "augment", "--in", &io, "--out", &io],
    ] {
        let out = recipes(&args);
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains("to be read and to be written") || error.contains("named for --train and for --heldout"), "{error}");
    }
    assert_eq!([&open, &said, &io].map(|path| std::fs::read(path).unwrap()), before);
}

#[test]
fn nothing_scored_has_a_mean_of_nought() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    std::fs::write(at("in.jsonl"), "").unwrap();
    let out = recipes(&["e2e", "score", "--in", &at("in.jsonl"), "--out", &at("out.jsonl")]);
    assert!(String::from_utf8_lossy(&out.stdout).starts_with("0 samples: slots right 0.0%, made up 0.00"));
}
