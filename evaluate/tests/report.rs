//! The report of a made-up pipeline, number by number and as its reader sees it.

use crate::common;

use evaluate::report::{Report, ReportError, write_run};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

fn toy() -> (TempDir, Report) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let runs = dir.path().join("toy");
    common::toy_runs(&runs);
    let report = Report::build(&runs).expect("report");
    (dir, report)
}

fn at<'a>(report: &'a Report, path: &str) -> &'a Value {
    let (stage, key) = path.split_once('/').expect("stage/key");
    report.json[stage].get(key).unwrap_or(&Value::Null)
}

#[test]
fn the_promised_keys_are_there() {
    let (_dir, report) = toy();
    for key in
        ["pretrain/eval_loss", "pretrain/bits_per_byte", "sft/eval_loss", "reward/accuracy", "reward/pairs", "reward/baseline_longer"]
            .into_iter()
            .chain([
                "reward/baseline_shorter",
                "reward/ece",
                "reward-quality/accuracy",
                "ppo/reward_sft",
                "ppo/reward_policy",
                "ppo/kl",
                "ppo/win_rate",
            ])
            .chain(["ppo/gold_win_rate", "pretrain/wall_s", "sft/wall_s", "reward/wall_s", "ppo/wall_s"])
    {
        assert!(at(&report, key).is_number(), "{key}: {}", at(&report, key));
    }
    for key in ["reward/accuracy_ci", "ppo/win_rate_ci", "ppo/gold_win_rate_ci"] {
        assert_eq!(at(&report, key).as_array().map(Vec::len), Some(2), "{key}");
    }
    assert_eq!(
        report.json["status"],
        json!({"pretrain": "done", "sft": "unfinished", "reward": "done", "reward-quality": "done", "ppo": "done"})
    );
}

#[test]
fn numbers_by_hand() {
    let (_dir, report) = toy();
    // pretrain: the summary's own eval_loss stands, the first comes from the metrics
    assert_eq!(at(&report, "pretrain/eval_loss"), 1.5);
    assert_eq!(at(&report, "pretrain/first_eval_loss"), 4.1);
    assert_eq!(at(&report, "pretrain/steps"), 100);
    // sft has no summary: its last evaluation speaks, and the torn line is mentioned
    assert_eq!(at(&report, "sft/eval_loss"), 1.75);
    assert_eq!(at(&report, "sft/steps"), 10);
    assert!(at(&report, "sft/notes")[0].as_str().expect("note").contains("cut off"));
    // ppo: two wins, a tie, a loss
    assert_eq!(at(&report, "ppo/gold_win_rate"), 0.625);
    assert_eq!(at(&report, "ppo/gold_pairs"), 4);
    assert_eq!(at(&report, "ppo/gold_difference"), 0.5);
    assert_eq!(at(&report, "ppo/means")["sft"]["gold"], 2.0);
    assert_eq!(at(&report, "ppo/means")["policy"]["slots_right"], 2.5);
    assert_eq!(at(&report, "ppo/differences")["tokens"]["difference"], 0.0);
    let [lo, hi] = [0, 1].map(|i| at(&report, "ppo/gold_win_rate_ci")[i].as_f64().expect("number"));
    assert!(lo < 0.3 && hi > 0.85, "four pairs prove nothing: {lo} {hi}");
    // score is gold − 1 in every row
    assert!((at(&report, "ppo/score_gold_correlation").as_f64().expect("number") - 1.0).abs() < 1e-12);
    // the summary's win rate stands beside the one counted on the samples
    assert_eq!((at(&report, "ppo/win_rate"), at(&report, "ppo/score_win_rate")), (&json!(0.875), &json!(0.625)));
    // samples from loss to gain
    let gains: Vec<f64> = at(&report, "ppo/samples")
        .as_array()
        .expect("list")
        .iter()
        .map(|s| s["policy"]["gold"].as_f64().expect("gold") - s["sft"]["gold"].as_f64().expect("gold"))
        .collect();
    assert_eq!(gains, [-1.0, 1.0, 2.0]);
}

#[test]
fn as_the_reader_sees_it() {
    let (_dir, report) = toy();
    insta::assert_snapshot!("terminal", report.table());
    let mut json = Value::Object(report.json.clone());
    // Intervals of the bootstrap are tested by their properties; here they would only pin the generator.
    for difference in json["ppo"]["differences"].as_object_mut().expect("object").values_mut() {
        difference["ci"] = json!("[ci]");
    }
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&json).expect("JSON"));
}

