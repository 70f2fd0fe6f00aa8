//! The measures on small models with random weights: what chance gives, and that a search finds what raises a score.

use data::tokenizer::Tokenizer;
use evaluate::reward_model::RewardModel;
use model::{HeadKind, Model};
use safety::{canary, fool, members, redteam};
use std::path::Path;
use tch::{Device, Kind};

fn open(dir: &Path) -> (Model, Tokenizer) {
    testkit::tiny_folder(dir, HeadKind::Lm, 3);
    (Model::load(dir, Device::Cpu).expect("model"), Tokenizer::load(dir).expect("tokenizer"))
}

/// A model that never saw the secrets: exposures are those of chance, whose mean is log2(e) bits, and nothing is extracted.
#[test]
fn an_untrained_model_knows_no_secret() {
    let dir = tempfile::tempdir().expect("folder");
    let (model, tokenizer) = open(dir.path());
    let canaries = canary::make(&[0, 1, 4, 16], 6, 1).expect("canaries");
    let found = canary::expose(&model, &tokenizer, &canaries, 127, 2).expect("exposure");
    let mean = found.iter().map(|e| e.exposure).sum::<f64>() / 24.0;
    // Exponential with this mean, 24 draws: its standard error is 0.3 bits.
    assert!((mean - std::f64::consts::LOG2_E).abs() < 1.2, "mean exposure {mean}");
    assert!(found.iter().all(|e| e.exposure <= 7.0 && e.log_prob < 0.0));
}

#[test]
fn an_untrained_model_betrays_no_member() {
    let dir = tempfile::tempdir().expect("folder");
    let (model, tokenizer) = open(dir.path());
    let text = |from: usize| {
        (from..from + 40).map(|i| format!("The {} bird sings in garden {}.", i * 7919 % 1000, i * 104_729 % 997)).collect::<Vec<_>>()
    };
    let found = members::infer(&model, &tokenizer, &text(0), &text(40), 1).expect("inference");
    assert!(found.auc_ci[0] < 0.5 && found.auc_ci[1] > 0.5, "{found:?}");
    assert_eq!((found.members, found.others), (40, 40));
}

#[test]
fn a_search_raises_the_score_above_chance() {
    let dir = tempfile::tempdir().expect("folder");
    testkit::tiny_folder(dir.path(), HeadKind::Scalar, 4);
    let reward = RewardModel::load(dir.path(), Device::Cpu, Kind::Float).expect("reward model");
    let search = fool::Search { tokens: 4, rounds: 12, candidates: 16, seed: 1 };
    let found = fool::fool(&reward, "Say something.", "No.", Some("Something."), search).expect("search").expect("room");
    assert!(found.after > found.random, "{found:?}");
    let again = reward.row(&[data::chat::Message::new("user", "Say something.")], "No.", true).expect("row");
    let score = reward.score(&[again], 0, &|_| {}).expect("score")[0];
    assert!((score - found.before).abs() < 1e-5, "the answer itself is as it was");
    let long = "x".repeat(90);
    assert!(fool::fool(&reward, &long, "No.", None, search).expect("search").is_none(), "no room in a context of 96");
}

#[test]
fn two_models_answer_and_are_judged() {
    let dir = tempfile::tempdir().expect("folder");
    let (lm, judge) = (dir.path().join("lm"), dir.path().join("judge"));
    testkit::tiny_folder(&lm, HeadKind::Lm, 3);
    testkit::tiny_folder(&judge, HeadKind::Scalar, 4);
    let prompts: Vec<String> = ["How?", "Why?", &"long ".repeat(30)].iter().map(|p| p.to_string()).collect();
    let answers = redteam::Answerer::load(&lm).expect("model").answer(&prompts, 12, 1.0, 1).expect("answers");
    assert!(answers[0].is_some() && answers[2].is_none(), "no room for the third");
    let judge = RewardModel::load(&judge, Device::Cpu, Kind::Float).expect("classifier");
    let verdicts = redteam::judge(&prompts, answers, &[], Some(&judge)).expect("verdicts");
    assert_eq!(verdicts.len(), 2);
    assert!(verdicts.iter().all(|v| v.score.is_some()));
    assert_eq!(redteam::tally(&verdicts, 3, 0.0).too_long, 1);
    assert!(redteam::Answerer::load(&dir.path().join("judge")).is_err(), "a reward model answers nothing");
}
