//! Judges whose reliability is known: does the fit find it, and does it order answers better than counting does?

use super::panel;
use super::simulate::{Plan, World, crowd, world};
use judges::fit::{Fit, Options, fit};
use judges::panel::Panel;
use label::stats::findings::Gravity;
use label::stats::kendall::{mid_ranks, tau_b};
use label::stats::report;

fn plan(items: usize, answers: usize, grain: f64, seed: u64) -> Plan {
    Plan { items, answers, overlap: 3, betas: crowd(), grain, spread: 1.5, seed }
}

/// Mean tau-b over the items between true and recovered order: by the fit, by a fit that takes all judges as alike, by mean rank, by majorities.
fn recovered(world: &World, panel: &Panel, fits: [&Fit; 2]) -> [f64; 4] {
    let by_item = panel.by_item();
    let mut sums = [0.0; 4];
    for (at, item) in panel.items.iter().enumerate() {
        let k = item.answers.len();
        let (mut mean, mut net) = (vec![0.0; k], vec![vec![0i32; k]; k]);
        for vote in by_item.of(at).iter().map(|v| &panel.votes[*v as usize]) {
            let ranks = panel.ranks(vote);
            mean.iter_mut().zip(mid_ranks(ranks)).for_each(|(m, r)| *m -= r);
            for i in 0..k {
                (0..k).for_each(|j| net[i][j] += i32::from(ranks[i] < ranks[j]) - i32::from(ranks[i] > ranks[j]));
            }
        }
        let majorities: Vec<f64> = net.iter().map(|row| row.iter().map(|n| f64::from(n.signum())).sum()).collect();
        let worths = fits.map(|fit| item.answers.iter().map(|a| fit.worth(*a)).collect::<Vec<f64>>());
        let [own, alike] = worths;
        for (sum, order) in sums.iter_mut().zip([own, alike, mean, majorities]) {
            *sum += tau_b(&order, &world.worths[at]).unwrap_or(0.0) / panel.items.len() as f64;
        }
    }
    sums
}

/// True and fitted reliabilities, the true ones in units of the typical judgment.
fn reliabilities(world: &World, panel: &Panel, fit: &Fit) -> Vec<(f64, f64, [f64; 2])> {
    let truth: Vec<f64> = panel.judges.iter().map(|j| world.betas[j.name[1..].parse::<usize>().expect("number")]).collect();
    let counts: Vec<f64> = panel.judges.iter().map(|j| j.comparisons as f64).collect();
    let typical = truth.iter().zip(&counts).map(|(b, n)| b * n).sum::<f64>() / counts.iter().sum::<f64>();
    truth.iter().zip(&fit.judges).map(|(b, j)| (b / typical, j.beta, j.interval())).collect()
}

fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let (x, y) = pairs.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let sum = |f: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(f).sum::<f64>();
    sum(&|p| (p.0 - x) * (p.1 - y)) / (sum(&|p| (p.0 - x).powi(2)) * sum(&|p| (p.1 - y).powi(2))).sqrt()
}

#[test]
fn reliabilities_and_orders_are_recovered_better_than_by_counting() {
    // The margins are far inside what the seeds show (printed): about 0.10 to 0.14 of tau above mean rank and majority.
    for (name, plan) in [
        ("600 items of 4, no ties", plan(600, 4, 0.0, 1)),
        ("600 items of 4, ties", plan(600, 4, 1.0, 2)),
        ("2000 pairs, ties", plan(2000, 2, 0.7, 3)),
        ("two judges a pair", Plan { overlap: 2, ..plan(2000, 2, 0.7, 4) }),
    ] {
        let world = world(&plan);
        let panel = panel(&world.judgments);
        let own = fit(&panel, &Options::default(), |_, _| {});
        let alike = fit(&panel, &Options { alike: true, ..Options::default() }, |_, _| {});
        let [fitted, same, mean, majority] = recovered(&world, &panel, [&own, &alike]);
        let found = reliabilities(&world, &panel, &own);
        let r = correlation(&found.iter().map(|f| (f.0, f.1)).collect::<Vec<_>>());
        let error = (found.iter().map(|f| (f.0 - f.1).powi(2)).sum::<f64>() / found.len() as f64).sqrt();
        let inside = found.iter().filter(|(t, _, ci)| ci[0] <= *t && *t <= ci[1]).count();
        eprintln!(
            "{name}: tau-b to the true order {fitted:.3} (judges alike {same:.3}, mean rank {mean:.3}, majority {majority:.3}); reliabilities: \
             correlation {r:.3}, root mean square error {error:.2}, {inside} of {} intervals hold the truth; {} rounds",
            found.len(),
            own.rounds
        );
        assert!(fitted > same.max(mean).max(majority) + 0.03, "{name}");
        assert!(r > 0.8 && error < 0.6, "{name}: {r} {error}");
        assert!(inside * 10 >= found.len() * 8, "{name}: {inside} of {}", found.len());
    }
}

