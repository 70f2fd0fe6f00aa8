//! The command as a user sees it.

use super::people;
use super::simulate::{Plan, crowd, world};
use assert_cmd::Command;
use data::chat::Message;
use data::labels::table::{LabelTable, write_table};
use data::labels::{Judgment, Kind, flag};
use std::path::Path;

fn label(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("label").expect("the binary");
    command.arg("stats").args(args);
    command
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn rows(path: &Path) -> Vec<Judgment> {
    LabelTable::open(path).expect("a table").iter().collect::<Result<_, _>>().expect("rows")
}

/// A small crowd with a name that no page may take for a tag, an open item, a skipped one, an answer that only one row has, and two keys.
fn judgments() -> Vec<Judgment> {
    let plan = Plan {
        items: 60,
        answers: 3,
        overlap: 4,
        betas: crowd().into_iter().take(30).step_by(3).collect(),
        grain: 0.7,
        spread: 1.5,
        seed: 9,
    };
    let mut world = world(&plan);
    for (i, row) in world.judgments.iter_mut().enumerate() {
        row.shown = Some(vec![2, 0, 1]);
        row.seconds = Some(5.0 + (i % 40) as f32);
        if row.judge.as_deref() == Some("j0") {
            row.judge = Some("<script>alert('j0')</script>".into());
        }
    }
    let mut all = world.judgments;
    let prompt = all[0].prompt.clone();
    let mut more = Judgment {
        ranks: Some(vec![1, 2]),
        judge: Some("j1".into()),
        item: all[0].item.clone(),
        ..Judgment::new(Kind::Ranking, prompt, vec![all[0].answers[0].clone(), "an answer that only this row has".into()])
    };
    more.authors = Some(vec!["a".into(), "b".into()]);
    all.push(more);
    all.push(Judgment::new(Kind::Open, vec![Message::new("user", "nobody has seen this")], vec!["x".into(), "y".into()]));
    all.push(Judgment {
        judge: Some("j2".into()),
        comment: Some("no idea".into()),
        ..Judgment::new(Kind::Skipped, all[4].prompt.clone(), all[4].answers.clone())
    });
    for item in [0usize, 1] {
        let row = all.iter().find(|r| r.prompt[0].content == format!("prompt {item}")).expect("judged").clone();
        let mut order: Vec<usize> = (0..3).collect();
        order.sort_by(|a, b| world.worths[item][*b].total_cmp(&world.worths[item][*a]));
        let mut ranks = vec![0; 3];
        order.iter().enumerate().for_each(|(place, answer)| ranks[*answer] = place as u32 + 1);
        all.push(Judgment { ranks: Some(ranks), flags: vec![flag::GOLD.into()], judge: Some("the key".into()), ..row });
    }
    all
}

#[test]
fn tables_to_train_on_and_a_page() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    let all = judgments();
    write_table(&at("crowd.arrow"), all.clone()).expect("written");
    let said = stdout(&mut label(&[
        &text("crowd.arrow"),
        "--fit",
        &text("fit.arrow"),
        "--weigh",
        &text("weighed.arrow"),
        "--html",
        &text("page.html"),
    ]));
    for word in ["two judges, neither tied", "alpha of ranks", "no model above", "shown earlier wins", "gold pairs right", "Judges:"] {
        assert!(said.contains(word), "{word} is not in\n{said}");
    }
    assert!(said.contains("2 rows are keys of gold items") && said.contains("1 rows were skipped"), "{said}");

    // Every row again, nothing but the weight changed.
    let weighed = rows(&at("weighed.arrow"));
    assert_eq!(weighed.len(), all.len());
    let mut weights = std::collections::BTreeMap::new();
    for (before, after) in all.iter().zip(&weighed) {
        assert_eq!(&Judgment { weight: before.weight, ..after.clone() }, before);
        assert!(after.weight > 0.0);
        if before.has(flag::GOLD) || before.judge.is_none() {
            assert_eq!(after.weight, before.weight);
        } else {
            let weight = weights.entry(before.judge.clone()).or_insert(after.weight);
            assert_eq!(*weight, after.weight, "one judge, one factor");
        }
    }
    assert!(weights.values().any(|w| *w > 1.1) && weights.values().any(|w| *w < 0.9), "{weights:?}");

    // One row an item, soft labels and ranks that follow from them.
    let fitted = rows(&at("fit.arrow"));
    assert_eq!(fitted.len(), 60, "the open item is not compared");
    for row in &fitted {
        let worth = row.worth.as_ref().expect("soft labels");
        assert_eq!((row.kind, row.judge.is_none(), row.shown.is_none()), (Kind::Ranking, true, true));
        assert_eq!(row.ranks.as_ref(), Some(&data::rankings::ranks_of(worth)));
        let sum: f32 = all
            .iter()
            .filter(|r| r.item == row.item && r.prompt == row.prompt && r.kind == Kind::Ranking && !r.has(flag::GOLD))
            .map(|r| weights[&r.judge])
            .sum();
        assert!((row.weight - sum).abs() < 1e-4 * sum, "{} is not the sum {sum}", row.weight);
    }
    let grown = fitted.iter().find(|r| r.item == all[0].item).expect("the first item");
    assert_eq!(grown.answers.len(), 4, "the answer of a later row is there too");
    assert_eq!(grown.answers[3], "an answer that only this row has");

    // The page fetches nothing and takes no name for a tag.
    let page = std::fs::read_to_string(at("page.html")).expect("a page");
    assert!(page.contains("&lt;script&gt;alert(&#39;j0&#39;)&lt;/script&gt;") && !page.contains("<script"));
    for fetch in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(fetch), "{fetch}");
    }
    assert!(page.matches("<svg").count() >= 5 && !page.contains("NaN"));
}

