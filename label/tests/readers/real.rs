//! Real files. The numbers are those of `scripts/reference/label_counts.py`, which counts them with pandas and json alone.

use crate::readers::common::{Counts, Got, read, real, shipped};
use data::labels::{Kind, flag};
use data::quarantine::Reason;
use std::collections::HashMap;

fn counts(kept: usize, bad: usize, items: usize, judges: usize, pairs: usize, ties: usize) -> Counts {
    Counts { kept, bad, items, judges, pairs, ties }
}

/// Reads a real file by a shipped mapping.
fn mapped(path: &str, mapping: &str) -> Option<Got> {
    Some(read(&real(path)?, Some(&shipped(mapping))))
}

#[test]
fn e2e_quality_and_naturalness() {
    // The manifest's table counts 29,602 and 42,108 pairs of the whole set, of which these files are mr_id 1 to 420; its shares of ties are 49.4% and
    // 53.5%, these files' 49.2% and 53.8%.
    let Some(quality) = mapped("r02-e2e-rankme-k5/quality.csv", "e2e-quality.toml") else { return };
    assert_eq!(quality.counts(), counts(1974, 0, 938, 108, 19_740, 9_712));
    let Some(naturalness) = mapped("r02-e2e-rankme-k5/naturalness.csv", "e2e-naturalness.toml") else { return };
    assert_eq!(naturalness.counts(), counts(2814, 0, 938, 104, 28_140, 15_152));
    assert_eq!(quality.kinds(), [(Kind::Ranking, 1974)].into());
    let first = &quality.kept[0];
    assert_eq!(first.prompt[0].content, "name[Blue Spice], eatType[coffee shop], area[city centre]");
    assert_eq!((first.group.as_str(), first.judge.as_deref(), first.weight), ("1", Some("w0001"), 0.8964));
    assert_eq!(first.authors.as_ref().map(|a| a.join(" ")).as_deref(), Some("tnt1 tr2 zhang slug tgen"));
    assert_eq!((&first.scores, &first.ranks), (&Some(vec![100.0; 5]), &Some(vec![1; 5])));
    // 11/28/2017 14:42:14 to 14:51:43, by `date -u`.
    assert_eq!((first.started, first.ended, first.seconds), (Some(1_511_880_134_000), Some(1_511_880_703_000), Some(569.0)));
    assert_eq!((first.row, first.flags.as_slice()), (2, ["channel=prodege".to_string()].as_slice()));
    // The same texts judged for something else are another item of the same group.
    assert!(first.item.ends_with("#quality") && naturalness.kept[0].item.ends_with("#naturalness"));
    assert_eq!(first.group, naturalness.kept[0].group);
}

#[test]
fn the_same_rankings_as_the_reward_stage_reads() {
    let Some(path) = real("r02-e2e-rankme-k5/quality.csv") else { return };
    let config: toml::Table = toml::from_str(include_str!("../../../configs/restaurants/reward.toml")).unwrap();
    let columns = config["data"]["sources"][0]["columns"].clone().try_into().unwrap();
    let source = data::config::Source { path: path.display().to_string(), format: None, columns };
    let config = data::config::RankingData { sources: vec![source], ..Default::default() };
    let dir = tempfile::tempdir().unwrap();
    let rankings = data::rankings::load_rankings(&config, None, 0.0, 1, &dir.path().join("bad.jsonl")).unwrap().train;
    let got = read(&path, Some(&shipped("e2e-quality.toml")));
    assert_eq!(rankings.len(), got.kept.len());
    for (ranking, judgment) in rankings.iter().zip(&got.kept) {
        assert_eq!((ranking.row, &ranking.answers, Some(&ranking.ranks)), (judgment.row, &judgment.answers, judgment.ranks.as_ref()));
        assert_eq!((&ranking.scores, &ranking.judge, ranking.weight), (&judgment.scores, &judgment.judge, judgment.weight));
        assert_eq!((&ranking.prompt, &ranking.group), (&judgment.prompt, &judgment.group));
    }
}

