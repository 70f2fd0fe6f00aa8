//! Rankings as tensors: every answer is a row of prompt and answer, padded right; scores come back as a grid of answers by ranking.
//!
//! Shapes: B rankings, K most answers of one, N answers of all, T longest row.

use anyhow::Result;
use data::{chat::ChatTemplate, rankings::Ranking, tokenizer::Tokenizer};
use model::Model;
use std::collections::HashMap;
use tch::{Device, Kind, Tensor, no_grad};

/// A ranking in tokens.
#[derive(Debug, Clone)]
pub struct Row {
    /// Prompt and answer, one list an answer, each ending with the end token.
    pub answers: Vec<Vec<u32>>,
    /// 1 is best, equal is a tie.
    pub ranks: Vec<u32>,
    /// How much it counts.
    pub weight: f32,
}

/// Encodes rankings as the policy would have sampled them.
pub fn encode(rankings: &[Ranking], tokenizer: &Tokenizer, template: &ChatTemplate) -> Result<Vec<Row>> {
    let row = |r: &Ranking| {
        let answers = r.answers.iter().map(|answer| {
            let (mut prompt, response) = template.encode_pair(tokenizer, &r.prompt, answer)?;
            prompt.extend(response);
            Ok(prompt)
        });
        let answers = answers.collect::<Result<Vec<_>>>()?;
        Ok(Row { answers, ranks: r.ranks.clone(), weight: r.weight })
    };
    rankings.iter().map(row).collect()
}

/// Rankings that go through the model together.
#[derive(Debug)]
pub struct Batch {
    /// Token ids, padded right. `[N, T]`
    pub ids: Tensor,
    /// Flat positions (row·T + t) of each row's last token. `[N]`
    pub last: Tensor,
    /// Flat positions in the `[B, K]` grid. `[N]`
    grid: Tensor,
    /// Ranks, 1 is best, 0 where a ranking has fewer than K answers. `[B, K]`
    pub ranks: Tensor,
    /// Weights. `[B]`
    pub weights: Tensor,
}

impl Batch {
    /// Lays out `rows`.
    pub fn new(rows: &[&Row], pad: u32, device: Device) -> Batch {
        let (b, k) = (rows.len(), rows.iter().map(|r| r.answers.len()).max().unwrap_or(1));
        let all = || rows.iter().flat_map(|r| r.answers.iter());
        let (n, t) = (all().count(), all().map(Vec::len).max().unwrap_or(1));
        let mut ids = vec![i64::from(pad); n * t];
        let last: Vec<i64> = all().enumerate().map(|(i, a)| (i * t + a.len() - 1) as i64).collect();
        for (i, answer) in all().enumerate() {
            answer.iter().enumerate().for_each(|(j, &id)| ids[i * t + j] = i64::from(id));
        }
        let (mut grid, mut ranks) = (vec![], vec![0i64; b * k]);
        for (i, row) in rows.iter().enumerate() {
            for j in 0..row.answers.len() {
                grid.push((i * k + j) as i64);
                ranks[i * k + j] = i64::from(row.ranks[j]);
            }
        }
        let weights: Vec<f32> = rows.iter().map(|r| r.weight).collect();
        let to = |v: &[i64]| Tensor::from_slice(v).to_device(device);
        Batch {
            ids: to(&ids).view([n as i64, t as i64]),
            last: to(&last),
            grid: to(&grid),
            ranks: to(&ranks).view([b as i64, k as i64]),
            weights: Tensor::from_slice(&weights).to_device(device),
        }
    }

    /// Scores at the rows' last tokens as a grid, 0 where there is no answer: hidden `[N, T, D]` to `[B, K]`.
    pub fn scores(&self, model: &Model, hidden: &Tensor) -> Tensor {
        let flat = model.scalar(&hidden.flatten(0, 1).index_select(0, &self.last)); // [N]
        let zeros = Tensor::zeros([self.ranks.numel() as i64], (flat.kind(), flat.device()));
        zeros.index_put(&[Some(&self.grid)], &flat, false).view_as(&self.ranks)
    }
}

/// Scores of all answers of all rows. Answers that several judges saw are scored once; rows of like length go together.
pub fn score_all(model: &Model, rows: &[Row], at_a_time: usize, pad: u32) -> Result<Vec<Vec<f64>>> {
    let mut distinct: HashMap<&[u32], usize> = HashMap::new();
    let mut answers: Vec<&[u32]> = Vec::new();
    for answer in rows.iter().flat_map(|r| r.answers.iter()) {
        distinct.entry(answer).or_insert_with(|| {
            answers.push(answer);
            answers.len() - 1
        });
    }
    let scores = score_rows(model, &answers, at_a_time, pad)?;
    Ok(rows.iter().map(|r| r.answers.iter().map(|a| scores[distinct[a.as_slice()]]).collect()).collect())
}

/// Scores at the last token of each row.
pub fn score_rows(model: &Model, rows: &[&[u32]], at_a_time: usize, pad: u32) -> Result<Vec<f64>> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&i| rows[i].len());
    let mut scores = vec![0f64; rows.len()];
    for chunk in order.chunks(at_a_time.max(1)) {
        let picked: Vec<&[u32]> = chunk.iter().map(|&i| rows[i]).collect();
        let found = no_grad(|| model.score_last(&picked, pad))?; // [b]
        let found = Vec::<f64>::try_from(found.to_device(Device::Cpu).to_kind(Kind::Double))?;
        chunk.iter().zip(found).for_each(|(&i, s)| scores[i] = s);
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ragged_rankings_become_a_grid() {
        let row = |answers: Vec<Vec<u32>>, ranks: Vec<u32>| Row { answers, ranks, weight: 1.0 };
        let (a, b) = (row(vec![vec![5, 6, 0], vec![5, 7, 8, 0]], vec![2, 1]), row(vec![vec![9, 0]; 3], vec![1, 1, 2]));
        let batch = Batch::new(&[&a, &b], 1, Device::Cpu);
        assert_eq!(batch.ids.size(), [5, 4]);
        assert_eq!(Vec::<i64>::try_from(&batch.last).unwrap(), [2, 7, 9, 13, 17]);
        assert_eq!(Vec::<i64>::try_from(batch.ranks.flatten(0, 1)).unwrap(), [2, 1, 0, 1, 1, 2]);
    }
}
