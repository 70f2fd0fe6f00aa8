//! The binary as a shell runs it: mistakes of the user end with exit code 2 and are named.

use std::path::Path;
use std::process::Command;

fn refused(args: &[&str], wanted: &str) {
    let ended = Command::new(env!("CARGO_BIN_EXE_safety")).args(args).output().expect("it starts");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{args:?}: {said}");
    assert!(said.starts_with("safety: error: ") && said.contains(wanted), "{args:?}: {said}");
}

#[test]
fn what_the_user_can_mend_ends_with_2() {
    let dir = tempfile::tempdir().expect("folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let file = |name: &str, bytes: &[u8]| std::fs::write(Path::new(&path(name)), bytes).expect("written");
    file("plain.txt", b"one\ntwo\n");
    file("empty.jsonl", b"\n");
    file("latin1.txt", b"caf\xe9\n");
    file("broken.jsonl", b"{\"text\": \"one\"}\n{\n");
    let plant = |text: &str, out: &str, each: &str| {
        vec![
            "plant".to_string(),
            "--text".into(),
            path(text),
            "--out".into(),
            path(out),
            "--canaries".into(),
            path("c"),
            "--each".into(),
            each.into(),
        ]
    };
    for (args, wanted) in [
        (plant("absent.txt", "o", "1"), "absent.txt"),
        (plant("latin1.txt", "o", "1"), "latin1.txt"),
        (plant("empty.jsonl", "o", "1"), "empty.jsonl: no document"),
        (plant("broken.jsonl", "o", "1"), "line 2: not JSON"),
        (plant("plain.txt", "plain.txt/o", "1"), "plain.txt/o"),
        (plant("plain.txt", "o", "1000"), "4000 canaries"),
    ] {
        refused(&args.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
    }
    testkit::tiny_folder(Path::new(&path("reward")), model::HeadKind::Scalar, 4);
    refused(&["members", "--model", &path("reward"), "--seen", &path("plain.txt"), "--unseen", &path("plain.txt")], "a reward model");
    refused(&["members", "--model", &path("absent"), "--seen", &path("plain.txt"), "--unseen", &path("plain.txt")], "no model here");
}
