//! Rows of pictures as tensors: the places of the picture come first, then the text, and the last of them predicts the text's first token.
//!
//! Shapes: B rows, P places of a picture, N places of all rows, L learnt places, D width.

use data::demos::Demo;
use data::pictures::Picture;
use model::Captioner;
use tch::{Device, Tensor};

/// Where the learnt tokens of rows are predicted among the N places, and what they are.
#[derive(Debug, PartialEq, Eq)]
struct Learnt {
    labelled: Vec<i64>,
    targets: Vec<i64>,
}

impl Learnt {
    /// `places`: P. Of a row of n tokens n − 1 are read.
    fn of<'a>(rows: impl Iterator<Item = &'a Demo>, places: usize) -> Learnt {
        let (mut start, mut learnt) = (0, Learnt { labelled: vec![], targets: vec![] });
        for demo in rows {
            for (k, id) in demo.ids.iter().enumerate().filter(|(k, _)| demo.loss[*k]) {
                learnt.labelled.push((start + places + k) as i64 - 1);
                learnt.targets.push(i64::from(*id));
            }
            start += places + demo.ids.len() - 1;
        }
        learnt
    }
}

/// The picture of a row that [`data::demos::Layout::Pictured`] has read.
pub fn picture(demo: &Demo) -> &Picture {
    demo.picture.as_deref().expect("rows of this layout have pictures")
}

/// States `[L, D]` of the places that are learnt, and the tokens that are right there `[L]`.
pub fn states(m: &Captioner, rows: &[&Demo], train: bool) -> (Tensor, Tensor) {
    let device = m.decoder().device();
    let pictures: Vec<&Picture> = rows.iter().map(|demo| picture(demo)).collect();
    let read: Vec<&[u32]> = rows.iter().map(|demo| &demo.ids[..demo.ids.len() - 1]).collect();
    let hidden = m.forward(&m.pixels(&pictures), &read, train); // [N, D]
    let learnt = Learnt::of(rows.iter().copied(), m.places());
    (hidden.index_select(0, &to(&learnt.labelled, device)), to(&learnt.targets, device))
}

fn to(values: &[i64], device: Device) -> Tensor {
    Tensor::from_slice(values).to_device(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_of_a_picture_predicts_the_first_token() {
        let demo = |ids: &[u32], loss: &[bool]| Demo {
            ids: ids.into(),
            loss: loss.into(),
            group: String::new(),
            prompt: String::new(),
            response: String::new(),
            picture: None,
        };
        let rows = [demo(&[5, 6], &[true, true]), demo(&[7, 8, 9], &[false, true, true]), demo(&[4], &[true])];
        let learnt = Learnt::of(rows.iter(), 4);
        // Places 0 to 4 are the first row's, 5 to 10 the second's, 11 to 14 the third's.
        assert_eq!(learnt, Learnt { labelled: vec![3, 4, 9, 10, 14], targets: vec![5, 6, 8, 9, 4] });
    }
}
