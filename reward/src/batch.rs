//! Rankings as tensors: an item's answers continue one prompt, which goes through the model once; scores come back as a grid of answers by item.
//!
//! Shapes: B items, J judgments of them, K most answers of one, N answers of all, T tokens of prompts and answers end to end.

use anyhow::Result;
use data::config::{Margin, PreferenceLoss};
use data::{chat::ChatTemplate, rankings::Ranking, tokenizer::Tokenizer};
use dist::World;
use model::{Model, Segments};
use std::collections::HashMap;
use tch::{Device, Kind, Tensor, no_grad};

/// A prompt's answers in tokens: prompt and answer, one list an answer, each ending with the end token.
pub type Answers = Vec<Vec<u32>>;

/// What one judge, or a model of the judges, made of an item's answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgment {
    /// 1 is best, equal is a tie; one an answer.
    pub ranks: Vec<u32>,
    /// Fitted worth, where probabilities are learnt and not ranks.
    pub worth: Option<Vec<f32>>,
    /// What margins are the differences of; none where there are no margins.
    pub levels: Option<Vec<f32>>,
    /// How much it counts.
    pub weight: f32,
}

impl Judgment {
    /// What a ranking says to the loss, its answers put into the order of `answers`.
    fn of(ranking: &Ranking, answers: &[String], loss: &PreferenceLoss) -> Judgment {
        let places = ranking.places_of(answers);
        let pick = |values: &Option<Vec<f32>>, scale: f32| {
            values.as_ref().map(|values| places.iter().map(|&i| values[i] * scale).collect::<Vec<f32>>())
        };
        let worth = if loss.soft_labels { pick(&ranking.worth, 1.0) } else { None };
        let levels = match loss.margin {
            Margin::Scores => pick(&ranking.scores, loss.margin_scale as f32),
            Margin::Worth => pick(&ranking.worth, loss.margin_scale as f32),
            Margin::None => None,
        };
        Judgment { ranks: places.iter().map(|&i| ranking.ranks[i]).collect(), worth, levels, weight: ranking.weight }
    }
}

/// Answers that were judged together, with all their judgments: the answers go through the model once, however many people saw them.
#[derive(Debug, Clone)]
pub struct Item {
    /// The answers.
    pub answers: Answers,
    /// Tokens of the prompt, where those of the best answers are learnt (`loss.lm_weight`).
    pub asked: Option<usize>,
    /// In the order of the source.
    pub judgments: Vec<Judgment>,
}

impl Item {
    /// Does a judgment put answer `i` first, and another behind it?
    fn is_best(&self, i: usize) -> bool {
        self.judgments.iter().any(|j| j.ranks[i] == 1 && j.ranks.iter().any(|&rank| rank > 1))
    }
}

/// Encodes a ranking's answers as the policy would have sampled them.
pub fn encode(ranking: &Ranking, prefix: &str, tokenizer: &Tokenizer, template: &ChatTemplate) -> Result<Answers> {
    let prompt = ranking.asked(prefix);
    ranking.answers.iter().map(|answer| Ok(template.encode_answer(tokenizer, &prompt, answer)?)).collect()
}

/// Groups rankings of the same answers to the same prompt, in the order of their first.
pub fn items(
    rankings: &[Ranking],
    (prefix, loss): (&str, &PreferenceLoss),
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
) -> Result<Vec<Item>> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut items: Vec<(&Ranking, Item)> = Vec::new();
    for ranking in rankings {
        let at = *places.entry(ranking.item()).or_insert(items.len());
        if at == items.len() {
            let answers = encode(ranking, prefix, tokenizer, template)?;
            let asked = (loss.lm_weight > 0.0).then(|| template.encode_turns(tokenizer, &ranking.asked(prefix))).transpose()?;
            items.push((ranking, Item { answers, asked: asked.map(|ids| ids.len()), judgments: vec![] }));
        }
        let (first, item) = &mut items[at];
        item.judgments.push(Judgment::of(ranking, &first.answers, loss));
    }
    Ok(items.into_iter().map(|(_, item)| item).collect())
}

