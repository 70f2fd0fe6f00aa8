//! The parts by hand: intervals of many groups, what each habit is called, circles, cases without an answer.

use super::panel;
use data::chat::Message;
use data::labels::{Judgment, Kind};
use evaluate::stats::wilson;
use judges::fit;
use label::stats::findings::{self, Crowd, Gravity};
use label::stats::interval::{Blocks, Estimate};
use label::stats::report::JudgeReport;
use label::stats::time::Times;
use label::stats::{kendall, report};

fn ranking(prompt: &str, judge: &str, answers: &[&str], ranks: &[u32]) -> Judgment {
    let answers = answers.iter().map(|a| (*a).to_string()).collect();
    Judgment {
        ranks: Some(ranks.to_vec()),
        judge: Some(judge.into()),
        ..Judgment::new(Kind::Ranking, vec![Message::new("user", prompt)], answers)
    }
}

#[test]
fn many_groups_have_the_interval_that_few_blocks_give() {
    // 20,000 groups of one case each, three in ten so: Wilson's interval is exact enough here.
    let groups: Vec<u32> = (0..20_000).collect();
    let blocks = Blocks::new(&groups, 1);
    let mut sums = blocks.sums::<2>();
    (0..20_000u32).for_each(|g| sums.add(blocks.of(g), [f64::from(u8::from(g % 10 < 3)), 1.0]));
    let [lo, hi] = wilson(6000.0, 20_000).expect("cases");
    let ours = sums.share().expect("cases");
    assert_eq!((ours.value, ours.n), (0.3, 20_000));
    // 1000 resamples of 4096 blocks: the width is known to some 5%.
    let ratio = (ours.ci[1] - ours.ci[0]) / (hi - lo);
    assert!((0.85..1.15).contains(&ratio), "{ours:?}, Wilson {lo} to {hi}");
    // All alike: no resample differs, and yet not everything is known.
    let mut sums = blocks.sums::<2>();
    (0..5).for_each(|b| sums.add(b, [1.0, 1.0]));
    let all = sums.share().expect("cases");
    assert!(all.ci[0] < 0.6 && all.ci[1] == 1.0, "{all:?}");
    assert!(blocks.sums::<2>().share().is_none());
}

#[test]
fn every_habit_has_its_sentence() {
    let at = |value: f64, n: u64| Some(Estimate { value, ci: wilson(value * n as f64, n).expect("cases"), n });
    let crowd = Crowd {
        gold: Some(0.9),
        others: Some(0.8),
        tied: Some(0.3),
        earlier: Some(0.5),
        repeated: Some(0.9),
        twins: Some(0.05),
        circles: Some(0.02),
    };
    let times = Times { n: 30, lower: 1.0, median: 2.0, upper: 3.0, too_fast: 0.9 };
    let reliability = |value: f64, sd: f64| Some(Estimate { value, ci: [value - 2.0 * sd, value + 2.0 * sd], n: 30 });
    let cases: [(&str, Gravity, JudgeReport); 9] = [
        (
            "random clicks",
            Gravity::Careless,
            JudgeReport { reliability: reliability(0.1, 0.2), others: at(0.5, 60), ..JudgeReport::default() },
        ),
        ("random clicks", Gravity::Look, JudgeReport { reliability: reliability(0.1, 0.2), others: at(0.8, 60), ..JudgeReport::default() }),
        (
            "wrong way round",
            Gravity::Careless,
            JudgeReport { reliability: reliability(-0.9, 0.2), others: at(0.2, 60), ..JudgeReport::default() },
        ),
        ("gold pairs right", Gravity::Careless, JudgeReport { gold: at(0.5, 40), ..JudgeReport::default() }),
        ("says the same again", Gravity::Look, JudgeReport { repeated: at(0.4, 30), ..JudgeReport::default() }),
        ("in a circle", Gravity::Look, JudgeReport { circles: at(0.3, 40), ..JudgeReport::default() }),
        ("calls 98% of 50 pairs tied", Gravity::Look, JudgeReport { tied: at(0.98, 50), ..JudgeReport::default() }),
        ("shown earlier in 95%", Gravity::Look, JudgeReport { earlier: at(0.95, 40), ..JudgeReport::default() }),
        ("less than a third of the usual time", Gravity::Look, JudgeReport { time: Some(times), ..JudgeReport::default() }),
    ];
    for (says, gravity, judge) in cases {
        let found = findings::of(&judge, &crowd);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].evidence.contains(says) && found[0].gravity == gravity, "{says}: {found:?}");
    }
    // The crowd's own figures, with however little doubt, and a few unlucky cases name nobody.
    let usual = JudgeReport {
        reliability: reliability(0.8, 0.01),
        others: at(0.78, 100_000),
        gold: at(0.85, 100_000),
        tied: at(0.35, 100_000),
        earlier: at(0.53, 100_000),
        ..JudgeReport::default()
    };
    let unlucky = JudgeReport { reliability: reliability(0.2, 0.6), gold: at(0.5, 2), repeated: at(0.0, 1), ..JudgeReport::default() };
    assert_eq!(findings::of(&usual, &crowd), []);
    assert_eq!(findings::of(&unlucky, &crowd), []);
}

