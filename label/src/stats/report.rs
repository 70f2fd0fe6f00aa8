//! Everything there is to say about a set of judgments, as one structure: the terminal, the page and `--json` show it.

use super::findings::{self, Crowd, Finding, Gravity};
use super::interval::{Blocks, Estimate, Sums};
use super::items;
use super::pairs::{self, Share};
use super::time::{self, Times};
use data::labels::Kind;
use figures::stats::wilson;
use judges::fit::Fit;
use judges::panel::Panel;
use serde::Serialize;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was read.
    pub counts: Counts,
    /// How far judges agree.
    pub agreement: Agreement,
    /// How far a reward model can agree with them.
    pub ceiling: Ceiling,
    /// What else decides beside the better answer.
    pub bias: Bias,
    /// How far judges agree with themselves and with known orders.
    pub care: Care,
    /// Time per item.
    pub time: Option<Times>,
    /// The judge model.
    pub model: Model,
    /// The judges, those of most comparisons first.
    pub judges: Vec<JudgeReport>,
}

/// What was read.
#[derive(Debug, Default, Serialize)]
pub struct Counts {
    /// Rows.
    pub rows: u64,
    /// Rows of each kind that occurs.
    pub kinds: Vec<(String, u64)>,
    /// Comparisons of two or more answers: what most figures are about.
    pub comparisons: u64,
    /// Comparisons that bear no judge's name.
    pub unnamed: u64,
    /// Judges with at least one row.
    pub judges: u64,
    /// Items compared.
    pub items: u64,
    /// Items by the number of judges who compared them: 0, 1, 2...; the last entry holds all with more.
    pub overlap: Vec<u64>,
    /// Prompts.
    pub prompts: u64,
    /// Groups of prompts: what the intervals draw.
    pub groups: u64,
    /// Different answers.
    pub answers: u64,
    /// Gold rows: keys, not judgments.
    pub gold: u64,
    /// Rankings and ratings that compare nothing and score nothing.
    pub empty: u64,
    /// Comparisons of a part of their item's answers; correlations leave them out.
    pub partial: u64,
    /// Rows of judges whom the user has dropped, left out everywhere.
    pub dropped: Vec<(String, u64)>,
}

/// How far judges agree.
#[derive(Debug, Serialize)]
pub struct Agreement {
    /// Two judges of a pair of answers, neither tied: how often they prefer the same.
    pub strict: Option<Estimate>,
    /// Two judges of a pair: how often they say the same of better, tied, worse.
    pub with_ties: Option<Estimate>,
    /// Pairs that a judge calls tied.
    pub tied: Option<Estimate>,
    /// Krippendorff's alpha, ordinal, of verdicts on pairs.
    pub alpha_pairs: Option<Estimate>,
    /// The same of ranks within an item.
    pub alpha_ranks: Option<Estimate>,
    /// The same of scores.
    pub alpha_scores: Option<Estimate>,
    /// Mean of Kendall's tau-b over two judges of an item.
    pub tau_b: Option<Estimate>,
    /// Comparisons for which tau-b is not defined, since one of the two tied everything.
    pub tau_b_undefined: u64,
    /// Mean of Kendall's W over items.
    pub w: Option<Estimate>,
}

/// How far a reward model can agree with single judgments that tell two answers apart.
#[derive(Debug, Serialize)]
pub struct Ceiling {
    /// A judge agrees with another judge.
    pub another_judge: Option<Estimate>,
    /// A judge agrees with the majority of the others.
    pub others_majority: Option<Estimate>,
    /// Above this no model can come, however perfect: (1 + √(2A − 1)) / 2 with A the agreement of two judges.
    pub bound: Option<Estimate>,
    /// Share of these very verdicts that the best fixed choice for each pair agrees with: what a model reaches that knows them by heart.
    pub by_heart: Option<Estimate>,
}

/// What else decides.
#[derive(Debug, Serialize)]
pub struct Bias {
    /// The longer answer wins a judgment; equal lengths count half.
    pub longer: Option<Estimate>,
    /// The longer answer has the majority.
    pub longer_majority: Option<Estimate>,
    /// The answer shown earlier wins a judgment.
    pub earlier: Option<Estimate>,
    /// How often the answer shown at each place wins its pairs, first place first.
    pub by_place: Vec<Option<Estimate>>,
}