#[test]
fn the_page_is_self_contained_and_escaped() {
    let (dir, report) = toy();
    let runs = dir.path().join("toy");
    let [json, html] = report.write(&runs).expect("written");
    let page = fs::read_to_string(html).expect("page");
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<b>Spice", "\u{1b}", "NaN", "inf"] {
        assert!(!page.contains(outside), "{outside:?} in the page");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert_eq!(page.matches("<svg").count(), 10, "pretrain, sft, reward 2 and calibration, reward-quality calibration, ppo 4");
    // the same inputs make the same bytes
    let again = Report::build(&runs).expect("report");
    assert_eq!(again.html().expect("page"), page);
    assert_eq!(serde_json::to_string_pretty(&again.json).expect("JSON") + "\n", fs::read_to_string(json).expect("file"));
    assert!(!runs.join("report.part").exists());
    // For a look at it: RLHF_KEEP_PAGE=/tmp/page.html cargo test --release -p evaluate --test suite report
    if let Some(path) = std::env::var_os("RLHF_KEEP_PAGE") {
        fs::write(path, page).expect("page kept");
    }
}

#[test]
fn the_page_of_one_run() {
    let dir = tempfile::tempdir().expect("temporary folder");
    common::toy_runs(dir.path());
    let put = |path: &str, text: &str| {
        fs::create_dir_all(dir.path().join(path).parent().expect("a parent")).expect("folder");
        fs::write(dir.path().join(path), text).expect("written");
    };
    let metrics = fs::read_to_string(dir.path().join("ppo/metrics.jsonl")).expect("metrics");
    let more = [
        json!({"step": 30, "alarm": "kl", "message": "round 30: KL <is> 80 nats"}),
        json!({"step": 31, "objective/entropy": 1.0, "lr": 2e-5, "grad_norm": 0.5, "kl_coef": 0.05, "eos_rate": 0.9}),
    ];
    put("ppo/metrics.jsonl", &more.iter().fold(metrics, |all, row| format!("{all}{row}\n")));
    put("ppo/config.toml", "[rollout]\nrounds = 30\n# <script>\n");
    put("ppo/model/lineage.json", &json!({"stage": "ppo", "parents": [{"path": "runs/toy/sft", "hash": "12ab"}]}).to_string());
    let path = write_run(&dir.path().join("ppo")).expect("written");
    assert_eq!(path, dir.path().join("ppo/report.html"));
    let page = fs::read_to_string(&path).expect("page");
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<b>Spice", "<is>", "\u{1b}", "NaN"] {
        assert!(!page.contains(outside), "{outside:?} in the page");
    }
    for part in [
        "reward bought with KL",
        "ppo: entropy",
        "gradient norm",
        "KL coefficient",
        "KL &lt;is&gt; 80 nats",
        "parents.0.hash",
        "rounds = 30",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.matches("class=\"mark\"").count() > 2, "alarms stand in the curves");
    assert!(page.contains("Answers side by side") && page.contains("<td>alarms</td><td class=\"n\">1</td>"));

    // A folder of another name is known by its configuration, a run without a summary is reported as it stands.
    fs::rename(dir.path().join("ppo"), dir.path().join("try-3")).expect("renamed");
    assert_eq!(Report::build_run(&dir.path().join("try-3")).expect("report").stages[0].stage, "ppo");
    assert!(write_run(&dir.path().join("sft")).is_ok());
    // The reliability diagram of a reward run; a folder without a run is the user's mistake.
    assert!(fs::read_to_string(write_run(&dir.path().join("reward")).expect("written")).expect("page").contains("reward: calibration"));
    let error = write_run(dir.path()).expect_err("no run");
    assert!(error.is_input() && error.to_string().contains("--runs"), "{error}");
}

#[test]
fn missing_stages_are_said_to_be_missing() {
    let (dir, _) = toy();
    let runs = dir.path().join("toy");
    fs::remove_dir_all(runs.join("ppo")).expect("removed");
    fs::remove_dir_all(runs.join("reward")).expect("removed");
    let report = Report::build(&runs).expect("report");
    assert_eq!(report.json["status"]["ppo"], "missing");
    assert!(!report.json.contains_key("ppo"));
    assert!(report.json["status"].get("reward").is_none(), "reward-quality stands in for reward");
    assert!(report.table().lines().any(|l| l.trim_start().starts_with("ppo") && l.contains("missing")), "{}", report.table());
    assert!(report.html().expect("page").contains("missing"));
}