#[test]
fn rankme_designs() {
    for (file, mapping, expected, kind) in [
        ("stp1_rankME.csv", "rankme-three-aspects.toml", counts(900, 0, 300, 16, 2_700, 479 + 825 + 688), Kind::Ranking),
        ("stp1_likert.csv", "rankme-likert.toml", counts(2742, 0, 828, 16, 0, 0), Kind::Rating),
        ("stp2_plainME_qual.csv", "rankme-plain-quality.toml", counts(900, 0, 276, 16, 0, 0), Kind::Rating),
        ("stp2_rankME_inf.csv", "rankme-informativeness.toml", counts(300, 0, 100, 10, 900, 385), Kind::Ranking),
        ("stp2_rankME_nat.csv", "rankme-naturalness.toml", counts(300, 0, 100, 7, 900, 631), Kind::Ranking),
        ("stp2_rankME_qual.csv", "rankme-quality.toml", counts(300, 0, 100, 7, 900, 566), Kind::Ranking),
    ] {
        let Some(got) = mapped(&format!("r03-rankme-naacl18-k3/{file}"), mapping) else { return };
        assert_eq!(got.counts(), expected, "{file}");
        assert!(got.kept.iter().all(|j| j.kind == kind && j.scores.is_some() && j.ended.is_some()), "{file}");
    }
}

#[test]
fn tulu_evaluators() {
    let Some(got) = mapped("r06-tulu-human-eval/eval_annotations_tulu_1.csv", "tulu.toml") else { return };
    assert_eq!(got.counts(), counts(1150, 0, 979, 16, 1150, 376));
    let by = |scores: [f32; 2]| got.kept.iter().filter(|j| j.scores.as_deref() == Some(&scores)).count();
    assert_eq!([by([2.0, 0.0]), by([1.0, 0.0]), by([0.0, 0.0]), by([0.0, 1.0]), by([0.0, 2.0])], [188, 235, 376, 191, 160]);
    // The manifest's 1,141 judgments with 32.8% ties: of nine that judged the same pair of models on an instance again, the last word.
    let mut last = HashMap::new();
    for j in &got.kept {
        let mut models = j.authors.clone().unwrap();
        models.sort();
        last.insert((j.group.clone(), models, j.judge.clone()), j.ranks == Some(vec![1, 1]));
    }
    assert_eq!((last.len(), last.values().filter(|tie| **tie).count()), (1141, 374));
    let acceptable = got.kept.iter().filter(|j| j.has("a-acceptable=yes")).count();
    assert_eq!(acceptable, 910);
    let Some(items) = mapped("r06-tulu-human-eval/eval_instances_tulu_1.jsonl", "tulu-instances.toml") else { return };
    assert_eq!((items.counts(), items.kinds()), (counts(996, 0, 979, 0, 0, 0), [(Kind::Open, 996)].into()));
    assert_eq!(items.kept[0].authors, Some(vec!["tulu_65B".to_string(), "chatgpt".to_string()]));
    // What was shown and what was judged are the same items.
    assert_eq!(items.kept[0].item, got.kept[0].item);
}

#[test]
fn pandalm_annotators_in_columns() {
    let Some(got) = mapped("r07-pandalm-3annotators/testset-v1.json", "pandalm.toml") else { return };
    // The manifest: 2,997 judgments, 10.9% ties.
    assert_eq!(got.counts(), counts(2997, 0, 863, 3, 2997, 326));
    let truths = got.kept.iter().filter(|j| j.answers.iter().any(|a| a == "true")).count();
    assert_eq!(truths, 6 * 3, "six answers are JSON's true");
    assert_eq!(got.kept.iter().filter(|j| j.has("empty-answer")).count(), 54 * 3);
    let with_input = &got.kept[0].prompt[0].content;
    assert!(with_input.contains("concise") && with_input.contains("\n\nIf you have any questions about my rate"));
}

#[test]
fn llmbar_is_gold() {
    for (file, n, items) in [
        ("LLMBar__Adversarial__GPTInst", 92, 92),
        ("LLMBar__Adversarial__GPTOut", 47, 47),
        ("LLMBar__Adversarial__Manual", 46, 46),
        ("LLMBar__Adversarial__Neighbor", 134, 134),
        ("LLMBar__Natural", 100, 100),
        ("Processed__FairEval", 66, 66),
        ("Processed__LLMEval2", 200, 200),
    ] {
        let Some(got) = mapped(&format!("r12-llmbar/{file}.json"), "llmbar.toml") else { return };
        assert_eq!(got.counts(), counts(n, 0, items, 0, n, 0), "{file}");
        assert!(got.kept.iter().all(|j| j.has(flag::GOLD)));
    }
}

