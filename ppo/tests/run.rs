//! The binary as a user drives it: reward model to a policy; stopping, killing, resuming, help and errors.

use model::HeadKind;
use std::path::Path;
use testkit::Stage;

const BIN: &str = env!("CARGO_BIN_EXE_ppo");

const TOML: &str = r#"
seed = 5
device = "cpu"
threads = 1
[policy]
init = "{dir}/sft"
[reward]
model = "{dir}/reward"
[[data.sources]]
path = "{dir}/prompts.jsonl"
[rollout]
rounds = 10
episodes = 8
max_new_tokens = 10
[ppo]
epochs = 2
minibatches = 2
micro_batch = 2
kl_target = 3.0
kl_horizon = 100.0
[ptx]
coef = 0.1
batch = 2
length = 16
[ptx.data]
cache = "{dir}/cache"
[[ptx.data.sources]]
path = "{dir}/text.txt"
[eval]
every = 4
valid_fraction = 0.2
[checkpoint]
every = 3
"#;

fn stage() -> Stage {
    stage_with("")
}

/// The stage with more lines of configuration.
fn stage_with(more: &str) -> Stage {
    let data = |dir: &Path| {
        testkit::tiny_folder(&dir.join("sft"), HeadKind::Lm, 1);
        testkit::tiny_folder(&dir.join("reward"), HeadKind::Scalar, 2);
        let row = |i: usize| format!("{{\"prompt\": \"say {i}\"}}\n");
        std::fs::write(dir.join("prompts.jsonl"), (0..40).map(row).collect::<String>()).unwrap();
        std::fs::write(dir.join("text.txt"), "the cat sat on the mat\n".repeat(50)).unwrap();
    };
    Stage::new(BIN, &format!("{TOML}{more}"), data)
}

testkit::stage_tests!(
    stage(),
    "rollout.rounds" = 10,
    reads: ["prompts.jsonl", "sft/model.safetensors", "reward/model.safetensors"],
    wrong: [
        "optim.lr=-1",
        "optim.learning_rate=1",
        "rollout.episodes=eight",
        "ppo.micro_batch=3",
        "data.sources.0.path={dir}/nowhere.jsonl",
        "policy.init={dir}/nowhere",
        "device=cuda",
    ],
    profile: ["roll-out", "score", "observe", "policy forward", "policy head", "critic forward", "backward", "optimiser", "pre-training mix"],
    testkit::suite::Budget { calls: 12800.0, mib: 9.8, peak_mib: 0.52 }
);

// Four micro-batches a step. The ratio of each rank's first step is exactly 1, or the run would stop; a larger ε keeps Adam from making steps of rounding.
testkit::rank_tests!(
    stage(),
    sets: ["ppo.minibatches=1", "rollout.rounds=2", "optim.eps=1e-3", "optim.lr=1e-2", "ppo.score_position=after-end"],
    too_few: "ppo.minibatches=4",
    steps: "rollout.rounds",
    tolerance: 5e-6
);

