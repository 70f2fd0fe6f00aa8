//! Pictures before the prompt: a decoder learns to name the colour that it sees; stopping, bad files, and what is refused.

use data::pictures::write_png;
use model::{Captioner, HeadKind};
use std::path::{Path, PathBuf};
use testkit::Stage;

const BIN: &str = env!("CARGO_BIN_EXE_sft");

const TOML: &str = r#"
seed = 3
device = "cpu"
threads = 1
[model]
init = "{dir}/base"
dropout = 0.05
[vision]
layers = 1
heads = 2
width = 32
image_size = 12
patch_size = 4
[[data.sources]]
path = "{dir}/rows/train.jsonl"
[[data.heldout]]
path = "{dir}/rows/dev.jsonl"
[data.quarantine]
max_fraction = 0.2
[optim]
lr = 4e-3
[schedule]
warmup_steps = 10
[train]
steps = 10
batch = 4
micro_batch = 2
[eval]
every = 4
sample_tokens = 8
[bleu]
rows = 4
max_new_tokens = 8
[checkpoint]
every = 3
"#;

const COLOURS: [(&str, [u8; 3]); 4] =
    [("red", [220, 30, 30]), ("green", [30, 170, 40]), ("blue", [30, 50, 220]), ("white", [240, 240, 240])];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/pictures")
}

/// Squares of one colour with noise; some files of the training rows are JPEG, one is torn and one is none.
fn stage() -> Stage {
    let data = |dir: &Path| {
        testkit::tiny_folder(&dir.join("base"), HeadKind::Lm, 1);
        for folder in ["rows", "images"] {
            std::fs::create_dir(dir.join(folder)).unwrap();
        }
        let row = |part: &str, i: usize| {
            let (name, rgb) = COLOURS[i % 4];
            let drawn = |k: usize| ((i * 769 + k) as u32).wrapping_mul(2_654_435_761) >> 28;
            let pixels: Vec<u8> = (0..16 * 16 * 3).map(|k| rgb[k % 3].wrapping_add(drawn(k) as u8)).collect();
            let file = format!("{part}-{i}.png");
            write_png(&dir.join("images").join(&file), 16, 16, &pixels).unwrap();
            format!("{{\"image\": \"../images/{file}\", \"response\": \"{name}\"}}\n")
        };
        let mut train: String = (0..60).map(|i| row("train", i)).collect();
        for name in ["rgb.jpg", "progressive.jpg", "grey.jpg"] {
            std::fs::copy(fixtures().join(name), dir.join("images").join(name)).unwrap();
            train.push_str(&format!("{{\"image\": \"../images/{name}\", \"prompt\": \"what?\", \"response\": \"many\"}}\n"));
        }
        let whole = std::fs::read(fixtures().join("rgb.jpg")).unwrap();
        std::fs::write(dir.join("images/torn.jpg"), &whole[..whole.len() / 2]).unwrap();
        for name in ["torn.jpg", "nowhere.png"] {
            train.push_str(&format!("{{\"image\": \"../images/{name}\", \"response\": \"none\"}}\n"));
        }
        std::fs::write(dir.join("rows/train.jsonl"), train).unwrap();
        std::fs::write(dir.join("rows/dev.jsonl"), (100..120).map(|i| row("dev", i)).collect::<String>()).unwrap();
    };
    Stage::new(BIN, TOML, data)
}

