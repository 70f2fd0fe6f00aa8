//! The binary as a user drives it: rankings to a reward model; stopping, killing, resuming, help and errors.

use data::chat::Message;
use data::config::RewardConfig;
use data::labels::table::{LabelTable, write_table};
use data::labels::{Judgment, Kind};
use data::rankings::Ranking;
use data::tokenizer::Tokenizer;
use evaluate::RewardModel;
use model::config::{Family, Shape};
use model::{Config, HeadKind, Model};
use std::path::Path;
use testkit::Stage;

const BIN: &str = env!("CARGO_BIN_EXE_reward");

const TOML: &str = r#"
seed = 5
device = "cpu"
threads = 1
[model]
init = "{dir}/sft"
dropout = 0.1
[[data.sources]]
path = "{dir}/rankings.jsonl"
[centre]
samples = 8
max_new_tokens = 8
[train]
steps = 10
batch = 4
micro_batch = 2
[eval]
every = 4
valid_fraction = 0.2
[checkpoint]
every = 3
"#;

fn stage_data(dir: &Path) {
    testkit::tiny_folder(&dir.join("sft"), HeadKind::Lm, 1);
    let row =
        |i: usize| format!("{{\"prompt\": \"say {i}\", \"answers\": [\"{i}\", \"no\", \"{i} {i}\"], \"ranks\": [1, 3, {}]}}\n", 1 + i % 3);
    std::fs::write(dir.join("rankings.jsonl"), (0..60).map(row).collect::<String>()).unwrap();
}

fn stage() -> Stage {
    Stage::new(BIN, TOML, stage_data)
}

testkit::stage_tests!(
    stage(),
    "train.steps" = 10,
    reads: ["rankings.jsonl", "sft/model.safetensors"],
    wrong: [
        "optim.lr=-1",
        "optim.learning_rate=1",
        "train.batch=eight",
        "data.sources.0.path={dir}/nowhere.jsonl",
        "model.init={dir}/nowhere",
        "device=cuda",
    ],
    profile: ["forward", "loss", "backward", "optimiser"],
    testkit::suite::Budget { calls: 2630.0, mib: 2.15, peak_mib: 0.43 }
);

// Four micro-batches a step. A larger ε keeps Adam from making steps of rounding where a gradient is zero; then eight float32 roundings a sum, in another
// order, move weights of size 1 by some 1e-7 a step.
testkit::rank_tests!(
    stage(),
    sets: ["train.batch=8", "train.steps=6", "optim.eps=1e-3", "optim.lr=1e-2", "schedule.warmup_steps=0"],
    too_few: "train.batch=2",
    steps: "train.steps",
    tolerance: 5e-6
);

#[test]
fn centring_that_cannot_be_is_refused_before_training() {
    let stage = stage();
    // A Llama of transformers: RMSNorm has no bias that could take up the shift.
    let (golden, llama) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden"), stage.dir.path().join("llama"));
    std::fs::create_dir(&llama).unwrap();
    for from in [golden.join("llama"), golden.join("tokenizer")] {
        for entry in std::fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
            std::fs::copy(entry.path(), llama.join(entry.file_name())).unwrap();
        }
    }
    let refused = |set: &str, words: &[&str]| {
        let output = stage.run("refused", &["--set", set]);
        let said = stage.stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(words.iter().all(|w| said.contains(w)), "{said}");
        assert!(!stage.out("refused").join("metrics.jsonl").exists(), "nothing was trained");
        let _ = std::fs::remove_dir_all(stage.out("refused"));
    };
    refused(&format!("model.init={}", llama.display()), &["centre.samples = 8", "final norm has no bias", "centre.samples = 0"]);
    // The longest prompt is "say 59" and a newline, in bytes; the context has 96 places.
    refused("centre.max_new_tokens=90", &["centre.max_new_tokens = 90", "prompt of 7 tokens", "context of 96", "set it to 89"]);
}