#[test]
fn circles_repetitions_and_twins_by_hand() {
    let rows = [
        // a over b, b over c, c over a, in three rows: one circle.
        ranking("p", "round", &["a", "b"], &[1, 2]),
        ranking("p", "round", &["b", "c"], &[1, 2]),
        ranking("p", "round", &["c", "a"], &[1, 2]),
        // One row of three cannot be one, and is no triple.
        ranking("p", "straight", &["a", "b", "c"], &[1, 2, 3]),
        // The same again, then the opposite: of the three pairs of verdicts one is equal.
        ranking("q", "straight", &["a", "b"], &[1, 2]),
        ranking("q", "straight", &["b", "a"], &[2, 1]),
        ranking("q", "straight", &["b", "a"], &[1, 2]),
        // A text beside itself: once apart, once tied.
        ranking("r", "twin", &["x", "x", "y"], &[1, 2, 3]),
        ranking("s", "twin", &["x", "x"], &[1, 1]),
    ];
    let panel = panel(&rows);
    let fit = fit::fit(&panel, &fit::Options::default(), |_, _| {});
    let report = report::build(&panel, &fit, 1, Vec::new());
    let of = |e: Option<Estimate>| e.map(|e| (e.value, e.n));
    assert_eq!(of(report.care.circles), Some((1.0, 1)));
    assert_eq!(of(report.care.repeated), Some((1.0 / 3.0, 3)));
    assert_eq!(of(report.care.twins), Some((0.5, 2)));
    // Of p: (a, b) and (b, c) agree, (a, c) does not. Nothing else has two judges.
    assert_eq!(of(report.agreement.strict), Some((2.0 / 3.0, 3)));
    let twin = report.judges.iter().find(|j| j.name == "twin").expect("a judge");
    assert!(twin.reliability.is_none(), "alone with every prompt");
    assert_eq!(twin.weight, 1.0);
}

#[test]
fn nothing_to_compare_is_nothing_said() {
    let tied = kendall::mid_ranks(&[1, 1, 1]);
    assert_eq!(tied, [2.0; 3]);
    assert_eq!(kendall::tau_b(&tied, &[1.0, 2.0, 3.0]), None);
    assert_eq!(kendall::w(&[tied.clone(), tied]), None);
    assert_eq!(kendall::w(&[vec![1.0, 2.0]]), None);
    // One judge, everything tied: no agreement, no alpha, no bound, and still a report.
    let panel = panel(&[ranking("p", "one", &["a", "b"], &[1, 1]), ranking("q", "one", &["a", "b"], &[1, 1])]);
    let fit = fit::fit(&panel, &fit::Options::default(), |_, _| {});
    let report = report::build(&panel, &fit, 1, Vec::new());
    assert!(report.agreement.strict.is_none() && report.agreement.alpha_ranks.is_none() && report.ceiling.bound.is_none());
    assert_eq!(report.agreement.tied.map(|e| e.value), Some(1.0));
    assert!(label::stats::terminal::render(&report).contains("no prompt has two judges"));
    assert!(label::stats::page::render(&report, "one").contains("</html>"));
}