fn assert_same_eyes(stage: &Stage, a: &str, b: &str) {
    for file in ["model.safetensors", "projector.safetensors", "config.json"] {
        let read = |out: &str| std::fs::read(stage.out(out).join("model/vision").join(file)).unwrap();
        assert!(read(a) == read(b), "{file} of {a} and {b} differ");
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes() {
    let stage = stage();
    stage.run_ok("whole", &[]);
    assert_eq!(stage.signal_at("stopped", 4, "TERM").code(), Some(75));
    stage.run_ok("stopped", &["--resume"]);
    stage.assert_same("whole", "stopped");
    assert_same_eyes(&stage, "whole", "stopped");
}

#[test]
fn colours_are_learnt_and_bad_files_are_listed() {
    let stage = stage();
    let longer = ["train.steps=240", "train.batch=16", "train.micro_batch=0", "eval.every=120", "bleu.rows=20", "bleu.tokenize=none"];
    let sets: Vec<&str> = longer.iter().flat_map(|set| ["--set", set]).collect();
    stage.run_ok("long", &sets);
    let rows = testkit::metrics(&stage.out("long"));
    let loss: Vec<f64> = rows.iter().filter_map(|row| row["eval/loss"].as_f64()).collect();
    let answers = std::fs::read_to_string(stage.out("long").join("answers.jsonl")).unwrap();
    let answers: Vec<serde_json::Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let right = answers.iter().filter(|row| row["prediction"] == row["reference"]).count();
    println!("loss {loss:?}, {right} of {} colours", answers.len());
    assert!(loss[2] < 0.2 * loss[0] && right >= 18, "{right} of {}, loss {loss:?}", answers.len());
    let bad = std::fs::read_to_string(stage.out("long").join("quarantine.jsonl")).unwrap();
    assert_eq!(bad.lines().count(), 2, "{bad}");
    assert!(bad.contains("torn.jpg: not a readable JPEG") && bad.contains("nowhere.png"), "{bad}");
    let summary = std::fs::read_to_string(stage.out("long").join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((summary["rows_train"].as_u64(), summary["rows_rejected"].as_u64()), (Some(63), Some(2)));
    assert_eq!(Captioner::load(&stage.out("long").join("model"), tch::Device::Cpu).unwrap().places(), 9);
    // Another run starts from the folder, and must not ask for eyes.
    let init = format!("model.init={}", stage.out("long").display());
    let refused = stage.run("eyes", &["--set", &init]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stage.stderr(&refused).contains("has a vision encoder already"), "{}", stage.stderr(&refused));
    stage.run_ok("on", &["--set", &init, "--set", "vision.layers=0", "--set", "optim.lr=1e-12"]);
    let first = testkit::metrics(&stage.out("on")).iter().find_map(|row| row["eval/loss"].as_f64()).unwrap();
    assert!((first / loss[2] - 1.0).abs() < 1e-3, "{first} after {}", loss[2]);
}

/// Adapters on the decoder, all weights of the encoder; a stopped run goes on from the checkpoint's.
#[test]
fn adapters_see_too() {
    let stage = stage().with_set("lora.rank=4");
    stage.run_ok("whole", &[]);
    assert_eq!(stage.signal_at("stopped", 4, "TERM").code(), Some(75));
    stage.run_ok("stopped", &["--resume"]);
    stage.assert_same("whole", "stopped");
    assert_same_eyes(&stage, "whole", "stopped");
    assert!(stage.out("whole").join("model/adapter/adapter_config.json").is_file());
}

/// Micro-batches of any size give one gradient.
#[test]
fn micro_batches_of_any_size_take_the_same_steps() {
    let stage = stage();
    let run = |out: &str, micro: &str| {
        let sets = ["train.batch=8", "train.steps=3", "model.dropout=0", "optim.eps=1e-3", "optim.lr=1e-2", "schedule.warmup_steps=0"];
        let more: Vec<&str> = sets.iter().chain([&micro]).flat_map(|s| ["--set", *s]).collect();
        stage.run_ok(out, &more);
    };
    run("one of eight", "train.micro_batch=8");
    run("eight of one", "train.micro_batch=1");
    stage.assert_near("one of eight", "eight of one", 5e-6);
}

/// Of a context of 96 a picture and an empty prompt leave less than is asked for.
#[test]
fn answers_about_pictures_end_where_the_context_does() {
    let stage = stage().with_set("eval.sample_tokens=96").with_set("bleu.max_new_tokens=96");
    stage.run_ok("run", &["--set", "train.steps=1"]);
    let rows = testkit::metrics(&stage.out("run"));
    assert_eq!(rows.iter().filter(|row| row["eval/sample"].is_string() && row["eval/bleu"].is_f64()).count(), 2);
}

#[test]
fn other_pictures_and_uneven_shapes_are_refused() {
    let stage = stage();
    assert_eq!(stage.signal_at("run", 4, "TERM").code(), Some(75));
    let image = stage.dir.path().join("images/train-0.png");
    let before = std::fs::read(&image).unwrap();
    write_png(&image, 16, 16, &[7; 16 * 16 * 3]).unwrap();
    let refused = stage.run("run", &["--resume"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stage.stderr(&refused).contains("data.pictures"), "{}", stage.stderr(&refused));
    std::fs::write(&image, before).unwrap();
    stage.run_ok("run", &["--resume"]);
    let wrong = [
        ("vision.patch_size=5", "vision.image_size"),
        ("vision.heads=3", "vision.width"),
        ("data.packing=true", "data.packing"),
        ("vision.patch_size=1", "144 places"),
        ("data.sources.0.columns.image=picture", "missing-field"),
    ];
    for (i, (set, said)) in wrong.into_iter().enumerate() {
        let refused = stage.run(&format!("wrong-{i}"), &["--set", set]);
        assert_eq!(refused.status.code(), Some(2), "{set}");
        assert!(stage.stderr(&refused).contains(said), "{set}: {}", stage.stderr(&refused));
    }
}