/// Eight micro-batches of one take the steps of one of eight. A larger ε keeps Adam from making steps of rounding where a gradient is zero.
fn micro_batches_do_not_matter(stage: &Stage, more: &[&str]) {
    let run = |out: &str, micro: &str| {
        let sets = ["train.batch=8", "train.steps=3", "model.dropout=0", "optim.eps=1e-3", "optim.lr=1e-2", "schedule.warmup_steps=0"];
        let sets: Vec<&str> = sets.iter().chain([&micro]).chain(more).flat_map(|s| ["--set", *s]).collect();
        stage.run_ok(out, &sets);
    };
    let name = more.join(" ");
    run(&format!("one of eight {name}"), "train.micro_batch=8");
    run(&format!("eight of one {name}"), "train.micro_batch=1");
    stage.assert_near(&format!("one of eight {name}"), &format!("eight of one {name}"), 5e-6);
}

/// The loss is normalised by all targets of a step.
#[test]
fn micro_batches_of_any_size_take_the_same_steps() {
    micro_batches_do_not_matter(&stage(), &[]);
}

/// A table of judgments: some with a fitted worth, which is learnt as soft labels, some without, some of two answers, several of one item, conversations,
/// and rows that are no rankings.
fn table() -> Stage {
    let data = |dir: &Path| {
        testkit::tiny_folder(&dir.join("sft"), HeadKind::Lm, 1);
        let row = |i: u32| {
            let mut prompt = vec![Message::new("user", &format!("say {}", i / 2))];
            if i % 6 < 2 {
                prompt.extend([Message::new("assistant", "what?"), Message::new("user", "that")]);
            }
            let mut answers = vec![format!("{}", i / 2), "no".to_string(), "so".to_string()];
            answers.truncate(2 + (i / 2 % 2) as usize);
            let k = answers.len();
            Judgment {
                ranks: Some([1, 3 - i % 2, 2 + i % 2][..k].to_vec()),
                worth: (i % 4 < 3).then(|| [1.0 + (i % 5) as f32 / 4.0, -0.5, 0.25][..k].to_vec()),
                scores: Some([7.0, 1.0, 3.5][..k].to_vec()),
                weight: 0.5 + (i % 3) as f32,
                judge: Some(format!("judge {}", i % 2)),
                file: "export.json".into(),
                row: u64::from(i),
                ..Judgment::new(if i % 15 == 14 { Kind::Skipped } else { Kind::Ranking }, prompt, answers)
            }
        };
        write_table(&dir.join("labels.arrow"), (0..90).map(row)).unwrap();
    };
    Stage::new(BIN, &TOML.replace("rankings.jsonl", "labels.arrow"), data)
}

#[test]
fn soft_labels_resume_to_the_same_bytes() {
    let stage = table();
    testkit::suite::stopped(&stage);
    let summary = std::fs::read_to_string(stage.out("whole").join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["rows_skipped_skipped"], 6);
    testkit::suite::other_inputs(&stage, "sft/model.safetensors");
}

#[test]
fn the_mean_of_the_weights_resumes_to_the_same_bytes() {
    let stage = Stage::new(BIN, &format!("average = 0.6\n{TOML}"), stage_data);
    testkit::suite::stopped(&stage);
    // Over the last step alone the mean is the weights; over more of them it is not.
    let model = |out: &str, average: &str| {
        stage.run_ok(out, &["--set", average]);
        std::fs::read(stage.out(out).join("model/model.safetensors")).unwrap()
    };
    let (none, last, most) = (model("none", "average=0"), model("last", "average=0.1"), model("most", "average=0.6"));
    assert!(none == last && none != most);
}