/// Alarms are derived from the metrics, so a killed run raises the same ones at the same rounds, none twice.
#[test]
fn alarms_survive_a_kill() {
    let stage = stage_with("[drift]\nmax_kl = 1e-4\n[alarm]\nwindow = 2\n");
    let begun = std::time::Instant::now();
    let output = stage.run_ok("whole", &[]);
    let rows = testkit::metrics(&stage.out("whole"));
    let alarms = rows.iter().filter(|r| !r["alarm"].is_null()).count();
    assert!(alarms > 0, "{rows:?}");
    assert!(stage.stderr(&output).contains("ALARM (kl) round"), "{}", stage.stderr(&output));
    let summary = std::fs::read_to_string(stage.out("whole").join("summary.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&summary).unwrap()["alarms"], alarms);
    let killed = stage.kill_at_random("killed", 4, begun.elapsed(), 3);
    assert!(killed > 0, "no kill came in time");
    stage.assert_same("whole", "killed");
    assert!(std::fs::read_to_string(stage.out("killed").join("report.html")).unwrap().contains("alarm (kl)"));
}

/// The loss is normalised by all targets of a step: eight micro-batches of one are one of eight. A larger ε keeps Adam from making steps of rounding
/// where a gradient is zero.
#[test]
fn micro_batches_of_any_size_take_the_same_steps() {
    let stage = stage();
    let run = |out: &str, micro: &str| {
        let sets = ["ppo.minibatches=1", "rollout.rounds=1", "optim.eps=1e-3", "optim.lr=1e-2", "ppo.score_position=after-end"];
        let more: Vec<&str> = sets.iter().chain([&micro]).flat_map(|s| ["--set", *s]).collect();
        stage.run_ok(out, &more);
    };
    run("one of eight", "ppo.micro_batch=8");
    run("eight of one", "ppo.micro_batch=1");
    stage.assert_near("one of eight", "eight of one", 5e-6);
}

#[test]
fn a_critic_on_the_policys_trunk_learns_too_and_survives_a_stop() {
    let stage = stage();
    let shared = ["--resume", "--set", "value.kind=shared"];
    stage.run_ok("whole", &shared);
    let rows = testkit::metrics(&stage.out("whole"));
    let losses: Vec<f64> = rows.iter().filter_map(|r| r["loss/value"].as_f64()).collect();
    assert_eq!(losses.len(), 10);
    assert!(losses.iter().all(|l| l.is_finite()));
}

#[test]
fn every_preset_runs() {
    let stage = stage();
    for preset in ["openai-2019", "summarize-2020", "trl", "openrlhf"] {
        let preset_key = format!("preset={preset}");
        // The test's own file says epochs, minibatches and target; --set has the last word over both.
        stage.run_ok(preset, &["--set", &preset_key, "--set", "rollout.rounds=2", "--set", "ptx.coef=0"]);
        let rows = testkit::metrics(&stage.out(preset));
        let losses: Vec<f64> = rows.iter().filter_map(|r| r["loss/value"].as_f64()).collect();
        assert_eq!(losses.len(), 2, "{preset}");
        assert!(losses.iter().all(|l| l.is_finite()), "{preset}: {losses:?}");
        let resolved = std::fs::read_to_string(stage.out(preset).join("config.toml")).unwrap();
        assert!(resolved.contains(&format!("preset = {preset:?}")) && resolved.contains("whiten_variance"), "{resolved}");
    }
    // Sampling past the end token: every response has the full length, what people read of it does not.
    let kept = stage.run("kept", &["--set", "ppo.after_end=keep", "--set", "ppo.score_position=after-end"]);
    assert_eq!(kept.status.code(), Some(2), "nothing stands after the last token of a full response");
}

#[test]
fn the_first_round_begins_at_ratio_one_and_kl_zero() {
    let stage = stage();
    stage.run_ok("run", &["--set", "ppo.epochs=1", "--set", "ppo.minibatches=1", "--set", "rollout.rounds=1"]);
    let rows = testkit::metrics(&stage.out("run"));
    let first = rows.iter().find(|r| !r["val/ratio"].is_null()).unwrap();
    assert_eq!(first["val/ratio"].as_f64(), Some(1.0));
    assert_eq!(first["policy/approxkl"].as_f64(), Some(0.0));
    assert_eq!(first["policy/clipfrac"].as_f64(), Some(0.0));
    assert!(first["objective/kl"].as_f64().unwrap().abs() < 1e-6);
}

/// What the page draws of an answer is what was scored: text would not do, since bytes that are no character come back from it as three tokens each, more than
/// the context holds.
#[test]
fn token_rewards_are_of_the_tokens_that_were_scored() {
    let stage = stage();
    stage.run_ok("run", &["--set", "rollout.rounds=1", "--set", "rollout.max_new_tokens=80"]);
    let rows = |file: &str| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(stage.out("run").join(file)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (drawn, samples) = (rows("token-rewards.jsonl"), rows("samples.jsonl"));
    assert_eq!(drawn.len(), 6);
    for (drawn, sample) in drawn.iter().zip(&samples) {
        let rewards = drawn["rewards"].as_array().unwrap();
        let (last, score) = (rewards.last().unwrap().as_f64().unwrap(), sample["score"].as_f64().unwrap());
        assert!((last - score).abs() < 1e-4, "{last} was drawn, {score} is the score");
        assert_eq!(rewards.len() as u64, drawn["answer"].as_u64().unwrap() + sample["tokens"].as_u64().unwrap());
    }
}

#[test]
fn text_and_prompts_that_cannot_be_learnt_from_are_refused_before_the_first_round() {
    let stage = stage();
    let refused = |set: &str, words: &str| {
        let output = stage.run("refused", &["--set", set]);
        let said = stage.stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
        let _ = std::fs::remove_dir_all(stage.out("refused"));
    };
    refused("ptx.length=97", "ptx.length = 97: the policy reads at most 96 tokens");
    let bad = stage.dir.path().join("bad.jsonl");
    std::fs::write(&bad, "{\"text\": \"the cat sat on the mat\"}\n{\"text\": 7}\n").unwrap();
    refused(
        &format!("ptx.data.sources.0.path={}", bad.display()),
        "raise ptx.data.quarantine.max_fraction or ptx.data.quarantine.always_allow",
    );
    std::fs::write(stage.dir.path().join("prompts.jsonl"), "{\"prompt\": \"say 1\"}\n").unwrap();
    refused("eval.valid_fraction=0.999999", "no prompt is left to learn on");
}

/// The policy has a context of 96, the reward model, from which the critic starts, one of 40: an answer of 10 leaves 30 for the prompt.
#[test]
fn prompts_leave_room_for_the_answer_in_the_shortest_context() {
    let stage = stage();
    let tokenizer = data::tokenizer::Tokenizer::byte().unwrap();
    let mut config = model::Config::gpt2(tokenizer.vocab_size(), 40, 2, 2, 32, 0.0).unwrap();
    config.set_special(tokenizer.bos(), &[tokenizer.eos()], Some(tokenizer.pad()));
    let folder = stage.dir.path().join("short");
    model::Model::new(config, HeadKind::Scalar, tch::Device::Cpu, 2).unwrap().save(&folder).unwrap();
    tokenizer.save(&folder).unwrap();
    let row = |i: usize| format!("{{\"prompt\": \"{}\"}}\n", "x".repeat(if i == 0 { 40 } else { i % 28 + 1 }));
    std::fs::write(stage.dir.path().join("prompts.jsonl"), (0..28).map(row).collect::<String>()).unwrap();
    let sets = ["reward.model={dir}/short", "rollout.rounds=1", "data.quarantine.always_allow=1"];
    let stage = sets.into_iter().fold(stage, Stage::with_set);
    stage.run_ok("run", &[]);
    let bad = std::fs::read_to_string(stage.out("run").join("quarantine.jsonl")).unwrap();
    assert!(bad.lines().count() == 1 && bad.contains("41 tokens, at most 30 fit"), "{bad}");
    let refused = stage.run("refused", &["--set", "rollout.max_new_tokens=40"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stage.stderr(&refused));
    assert!(stage.stderr(&refused).contains("the shortest context"), "{}", stage.stderr(&refused));
}

#[test]
fn adapters_are_trained_alone_and_a_stopped_run_goes_on_to_the_same_bytes() {
    testkit::suite::adapted(stage(), "policy.adapter");
}

#[test]
fn recomputed_blocks_give_the_same_run() {
    testkit::suite::recomputed(&stage(), "ppo");
    testkit::suite::recomputed(&stage().with_set("lora.rank=4"), "ppo");
}

/// How a reward model reads a text is an input: a template that came to its folder since would give other scores.
#[test]
fn a_run_does_not_go_on_with_a_judge_that_reads_otherwise() {
    let stage = stage();
    assert_eq!(stage.signal_at("run", 4, "TERM").code(), Some(75));
    let folder = stage.dir.path().join("reward");
    let mut tokenizer = data::tokenizer::Tokenizer::load(&folder).unwrap();
    let before = tokenizer.chat_template().map(str::to_owned);
    tokenizer.set_chat_template(Some("{% for m in messages %}{{ m.content }}!{% endfor %}".into()));
    tokenizer.save(&folder).unwrap();
    let refused = stage.run("run", &["--resume"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stage.stderr(&refused));
    assert!(stage.stderr(&refused).contains("reward.reading: "), "{}", stage.stderr(&refused));
    tokenizer.set_chat_template(before);
    tokenizer.save(&folder).unwrap();
    stage.run_ok("run", &["--resume"]);
}
