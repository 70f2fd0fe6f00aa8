//! A made-up runs folder, small enough to check by hand.

use serde_json::json;
use std::fs;
use std::path::Path;

/// Writes `dir/{pretrain,sft,reward,reward-quality,ppo}`: pretrain done, sft cut off while writing its metrics, two reward models,
/// ppo with gold.
pub fn toy_runs(dir: &Path) {
    let put = |path: &str, text: String| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folder");
        fs::write(path, text).expect("file");
    };
    let lines = |rows: Vec<serde_json::Value>| rows.into_iter().map(|r| format!("{r}\n")).collect::<String>();

    put(
        "pretrain/summary.json",
        json!({"eval_loss": 1.5, "bits_per_byte": 1.25, "perplexity": 4.4817, "tokens": 64000, "rows_rejected": 3, "skipped_steps": 0, "wall_s": 61.25}).to_string(),
    );
    let step = |i: u32| {
        let mut row = json!({"step": i, "tokens": i * 640, "loss": 4.0 - 0.025 * f64::from(i), "lr": 1e-3, "tokens_per_s": 1000.0, "wall_s": 0.6 * f64::from(i)});
        if i.is_multiple_of(25) {
            row["eval/loss"] = json!(4.1 - 0.026 * f64::from(i));
        }
        row
    };
    put("pretrain/metrics.jsonl", lines((0..=100).map(step).collect()));

    put(
        "sft/metrics.jsonl",
        lines(vec![
            json!({"step": 0, "eval/loss": 2.5, "tokens": 0, "wall_s": 1.0}),
            json!({"step": 10, "loss": 2.0, "eval/loss": 1.75, "tokens": 4000, "wall_s": 11.0, "tokens_per_s": 400.0}),
        ]) + "{\"step\": 20, \"lo",
    );

    let reward = json!({"accuracy": 0.72, "accuracy_ci": [0.69, 0.75], "pairs": 1200, "baseline_longer": 0.62, "baseline_shorter": 0.38, "ece": 0.04,
        "calibration": [{"confidence": 0.55, "accuracy": 0.53, "count": 400}, {"confidence": 0.74, "accuracy": 0.76, "count": 500}, {"confidence": 0.93, "accuracy": 0.9, "count": 300}],
        "judge_agreement": 0.67, "judge_comparisons": 300, "wall_s": 30.0});
    put("reward/summary.json", reward.to_string());
    let row = |i: u32| json!({"step": i * 10, "loss": 0.69 - 0.03 * f64::from(i), "eval/loss": 0.7 - 0.02 * f64::from(i), "eval/accuracy": 0.5 + 0.044 * f64::from(i)});
    put("reward/metrics.jsonl", lines((0..=5).map(row).collect()));
    let mut quality = reward;
    quality["judge_agreement"] = serde_json::Value::Null;
    quality.as_object_mut().expect("object").remove("ece"); // a key that must be there and is not
    put("reward-quality/summary.json", quality.to_string());

    put(
        "ppo/summary.json",
        json!({"reward_sft": 0.0, "reward_policy": 1.25, "kl": 6.5, "win_rate": 0.875, "win_rate_ci": [0.52, 0.98], "eos_rate": 1.0,
            "response_length": 12.5, "length_sft": 11.0, "repetition_sft": 0.0, "repetition_policy": 0.01, "wall_s": 100.0})
        .to_string(),
    );
    let round = |i: u32| {
        json!({"step": i, "objective/kl": 0.2 * f64::from(i), "objective/scores": 1.3 * (1.0 - (-0.15 * f64::from(i)).exp()), "objective/rlhf_reward": 0.04 * f64::from(i),
            "response_length": 11.0 + 0.05 * f64::from(i), "episodes_per_s": 20.0})
    };
    let held_out = |i: u32| {
        let kl = 0.21 * f64::from(i);
        json!({"step": i, "eval/kl": kl, "eval/scores": 0.45 * kl.sqrt(), "eval/scores_sft": 0.0, "eval/response_length": 11.1})
    };
    put(
        "ppo/metrics.jsonl",
        lines((0..=30u32).flat_map(|i| i.is_multiple_of(10).then(|| held_out(i)).into_iter().chain([round(i)])).collect()),
    );
    // Gold: the policy wins 2 of 4, ties 1, loses 1: win rate 2.5 / 4. Mean difference (2 + 1 + 0 − 1) / 4 = 0.5.
    let golds = [(1.0, 3.0), (2.0, 3.0), (2.0, 2.0), (3.0, 2.0)];
    let mut rows = Vec::new();
    for (i, (sft, policy)) in golds.into_iter().enumerate() {
        let prompt = format!("name[Blue <b>Spice</b> {i}], area[riverside]");
        let row = |model: &str, gold: f64, response: String| json!({"id": i, "model": model, "prompt": prompt, "response": response, "score": gold - 1.0, "tokens": 9, "gold": gold, "slots_right": gold});
        rows.push(row("sft", sft, "Blue Spice is by the river.".into()));
        rows.push(row("policy", policy, format!("Blue Spice & Co, a café\u{1b}[31m by the river, No. {i}. <script>alert(1)</script>")));
    }
    put("ppo/gold.jsonl", lines(rows));
}
