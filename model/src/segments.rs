//! Several documents packed into one row: nobody sees across a border, and places start anew.

use tch::{Kind, Tensor};

/// Which token of a packed row belongs to which document, worked out into positions and an attention mask.
#[derive(Debug)]
pub struct Segments {
    /// Place of each token within its document. `[B, T]`
    pub(crate) positions: Tensor,
    /// 0 where a token may look, minus infinity elsewhere. `[B, 1, T, T]`
    pub(crate) mask: Tensor,
}

impl Segments {
    /// From document numbers `[B, T]`, equal for tokens of one document and different for its neighbours. Give padding at the end of a
    /// row a number of its own: it then looks at itself, which hurts nobody and makes no NaN.
    pub fn new(documents: &Tensor) -> Segments {
        let (t, device) = (documents.size()[1], documents.device());
        let index = Tensor::arange(t, (Kind::Int64, device)).expand_as(documents); // [B, T]
        let changed = documents.narrow(1, 1, t - 1).ne_tensor(&documents.narrow(1, 0, t - 1));
        let first = Tensor::ones([documents.size()[0], 1], (Kind::Bool, device));
        let starts = Tensor::cat(&[first, changed], 1);
        let (start, _) = (&index * starts).cummax(1); // where the token's document began
        let positions = index - &start;
        // Comparing starts, not numbers: a number that comes back later in the row is another document.
        let same = start.unsqueeze(2).eq_tensor(&start.unsqueeze(1)); // [B, T, T]
        let allowed = same.tril(0);
        let mask = Tensor::zeros(allowed.size(), (Kind::Float, device)).masked_fill(&allowed.logical_not(), f64::NEG_INFINITY);
        Segments { positions, mask: mask.unsqueeze(1) }
    }

    /// From each row's documents, by length; a row's lengths add up to `time` or less, the rest is padding.
    pub fn from_lengths(rows: &[Vec<usize>], time: usize, device: tch::Device) -> Segments {
        let mut numbers = vec![-1i64; rows.len() * time];
        for (row, lengths) in numbers.chunks_mut(time).zip(rows) {
            let each = lengths.iter().enumerate().flat_map(|(i, &n)| std::iter::repeat_n(i as i64, n));
            row.iter_mut().zip(each).for_each(|(slot, i)| *slot = i);
        }
        Segments::new(&Tensor::from_slice(&numbers).view([rows.len() as i64, time as i64]).to_device(device))
    }
}