#[test]
fn the_careless_are_named_and_the_careful_are_not() {
    let world = world(&plan(1200, 4, 0.7, 5));
    let panel = panel(&world.judgments);
    let fit = fit(&panel, &Options::default(), |_, _| {});
    let report = report::build(&panel, &fit, 1, Vec::new());
    let truth = |name: &str| world.betas[name[1..].parse::<usize>().expect("number")];
    let named: Vec<&str> = report.judges.iter().filter(|j| j.gravity() == Some(Gravity::Careless)).map(|j| j.name.as_str()).collect();
    for judge in &report.judges {
        // Random and contrary judges are found; nobody of at least half of the typical reliability is. Those between may be either.
        if truth(&judge.name) <= 0.0 {
            assert!(!judge.findings.is_empty(), "{judge:?}");
        }
        if truth(&judge.name) >= 0.5 {
            assert!(!named.contains(&judge.name.as_str()), "{judge:?}");
        }
    }
    // Both witnesses speak against all but a random judge who was lucky with the others' majority.
    assert!(named.iter().filter(|n| truth(n) <= 0.0).count() >= 7, "{named:?}");
    let contrary = report.judges.iter().filter(|j| truth(&j.name) < 0.0);
    contrary.for_each(|j| assert!(j.findings[0].evidence.contains("the wrong way round"), "{:?}", j.findings));
    // Weights are positive for all, next to nothing for those.
    assert!(report.judges.iter().all(|j| j.weight > 0.0));
    assert!(named.iter().all(|n| report.judges.iter().any(|j| j.name == *n && j.weight < 0.5)));
}

#[test]
fn few_judgments_stay_near_the_mean() {
    let mut plan = plan(400, 4, 0.7, 6);
    plan.betas = vec![1.0; 12];
    let mut world = world(&plan);
    // A judge with one judgment, against everybody.
    let mut odd = world.judgments[0].clone();
    odd.judge = Some("j12".into());
    odd.ranks.as_mut().expect("ranks").iter_mut().for_each(|r| *r = 5 - *r);
    world.judgments.push(odd);
    let panel = panel(&world.judgments);
    let fit = fit(&panel, &Options::default(), |_, _| {});
    let odd = fit.judges.last().expect("thirteen judges");
    assert!(odd.beta > 0.5 && odd.interval()[0] < odd.beta - 0.3, "{odd:?}");
    // Equals are found equal.
    assert!(fit.judges.iter().take(12).all(|j| (j.beta - 1.0).abs() < 0.35), "{:?}", fit.judges);
    let report = report::build(&panel, &fit, 1, Vec::new());
    assert!(report.judges.iter().all(|j| j.gravity() != Some(Gravity::Careless)));
}