/// Agreement with oneself and with known orders.
#[derive(Debug, Serialize)]
pub struct Care {
    /// A judge says the same again of a pair seen in another row.
    pub repeated: Option<Estimate>,
    /// A judge ranks two answers apart that are the same text.
    pub twins: Option<Estimate>,
    /// Three answers preferred in a circle; chance: 25%.
    pub circles: Option<Estimate>,
    /// Gold pairs ordered as the key does; ties count half.
    pub gold: Option<Estimate>,
}

/// The judge model, as a whole.
#[derive(Debug, Serialize)]
pub struct Model {
    /// Spread (standard deviation) of the answers' worths in logits.
    pub worth_spread: f64,
    /// Spread of the judges' reliabilities about 1.
    pub reliability_spread: f64,
    /// How often the typical judgment prefers the truly better of two answers drawn at random.
    pub typical_accuracy: f64,
    /// Rounds of the fit.
    pub rounds: usize,
    /// Largest change in the last of them.
    pub last_change: f64,
    /// Comparisons from which reliabilities are read: those of prompts that several judges saw.
    pub compared: u64,
}

/// One judge.
#[derive(Debug, Default, Serialize)]
pub struct JudgeReport {
    /// Name.
    pub name: String,
    /// Comparisons.
    pub comparisons: u64,
    /// Items passed on.
    pub skipped: u64,
    /// Items with every answer rejected.
    pub rejected_all: u64,
    /// Reliability β: 1 typical, 0 random, below 0 contrary; n counts the comparisons it is read from. None without any.
    pub reliability: Option<Estimate>,
    /// How often the truly better of two answers drawn at random is preferred.
    pub accuracy: Option<Estimate>,
    /// The factor of `--weigh`.
    pub weight: f64,
    /// Sides with the majority of the others.
    pub others: Option<Estimate>,
    /// Pairs called tied.
    pub tied: Option<Estimate>,
    /// The longer answer wins.
    pub longer: Option<Estimate>,
    /// The answer shown earlier wins.
    pub earlier: Option<Estimate>,
    /// The same said again.
    pub repeated: Option<Estimate>,
    /// The same text ranked apart.
    pub twins: Option<Estimate>,
    /// Preferences in a circle.
    pub circles: Option<Estimate>,
    /// Gold pairs ordered as the key does.
    pub gold: Option<Estimate>,
    /// Time per item.
    pub time: Option<Times>,
    /// What there is to look at.
    pub findings: Vec<Finding>,
}

impl JudgeReport {
    /// The gravest finding.
    pub fn gravity(&self) -> Option<Gravity> {
        self.findings.iter().map(|f| f.gravity).max()
    }
}

/// Computes everything. `fit` is the judge model of the same panel.
pub fn build(panel: &Panel, fit: &Fit, seed: u64, dropped: Vec<(String, u64)>) -> Report {
    let blocks = Blocks::new(&panel.group_of, seed);
    let pairs = pairs::count(panel, &blocks);
    let items = items::count(panel, &blocks);
    let (time, times) = time::times(panel);
    let strict = pairs.strict.share();
    let agreement = Agreement {
        strict,
        with_ties: pairs.verdict.share(),
        tied: pairs.tied.share(),
        alpha_pairs: pairs.units.alpha(&blocks).map(|alpha| Estimate { n: alpha.n / 2, ..alpha }), // each verdict stands there twice
        alpha_ranks: items.ranks.alpha(&blocks),
        alpha_scores: items.scores.alpha(&blocks),
        tau_b: items.tau.ratio(),
        tau_b_undefined: items.tau_undefined,
        w: items.w.ratio(),
    };
    let ceiling =
        Ceiling { another_judge: strict, others_majority: pairs.others.share(), bound: bound(&pairs.strict), by_heart: pairs.best.share() };
    let bias = Bias {
        longer: pairs.longer.share(),
        longer_majority: pairs.longer_majority.share(),
        earlier: pairs.earlier.share(),
        by_place: pairs.by_place.iter().map(counted).collect(),
    };
    let care =
        Care { repeated: pairs.repeated.share(), twins: pairs.twins.share(), circles: pairs.circles.share(), gold: items.gold.share() };
    let value = |e: &Option<Estimate>| e.as_ref().map(|e| e.value);
    let crowd = Crowd {
        gold: value(&care.gold),
        others: value(&ceiling.others_majority),
        tied: value(&agreement.tied),
        earlier: value(&bias.earlier),
        repeated: value(&care.repeated),
        twins: value(&care.twins),
        circles: value(&care.circles),
    };
    let mut judges: Vec<JudgeReport> = (0..panel.judges.len())
        .map(|j| {
            let mut judge = judge(panel, fit, j, &pairs.conduct[j], &items.gold_by_judge[j], times[j]);
            judge.findings = findings::of(&judge, &crowd);
            judge
        })
        .collect();
    judges.sort_by(|a, b| b.comparisons.cmp(&a.comparisons).then_with(|| a.name.cmp(&b.name)));
    let model = Model {
        worth_spread: fit.spread.worth,
        reliability_spread: fit.spread.beta,
        typical_accuracy: fit.accuracy(1.0),
        rounds: fit.rounds,
        last_change: fit.change,
        compared: fit.compared.iter().sum(),
    };
    Report { counts: counts(panel, items.overlap, items.partial, dropped), agreement, ceiling, bias, care, time, model, judges }
}