/// Items that go through the model together.
#[derive(Debug)]
pub struct Batch {
    /// Token ids. `[T]`
    pub ids: Tensor,
    /// What each answer continues.
    pub segments: Segments,
    /// Positions of each answer's last token. `[N]`
    pub last: Tensor,
    /// What the language-model loss learns, where there is one: positions before the tokens of the best answers, `[M]`, and these tokens, `[M]`. Each answer counts
    /// once, whoever put it first; where answers share a token, each has it.
    pub next: Option<(Tensor, Tensor)>,
    /// Flat positions in the `[B, K]` grid. `[N]`
    grid: Tensor,
    /// 1 where an item has an answer, 0 elsewhere. `[B, K]`
    pub present: Tensor,
    /// The judgments that are learnt as ranks.
    pub hard: Judged,
    /// Those that are learnt as probabilities.
    pub soft: Judged,
}

/// Judgments of a batch's items.
#[derive(Debug)]
pub struct Judged {
    /// Each judgment's item. `[J]`
    item: Tensor,
    /// Ranks, 1 is best, 0 where an item has fewer answers than the one here with the most. `[J, K]`
    pub ranks: Tensor,
    /// Worths, of soft ones (0 for hard ones). `[J, K]`
    pub worth: Tensor,
    /// What margins are the differences of (0 without). `[J, K]`
    pub levels: Tensor,
    /// Weights. `[J]`
    pub weights: Tensor,
}

impl Judged {
    /// Lays out judgments with the number of their item, padded to the most answers of one of them; `k` where there are none.
    fn new(judgments: &[(i64, &Judgment)], k: usize, device: Device) -> Judged {
        let k = judgments.iter().map(|(_, j)| j.ranks.len()).max().unwrap_or(k);
        let ints = |values: Vec<i64>| Tensor::from_slice(&values).to_device(device);
        let reals = |values: Vec<f32>| Tensor::from_slice(&values).to_device(device);
        let padded = |of: fn(&Judgment) -> &Option<Vec<f32>>| -> Vec<f32> {
            let row = |j: &Judgment| (0..k).map(|i| of(j).as_ref().and_then(|v| v.get(i)).copied().unwrap_or(0.0)).collect::<Vec<f32>>();
            judgments.iter().flat_map(|(_, j)| row(j)).collect()
        };
        let ranks = |j: &Judgment| (0..k).map(|i| j.ranks.get(i).map_or(0, |&rank| i64::from(rank))).collect::<Vec<i64>>();
        let shape = [judgments.len() as i64, k as i64];
        Judged {
            item: ints(judgments.iter().map(|(item, _)| *item).collect()),
            ranks: ints(judgments.iter().flat_map(|(_, j)| ranks(j)).collect()).view(shape),
            worth: reals(padded(|j| &j.worth)).view(shape),
            levels: reals(padded(|j| &j.levels)).view(shape),
            weights: reals(judgments.iter().map(|(_, j)| j.weight).collect()),
        }
    }

    /// True without a judgment.
    pub fn is_empty(&self) -> bool {
        self.weights.numel() == 0
    }

    /// The scores that each judgment is about: of all items to `[J, K]`.
    pub fn of(&self, scores: &Tensor) -> Tensor {
        let (judged, k) = (scores.index_select(0, &self.item), self.ranks.size()[1]);
        if k < scores.size()[1] { judged.narrow(1, 0, k) } else { judged }
    }
}