#[test]
fn the_worths_are_where_the_posterior_is_highest() {
    let world = world(&plan(30, 4, 0.7, 7));
    let panel = panel(&world.judgments);
    let fit = fit(&panel, &Options::default(), |_, _| {});
    // log posterior of one prompt's worths, written out anew from the definition.
    let by_item = panel.by_item();
    let posterior = |at: usize, worth: &[f64]| {
        let prior: f64 = worth.iter().map(|w| -w * w / (2.0 * fit.spread.worth.powi(2))).sum();
        let votes = by_item.of(at).iter().map(|v| &panel.votes[*v as usize]);
        let likelihood: f64 = votes
            .map(|vote| {
                let judge = fit.judges[vote.judge as usize];
                let pairs = panel.pairs(vote).map(|(i, j, said)| {
                    let d = judge.beta * (worth[i] - worth[j]);
                    let [a, tied, b] = [(d / 2.0).exp(), judge.tie.exp(), (-d / 2.0).exp()];
                    let p = match said {
                        1 => a,
                        0 => tied,
                        _ => b,
                    };
                    (p / (a + tied + b)).ln()
                });
                pairs.sum::<f64>() * 2.0 / worth.len() as f64
            })
            .sum();
        prior + likelihood
    };
    for (at, item) in panel.items.iter().enumerate() {
        let worth: Vec<f64> = item.answers.iter().map(|a| fit.worth(*a)).collect();
        for i in 0..worth.len() {
            let step = |by: f64| {
                let mut moved = worth.clone();
                moved[i] += by;
                posterior(at, &moved)
            };
            let slope = (step(1e-4) - step(-1e-4)) / 2e-4;
            assert!(slope.abs() < 1e-5, "item {at}, answer {i}: the slope is {slope}");
        }
    }
}

#[test]
fn a_prompt_of_many_answers_is_fitted_too() {
    // Ninety answers to one prompt, in pairs: more than a dense covariance is kept for.
    let mut rows = Vec::new();
    let text = |i: usize| format!("answer {i}");
    for i in 0..90usize {
        for (step, judge) in [(1, "a"), (2, "b"), (3, "a"), (5, "b"), (8, "c"), (13, "c"), (21, "a"), (34, "b")] {
            let j = (i + step) % 90;
            let prompt = vec![data::chat::Message::new("user", "the one prompt")];
            let mut row = data::labels::Judgment::new(data::labels::Kind::Ranking, prompt, vec![text(i), text(j)]);
            row.ranks = Some(if i < j { vec![1, 2] } else { vec![2, 1] });
            row.judge = Some(judge.into());
            rows.push(row);
        }
    }
    let panel = panel(&rows);
    let fit = fit(&panel, &Options::default(), |_, _| {});
    let worths: Vec<f64> = panel.answers.iter().map(|a| a.first).zip(0..).map(|(_, i)| fit.worth(i)).collect();
    let mut names: Vec<usize> = Vec::new();
    for row in &rows {
        for answer in &row.answers {
            let number: usize = answer[7..].parse().expect("number");
            if !names.contains(&number) {
                names.push(number);
            }
        }
    }
    let truth: Vec<f64> = names.iter().map(|n| -(*n as f64)).collect();
    assert!(tau_b(&worths, &truth).expect("no ties") > 0.9);
    assert!(worths.iter().all(|w| w.is_finite()) && fit.judges.iter().all(|j| j.beta.is_finite()));
}

/// A measurement, not a check: `cargo test --release -p label --test suite -- --ignored million --nocapture` writes the table and says how long the
/// fit takes; then `label stats` on the table tells of the whole command.
#[test]
#[ignore = "writes a table of a million judgments"]
fn a_million_judgments() {
    let mut plan = plan(250_000, 4, 0.7, 8);
    plan.overlap = 4;
    plan.betas = (0..1000).map(|i| crowd()[i % 40]).collect();
    let world = world(&plan);
    let table = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("stats/million.arrow");
    data::labels::table::write_table(&table, world.judgments).expect("written");
    let begun = std::time::Instant::now();
    let panel = label::stats::panel_of(&[table]).expect("a table");
    let read = begun.elapsed();
    let fit = fit(&panel, &Options::default(), |_, _| {});
    eprintln!("{} votes: read in {read:?}, fitted in {:?}, {} rounds", panel.votes.len(), begun.elapsed() - read, fit.rounds);
}