/// The bound of [`Ceiling`]. Let p be the share of judges who prefer the one answer of a pair. Two judges agree with probability
/// A = E[p² + (1−p)²] = (1 + E[(2p−1)²]) / 2; the best model agrees with one in E[max(p, 1−p)] = (1 + E|2p−1|) / 2. By Jensen's inequality
/// E|2p−1| ≤ √E[(2p−1)²], and |2p−1| ≤ 1 gives E|2p−1| ≥ E[(2p−1)²]: the best model lies between A and (1 + √(2A−1)) / 2.
fn bound(strict: &Sums<2>) -> Option<Estimate> {
    let n = strict.total()[1] as u64;
    strict.estimate(n, |[agree, all]| {
        let agreement = agree / all;
        (*all > 0.0 && agreement >= 0.5).then(|| (1.0 + (2.0 * agreement - 1.0).sqrt()) / 2.0)
    })
}

fn judge(panel: &Panel, fit: &Fit, at: usize, conduct: &pairs::Conduct, gold: &Share, time: Option<Times>) -> JudgeReport {
    let rows = &panel.judges[at];
    let fitted = &fit.judges[at];
    let compared = fit.compared[at];
    let reliability = (compared > 0).then(|| Estimate { value: fitted.beta, ci: fitted.interval(), n: compared });
    JudgeReport {
        name: rows.name.clone(),
        comparisons: rows.comparisons,
        skipped: rows.skipped,
        rejected_all: rows.rejected_all,
        reliability,
        accuracy: reliability.map(|r| Estimate { value: fit.accuracy(r.value), ci: r.ci.map(|b| fit.accuracy(b)), n: compared }),
        weight: fit.weight(at as u32),
        others: counted(&conduct.others),
        tied: counted(&conduct.tied),
        longer: counted(&conduct.longer),
        earlier: counted(&conduct.earlier),
        repeated: counted(&conduct.repeated),
        twins: counted(&conduct.twins),
        circles: counted(&conduct.circles),
        gold: counted(gold),
        time,
        findings: Vec::new(),
    }
}

/// A share with Wilson's interval.
fn counted(share: &Share) -> Option<Estimate> {
    Some(Estimate { value: share.value()?, ci: wilson(share.yes, share.n)?, n: share.n })
}

fn counts(panel: &Panel, overlap: Vec<u64>, partial: u64, dropped: Vec<(String, u64)>) -> Counts {
    let comparing = |v: &&judges::panel::Vote| panel.told(v).len() > 1;
    Counts {
        rows: panel.kinds.iter().sum::<u64>() + dropped.iter().map(|d| d.1).sum::<u64>(),
        kinds: Kind::ALL.iter().zip(panel.kinds).filter(|(_, n)| *n > 0).map(|(k, n)| (k.name().to_string(), n)).collect(),
        comparisons: panel.votes.iter().filter(comparing).count() as u64,
        unnamed: panel.votes.iter().filter(comparing).filter(|v| v.judge == judges::panel::NONE).count() as u64,
        judges: panel.judges.len() as u64,
        items: overlap.iter().skip(1).sum(),
        overlap,
        prompts: panel.prompts() as u64,
        groups: panel.group_of.iter().map(|g| u64::from(*g) + 1).max().unwrap_or(0),
        answers: panel.answers.len() as u64,
        gold: panel.gold_rows,
        empty: panel.empty_rows,
        partial,
        dropped,
    }
}
