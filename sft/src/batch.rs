//! Demonstrations as tensors: rows stand end to end, none is padded, and each sees only itself.
//!
//! Shapes: T input tokens of all rows (each without its last), N labelled positions.

use data::demos::Demo;
use model::Segments;
use tch::{Device, Tensor};

/// Rows that go through the model together.
#[derive(Debug)]
pub struct Batch {
    /// Input ids. `[T]`
    pub inputs: Tensor,
    /// Where each row begins.
    pub segments: Segments,
    /// Positions whose next token is a target. `[N]`
    pub labelled: Tensor,
    /// Those targets. `[N]`
    pub targets: Tensor,
}

/// Puts rows together until a sequence is full: next-fit over rows sorted by length, longest first, so little is left empty. Each inner list is one
/// sequence; without packing each row is its own.
pub fn sequences(demos: &[Demo], packing: bool, context: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..demos.len()).collect();
    if !packing {
        return order.into_iter().map(|i| vec![i]).collect();
    }
    let inputs = |i: usize| demos[i].ids.len() - 1;
    order.sort_by_key(|&i| (std::cmp::Reverse(inputs(i)), i));
    let mut out: Vec<(usize, Vec<usize>)> = Vec::new();
    for i in order {
        match out.iter_mut().find(|(room, _)| *room >= inputs(i)) {
            Some((room, rows)) => {
                *room -= inputs(i);
                rows.push(i);
            }
            None => out.push((context.saturating_sub(inputs(i)), vec![i])),
        }
    }
    out.into_iter().map(|(_, rows)| rows).collect()
}

/// Labelled positions of these sequences. Behind a picture the first token is predicted too.
pub fn targets(demos: &[Demo], sequences: &[&Vec<usize>]) -> usize {
    let of = |demo: &Demo| demo.loss[usize::from(demo.picture.is_none())..].iter().filter(|l| **l).count();
    sequences.iter().flat_map(|rows| rows.iter()).map(|&i| of(&demos[i])).sum()
}

impl Batch {
    /// The rows of `sequences`. Position t predicts token t+1 where that token is marked; never the next row's first.
    pub fn new(demos: &[Demo], sequences: &[&Vec<usize>], device: Device) -> Batch {
        let rows = || sequences.iter().flat_map(|rows| rows.iter()).map(|&i| &demos[i]);
        let lengths: Vec<Vec<usize>> = rows().map(|demo| vec![demo.ids.len() - 1]).collect();
        let (mut inputs, mut labelled, mut targets) = (vec![], vec![], vec![]);
        for demo in rows() {
            for k in 0..demo.ids.len() - 1 {
                if demo.loss[k + 1] {
                    labelled.push(inputs.len() as i64);
                    targets.push(i64::from(demo.ids[k + 1]));
                }
                inputs.push(i64::from(demo.ids[k]));
            }
        }
        let to = |v: &[i64]| Tensor::from_slice(v).to_device(device);
        let segments = Segments::from_groups(&lengths, device);
        Batch { inputs: to(&inputs), segments, labelled: to(&labelled), targets: to(&targets) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo(prompt: usize, response: usize, first: u32) -> Demo {
        let n = prompt + response;
        Demo {
            ids: (0..n as u32).map(|i| first + i).collect(),
            loss: (0..n).map(|i| i >= prompt).collect(),
            group: String::new(),
            prompt: String::new(),
            response: String::new(),
            picture: None,
        }
    }

    #[test]
    fn only_marked_tokens_are_targets_and_the_last_one_is() {
        let demos = [demo(2, 3, 10), demo(1, 1, 20)];
        let batch = Batch::new(&demos, &[&vec![0], &vec![1]], Device::Cpu);
        assert_eq!(Vec::<i64>::try_from(&batch.inputs).unwrap(), [10, 11, 12, 13, 20]);
        assert_eq!(Vec::<i64>::try_from(&batch.labelled).unwrap(), [1, 2, 3, 4]);
        assert_eq!(Vec::<i64>::try_from(&batch.targets).unwrap(), [12, 13, 14, 21]);
        assert_eq!(batch.segments.tokens(), 5);
        assert_eq!(targets(&demos, &[&vec![0, 1]]), 4);
    }

    #[test]
    fn packing_keeps_every_row_once_and_within_the_context() {
        let demos: Vec<Demo> = (0..20).map(|i| demo(1 + i % 3, 2 + i % 5, 0)).collect();
        let packs = sequences(&demos, true, 12);
        let mut all: Vec<usize> = packs.concat();
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        assert!(packs.iter().all(|p| p.iter().map(|&i| demos[i].ids.len() - 1).sum::<usize>() <= 12));
        assert!(packs.len() < 15);
        assert_eq!(sequences(&demos, false, 12).len(), 20);
    }
}
