//! Everything that was said about each pair of answers, prompt by prompt, and what is counted on the way.

use super::alpha::Units;
use super::interval::{Blocks, Sums};
use judges::panel::{NONE, Panel};

/// A count of cases and how many of them are so.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Share {
    /// Cases that are so; halves where a tie counts half.
    pub yes: f64,
    /// All cases.
    pub n: u64,
}

impl Share {
    /// Adds a case.
    pub fn add(&mut self, yes: f64) {
        self.yes += yes;
        self.n += 1;
    }

    /// The share; `None` of nothing.
    pub fn value(&self) -> Option<f64> {
        (self.n > 0).then(|| self.yes / self.n as f64)
    }
}

/// What one judge did with pairs.
#[derive(Debug, Clone, Default)]
pub struct Conduct {
    /// Pairs called tied.
    pub tied: Share,
    /// The longer answer wins, of pairs told apart; equal lengths count half.
    pub longer: Share,
    /// The answer shown earlier wins, of pairs told apart whose places are known.
    pub earlier: Share,
    /// Sides with the majority of the other judges, of pairs told apart on which they have one.
    pub others: Share,
    /// Says of a pair what it said before, in another row.
    pub repeated: Share,
    /// Ranks apart two answers that are the same text, standing in one row.
    pub twins: Share,
    /// Three answers preferred in a circle, of triples whose pairs are from several rows.
    pub circles: Share,
}

/// Sums over all judges; each pair of numbers is (so, all).
#[derive(Debug)]
pub struct PairSums {
    /// Two judges, neither tied, say the same of a pair.
    pub strict: Sums<2>,
    /// Two judges say the same of a pair: better, tied, worse.
    pub verdict: Sums<2>,
    /// Pairs called tied.
    pub tied: Sums<2>,
    /// A judge sides with the majority of the others.
    pub others: Sums<2>,
    /// Verdicts that agree with the majority of all verdicts on their pair, their own among them; pairs with two or more.
    pub best: Sums<2>,
    /// The longer answer wins a verdict.
    pub longer: Sums<2>,
    /// The longer answer has the majority.
    pub longer_majority: Sums<2>,
    /// The answer shown earlier wins a verdict.
    pub earlier: Sums<2>,
    /// A judge says the same of a pair again.
    pub repeated: Sums<2>,
    /// The same text ranked apart from itself.
    pub twins: Sums<2>,
    /// Circles of three.
    pub circles: Sums<2>,
    /// How often the answer shown at each place wins a verdict, by place.
    pub by_place: Vec<Share>,
    /// Verdicts on pairs, for alpha; each pair stands there in both directions.
    pub units: Units,
    /// By judge.
    pub conduct: Vec<Conduct>,
}

/// One verdict on a pair of answers a < b.
struct Said {
    a: u32,
    b: u32,
    judge: u32,
    vote: u32,
    /// +1: a is better; 0: tied.
    verdict: i8,
}

/// More answers of one prompt than this are not searched for circles: triples grow with the third power.
const CIRCLE_ANSWERS: usize = 200;

/// Goes through all prompts.
pub fn count(panel: &Panel, blocks: &Blocks) -> PairSums {
    let empty = || blocks.sums::<2>();
    let mut sums = PairSums {
        strict: empty(),
        verdict: empty(),
        tied: empty(),
        others: empty(),
        best: empty(),
        longer: empty(),
        longer_majority: empty(),
        earlier: empty(),
        repeated: empty(),
        twins: empty(),
        circles: empty(),
        by_place: Vec::new(),
        units: Units::default(),
        conduct: vec![Conduct::default(); panel.judges.len()],
    };
    let by_prompt = panel.by_prompt();
    for prompt in 0..by_prompt.len() {
        let block = blocks.of(prompt as u32);
        let mut said = Vec::new();
        for &at in by_prompt.of(prompt) {
            sums.vote(panel, at, block, &mut said);
        }
        said.sort_by_key(|s| (s.a, s.b)); // stable: verdicts on a pair stay in the order of the rows
        for pair in said.chunk_by(|x, y| (x.a, x.b) == (y.a, y.b)) {
            sums.pair(panel, prompt as u32, block, pair);
        }
        said.retain(|s| s.judge != NONE);
        said.sort_by_key(|s| s.judge);
        for own in said.chunk_by(|x, y| x.judge == y.judge) {
            sums.circles(block, own);
        }
    }
    sums
}

impl PairSums {
    /// What a vote says by itself; its pairs go to `said`.
    fn vote(&mut self, panel: &Panel, at: u32, block: usize, said: &mut Vec<Said>) {
        let vote = &panel.votes[at as usize];
        let (told, shown, ranks) = (panel.told(vote), panel.shown(vote), panel.ranks(vote));
        let length = |i: usize| f64::from(panel.answers[told[i] as usize].length);
        let mut nobody = Conduct::default();
        let conduct = self.conduct.get_mut(vote.judge as usize).unwrap_or(&mut nobody);
        for (i, j, verdict) in panel.pairs(vote) {
            conduct.tied.add(f64::from(verdict == 0));
            self.tied.add(block, [f64::from(verdict == 0), 1.0]);
            let known = shown[i] != NONE && shown[j] != NONE && shown[i] != shown[j];
            let earlier = if !known { 0 } else { (shown[i] < shown[j]) as i8 - (shown[i] > shown[j]) as i8 };
            if verdict != 0 {
                let longer = half(f64::from(verdict) * (length(i) - length(j)));
                conduct.longer.add(longer);
                self.longer.add(block, [longer, 1.0]);
            }
            if verdict != 0 && known {
                let first = half(f64::from(verdict * earlier));
                conduct.earlier.add(first);
                self.earlier.add(block, [first, 1.0]);
                let last = shown[i].max(shown[j]) as usize;
                if last < 1000 && self.by_place.len() <= last {
                    self.by_place.resize(last + 1, Share::default());
                }
                for (place, won) in [(shown[i], verdict > 0), (shown[j], verdict < 0)] {
                    if let Some(share) = self.by_place.get_mut(place as usize) {
                        share.add(f64::from(won));
                    }
                }
            }
            let swap = told[i] > told[j];
            let (a, b) = if swap { (told[j], told[i]) } else { (told[i], told[j]) };
            let sign = if swap { -1 } else { 1 };
            said.push(Said { a, b, judge: vote.judge, vote: at, verdict: sign * verdict });
        }
        for i in 0..told.len() {
            for j in (i + 1..told.len()).filter(|j| told[i] == told[*j]) {
                let apart = f64::from(ranks[i] != ranks[j]);
                conduct.twins.add(apart);
                self.twins.add(block, [apart, 1.0]);
            }
        }
    }

