//! Rows of one sequence or several, end to end.

use crate::segments::Segments;
use tch::{Device, Tensor};

/// R rows as S sequences of T tokens in all.
#[derive(Debug)]
pub struct ClassifiedRows {
    /// Token ids, `[T]`, int64.
    pub(super) ids: Tensor,
    /// Where each sequence begins.
    pub(super) segments: Segments,
    /// The last token of each sequence, `[S]`.
    pub(super) ends: Tensor,
    /// The row of each sequence, `[S]`.
    pub(super) owners: Tensor,
    /// Sequences of each row.
    pub(super) counts: Vec<usize>,
    /// Tokens that have a next one in their sequence, `[N]`, and that, `[N]`.
    pub(super) next: (Tensor, Tensor),
}

impl ClassifiedRows {
    /// Rows whose sequences end with the token `extract`; without it each row is one sequence. None may be empty.
    pub fn new(rows: &[&[u32]], extract: Option<u32>, device: Device) -> ClassifiedRows {
        let (mut ids, mut lengths, mut ends, mut owners, mut counts) = (vec![], vec![], vec![], vec![], vec![]);
        let (mut places, mut next) = (vec![], vec![]);
        for (r, row) in rows.iter().enumerate() {
            let sequences = row.split_inclusive(|id| Some(*id) == extract);
            counts.push(sequences.clone().count());
            for sequence in sequences {
                places.extend((1..sequence.len()).map(|i| (ids.len() + i - 1) as i64));
                next.extend(sequence[1..].iter().map(|&id| i64::from(id)));
                ids.extend(sequence.iter().map(|&id| i64::from(id)));
                lengths.push(vec![sequence.len()]);
                ends.push(ids.len() as i64 - 1);
                owners.push(r as i64);
            }
        }
        let to = |v: &[i64]| Tensor::from_slice(v).to_device(device);
        let segments = Segments::from_groups(&lengths, device);
        ClassifiedRows { ids: to(&ids), segments, ends: to(&ends), owners: to(&owners), counts, next: (to(&places), to(&next)) }
    }

    /// R.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// No rows.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}
