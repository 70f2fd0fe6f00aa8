//! Pictures of one or two coloured shapes with captions: what a decoder that sees is trained and measured on (docs/family.md).
//!
//! Six colours, six shapes, two sizes, any place, before backgrounds of any lightness with noise. One pair of each colour and each shape occurs in no caption that
//! is learnt from: whether the model names such pairs shows whether it sees colour and shape apart.

mod draw;
mod scene;

pub use draw::draw;
pub use scene::{COLOURS, SHAPES, SIDE, Scene, Shape, Thing, held_out};

use crate::dice::Dice;
use data::error::DataError;
use data::pictures::write_png;
use serde_json::json;
use std::fmt::Write;
use std::path::Path;

/// How many pictures to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// To learn from.
    pub train: usize,
    /// Of each measure.
    pub heldout: usize,
}

/// Writes `train.jsonl`, `unseen.jsonl` (pictures that are not learnt from, of pairs that are) and `pairs.jsonl` (of pairs that are not), rows of `image` and
/// `response`, and the pictures in `images`. Equal seeds write equal bytes.
pub fn generate(folder: &Path, seed: u64, count: Count) -> Result<(), DataError> {
    let images = folder.join("images");
    std::fs::create_dir_all(&images).map_err(DataError::io("make", &images))?;
    for (name, n, pairs) in [("pairs", count.heldout, true), ("unseen", count.heldout, false), ("train", count.train, false)] {
        let mut dice = Dice::new(seed, name);
        let mut rows = String::new();
        for i in 0..n {
            let scene = Scene::draw(&mut dice, pairs);
            let image = format!("images/{name}-{i:05}.png");
            write_png(&folder.join(&image), SIDE, SIDE, &draw(&scene, &mut dice))?;
            let _ = writeln!(rows, "{}", json!({ "image": image, "response": scene.caption() }));
        }
        let path = folder.join(format!("{name}.jsonl"));
        std::fs::write(&path, rows).map_err(DataError::io("write", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::pictures::Picture;
    use std::collections::BTreeSet;

    fn rows(folder: &Path, name: &str) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let row = |line: &str| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            (row["image"].as_str().unwrap().to_string(), row["response"].as_str().unwrap().to_string())
        };
        text.lines().map(row).collect()
    }

    /// Pairs of colour and shape that a caption names.
    fn pairs(caption: &str) -> Vec<(usize, usize)> {
        let words: Vec<&str> = caption.split(' ').collect();
        let colour = |word: &str| COLOURS.iter().position(|(name, _)| *name == word);
        words.windows(2).filter_map(|w| Some((colour(w[0])?, SHAPES.iter().position(|(name, _)| *name == w[1])?))).collect()
    }

    #[test]
    fn held_out_pairs_are_in_their_file_alone_and_seeds_repeat() {
        let [a, b] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let count = Count { train: 300, heldout: 60 };
        generate(a.path(), 1, count).unwrap();
        let seen: BTreeSet<(usize, usize)> = rows(a.path(), "train.jsonl").iter().flat_map(|(_, caption)| pairs(caption)).collect();
        assert_eq!(seen.len(), 30, "all pairs but six");
        assert!(seen.iter().all(|&(c, s)| !held_out(c, s)));
        let known = |name: &str| rows(a.path(), name).iter().flat_map(|(_, caption)| pairs(caption)).collect::<Vec<_>>();
        assert!(known("unseen.jsonl").iter().all(|&(c, s)| !held_out(c, s)));
        let others = known("pairs.jsonl");
        assert!(others.iter().all(|&(c, s)| held_out(c, s)));
        assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), 6);
        generate(b.path(), 1, Count { train: 20, heldout: 60 }).unwrap();
        for name in ["pairs.jsonl", "images/pairs-00007.png", "images/train-00003.png"] {
            assert_eq!(std::fs::read(a.path().join(name)).unwrap(), std::fs::read(b.path().join(name)).unwrap(), "{name}");
        }
    }

    #[test]
    fn a_picture_shows_its_colour_and_reads_back_as_it_was_drawn() {
        let folder = tempfile::tempdir().unwrap();
        for (colour, (_, rgb)) in COLOURS.iter().enumerate() {
            let thing = Thing { colour, shape: 0, large: true, centre: [24.0, 20.0], radius: 10.0 };
            let scene = Scene { things: vec![thing], upright: false };
            let pixels = draw(&scene, &mut Dice::new(1, "one"));
            let path = folder.path().join("one.png");
            write_png(&path, SIDE, SIDE, &pixels).unwrap();
            assert_eq!(Picture::open(&path, SIDE).unwrap().rgb(), pixels);
            for channel in 0..3 {
                let inner = (16..24).flat_map(|y| (20..28).map(move |x| (y, x)));
                let mean = inner.map(|(y, x)| f64::from(pixels[(y * SIDE + x) * 3 + channel])).sum::<f64>() / 64.0;
                assert!((mean - rgb[channel]).abs() < 22.0, "colour {colour}: {mean} instead of {}", rgb[channel]);
            }
        }
        let things = [0, 3].map(|shape| Thing { colour: 0, shape, large: shape == 0, centre: [24.0; 2], radius: 9.0 });
        let scene = Scene { things: things.to_vec(), upright: true };
        assert_eq!(scene.caption(), "a large red circle above a small red star");
    }
}
