//! PNG and JPEG files become what PIL makes of them (scripts/reference/vision.py), and rows whose picture cannot be read go to the quarantine.

use data::chat::ChatTemplate;
use data::config::{DemoData, Quarantine, Source};
use data::demos::{Layout, hash_pictures, load_demos};
use data::error::DataError;
use data::pictures::{Picture, write_png};
use data::quarantine::{BadRow, Reason};
use data::tokenizer::Tokenizer;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures")
}

fn expected() -> BTreeMap<String, Vec<u8>> {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    let hex: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.into_iter().map(|(name, hex)| (name, hex.as_bytes().chunks(2).map(byte).collect())).collect()
}

/// PNG is exact but for the rounding of fixed-point weights; JPEG decoders round their transforms differently.
#[test]
fn files_are_what_pil_makes_of_them() {
    let expected = expected();
    assert_eq!(expected.len(), 8);
    for (name, want) in expected {
        let found = Picture::open(&folder().join(&name), 8).unwrap();
        let worst = found.rgb().iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        println!("{name}: {worst}");
        assert!(worst <= if name.ends_with("png") { 1 } else { 3 }, "{name} differs by {worst}");
        assert_eq!(found.rgb().len(), want.len());
    }
}

#[test]
fn what_was_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let rgb: Vec<u8> = (0..7 * 7 * 3).map(|i| (i * 37 % 256) as u8).collect();
    write_png(&path, 7, 7, &rgb).unwrap();
    assert_eq!(Picture::open(&path, 7).unwrap(), Picture::new(7, rgb));
    assert!(matches!(Picture::open(&dir.path().join("none.png"), 7), Err(DataError::Io { .. })));
}

#[test]
fn broken_files_are_refused_and_said_so() {
    for name in ["rgb.png", "rgb.jpg", "progressive.jpg"] {
        let bytes = std::fs::read(folder().join(name)).unwrap();
        for cut in [3, 8, 20, bytes.len() / 2, bytes.len() - 20] {
            let result = Picture::decode(&bytes[..cut], 8);
            assert!(result.is_err(), "{name} cut to {cut} of {} bytes is read", bytes.len());
        }
    }
    let mut flipped = std::fs::read(folder().join("rgb.png")).unwrap();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    assert!(Picture::decode(&flipped, 8).unwrap_err().contains("PNG"));
    for (bytes, said) in [(&b""[..], "empty"), (b"GIF89a", "neither PNG nor JPEG"), (b"hello", "68, 65, 6c, 6c")] {
        let error = Picture::decode(bytes, 8).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    // A header that claims more pixels than anyone would learn from.
    let mut huge = std::fs::read(folder().join("rgb.png")).unwrap();
    huge[16..20].copy_from_slice(&1_000_000u32.to_be_bytes());
    assert!(Picture::decode(&huge, 8).is_err());
}

const ANY: Quarantine = Quarantine { max_fraction: 1.0, always_allow: 0 };

fn rows(dir: &Path, text: &str) -> DemoData {
    std::fs::create_dir_all(dir.join("rows")).unwrap();
    let path = dir.join("rows/a.jsonl");
    std::fs::write(&path, text).unwrap();
    let source = Source { path: path.display().to_string(), ..Source::default() };
    DemoData { sources: vec![source], quarantine: ANY, ..DemoData::default() }
}

#[test]
fn rows_get_their_pictures_and_bad_ones_go_to_the_quarantine() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    std::fs::create_dir(&images).unwrap();
    for name in ["rgb.png", "rgb.jpg"] {
        std::fs::copy(folder().join(name), images.join(name)).unwrap();
    }
    let whole = std::fs::read(images.join("rgb.jpg")).unwrap();
    std::fs::write(images.join("torn.jpg"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(images.join("note.png"), "no picture").unwrap();
    let text = [
        r#"{"image": "../images/rgb.png", "response": "one"}"#,
        r#"{"image": "../images/rgb.jpg", "prompt": "what?", "response": "two"}"#,
        r#"{"image": "../images/rgb.png", "prompt": "", "response": "three"}"#,
        r#"{"image": "../images/torn.jpg", "response": "four"}"#,
        r#"{"image": "../images/note.png", "response": "five"}"#,
        r#"{"image": "../images/none.png", "response": "six"}"#,
        r#"{"response": "seven"}"#,
        r#"{"image": "../images/rgb.png", "response": "this one is longer than what the context leaves"}"#,
    ];
    let config = rows(dir.path(), &text.join("\n"));
    let (tokenizer, template) = (Tokenizer::byte().unwrap(), ChatTemplate::plain());
    let layout = Layout::Pictured { template: &template, side: 8, places: 16 };
    let list = dir.path().join("bad.jsonl");
    let split = load_demos(&config, &tokenizer, &layout, 40, 0.0, 1, &list).unwrap();
    let kept: Vec<(&str, &str, &str)> = split.train.iter().map(|d| (d.prompt.as_str(), d.response.as_str(), d.group.as_str())).collect();
    let (png, jpg) = ("../images/rgb.png", "../images/rgb.jpg");
    assert_eq!(kept, [("", "one", png), ("what?", "two", jpg), ("", "three", png)], "one picture, one group");
    assert_eq!(split.train[0].picture.as_deref(), Some(&Picture::open(&images.join("rgb.png"), 8).unwrap()));
    assert_eq!(split.train[0].picture, split.train[2].picture);
    let bad: Vec<BadRow> = std::fs::read_to_string(&list).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let reasons: Vec<(u64, Reason)> = bad.iter().map(|b| (b.line, b.reason)).collect();
    let picture = |line| (line, Reason::BadPicture);
    assert_eq!(reasons, [picture(4), picture(5), picture(6), (7, Reason::MissingField), (8, Reason::TooLong)]);
    assert!(bad[0].detail.contains("torn.jpg") && bad[0].detail.contains("not a readable JPEG"), "{}", bad[0].detail);
    assert!(bad[1].detail.contains("note.png") && bad[1].detail.contains("neither PNG nor JPEG"), "{}", bad[1].detail);
    assert!(bad[2].detail.contains("none.png") && bad[2].detail.contains("No such file"), "{}", bad[2].detail);
    // Other pictures are other inputs.
    let before = hash_pictures(&config, &list).unwrap();
    assert_eq!(before, hash_pictures(&config, &list).unwrap());
    std::fs::copy(images.join("rgb.jpg"), images.join("rgb.png")).unwrap();
    assert_ne!(before, hash_pictures(&config, &list).unwrap());
    // Nothing is left for text.
    let layout = Layout::Pictured { template: &template, side: 8, places: 40 };
    let error = load_demos(&config, &tokenizer, &layout, 40, 0.0, 1, &list).unwrap_err().to_string();
    assert!(error.contains("40 places"), "{error}");
}
