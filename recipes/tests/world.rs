//! The written world: the same bytes for a seed, nothing in two files, preferences that can be learnt and not by length alone.

use recipes::demo::{self, Place, Size, generate, gold};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;

const FILES: [&str; 6] = ["pretrain.txt", "demonstrations.jsonl", "rankings.jsonl", "prompts.jsonl", "heldout.jsonl", "world.json"];

fn rows(dir: &Path, name: &str) -> Vec<Value> {
    std::fs::read_to_string(dir.join(name)).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn prompts(dir: &Path, name: &str) -> HashSet<Place> {
    rows(dir, name).iter().map(|r| Place::parse(r["prompt"].as_str().unwrap())).collect()
}

#[test]
fn a_seed_means_the_same_bytes() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    for (dir, seed) in dirs.iter().zip([4, 4, 5]) {
        generate(dir.path(), seed, &Size::TINY).unwrap();
    }
    let read = |i: usize, name: &str| std::fs::read(dirs[i].path().join(name)).unwrap();
    for name in FILES {
        assert_eq!(read(0, name), read(1, name), "{name} differs for equal seeds");
        assert_ne!(read(0, name), read(2, name), "{name} is the same for other seeds");
    }
}

/// FNV-1a of each file for seed 1: bytes must not change by accident (between machines, compilers or versions of a dependency).
#[test]
fn the_bytes_of_seed_one_are_known() {
    let dir = tempfile::tempdir().unwrap();
    generate(dir.path(), 1, &Size::TINY).unwrap();
    let hash = |name: &&str| {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
    };
    let hashes: Vec<String> = FILES.iter().map(|f| format!("{f} {:016x}", hash(f))).collect();
    let known = include_str!("golden/seed1.txt");
    assert_eq!(hashes.join("\n"), known.trim_end(), "if the world was changed on purpose, write these lines to tests/golden/seed1.txt");
}

#[test]
fn the_demo_is_small_and_fit_for_its_purpose() {
    let dir = tempfile::tempdir().unwrap();
    let w = generate(dir.path(), 1, &Size::DEMO).unwrap();
    assert!(w.bytes.values().sum::<usize>() < 5_000_000);
    assert!((1_000_000..1_500_000).contains(&w.bytes["pretrain.txt"]));

    // No slot combination in two files, and none twice in one.
    let sets = ["demonstrations.jsonl", "rankings.jsonl", "prompts.jsonl", "heldout.jsonl"].map(|f| prompts(dir.path(), f));
    let counts = [w.demonstrations, w.ranked_prompts, w.prompts, w.heldout];
    for (i, set) in sets.iter().enumerate() {
        assert_eq!(set.len(), counts[i]);
        for other in &sets[..i] {
            assert!(set.is_disjoint(other));
        }
    }

    // Length explains little, the truth much; judges agree with one another less than with the truth.
    for share in [w.longer_wins, w.shorter_wins] {
        assert!((0.40..=0.60).contains(&share), "{w:?}");
    }
    assert!(w.judge_gold_agreement > 0.82 && w.judge_judge_agreement > 0.75 && w.judge_judge_agreement < 0.95, "{w:?}");
    assert!((0.05..0.35).contains(&w.tied), "{w:?}");
    // Demonstrations are good, not perfect.
    let g = &w.demonstration_gold;
    assert!(g["all"] > 2.4 && g["all"] < 3.2 && g["careful"] > 3.5 && g["careless"] < g["all"], "{w:?}");

    for row in rows(dir.path(), "rankings.jsonl") {
        let (answers, ranks) = (row["answers"].as_array().unwrap(), row["ranks"].as_array().unwrap());
        assert_eq!((answers.len(), ranks.len()), (4, 4));
        assert!(ranks.iter().any(|r| r == 1) && row["weight"].as_f64().unwrap() > 0.0 && row["judge"].is_string());
        assert!(answers.iter().all(|a| !a.as_str().unwrap().trim().is_empty()));
    }
    let text = std::fs::read_to_string(dir.path().join("pretrain.txt")).unwrap();
    let documents: Vec<&str> = text.split("<|endoftext|>\n").collect();
    assert_eq!(documents.len(), w.documents);
    assert!(documents.iter().all(|d| d.len() > 40 && !d.contains(['{', '}'])), "a hole in a template was not filled");
    // Text to pre-train on has no strange word by the gold's own measure.
    let lines = documents.iter().take(500).flat_map(|d| d.lines()).filter(|l| !l.contains("name: "));
    let strange = lines.map(|l| demo::score(&Place::default(), l).garbled).sum::<usize>();
    assert_eq!(strange, 0);
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Pieces that samples of a badly trained model are made of, and any characters besides.
    fn response() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "The Blue Fig",
                "cheap",
                "cafe",
                "not",
                "children are welcome",
                ".",
                "!",
                "\n",
                "| name:",
                "Enjoy your visit!",
                "the the",
                "\u{0}",
                "é",
                "日本",
                "🙂",
                "\u{200d}",
                "''",
                "--",
                "£",
                "near the windmill",
            ])
            .prop_map(String::from),
            any::<String>(),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|p| p.join(" "))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn gold_is_finite_and_bounded_on_any_text(prompt in response(), text in response()) {
            for p in [prompt.as_str(), "name: The Blue Fig | kind: cafe | price: cheap"] {
                let g = gold(p, &text);
                prop_assert!(g.gold.is_finite() && (-4.0..=4.0).contains(&g.gold));
                prop_assert!(g.right + g.missing <= g.given && g.given <= 8);
                prop_assert_eq!(g, gold(p, &text));
            }
        }

        #[test]
        fn e2e_scores_any_text(text in response()) {
            let meaning = "name[Blue Spice], eatType[pub], priceRange[£20-25], near[Burger King], food[Martian]";
            let s = recipes::e2e::score(meaning, &text).unwrap();
            prop_assert!((0.0..=1.0).contains(&s.coverage) && s.slot_error.is_finite() && s.right <= s.given);
        }

        #[test]
        fn a_repeated_answer_is_never_better(seed in 0u64..500) {
            let mut dice = recipes::dice::Dice::new(seed, "property");
            let place = Place::draw(&mut dice);
            let text = demo::speak::speak(&place, &demo::speak::Manner::default(), &mut dice);
            let once = demo::score(&place, &text).gold;
            let twice = demo::score(&place, &format!("{text} {text}")).gold;
            prop_assert!(twice < once, "{} {}", once, twice);
        }
    }
}