#[test]
fn json_is_the_same_at_every_run_and_dropping_is_the_users_word() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let table = dir.path().join("crowd.arrow").display().to_string();
    let out = dir.path().join("weighed.arrow");
    let all = judgments();
    write_table(Path::new(&table), all.clone()).expect("written");
    let first = stdout(&mut label(&[&table, "--json"]));
    assert_eq!(first, stdout(&mut label(&[&table, "--json"])));
    assert_ne!(first, stdout(&mut label(&[&table, "--json", "--seed", "2"])), "other resamples");
    let json: serde_json::Value = serde_json::from_str(&first).expect("JSON");
    assert_eq!(json["counts"]["rows"], all.len());
    assert!(json["judges"].as_array().is_some_and(|j| j.iter().all(|j| j["name"] != "the key")), "a key is no judge");
    let left = stdout(&mut label(&[&table, "--json", "--drop-judges", "j1,j2", "--weigh", &out.display().to_string()]));
    let json: serde_json::Value = serde_json::from_str(&left).expect("JSON");
    let theirs = |name: &str| all.iter().filter(|r| r.judge.as_deref() == Some(name)).count();
    assert_eq!(json["counts"]["dropped"], serde_json::json!([["j1", theirs("j1")], ["j2", theirs("j2")]]));
    assert_eq!(rows(&out).len(), all.len() - theirs("j1") - theirs("j2"));
    assert!(rows(&out).iter().all(|r| !matches!(r.judge.as_deref(), Some("j1" | "j2"))));
}

#[test]
fn keys_of_another_table_check_the_judges() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (mut keys, judged): (Vec<_>, Vec<_>) = judgments().into_iter().partition(|r| r.has(flag::GOLD));
    let inside = [keys.clone(), judged.clone()].concat();
    keys.iter_mut().for_each(|k| k.flags.clear());
    for (name, rows) in [("inside.arrow", inside), ("keys.arrow", keys), ("judged.arrow", judged)] {
        write_table(Path::new(&at(name)), rows).expect("written");
    }
    let gold = |args: &[&str]| {
        let json: serde_json::Value = serde_json::from_str(&stdout(&mut label(args))).expect("JSON");
        (json["care"]["gold"]["value"].clone(), json["care"]["gold"]["n"].clone())
    };
    let beside = gold(&[&at("judged.arrow"), "--json", "--gold", &at("keys.arrow")]);
    assert!(beside.1.as_u64().is_some_and(|n| n >= 20), "{beside:?}");
    assert_eq!(beside, gold(&[&at("inside.arrow"), "--json"]));
    assert!(gold(&[&at("judged.arrow"), "--json"]).0.is_null());
}

#[test]
fn mistakes_are_the_users_and_said_once() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| dir.path().join(name).display().to_string();
    write_table(Path::new(&at("crowd.arrow")), judgments()).expect("written");
    let prompt = vec![Message::new("user", "p")];
    write_table(Path::new(&at("open.arrow")), [Judgment::new(Kind::Open, prompt, vec!["x".into(), "y".into()])]).expect("written");
    std::fs::write(at("text.arrow"), "no table").expect("written");
    for (args, says) in [
        (vec![at("absent.arrow")], "absent.arrow"),
        (vec![at("text.arrow")], "text.arrow"),
        (vec![at("open.arrow")], "nothing to say of the judges"),
        (vec![at("crowd.arrow"), "--drop-judges".into(), "nobody".into()], "nobody is called \"nobody\""),
        (vec![at("crowd.arrow"), "--weigh".into(), at("crowd.arrow")], "one of the tables to read"),
        (vec![at("crowd.arrow"), "--weigh".into(), at("o.arrow"), "--fit".into(), at("o.arrow")], "named for two results"),
    ] {
        let output = label(&args.iter().map(String::as_str).collect::<Vec<_>>()).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked"));
    }
    assert_eq!(rows(Path::new(&at("crowd.arrow"))), judgments(), "the input is as it was");
}

#[test]
fn people_at_work() {
    // Kept under target, for a look at it: label stats target/tmp/stats/quality.arrow --html page.html
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stats");
    for (file, score) in [("quality", "quality"), ("naturalness", "natur")] {
        let Some(judgments) = people::e2e(&format!("{file}.csv"), score) else { return };
        let table = dir.join(format!("{file}.arrow"));
        let [fit, weighed, page] =
            ["fit.arrow", "weighed.arrow", "html"].map(|end| dir.join(format!("{file}.{end}")).display().to_string());
        let n = judgments.len();
        write_table(&table, judgments).expect("written");
        stdout(&mut label(&[&table.display().to_string(), "--fit", &fit, "--weigh", &weighed, "--html", &page]));
        assert_eq!(rows(Path::new(&weighed)).len(), n);
        assert_eq!(rows(Path::new(&fit)).len(), 938);
    }
}