#[test]
fn a_mean_of_a_run_of_another_length_is_said_and_never_empty() {
    let stage = Stage::new(BIN, &format!("average = 0.5\n{TOML}"), stage_data).with_set("checkpoint.keep_last=9");
    let averaged = || {
        let summary = std::fs::read_to_string(stage.out("run").join("summary.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&summary).unwrap()["averaged_steps"].clone()
    };
    stage.run_ok("run", &[]);
    assert_eq!(averaged(), 5);
    stage.run_ok("cut", &[]);
    let output = stage.run_ok("run", &["--resume", "--set", "train.steps=12"]);
    let said = stage.stderr(&output);
    assert!(said.contains("after step 10 the mean is of 5 steps' weights, not of the 4 from step 7 on"), "{said}");
    assert_eq!(averaged(), 7);
    // Cut to the third step, where the run of ten had not begun its mean.
    for entry in std::fs::read_dir(stage.out("cut").join("checkpoints")).unwrap() {
        let path = entry.unwrap().path();
        let step: u64 = path.file_name().unwrap().to_str().unwrap().strip_prefix("step-").unwrap().parse().unwrap();
        if step > 3 {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    let config = || std::fs::read_to_string(stage.out("cut").join("config.toml")).unwrap();
    let before = config();
    let refused = stage.run("cut", &["--resume", "--set", "train.steps=3"]);
    let said = stage.stderr(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("average = 0.5: no weights are in the mean after 3 steps"), "{said}");
    assert_eq!(config(), before);
    // One step more, and there is one.
    stage.run_ok("cut", &["--resume", "--set", "train.steps=4"]);
}

#[test]
fn soft_labels_survive_being_killed() {
    testkit::suite::killed(&table());
}

#[test]
fn soft_labels_take_the_same_steps_in_micro_batches_of_any_size() {
    let stage = table();
    // At the other test's rate these steps end where the gradient's norm is 10 and steep: rounding of the weights moves it by more than the tolerance.
    let slowly = "optim.lr=1e-3";
    micro_batches_do_not_matter(&stage, &[slowly]);
    micro_batches_do_not_matter(&stage, &[slowly, "loss.kind=plackett-luce"]);
    micro_batches_do_not_matter(&stage, &[slowly, "loss.centre_coef=0.1", "loss.centre_form=pairs"]);
    micro_batches_do_not_matter(&stage, &[slowly, "loss.soft_labels=false", "loss.margin=scores", "loss.margin_scale=0.2"]);
}

#[test]
fn a_run_can_be_repeated_from_the_table_it_wrote() {
    let stage = stage();
    let same = ["--set", "data.prompt_prefix=Q: ", "--set", "data.merge_judges=true"];
    stage.run_ok("first", &same);
    let labels = stage.out("first").join("labels.arrow");
    let first = LabelTable::open(&labels).unwrap();
    assert_eq!(first.len(), 60);
    assert!(first.iter().all(|j| j.unwrap().prompt[0].content.starts_with("say ")), "the prefix is the configuration's");
    stage.run_ok("second", &[&same[..], &["--set", &format!("data.sources.0.path={}", labels.display())]].concat());
    let read = |out: &str, file: &str| std::fs::read(stage.out(out).join(file)).unwrap();
    for file in ["model/model.safetensors", "labels.arrow"] {
        assert!(read("first", file) == read("second", file), "{file} differs");
    }
}

/// Sixty prompts, each ranked by two who agree, one who says the opposite and one who was never asked with another.
fn crowd(dir: &Path) {
    let row = |judge: &str, i: usize, ranks: &str| {
        format!("{{\"prompt\": \"say {i}\", \"answers\": [\"{i}\", \"no\", \"{i} {i}\"], \"ranks\": {ranks}, \"judge\": \"{judge}\"}}\n")
    };
    let said = |i: usize| match i {
        0..50 => [("ada", "[1, 3, 2]"), ("ben", "[1, 3, 2]"), ("upside", "[3, 1, 2]")].map(|(judge, ranks)| row(judge, i, ranks)).concat(),
        _ => row("alone", i, "[2, 3, 1]"),
    };
    std::fs::write(dir.join("rankings.jsonl"), (0..60).map(said).collect::<String>()).unwrap();
}

#[test]
fn who_agrees_with_the_others_is_heard_and_the_table_of_the_run_repeats_it() {
    let stage = stage();
    crowd(&stage.out("."));
    let learn = |out: &str, sets: &[&str]| {
        let output = stage.run_ok(out, &sets.iter().flat_map(|s| ["--set", *s]).collect::<Vec<_>>());
        let said = stage.stderr(&output);
        assert!(sets.is_empty() || said.contains("3 judges, reliabilities"), "{said}");
        assert!(sets.is_empty() || said.contains("1 share no prompt with another"), "{said}");
    };
    learn("alike", &[]);
    assert!(!stage.out("alike/judges.jsonl").exists());
    learn("weighed", &["data.judges=weighed"]);
    learn("fitted", &["data.judges=fitted"]);

    let judges = std::fs::read_to_string(stage.out("weighed/judges.jsonl")).unwrap();
    let of = |name: &str, key: &str| {
        let judge = judges.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()).find(|j| j["judge"] == name).unwrap();
        judge[key].as_f64().unwrap()
    };
    assert!(of("ada", "reliability") > 1.0 && of("ben", "reliability") > 1.0, "{judges}");
    assert!(of("upside", "reliability") < 0.0 && of("upside", "weight") == 0.01 && of("alone", "weight") == 1.0, "{judges}");
    assert_eq!(of("alone", "compared"), 0.0);

    // The run's table is what people said, and so says the same again.
    let read = |out: &str, file: &str| std::fs::read(stage.out(out).join(file)).unwrap();
    assert!(read("alike", "labels.arrow") == read("weighed", "labels.arrow"), "labels.arrow is not what people said");
    let source = format!("data.sources.0.path={}", stage.out("weighed/labels.arrow").display());
    learn("again", &["data.judges=weighed", &source]);
    for file in ["model/model.safetensors", "judges.jsonl"] {
        assert!(read("again", file) == read("weighed", file), "{file} differs");
    }
    assert!(read("alike", "model/model.safetensors") != read("weighed", "model/model.safetensors"));
    let summary = |out: &str, key: &str| {
        let summary: serde_json::Value = serde_json::from_slice(&read(out, "summary.json")).unwrap();
        summary[key].as_f64().unwrap()
    };
    assert_eq!(summary("fitted", "rankings_train"), summary("weighed", "items_train"));
    assert_eq!(summary("fitted", "pairs"), summary("alike", "pairs"), "what is held out stays as people said it");
}

#[test]
fn losses_that_cannot_learn_from_these_judgments_are_refused() {
    let stage = stage(); // rows without scores
    let refused = |sets: &[&str], words: &[&str]| {
        let sets: Vec<&str> = sets.iter().flat_map(|s| ["--set", *s]).collect();
        let output = stage.run("refused", &sets);
        let said = stage.stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(words.iter().all(|w| said.contains(w)), "{said}");
        let _ = std::fs::remove_dir_all(stage.out("refused"));
    };
    refused(&["loss.margin=scores"], &["loss.margin = \"scores\"", "no ranking has them"]);
    refused(&["loss.margin=scores", "loss.kind=best"], &["loss.margin", "bradley-terry"]);
    refused(&["loss.margin=worth"], &["loss.soft_labels = false"]);
    refused(&["loss.margin_scale=0"], &["loss.margin_scale", "positive"]);
    refused(&["data.judges=weighed"], &["data.judges", "no prompt was judged by two who are named", "columns.judge"]);
    refused(&["data.judges=fitted", "data.merge_judges=true"], &["data.judges = fitted", "data.merge_judges = false"]);
}

/// The stage with rankings of their own to be judged by.
fn with_heldout(train: &str, heldout: &str) -> Stage {
    let toml = TOML.replace("[centre]", "[[data.heldout]]\npath = \"{dir}/heldout.jsonl\"\n[centre]");
    let stage = Stage::new(BIN, &toml, stage_data);
    std::fs::write(stage.out("rankings.jsonl"), train).unwrap();
    std::fs::write(stage.out("heldout.jsonl"), heldout).unwrap();
    stage
}

/// A row of two answers.
fn pair(prompt: &str, ranks: &str) -> String {
    format!("{{\"prompt\": \"{prompt}\", \"answers\": [\"yes\", \"no no\"], \"ranks\": {ranks}}}\n")
}

/// A step of ties has no pair to be right about: that is no number that is not finite.
#[test]
fn steps_of_ties_alone_raise_no_alarm() {
    let ties: String = (0..30).map(|i| pair(&format!("say {i}"), "[1, 1]")).collect();
    let stage = with_heldout(&ties, &pair("ask", "[1, 2]"));
    stage.run_ok("run", &["--set", "loss.ties=half", "--set", "alarm.stop=true"]);
    let rows = testkit::metrics(&stage.out("run"));
    assert_eq!(rows.iter().filter(|row| row["loss"].is_f64() && row["accuracy"].is_null() && row["margin"].is_null()).count(), 10);
    assert!(rows.iter().all(|row| row["not_finite"].is_null() && row["alarm"].is_null()), "{rows:?}");
}

#[test]
fn a_preference_among_the_rows_that_are_judged_is_asked_for_before_training() {
    let train: String = (0..30).map(|i| pair(&format!("say {i}"), "[1, 2]")).collect();
    let stage = with_heldout(&train, &(pair("ask 1", "[1, 1]") + &pair("ask 2", "[1, 1]") + &pair("ask 3", "[2, 1]")));
    let refused = stage.run("run", &["--set", "eval.max_rows=2"]);
    let said = stage.stderr(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("eval.max_rows = 2: the first held-out ranking with a preference is number 3"), "{said}");
    assert!(!stage.out("run").join("metrics.jsonl").exists(), "nothing was trained");
    let _ = std::fs::remove_dir_all(stage.out("run"));
    stage.run_ok("run", &["--set", "eval.max_rows=3"]);
}

/// With scores shifted and scaled: the summary is of the model in the folder.
#[test]
fn the_summary_is_the_published_models() {
    let stage = stage();
    stage.run_ok("run", &["--set", "centre.gain=true"]);
    let run = stage.out("run");
    let c: RewardConfig = data::config::load(&run.join("config.toml"), &[]).unwrap();
    let quarantine = stage.out("quarantine.jsonl");
    let rankings = data::rankings::load_rankings(&c.data, None, c.eval.valid_fraction, c.seed, &quarantine).unwrap().valid;
    let model = RewardModel::load(&run, tch::Device::Cpu, tch::Kind::Float).unwrap();
    let scores = |r: &Ranking| -> Vec<f64> {
        let rows: Vec<Vec<u32>> = r.answers.iter().map(|answer| model.row(&r.prompt, answer, true).unwrap()).collect();
        model.score(&rows, 0, &|_| {}).unwrap().into_iter().map(f64::from).collect()
    };
    let scores: Vec<Vec<f64>> = rankings.iter().map(scores).collect();
    let published = evaluate::preference::evaluate(&rankings, &scores, c.seed).unwrap().summary();
    let summary: serde_json::Value = serde_json::from_slice(&std::fs::read(run.join("summary.json")).unwrap()).unwrap();
    for key in ["pairs", "accuracy", "ece", "margin", "score_mean", "score_std"] {
        let (said, is) = (summary[key].as_f64().unwrap(), published[key].as_f64().unwrap());
        assert!((said - is).abs() < 1e-3, "{key}: the summary says {said}, the model {is}");
    }
}

#[test]
fn adapters_are_trained_alone_and_a_stopped_run_goes_on_to_the_same_bytes() {
    testkit::suite::adapted(stage().with_set("lora.dropout=0.1"), "model.adapter");
}

#[test]
fn recomputed_blocks_give_the_same_run() {
    testkit::suite::recomputed(&stage(), "train");
    testkit::suite::recomputed(&stage().with_set("lora.rank=4").with_set("lora.dropout=0.1"), "train");
}

/// The rankings of [`stage`] for a GPT-NeoX whose output matrix is not its embedding.
fn untied() -> Stage {
    let data = |dir: &Path| {
        stage_data(dir);
        let tokenizer = Tokenizer::byte().unwrap();
        let shape = Shape { vocab_size: tokenizer.vocab_size(), context: 96, layers: 2, heads: 2, kv_heads: 0, width: 32, dropout: 0.0 };
        let mut config = Config::fresh(Family::GptNeoX, shape).unwrap();
        config.tied = false;
        config.set_special(tokenizer.bos(), &[tokenizer.eos()], Some(tokenizer.pad()));
        std::fs::remove_dir_all(dir.join("sft")).unwrap();
        Model::new(config, HeadKind::Lm, tch::Device::Cpu, 1).unwrap().save(&dir.join("sft")).unwrap();
        tokenizer.save(&dir.join("sft")).unwrap();
    };
    Stage::new(BIN, TOML, data)
}

#[test]
fn best_answers_are_learnt_as_text_and_a_stopped_run_goes_on_to_the_same_bytes() {
    for stage in [stage(), untied()] {
        // Without dropout, which the term draws for more tokens.
        let stage =
            stage.with_set("loss.lm_weight=0.5").with_set("optim.lr=1e-2").with_set("schedule.warmup_steps=0").with_set("model.dropout=0");
        testkit::suite::stopped(&stage);
        stage.run_ok("without", &["--set", "loss.lm_weight=0"]);
        let of = |out: &str, key: &str| {
            let rows = testkit::metrics(&stage.out(out));
            rows.iter().filter_map(|row| row[key].as_f64()).collect::<Vec<f64>>()
        };
        let (loss, preference, lm) = (of("whole", "loss"), of("whole", "loss/preference"), of("whole", "loss/lm"));
        assert_eq!((loss.len(), preference.len(), lm.len()), (10, 10, 10));
        assert!(loss.iter().zip(&preference).zip(&lm).all(|((loss, p), lm)| (loss - p - 0.5 * lm).abs() < 1e-9));
        // A model of weights near 0 gives every byte about the same probability.
        let even = (Tokenizer::byte().unwrap().vocab_size() as f64).ln();
        assert!((lm[0] - even).abs() < 0.2 && lm[9] < lm[0], "{lm:?}, begins at {even}");
        assert!(of("without", "loss/lm").is_empty() && of("without", "loss/preference").is_empty());
        assert_eq!(of("without", "loss")[0], preference[0], "the preference loss itself is the same");
        // The folder is a reward model's and nothing more.
        let names = |out: &str| testkit::weights(&stage.out(out)).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names("whole"), names("without"));
        assert!(names("whole").iter().all(|name| !name.starts_with("embed_out") && !name.starts_with("lm_head")));
    }
}

#[test]
fn a_model_without_a_language_head_is_refused() {
    let stage = untied();
    stage.run_ok("reward", &[]);
    let init = format!("model.init={}", stage.out("reward").display());
    let output = stage.run("refused", &["--set", "loss.lm_weight=0.1", "--set", &init]);
    let said = stage.stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("loss.lm_weight = 0.1") && said.contains("embed_out.weight is missing"), "{said}");
}

#[test]
fn best_answers_are_learnt_alike_in_micro_batches_of_any_size_and_by_several_ranks() {
    let sets = ["optim.lr=1e-3", "loss.lm_weight=0.5"];
    micro_batches_do_not_matter(&table(), &sets);
    let sets = [&sets[..], &["train.batch=8", "train.steps=4", "optim.eps=1e-3", "schedule.warmup_steps=0"]].concat();
    testkit::ranks::same_steps_in_shares(&stage(), &["gradients", "parameters"], &sets, 5e-6);
}

#[test]
fn frozen_blocks_stay_bit_for_bit_and_the_rest_is_trained() {
    let stage = stage().with_set("model.freeze=1");
    testkit::suite::stopped(&stage);
    let frozen = |name: &str| ["transformer.wte.", "transformer.wpe.", "transformer.h.0."].iter().any(|part| name.starts_with(part));
    let read = |path: &Path| tch::Tensor::read_safetensors(path).unwrap();
    let before = read(&stage.dir.path().join("sft/model.safetensors"));
    let after = testkit::weights(&stage.out("whole"));
    let mut trained = 0;
    for (name, tensor) in &after {
        match before.iter().find(|(other, _)| other == name) {
            Some((_, was)) => assert_eq!(tensor.equal(was), frozen(name), "{name}"),
            None => assert_eq!(name, "score.weight"),
        }
        trained += if frozen(name) { 0 } else { tensor.numel() };
    }
    let summary = std::fs::read_to_string(stage.out("whole").join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["parameters"], trained);
    let moments = read(&stage.out("whole").join("checkpoints/step-9/state/optim.safetensors"));
    assert!(moments.iter().any(|(name, _)| name.starts_with("transformer.h.1.")));
    assert!(moments.iter().all(|(name, _)| !frozen(name)), "a frozen weight has no moments");
    testkit::suite::recomputed(&stage, "train");
    let refused = |sets: &[&str], words: &str| {
        let output = stage.run("refused", sets);
        let said = stage.stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
        let _ = std::fs::remove_dir_all(stage.out("refused"));
    };
    refused(&["--set", "model.freeze=3"], "model.freeze = 3: the model has 2 blocks");
    refused(&["--set", "lora.rank=4"], "model.freeze = 1: goes with lora.rank = 0");
    refused(&["--set", "distributed.shard=parameters"], "model.freeze = 1: does not go together");
}
