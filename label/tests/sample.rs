//! `label sample` with tiny models: what is drawn, what is chosen, what is said about it.

#[path = "sample/world.rs"]
mod world;

use data::chat::Message;
use data::labels::table::LabelTable;
use data::labels::{Judgment, Kind};
use evaluate::{RewardModel, stats::sigmoid};
use model::lineage::Lineage;
use model::{Config, HeadKind, Model};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tch::{Device, Kind as Precision, no_grad};
use testkit::tiny_folder;

/// A folder with two writers, prompts of one turn and of several, and reward models.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Bench {
        let bench = Bench(tempfile::tempdir().unwrap());
        tiny_folder(&bench.path("red"), HeadKind::Lm, 1);
        tiny_folder(&bench.path("blue/model"), HeadKind::Lm, 2);
        tiny_folder(&bench.path("judge"), HeadKind::Scalar, 3);
        tiny_folder(&bench.path("other"), HeadKind::Scalar, 4);
        bench.prompts(&(0..6).map(|i| format!("{{\"prompt\": \"say {i}\"}}\n")).collect::<String>());
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn prompts(&self, text: &str) {
        std::fs::write(self.path("prompts.jsonl"), text).unwrap();
    }

    /// Runs `label sample --max-new 6 --out NAME.arrow` with further arguments, in the folder.
    fn run(&self, out: &str, more: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_label"));
        command.current_dir(self.0.path()).args(["sample", "--threads", "1", "--device", "cpu"]);
        command.args(["--out", &format!("{out}.arrow")]).args(more.split_whitespace());
        if !more.contains("--from") {
            command.args(["--prompts", "prompts.jsonl"]);
        }
        if !more.contains("--max-new") && !more.contains("--from") {
            command.args(["--max-new", "6"]);
        }
        command.output().unwrap()
    }

    /// The table of a run that must be good, and what was said.
    fn table(&self, out: &str, more: &str) -> (Vec<Judgment>, String) {
        let output = self.run(out, more);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        (LabelTable::open(&self.path(&format!("{out}.arrow"))).unwrap().iter().map(Result::unwrap).collect(), said)
    }

    /// What is said by a run that must be refused as the user's mistake.
    fn refused(&self, more: &str) -> String {
        let output = self.run("refused", more);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(!self.path("refused.arrow").exists());
        said
    }
}

fn scores(path: &Path, item: &Judgment) -> Vec<f32> {
    let model = RewardModel::load(path, Device::Cpu, Precision::Float).unwrap();
    let rows: Vec<Vec<u32>> = item.answers.iter().map(|a| model.row(&item.prompt, a, true).unwrap()).collect();
    model.score(&rows, 1, &|_| {}).unwrap()
}

#[test]
fn equal_seeds_write_equal_bytes_and_models_take_turns() {
    let bench = Bench::new();
    let (rows, said) = bench.table("a", "--model red --model blue --k 4 --seed 7");
    let bytes = |name: &str| std::fs::read(bench.path(name)).unwrap();
    bench.table("b", "--model red --model blue --k 4 --seed 7");
    assert!(bytes("a.arrow") == bytes("b.arrow"), "equal seeds");
    bench.table("c", "--model red --model blue --k 4 --seed 8");
    assert!(bytes("a.arrow") != bytes("c.arrow"), "another seed");
    assert_eq!(rows.len(), 6, "{said}");
    for (i, row) in rows.iter().enumerate() {
        assert_eq!((row.kind, row.prompt.clone(), row.row), (Kind::Open, vec![Message::new("user", &format!("say {i}"))], i as u64 + 1));
        let authors = row.authors.clone().unwrap();
        assert_eq!(authors.iter().filter(|a| *a == "red").count(), 2, "{authors:?}");
        assert_eq!(authors[0], ["red", "blue"][i % 2], "another begins with each prompt");
        let distinct: BTreeSet<&String> = row.answers.iter().collect();
        assert!(distinct.len() == 4 && row.answers.iter().all(|a| !a.trim().is_empty()), "{:?}", row.answers);
        assert_eq!((row.flags.clone(), row.scores.clone()), (vec!["chosen:random".to_string()], None));
    }
    assert!(said.contains("6 items (6 random) with 24 answers") && said.contains("drawn from 2 models"), "{said}");
}

#[test]
fn repeated_answers_are_drawn_again_or_missed_aloud() {
    let bench = Bench::new();
    // One token of the four likeliest or so: more answers are wanted than there are.
    let (rows, said) = bench.table("a", "--model red --k 12 --max-new 1 --top-p 0.02");
    assert!(rows.iter().any(|r| r.answers.len() < 12) && rows.iter().all(|r| r.answers.len() > 1), "{said}");
    let missing: usize = rows.iter().map(|r| 12 - r.answers.len()).sum();
    let left_out = 12 * (6 - rows.len());
    let stayed = said.split(" places stayed empty").next().and_then(|s| s.rsplit(' ').next()).and_then(|n| n.parse::<usize>().ok());
    assert!(stayed.is_some_and(|n| n >= missing && n <= missing + left_out), "{said}");
    assert!(said.contains("items have fewer than 12 answers"), "{said}");
    assert!(bench.refused("--model red --top-p 0.000001").contains("no prompt has two distinct answers"));
}