#[test]
fn hh_dialogues() {
    let Some(path) = real("r14-hh-rlhf-harmless-test/test.jsonl.gz") else { return };
    let got = read(&path, None);
    assert_eq!((got.reader, got.kept.len(), got.bad.len()), ("hh", 2307, 5));
    // Rows (from 1) of which the dialogues differ before the last turn.
    assert_eq!(got.bad.iter().map(|(row, ..)| *row).collect::<Vec<_>>(), [1255, 1689, 1951, 1953, 2037]);
    assert_eq!(got.reasons(), [(Reason::BadChat, 5)].into());
    assert_eq!(got.kept.iter().filter(|j| j.has("empty-answer")).count(), 4);
    assert!(got.kept.iter().all(|j| j.prompt[0].role == "user" && j.ranks == Some(vec![1, 2])));
    let first = &got.kept[0];
    let roles: Vec<&str> = first.prompt.iter().map(|turn| turn.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant", "user"]);
    assert_eq!(first.prompt[0].content, "what are some pranks with a pen i can do?");
    assert!(first.answers[0].starts_with("No, sorry!") && first.answers[1].starts_with("There are lots"));
}

#[test]
fn oasst_trees_and_messages() {
    for file in ["en_100_tree.jsonl", "en_100_message.jsonl"] {
        let Some(path) = real(&format!("r01-oasst-trees-en100/{file}")) else { return };
        let got = read(&path, None);
        assert_eq!(got.reader, "oasst");
        let counts = got.counts();
        // The manifest: 754 ranked pairs, no ties.
        assert_eq!((counts.pairs, counts.ties, counts.bad), (754, 0, got.bad.len()));
        let kinds = got.kinds();
        assert_eq!((kinds[&Kind::Ranking], kinds[&Kind::Demonstration]), (212, 40), "{file}");
        // Each of the 687 replies is in one judgment or in the quarantine.
        let answers: usize = got.kept.iter().map(|j| j.answers.len()).sum();
        assert_eq!(answers + got.bad.len(), 687);
        assert_eq!(got.kept.iter().filter(|j| j.kind == Kind::Open && !j.answers.is_empty()).count(), 2);
        // Each of the 480 prompts is the end of one conversation: answered, or open.
        assert_eq!(got.kept.iter().filter(|j| j.prompt.last().is_some_and(|turn| turn.role == "user")).count(), 480);
        let depth = got.kept.iter().map(|j| j.prompt.len()).max().unwrap();
        assert!(depth >= 5, "{depth}");
        let groups: std::collections::HashSet<&str> = got.kept.iter().map(|j| j.group.as_str()).collect();
        assert_eq!(groups.len(), 100);
    }
}

#[test]
fn prompts_are_open_items() {
    for (file, n) in [("en_100_text.jsonl", 100), ("prompt_lottery_en_250_text.jsonl", 250)] {
        let Some(path) = real(&format!("q01-oasst-prompts/{file}")) else { return };
        let got = read(&path, None);
        assert_eq!((got.reader, got.counts()), ("prompts", counts(n, 0, n, 0, 0, 0)));
        assert_eq!(got.kinds(), [(Kind::Open, n)].into());
    }
}

#[test]
fn rankgen_by_mturk() {
    for (file, n, judges, first) in [("gpt2_medium.csv", 309, 5, 152), ("t5_xxl_c4.csv", 300, 3, 140)] {
        let Some(path) = real(&format!("r10-rankgen-mturk/{file}")) else { return };
        let got = read(&path, None);
        assert_eq!((got.reader, got.counts()), ("mturk", counts(n, 0, 100, judges, n, 0)), "{:?}", got.bad);
        assert_eq!(got.kept.iter().filter(|j| j.ranks == Some(vec![1, 2])).count(), first, "{file}");
        let one = &got.kept[0];
        assert!(one.comment.as_deref().is_some_and(|text| text.starts_with("Text 1")) && one.seconds.is_some_and(|s| s > 100.0));
        assert_eq!(one.authors, Some(vec!["beam".to_string(), "nucleus".to_string()]));
        assert!(one.has("Dataset=pg19") && !one.has("rejected"));
        assert_eq!(one.prompt[0].content.split_whitespace().next(), Some("*"));
    }
}
