//! Which judges to look at, and why. They are named with the evidence; nothing is done to them.
//!
//! One rule for all measures: a judge is named when the figure is nearer to chance than to the crowd's, *and* its 95% interval leaves the
//! crowd's out. So neither a small difference that many judgments make certain names anybody, nor bad luck in a few.

use super::report::JudgeReport;
use serde::Serialize;

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gravity {
    /// Worth a look: it may have an innocent reason.
    Look,
    /// What the judge says is near to chance, or against it.
    Careless,
}

/// One reason to look at a judge.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// How grave it is.
    pub gravity: Gravity,
    /// The evidence in a sentence.
    pub evidence: String,
}

/// What is usual in this crowd; `None` where nothing was measured.
#[derive(Debug, Clone, Copy, Default)]
pub struct Crowd {
    /// Gold pairs ordered as the key does.
    pub gold: Option<f64>,
    /// Sides with the majority of the others.
    pub others: Option<f64>,
    /// Pairs called tied.
    pub tied: Option<f64>,
    /// The answer shown earlier wins.
    pub earlier: Option<f64>,
    /// The same said again of the same pair.
    pub repeated: Option<f64>,
    /// The same text ranked apart.
    pub twins: Option<f64>,
    /// Preferences in a circle.
    pub circles: Option<f64>,
}

/// Fewest pairs on which a habit (always the first, always tied) is called one.
const HABIT: u64 = 20;
/// Fewest cases of anything else.
const FEW: u64 = 5;
/// Fewest pairs on which the others' majority bears witness.
const WITNESS: u64 = 10;
/// Fewest judgments with a time.
const TIMED: u64 = 5;

/// What there is to say of a judge, gravest first.
pub fn of(judge: &JudgeReport, crowd: &Crowd) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |gravity, evidence: String| found.push(Finding { gravity, evidence });
    let percent = |x: f64| format!("{:.0}%", 100.0 * x);
    if let Some(r) = &judge.reliability {
        let numbers = format!("reliability {:.2} [{:.2}, {:.2}]", r.value, r.ci[0], r.ci[1]);
        let beside = match &judge.others {
            Some(o) => format!("sides with the others' majority on {} of {} pairs", percent(o.value), o.n),
            None => "shares no pair with a majority of others".to_string(),
        };
        // A second witness, which knows no model: judges who tie nothing have a low reliability, since their word on close pairs is worth little,
        // and may yet side with the others as often as anybody.
        let alone = match (&judge.others, crowd.others) {
            (Some(o), Some(usual)) => o.n < WITNESS || o.value >= (0.5 + usual) / 2.0,
            _ => true,
        };
        let gravity = if alone { Gravity::Look } else { Gravity::Careless };
        if r.ci[1] < 0.0 {
            say(gravity, format!("{numbers}: orders answers the wrong way round, as if the scale were misread; {beside}"));
        } else if r.value < 0.5 && r.ci[1] < 1.0 {
            say(gravity, format!("{numbers}, nearer to random clicks (0) than to the typical judgment (1); {beside}"));
        }
    }
    if let (Some(gold), Some(usual)) = (&judge.gold, crowd.gold)
        && gold.n >= FEW
        && gold.value < (0.5 + usual) / 2.0
        && gold.ci[1] < usual
    {
        let text = format!("{} of {} gold pairs right, where the crowd has {}", percent(gold.value), gold.n, percent(usual));
        say(Gravity::Careless, text);
    }
    if let (Some(repeated), Some(usual)) = (&judge.repeated, crowd.repeated)
        && repeated.n >= FEW
        && repeated.value < (1.0 / 3.0 + usual) / 2.0
        && repeated.ci[1] < usual
    {
        say(
            Gravity::Look,
            format!(
                "says the same again of only {} of {} pairs seen twice, where the crowd does of {}",
                percent(repeated.value),
                repeated.n,
                percent(usual)
            ),
        );
    }
    if let (Some(circles), Some(usual)) = (&judge.circles, crowd.circles)
        && circles.n >= FEW
        && circles.value > (0.25 + usual) / 2.0
        && circles.ci[0] > usual
    {
        say(
            Gravity::Look,
            format!(
                "prefers in a circle in {} of {} triples, where the crowd does in {} and chance in 25%",
                percent(circles.value),
                circles.n,
                percent(usual)
            ),
        );
    }
    if let (Some(twins), Some(usual)) = (&judge.twins, crowd.twins)
        && twins.n >= FEW
        && twins.value > (1.0 + usual) / 2.0
        && twins.ci[0] > usual
    {
        say(
            Gravity::Look,
            format!(
                "ranks the same text apart from itself in {} of {} cases, where the crowd does in {}",
                percent(twins.value),
                twins.n,
                percent(usual)
            ),
        );
    }
    if let (Some(tied), Some(usual)) = (&judge.tied, crowd.tied)
        && tied.n >= HABIT
        && tied.value > (1.0 + usual) / 2.0
        && tied.value >= 0.9
        && tied.ci[0] > usual
    {
        say(Gravity::Look, format!("calls {} of {} pairs tied: tells hardly anything apart", percent(tied.value), tied.n));
    }
    if let (Some(earlier), Some(usual)) = (&judge.earlier, crowd.earlier) {
        let last = earlier.value < usual / 2.0 && earlier.ci[1] < usual;
        let first = earlier.value > (1.0 + usual) / 2.0 && earlier.ci[0] > usual;
        if earlier.n >= HABIT && (first || last) {
            say(
                Gravity::Look,
                format!(
                    "prefers the answer shown earlier in {} of {} pairs, where the crowd does in {}",
                    percent(earlier.value),
                    earlier.n,
                    percent(usual)
                ),
            );
        }
    }
    if let Some(time) = judge.time.filter(|t| t.n >= TIMED && t.too_fast > 0.5) {
        let share = percent(time.too_fast);
        say(
            Gravity::Look,
            format!("{share} of {} judgments took less than a third of the usual time (median {:.0} s)", time.n, time.median),
        );
    }
    found.sort_by_key(|f| std::cmp::Reverse(f.gravity));
    found
}