impl Batch {
    /// Lays out `items`.
    pub fn new(items: &[&Item], device: Device) -> Batch {
        let (b, k) = (items.len(), items.iter().map(|r| r.answers.len()).max().unwrap_or(1));
        let (mut ids, mut groups, mut last): (Vec<i64>, _, _) = (vec![], vec![], vec![]);
        let (mut before, mut next) = (vec![], vec![]);
        let token = |&id: &u32| i64::from(id);
        for item in items {
            let (first, shared) = (ids.len(), shared_prefix(&item.answers));
            ids.extend(item.answers.iter().take(1).flat_map(|a| &a[..shared]).map(token));
            let mut group: Vec<usize> = (shared > 0).then_some(shared).into_iter().collect();
            for (i, answer) in item.answers.iter().enumerate() {
                let own = ids.len();
                if let Some(asked) = item.asked.filter(|_| item.is_best(i)) {
                    let place = |t: usize| if t < shared { first + t } else { own + t - shared };
                    let learnt = asked.max(1)..answer.len(); // nothing stands before the first token
                    before.extend(learnt.clone().map(|t| place(t - 1) as i64));
                    next.extend(answer[learnt].iter().map(token));
                }
                ids.extend(answer[shared..].iter().map(token));
                last.push(ids.len() as i64 - 1);
                group.push(answer.len() - shared);
            }
            match shared {
                0 => groups.extend(group.into_iter().map(|n| vec![n])),
                _ => groups.push(group),
            }
        }
        let (mut grid, mut present) = (vec![], vec![0i64; b * k]);
        let (mut hard, mut soft) = (vec![], vec![]);
        for (i, judged) in items.iter().enumerate() {
            grid.extend((0..judged.answers.len()).map(|j| (i * k + j) as i64));
            present[i * k..][..judged.answers.len()].fill(1);
            for judgment in &judged.judgments {
                let kind = if judgment.worth.is_some() { &mut soft } else { &mut hard };
                kind.push((i as i64, judgment));
            }
        }
        let to = |v: &[i64]| Tensor::from_slice(v).to_device(device);
        Batch {
            ids: to(&ids),
            segments: Segments::from_groups(&groups, device),
            last: to(&last),
            next: items.iter().any(|item| item.asked.is_some()).then(|| (to(&before), to(&next))),
            grid: to(&grid),
            present: to(&present).view([b as i64, k as i64]),
            hard: Judged::new(&hard, k, device),
            soft: Judged::new(&soft, k, device),
        }
    }

    /// Hidden states: of all tokens, `[T, D]`, where the language-model loss looks at more than the last ones, else of these alone, `[N, D]`.
    pub fn hidden(&self, model: &Model, train: bool) -> Tensor {
        match &self.next {
            Some(_) => model.forward_packed(&self.ids, &self.segments, train),
            None => model.forward_at(&self.ids, &self.segments, &self.last, train),
        }
    }

    /// Scores at the answers' last tokens as a grid, 0 where there is no answer: what [`Batch::hidden`] gave to `[B, K]`.
    pub fn scores(&self, model: &Model, hidden: &Tensor) -> Tensor {
        let last = if self.next.is_some() { &hidden.index_select(0, &self.last) } else { hidden };
        let flat = model.scalar(last); // [N]
        let zeros = Tensor::zeros([self.present.numel() as i64], (flat.kind(), flat.device()));
        zeros.index_put(&[Some(&self.grid)], &flat, false).view_as(&self.present)
    }
}

/// Tokens that all answers begin with, at least one less than the shortest has: an item's prompt, or less where there are fewer than two answers.
fn shared_prefix(answers: &[Vec<u32>]) -> usize {
    let [first, rest @ ..] = answers else { return 0 };
    let common = |a: &[u32], b: &[u32]| a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let shared = rest.iter().map(|a| common(first, a)).min().unwrap_or(0);
    answers.iter().map(|a| a.len() - 1).min().unwrap_or(0).min(shared)
}