#[test]
fn wrong_folders_and_damaged_files_are_the_users() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let nothing = Report::build(dir.path()).expect_err("empty folder");
    assert!(nothing.is_input() && matches!(nothing, ReportError::NoRuns { .. }), "{nothing}");
    assert!(Report::build(&dir.path().join("absent")).expect_err("no folder").is_input());
    common::toy_runs(dir.path());
    fs::write(dir.path().join("ppo/metrics.jsonl"), "{\"step\": 1}\nnot json\n{\"step\": 2}\n").expect("written");
    let damaged = Report::build(dir.path()).expect_err("damaged");
    assert!(damaged.is_input() && damaged.to_string().contains("metrics.jsonl, line 2"), "{damaged}");
}

#[test]
fn answers_without_a_partner_and_repeated_ids() {
    let dir = tempfile::tempdir().expect("temporary folder");
    common::toy_runs(dir.path());
    let row = |id: u32, model: &str, score: f64| {
        format!("{}\n", json!({"id": id, "model": model, "prompt": "p", "response": "r", "score": score}))
    };
    // id 1 answered twice by both (second against second), id 2 by one model only
    let rows = [row(1, "sft", 0.0), row(1, "sft", 5.0), row(1, "policy", 1.0), row(1, "policy", 4.0), row(2, "sft", 9.0)].concat();
    fs::remove_file(dir.path().join("ppo/gold.jsonl")).expect("removed");
    fs::write(dir.path().join("ppo/samples.jsonl"), rows).expect("written");
    let report = Report::build(dir.path()).expect("report");
    assert_eq!((at(&report, "ppo/pairs"), at(&report, "ppo/score_win_rate")), (&json!(2), &json!(0.5)));
    assert!(at(&report, "ppo/gold_win_rate").is_null(), "no gold, none invented");
    fs::write(dir.path().join("ppo/samples.jsonl"), row(1, "sft", 0.0) + &row(2, "policy", 0.0)).expect("written");
    let report = Report::build(dir.path()).expect("report");
    assert!(at(&report, "ppo/notes")[0].as_str().expect("note").contains("no id was answered by both"));
}

/// Names of fields are the user's: none meets a column that the report makes, or is taken for a pattern.
#[test]
fn samples_may_have_fields_of_any_name() {
    let dir = tempfile::tempdir().expect("temporary folder");
    common::toy_runs(dir.path());
    fs::remove_file(dir.path().join("ppo/gold.jsonl")).expect("removed");
    let write = |model: fn(usize) -> Value| {
        let row = |i: usize| {
            format!(
                "{}\n",
                json!({"id": i / 2, "model": model(i % 2), "prompt": "p", "response": "r", "rows": 7, "x": i % 2, "x_right": 1, "x_policy": 2,
                    "*": 3, "^x.*$": 4, "len": 5})
            )
        };
        fs::write(dir.path().join("ppo/samples.jsonl"), (0..4).map(row).collect::<String>()).expect("written");
        Report::build(dir.path()).expect("report")
    };
    let report = write(|i| Value::from(["sft", "policy"][i]));
    let (means, differences) = (at(&report, "ppo/means"), at(&report, "ppo/differences"));
    assert_eq!((&means["sft"]["rows"], &means["policy"]["x"], &means["sft"]["*"]), (&json!(2), &json!(1.0), &json!(3.0)), "{means}");
    assert_eq!((&differences["x"]["difference"], &differences["^x.*$"]["difference"]), (&json!(1.0), &json!(0.0)), "{differences}");
    let report = write(|i| json!(i));
    assert!(at(&report, "ppo/notes")[0].as_str().expect("note").contains("no text field \"model\": not compared"));
}

#[test]
fn a_last_line_may_be_cut_inside_a_character() {
    let dir = tempfile::tempdir().expect("temporary folder");
    common::toy_runs(dir.path());
    let path = dir.path().join("ppo/gold.jsonl");
    let whole = fs::read(&path).expect("samples");
    fs::write(&path, [&whole[..], b"{\"id\": 9, \"response\": \"caf\xc3"].concat()).expect("written");
    let report = Report::build(dir.path()).expect("report");
    assert_eq!(at(&report, "ppo/notes")[0], "gold.jsonl: the last line is cut off and was left out");
    assert_eq!(at(&report, "ppo/gold_pairs"), 4);
    // In the middle it is damage.
    fs::write(&path, [&b"{\"id\": \"caf\xc3\"}\n"[..], &whole].concat()).expect("written");
    let damaged = Report::build(dir.path()).expect_err("damaged");
    assert!(damaged.is_input() && damaged.to_string().contains("gold.jsonl, line 1"), "{damaged}");
}