#[test]
fn conversations_are_answered_and_what_cannot_be_asked_is_listed() {
    let bench = Bench::new();
    let long = "x".repeat(200);
    let chat = r#"{"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes?"}, {"role": "user", "content": "go"}]}"#;
    let answered = r#"{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "there"}]}"#;
    bench.prompts(&format!("{{\"prompt\": \"one\"}}\n{chat}\n{{\"prompt\": \"one\"}}\n{{\"prompt\": \"{long}\"}}\n{answered}\nnot json\n"));
    let (rows, said) = bench.table("a", "--model red --k 2");
    assert_eq!(rows.iter().map(|r| r.prompt.len()).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(rows[1].prompt[3], Message::new("user", "go"));
    assert!(said.contains("1 prompts stood there before") && said.contains("3 of 6 prompts are in"), "{said}");
    let bad = std::fs::read_to_string(bench.path("a.quarantine.jsonl")).unwrap();
    for part in ["too-long", "tokens for model red", "bad-chat", "ends with the assistant", "broken-json"] {
        assert!(bad.contains(part), "{part} in {bad}");
    }
}

#[test]
fn scores_are_what_the_ensemble_says_and_the_share_of_chance_is_kept() {
    let bench = Bench::new();
    bench.prompts(&(0..12).map(|i| format!("{{\"prompt\": \"say {i}\"}}\n")).collect::<String>());
    let (rows, said) = bench
        .table("a", "--model red --model blue --k 3 --draw 5 --reward judge --reward other --choose mixed --items 8 --share-random 0.25");
    let count = |flag: &str| rows.iter().filter(|r| r.flags == [flag]).count();
    assert_eq!([count("chosen:random"), count("chosen:uncertain"), count("chosen:disagree")], [2, 3, 3], "{said}");
    for row in &rows {
        let [a, b] = ["judge", "other"].map(|name| scores(&bench.path(name), row));
        for (i, score) in row.scores.clone().unwrap().iter().enumerate() {
            assert!((score - (a[i] + b[i]) / 2.0).abs() < 1e-5, "{row:?}");
        }
    }
}

/// The head of a reward model's folder times `factor`.
fn scale_head(folder: &Path, to: &Path, factor: f64) {
    testkit::copy_folder(folder, to);
    let model = Model::load(folder, Device::Cpu).unwrap();
    no_grad(|| _ = model.head_weight().shallow_clone().g_mul_scalar_(factor));
    model.save(to).unwrap();
}

#[test]
fn the_pairs_that_the_ensemble_knows_least_about_are_chosen() {
    let bench = Bench::new();
    // A model and its opposite: they contradict each other most where the first is surest, and agree only on equals.
    scale_head(&bench.path("judge"), &bench.path("loud"), 40.0);
    scale_head(&bench.path("judge"), &bench.path("opposite"), -40.0);
    let (all, _) = bench.table("all", "--model red --k 6");
    let loud: HashMap<String, Vec<f32>> = all.iter().map(|r| (r.group.clone(), scores(&bench.path("loud"), r))).collect();
    let pairs = |k: usize| (0..k).flat_map(move |i| (i + 1..k).map(move |j| (i, j)));
    let gap = |group: &str, (i, j): (usize, usize)| f64::from((loud[group][i] - loud[group][j]).abs());
    // Of each prompt the best pair, of the prompts the three best, by nothing but the distance of the first model's scores.
    let expected = |better: &dyn Fn(f64) -> f64| {
        let mut best: Vec<(f64, String, BTreeSet<String>)> = all
            .iter()
            .map(|r| {
                let (i, j) = pairs(6).max_by(|a, b| better(gap(&r.group, *a)).total_cmp(&better(gap(&r.group, *b)))).unwrap();
                (better(gap(&r.group, (i, j))), r.group.clone(), BTreeSet::from([r.answers[i].clone(), r.answers[j].clone()]))
            })
            .collect();
        best.sort_by(|a, b| b.0.total_cmp(&a.0));
        best.into_iter().take(3).map(|(_, group, answers)| (group, answers)).collect::<BTreeSet<_>>()
    };
    let chosen = |out: &str, how: &str| {
        let (rows, said) = bench.table(out, &format!("--model red --draw 6 --k 2 --items 3 --share-random 0 {how}"));
        assert!(rows.len() == 3, "{said}");
        rows.into_iter().map(|r| (r.group, r.answers.into_iter().collect())).collect::<BTreeSet<(String, BTreeSet<String>)>>()
    };
    let widest = expected(&|gap| gap);
    assert_eq!(chosen("disagree", "--reward loud --reward opposite --choose disagree"), widest);
    let nearest = expected(&|gap| -(sigmoid(gap) - 0.5).abs());
    assert_eq!(chosen("uncertain", "--reward loud"), nearest, "uncertain is what is done without a word");
    assert_ne!(widest, nearest);
}

#[test]
fn a_reward_model_with_its_own_tokens_template_and_prefix_reads_its_own() {
    let bench = Bench::new();
    let text = ["the cat sat on the mat", "say what you like"].map(String::from);
    let mut tokenizer = data::tokenizer::Tokenizer::train_bpe(&mut text.into_iter(), 300).unwrap();
    let template = data::chat::ChatTemplate::chatml().unwrap();
    tokenizer.set_chat_template(Some(template.source().to_owned()));
    let mut config = Config::gpt2(tokenizer.vocab_size(), 128, 1, 2, 16, 0.0).unwrap();
    config.set_special(tokenizer.bos(), &[tokenizer.eos()], Some(tokenizer.pad()));
    let model = Model::new(config, HeadKind::Scalar, Device::Cpu, 3).unwrap();
    model.save(&bench.path("foreign")).unwrap();
    tokenizer.save(&bench.path("foreign")).unwrap();
    Lineage { prompt_prefix: Some("Is it kind? ".into()), ..Lineage::default() }.write(&bench.path("foreign")).unwrap();
    let (rows, _) = bench.table("a", "--model red --k 2 --reward foreign --choose random");
    for row in &rows {
        for (answer, score) in row.answers.iter().zip(row.scores.clone().unwrap()) {
            let asked = format!("Is it kind? {}", row.prompt[0].content);
            let (mut ids, response) = template.encode_pair(&tokenizer, &asked, answer).unwrap();
            ids.extend(response); // with its end, though it was cut at --max-new
            let expected = model.score_last(&[&ids]).unwrap().double_value(&[0]) as f32;
            assert!((score - expected).abs() < 1e-5, "{row:?}");
        }
    }
}

#[test]
fn what_was_drawn_can_be_chosen_from_again() {
    let bench = Bench::new();
    bench.table("pool", "--model red --model blue --k 6");
    let chosen = |how: &str| bench.table("again", &format!("--from pool.arrow --k 2 --items 3 --share-random 0 {how}")).0;
    let (direct, _) = bench.table("direct", "--model red --model blue --draw 6 --k 2 --items 3 --share-random 0 --reward judge");
    assert_eq!(chosen("--reward judge"), direct, "as if drawn for this");
    let random = chosen("--choose random");
    assert!(random.len() == 3 && random.iter().all(|r| r.has("chosen:random") && r.authors.is_some()), "{random:?}");
    assert!(bench.refused("--from pool.arrow --model red").contains("cannot be used with"));
}

#[test]
fn mistakes_are_named() {
    let bench = Bench::new();
    let said = |more: &str, part: &str| {
        let text = bench.refused(more);
        assert!(text.contains(part), "{more}: {text}");
    };
    said("--model judge", "judge: a reward model, which scores and does not write");
    said("--model red --reward blue", "blue: not a reward model");
    said("--model nowhere", "nowhere: no model here");
    said("--model red --model red", "red is given twice");
    said("--model red --max-new 96", "--max-new 96: prompt and answer must fit into the smallest context, 96 tokens");
    said("--model red --choose uncertain", "--choose uncertain needs a reward model");
    said("--model red --reward judge --choose disagree", "--choose disagree needs an ensemble");
    said("--model red --k 1", "--k 1");
    said("--model red --draw 3", "--draw 3 is less than --k 4");
    said("--model red --items 0", "--items 0");
    said("--model red --share-random 1.5", "--share-random 1.5");
    said("--model red --temperature 0", "--temperature 0");
    said("--model red --top-p 0", "--top-p 0");
    said("--model red --template jinja", "plain, chatml, llama3, zephyr or model");
    said("--model red --template llama3", "<|eot_id|>");
    bench.prompts("{\"prompt\": \"\"}\n");
    said("--model red", "no usable row");
}

#[test]
fn answers_too_long_for_a_reward_model_are_left_out_and_counted() {
    let bench = Bench::new();
    let small = |name: &str, context: usize| {
        let tokenizer = data::tokenizer::Tokenizer::byte().unwrap();
        let mut config = Config::gpt2(tokenizer.vocab_size(), context, 1, 2, 16, 0.0).unwrap();
        config.set_special(tokenizer.bos(), &[tokenizer.eos()], Some(tokenizer.pad()));
        Model::new(config, HeadKind::Scalar, Device::Cpu, 3).unwrap().save(&bench.path(name)).unwrap();
        tokenizer.save(&bench.path(name)).unwrap();
    };
    small("tight", 24);
    small("tighter", 8);
    // Bytes that are no text become longer characters when they are read again.
    let (rows, said) = bench.table("a", "--model red --k 6 --max-new 8 --reward tight");
    let left_out = said.split(" answers are too long").next().and_then(|s| s.rsplit(' ').next()).and_then(|n| n.parse::<usize>().ok());
    assert!(left_out.is_some_and(|n| n > 0) && rows.iter().all(|r| r.scores.iter().flatten().all(|s| s.is_finite())), "{said}");
    assert!(bench.refused("--model red --reward tighter").contains("not one answer fits"));
}