    /// All verdicts on one pair of answers. A judge counts once for agreement: by the first verdict, and where only verdicts that tell the two
    /// apart are compared, by the first of those. Rows without a judge's name are so many judges.
    fn pair(&mut self, panel: &Panel, prompt: u32, block: usize, pair: &[Said]) {
        let (mut first, mut told): (Vec<&Said>, Vec<&Said>) = (Vec::with_capacity(pair.len()), Vec::with_capacity(pair.len()));
        let mut by_judge: Vec<&Said> = pair.iter().collect();
        by_judge.sort_by_key(|s| s.judge); // stable
        for own in by_judge.chunk_by(|x, y| x.judge == y.judge && x.judge != NONE) {
            first.push(own[0]);
            told.extend(own.iter().find(|s| s.verdict != 0));
            for (i, s) in own.iter().enumerate() {
                for o in own[..i].iter().filter(|o| o.vote != s.vote) {
                    let same = f64::from(o.verdict == s.verdict);
                    self.repeated.add(block, [same, 1.0]);
                    self.conduct[s.judge as usize].repeated.add(same);
                }
            }
        }
        let number = |verdict: i8, list: &[&Said]| list.iter().filter(|s| s.verdict == verdict).count() as f64;
        let pairs_of = |n: f64| n * (n - 1.0) / 2.0;
        let same: f64 = [-1, 0, 1].iter().map(|v| pairs_of(number(*v, &first))).sum();
        self.verdict.add(block, [same, pairs_of(first.len() as f64)]);
        // In both directions: which of two answers is called the first must not matter.
        for sign in [1, -1] {
            self.units.push(prompt, first.iter().map(|s| f32::from(sign * s.verdict)));
        }
        let (up, down) = (number(1, &told), number(-1, &told));
        self.strict.add(block, [pairs_of(up) + pairs_of(down), pairs_of(up + down)]);
        if up + down > 1.0 {
            self.best.add(block, [up.max(down), up + down]);
        }
        for s in &told {
            let rest = up - down - f64::from(s.verdict);
            if rest != 0.0 {
                let right = half(rest * f64::from(s.verdict));
                self.others.add(block, [right, 1.0]);
                if let Some(conduct) = self.conduct.get_mut(s.judge as usize) {
                    conduct.others.add(right);
                }
            }
        }
        if up != down {
            let [a, b] = [pair[0].a, pair[0].b].map(|x| f64::from(panel.answers[x as usize].length));
            self.longer_majority.add(block, [half((up - down) * (a - b)), 1.0]);
        }
    }

    /// Circles among one judge's verdicts on one prompt: a over b, b over c, c over a. Three pairs of one row cannot be in a circle and are not
    /// counted. By chance alone one triple in four is a circle.
    fn circles(&mut self, block: usize, own: &[Said]) {
        if own.iter().all(|s| s.vote == own[0].vote) {
            return;
        }
        let mut names: Vec<u32> = own.iter().flat_map(|s| [s.a, s.b]).collect();
        names.sort_unstable();
        names.dedup();
        let k = names.len();
        if k > CIRCLE_ANSWERS {
            return;
        }
        // Net verdict of each pair, and the row it is from (NONE where several).
        let mut net = vec![(0i32, NONE, false); k * k];
        for s in own {
            let at = |x: u32| names.binary_search(&x).unwrap_or_default();
            for (i, j, v) in [(at(s.a), at(s.b), s.verdict), (at(s.b), at(s.a), -s.verdict)] {
                let cell = &mut net[i * k + j];
                cell.0 += i32::from(v);
                cell.1 = if cell.2 && cell.1 != s.vote { NONE } else { s.vote };
                cell.2 = true;
            }
        }
        for i in 0..k {
            for j in i + 1..k {
                for l in j + 1..k {
                    let [x, y, z] = [net[i * k + j], net[j * k + l], net[l * k + i]];
                    let one_row = x.1 != NONE && x.1 == y.1 && y.1 == z.1;
                    if x.0 != 0 && y.0 != 0 && z.0 != 0 && !one_row {
                        let circle = f64::from(x.0.signum() == y.0.signum() && y.0.signum() == z.0.signum());
                        self.circles.add(block, [circle, 1.0]);
                        self.conduct[own[0].judge as usize].circles.add(circle);
                    }
                }
            }
        }
    }
}

/// 1 for a positive number, ½ for 0, 0 for a negative one.
fn half(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x == 0.0 {
        0.5
    } else {
        0.0
    }
}