/// Scores of all answers of all rows, known to all ranks. Answers that several judges saw are scored once; rows of like length go together.
pub fn score_all(model: &Model, rows: &[Answers], at_a_time: usize, world: &World) -> Result<Vec<Vec<f64>>> {
    let mut distinct: HashMap<&[u32], usize> = HashMap::new();
    let mut answers: Vec<&[u32]> = Vec::new();
    for answer in rows.iter().flatten() {
        distinct.entry(answer).or_insert_with(|| {
            answers.push(answer);
            answers.len() - 1
        });
    }
    let scores = score_rows(model, &answers, at_a_time, world)?;
    Ok(rows.iter().map(|answers| answers.iter().map(|a| scores[distinct[a.as_slice()]]).collect()).collect())
}

/// Scores at the last token of each row; each rank works out its share.
pub fn score_rows(model: &Model, rows: &[&[u32]], at_a_time: usize, world: &World) -> Result<Vec<f64>> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&i| rows[i].len());
    let mut scores = vec![0f64; rows.len()];
    let size = at_a_time.min(rows.len().div_ceil(world.size())).max(1);
    for (_, chunk, _) in world.share(order.chunks(size)) {
        let picked: Vec<&[u32]> = chunk.iter().map(|&i| rows[i]).collect();
        let found = no_grad(|| model.score_last(&picked))?; // [b]
        let found = Vec::<f64>::try_from(found.to_device(Device::Cpu).to_kind(Kind::Double))?;
        chunk.iter().zip(found).for_each(|(&i, s)| scores[i] = s);
    }
    if world.lacks_one_of(rows.len().div_ceil(size)) {
        model.attend();
    }
    world.sum_all(&mut scores)?; // each score is one rank's, and 0 of the others
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ragged_items_become_grids_and_every_judgment_finds_its_answers() {
        let judgment = |ranks: &[u32]| Judgment { ranks: ranks.to_vec(), worth: None, levels: None, weight: 1.0 };
        let soft = |worth: &[f32]| Judgment { worth: Some(worth.to_vec()), ..judgment(&[1, 2]) };
        let a = Item {
            answers: vec![vec![5, 6, 0], vec![5, 7, 8, 0]],
            asked: Some(1),
            judgments: vec![judgment(&[2, 1]), soft(&[0.5, -0.5]), judgment(&[1, 1])],
        };
        let b = Item { answers: vec![vec![9, 0]; 3], asked: Some(1), judgments: vec![judgment(&[1, 1, 2])] };
        let tied = Item { judgments: vec![judgment(&[1, 1, 1])], ..b.clone() };
        let unasked = Item { asked: None, ..b.clone() };
        let learnt = |item: &Item| Batch::new(&[item], Device::Cpu).next.map(|(before, _)| before.numel());
        assert_eq!([&tied, &unasked, &b].map(learnt), [Some(0), None, Some(2)]);
        let batch = Batch::new(&[&a, &b], Device::Cpu);
        // The prompt [5] stands once; three equal answers [9, 0] share their first token.
        assert_eq!(Vec::<i64>::try_from(&batch.ids).unwrap(), [5, 6, 0, 7, 8, 0, 9, 0, 0, 0]);
        assert_eq!(Vec::<i64>::try_from(&batch.last).unwrap(), [2, 5, 7, 8, 9]);
        assert_eq!(batch.segments.tokens(), 10);
        // Both answers of the first item are somebody's best, the last one of the second is nobody's.
        let (before, tokens) = batch.next.as_ref().unwrap();
        assert_eq!(Vec::<i64>::try_from(before).unwrap(), [0, 1, 0, 3, 4, 6, 6]);
        assert_eq!(Vec::<i64>::try_from(tokens).unwrap(), [6, 0, 7, 8, 0, 0, 0]);
        assert_eq!(Vec::<i64>::try_from(batch.present.flatten(0, 1)).unwrap(), [1, 1, 0, 1, 1, 1]);
        assert_eq!(batch.hard.ranks.size(), [3, 3]);
        assert_eq!(Vec::<i64>::try_from(batch.hard.ranks.flatten(0, 1)).unwrap(), [2, 1, 0, 1, 1, 0, 1, 1, 2]);
        assert_eq!(Vec::<f32>::try_from(batch.soft.worth.flatten(0, 1)).unwrap(), [0.5, -0.5]);
        let scores = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]);
        assert_eq!(Vec::<f32>::try_from(batch.soft.of(&scores).flatten(0, 1)).unwrap(), [0.0, 1.0]);
        assert_eq!(Vec::<f32>::try_from(batch.hard.of(&scores).flatten(0, 1)).unwrap(), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    /// Soft labels of few answers beside ranks of more than soft labels can have.
    #[test]
    fn soft_labels_do_not_grow_with_what_shares_their_batch() {
        let item = |answers: usize, worth: Option<Vec<f32>>| Item {
            answers: (0..answers as u32).map(|i| vec![5, 6 + i, 0]).collect(),
            asked: None,
            judgments: vec![Judgment { ranks: (1..=answers as u32).collect(), worth, levels: None, weight: 1.0 }],
        };
        let (hard, soft) = (item(loss::soft::MOST_ANSWERS + 2, None), item(3, Some(vec![1.0, 0.0, -1.0])));
        let loss = |items: &[&Item]| {
            let batch = Batch::new(items, Device::Cpu);
            let scores = Tensor::arange(batch.present.numel() as i64, (Kind::Float, Device::Cpu)).view_as(&batch.present);
            let (soft, of) = (&batch.soft, batch.soft.of(&scores));
            loss::soft::plackett_luce(&(&of - of.min()), &soft.worth, &soft.ranks, &soft.weights).double_value(&[])
        };
        assert_eq!(loss(&[&hard, &soft]), loss(&[&soft]));
    }

    #[test]
    fn judgments_of_the_same_answers_are_one_item_in_one_order() {
        let ranking = |answers: [&str; 2], ranks: [u32; 2]| Ranking {
            prompt: vec![data::chat::Message::new("user", "p")],
            answers: answers.map(String::from).to_vec(),
            ranks: ranks.to_vec(),
            scores: Some(vec![8.0, 2.0]),
            worth: Some(vec![1.0, -1.0]),
            judge: None,
            weight: 1.0,
            group: "g".into(),
            file: "f".into(),
            row: 1,
        };
        let rankings = [ranking(["a", "b"], [1, 2]), ranking(["a", "c"], [2, 1]), ranking(["b", "a"], [1, 2])];
        let (tokenizer, template) = (Tokenizer::byte().unwrap(), ChatTemplate::plain());
        let hard = PreferenceLoss { soft_labels: false, margin: Margin::Scores, margin_scale: 0.5, ..PreferenceLoss::default() };
        let with_lm = PreferenceLoss { lm_weight: 0.1, ..PreferenceLoss::default() };
        let softly = items(&rankings, ("", &with_lm), &tokenizer, &template).unwrap();
        let items = items(&rankings, ("", &hard), &tokenizer, &template).unwrap();
        let ranks = |item: &Item| item.judgments.iter().map(|j| j.ranks.clone()).collect::<Vec<_>>();
        assert_eq!(items.len(), 2);
        assert_eq!(ranks(&items[0]), [[1, 2], [2, 1]]);
        assert_eq!(ranks(&items[1]), [[2, 1]]);
        assert_eq!((items[0].asked, softly[0].asked), (None, Some(2)), "the prompt and a newline, in bytes");
        assert_eq!(items[0].answers, encode(&rankings[0], "", &tokenizer, &template).unwrap());
        // The third judge saw the answers the other way round: worth and levels turn with the ranks.
        let of = |judgment: &Judgment| (judgment.worth.clone(), judgment.levels.clone());
        assert_eq!(
            [&softly[0].judgments[0], &softly[0].judgments[1]].map(of),
            [(Some(vec![1.0, -1.0]), None), (Some(vec![-1.0, 1.0]), None)]
        );
        assert_eq!([&items[0].judgments[0], &items[0].judgments[1]].map(of), [(None, Some(vec![4.0, 1.0])), (None, Some(vec![1.0, 4.0]))]);
    }
}
