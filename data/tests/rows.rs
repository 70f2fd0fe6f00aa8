//! Demonstrations, rankings and prompts: from rows to what the stages learn from; made-up rows first, then the real E2E data.

use data::chat::{ChatTemplate, Message};
use data::config::{Columns, DemoData, PromptData, Quarantine, RankingData, Source};
use data::demos::{Demo, Layout, load_demos};
use data::error::DataError;
use data::labels::table::write_table;
use data::labels::{Judgment, Kind, flag, text_of};
use data::prompts::load_prompts;
use data::quarantine::{BadRow, Reason};
use data::rankings::{Lengths, Ranking, load_rankings, ranks_of};
use data::split::Split;
use data::tokenizer::Tokenizer;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub const ANY: Quarantine = Quarantine { max_fraction: 1.0, always_allow: 0 };

pub fn source(dir: &TempDir, name: &str, text: &str) -> Source {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    Source { path: path.display().to_string(), ..Source::default() }
}

fn bad(path: &Path) -> Vec<(u64, Reason)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str::<BadRow>(line).unwrap()).map(|row| (row.line, row.reason)).collect()
}

/// A folder of the shared real data, or a loud note that it is not there.
fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("RLHF_DATA").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    let folder = root.join(name);
    if folder.exists() {
        return Some(folder);
    }
    eprintln!("SKIPPED: a test on real data, because {} does not exist (set RLHF_DATA to the folder that holds {name})", folder.display());
    None
}

fn demos(dir: &TempDir, sources: Vec<Source>, template: &ChatTemplate, context: usize, fraction: f64) -> Result<Split<Demo>, DataError> {
    let config = DemoData { sources, quarantine: ANY, ..DemoData::default() };
    load_demos(&config, &Tokenizer::byte().unwrap(), &Layout::Chat(template), context, fraction, 1, &dir.path().join("bad.jsonl"))
}

/// Variations come behind the rows, of training rows alone; they keep response and group, and do not depend on other rows.
#[test]
fn augmented_prompts_keep_their_answers() {
    let dir = TempDir::new().unwrap();
    let row = |i: usize| format!("{{\"prompt\": \"one two three {i}\", \"response\": \"r{i}\"}}\n");
    let all = source(&dir, "a.jsonl", &(0..40).map(row).collect::<String>());
    let load = |copies, max_length| {
        let augment = data::config::Augment { copies, swap: 0.5, ..Default::default() };
        let config = DemoData { sources: vec![all.clone()], quarantine: ANY, augment, max_length, ..DemoData::default() };
        load_demos(&config, &Tokenizer::byte().unwrap(), &Layout::Chat(&ChatTemplate::plain()), 64, 0.25, 1, &dir.path().join("bad.jsonl"))
            .unwrap()
    };
    let (plain, varied) = (load(0, 0), load(3, 0));
    assert_eq!((&varied.valid, &varied.train[..plain.train.len()]), (&plain.valid, plain.train.as_slice()));
    let more = &varied.train[plain.train.len()..];
    assert_eq!(more.len(), 3 * plain.train.len());
    for (i, demo) in more.iter().enumerate() {
        let own = &plain.train[i / 3];
        assert_eq!((&demo.response, &demo.group), (&own.response, &own.group));
        let sorted = |text: &str| {
            let mut words: Vec<String> = text.split(' ').map(str::to_string).collect();
            words.sort();
            words
        };
        assert_eq!(sorted(&demo.prompt), sorted(&own.prompt));
        assert_eq!(
            Tokenizer::byte().unwrap().decode(demo.prompt_ids(), true).unwrap().trim_end(),
            demo.prompt,
            "the tokens are the variation's"
        );
    }
    assert!(more.iter().enumerate().any(|(i, demo)| demo.prompt != plain.train[i / 3].prompt));
    assert_eq!(load(3, 0), varied, "the same again");
}

#[test]
fn demonstrations_end_with_a_learnt_end_token() {
    let dir = TempDir::new().unwrap();
    let tokenizer = Tokenizer::byte().unwrap();
    let text = concat!(
        "{\"prompt\": \"ab\", \"response\": \"cd\"}\n",
        "{\"prompt\": \"ab\"}\n",
        "{\"prompt\": \"ab\", \"response\": \" \\n\"}\n",
        "{\"prompt\": \"ab\", \"response\": null}\n",
        "{\"prompt\": \"ab\", \"response\": 7}\n",
        "{\"prompt\": \"ab\", \"response\": \"0123456789\"}\n",
        "{\"prompt\": \"ab\", \"response\": \"01234\"}\n",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"assistant\", \"content\": \"y\"}, {\"role\": \"user\", \"content\": \"z\"}]}\n",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}\n",
        "{\"messages\": [{\"from\": \"human\", \"value\": \"x\"}, {\"from\": \"gpt\", \"value\": \"\"}]}\n",
        "{\"messages\": \"no json\"}\n",
        "{\"messages\": [{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"name\": \"cat\"}]}]}\n",
    );
    // `ab\n` and `01234` and the end token: nine tokens just fit.
    let split = demos(&dir, vec![source(&dir, "a.jsonl", text)], &ChatTemplate::plain(), 9, 0.0).unwrap();
    assert_eq!(split.train.len(), 3);
    let demo = &split.train[0];
    assert_eq!(demo.ids, [tokenizer.encode("ab\ncd").unwrap(), vec![tokenizer.eos()]].concat());
    assert_eq!(demo.loss, [false, false, false, true, true, true]);
    assert_eq!((demo.targets(), demo.prompt_ids()), (3, &demo.ids[..3]));
    assert_eq!((demo.prompt.as_str(), demo.response.as_str(), demo.group.as_str()), ("ab", "cd", "ab"));
    assert_eq!(split.train[2].response, "y");
    assert_eq!(split.train[2].ids.last(), Some(&tokenizer.eos()));
    assert_eq!(
        bad(&split.report.path),
        [
            (2, Reason::MissingField),
            (3, Reason::Empty),
            (4, Reason::MissingField),
            (5, Reason::WrongType),
            (6, Reason::TooLong),
            (9, Reason::BadChat),
            (10, Reason::Empty),
            (11, Reason::BadChat),
            (12, Reason::BadChat),
        ]
    );
    assert_eq!(split.report.read, split.train.len() as u64 + split.report.rejected);
}

#[test]
fn chats_learn_every_answer_and_prompts_do_not_leak() {
    let dir = TempDir::new().unwrap();
    let tokenizer = Tokenizer::byte().unwrap();
    let text = "{\"messages\": [{\"role\": \"user\", \"content\": \"u\"}, {\"role\": \"assistant\", \"content\": \"a\"}, \
                {\"role\": \"user\", \"content\": \"v\"}, {\"role\": \"assistant\", \"content\": \"b\"}]}\n";
    let split = demos(&dir, vec![source(&dir, "a.jsonl", text)], &ChatTemplate::chatml().unwrap(), 0, 0.0).unwrap();
    let demo = &split.train[0];
    let learnt: Vec<u32> = demo.ids.iter().zip(&demo.loss).filter(|(_, l)| **l).map(|(id, _)| *id).collect();
    assert_eq!(tokenizer.decode(&learnt, false).unwrap(), "a<|im_end|>b<|im_end|>");
    assert!(tokenizer.decode(demo.prompt_ids(), false).unwrap().ends_with("v<|im_end|>\n<|im_start|>assistant\n"));
    assert_eq!((demo.prompt.as_str(), demo.group.as_str()), ("v", "u"));
}

/// Calls of tools, what stands in the place of a text, and tools in a column of their own.
#[test]
fn what_a_template_would_leave_out_is_not_learnt_as_silence() {
    let dir = TempDir::new().unwrap();
    let calls = r#""tool_calls": [{"name": "sum"}]"#;
    let row = |silent: &str, more: &str| {
        let four = r#"{"role": "tool", "content": "4"}, {"role": "assistant", "content": "four"}"#;
        format!("{{\"messages\": [{{\"role\": \"user\", \"content\": \"2+2\"}}, {{\"role\": \"assistant\", {silent}}}, {four}]{more}}}\n")
    };
    let text = [
        row(&format!(r#""content": null, {calls}"#), ""),
        row(&format!(r#""content": "let me see", {calls}"#), ""),
        row(r#""content": "let me see", "tool_calls": []"#, r#", "tools": []"#),
        row(r#""content": "let me see""#, r#", "tools": [{"name": "sum"}]"#),
        row(r#""content": "", "reasoning_content": "even""#, ""),
    ]
    .concat();
    let reads = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}\
                 {{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let reads = ChatTemplate::from_source("reads", reads, BTreeMap::new()).unwrap();
    for (template, refused) in
        [(ChatTemplate::plain(), &[1, 2, 4, 5][..]), (ChatTemplate::chatml().unwrap(), &[1, 2, 4, 5]), (reads, &[4, 5])]
    {
        let split = demos(&dir, vec![source(&dir, "a.jsonl", &text)], &template, 0, 0.0).unwrap();
        let refused: Vec<(u64, Reason)> = refused.iter().map(|&line| (line, Reason::BadChat)).collect();
        assert_eq!((bad(&split.report.path), split.train.len()), (refused, 5 - split.report.rejected as usize), "{template:?}");
        assert!(split.train.iter().all(|demo| demo.response == "four"));
        let told = std::fs::read_to_string(&split.report.path).unwrap();
        assert!(told.contains("says something in reasoning_content, which is not read") && told.contains("leave the field out"), "{told}");
    }

    // Prompts and rankings are read by the same templates.
    let asked = |silent: &str, more: &str| {
        let turns =
            format!(r#"{{"role": "user", "content": "2+2"}}, {{"role": "assistant", {silent}}}, {{"role": "tool", "content": "4"}}"#);
        let answer = |text: &str| format!(r#"{{"role": "assistant", "content": "{text}"}}"#);
        let (chosen, rejected) = (answer("four"), answer("five"));
        format!("{{\"messages\": [{turns}], \"chosen\": [{turns}, {chosen}], \"rejected\": [{turns}, {rejected}]{more}}}\n")
    };
    let text = [
        asked(&format!(r#""content": null, {calls}"#), ""),
        asked(r#""content": "let me see""#, ""),
        asked(r#""content": "let me see""#, r#", "tools": [{"name": "sum"}]"#),
    ];
    let (tokenizer, template) = (Tokenizer::byte().unwrap(), ChatTemplate::plain());
    let sources = vec![source(&dir, "b.jsonl", &text.concat())];
    let config = PromptData { sources: sources.clone(), quarantine: ANY, ..PromptData::default() };
    let list = dir.path().join("bad.jsonl");
    let split = load_prompts(&config, &tokenizer, &template, 0, 0.0, 1, &list).unwrap();
    assert_eq!((bad(&list), split.train.len()), (vec![(1, Reason::BadChat), (3, Reason::BadChat)], 1));
    let config = RankingData { sources, quarantine: ANY, ..RankingData::default() };
    let lengths = Lengths { tokenizer: &tokenizer, template: &template, context: 0 };
    let split = load_rankings(&config, Some(lengths), 0.0, 1, &list).unwrap();
    assert_eq!((bad(&list), split.train.len()), (vec![(1, Reason::BadChat), (3, Reason::BadChat)], 1));
}

#[test]
fn chats_without_a_word_of_the_users_are_groups_of_their_own() {
    let dir = TempDir::new().unwrap();
    let turn = |role: &str, text: &str| format!("{{\"role\": \"{role}\", \"content\": \"{text}\"}}");
    let row = |turns: &[String]| format!("{{\"messages\": [{}]}}\n", turns.join(", "));
    let text: String = (0..40).map(|i| row(&[turn("system", &format!("rule {i}")), turn("assistant", "yes")])).collect();
    let split = demos(&dir, vec![source(&dir, "a.jsonl", &text)], &ChatTemplate::chatml().unwrap(), 0, 0.25).unwrap();
    assert!(split.train.len() > 20 && split.valid.len() > 2, "{} and {}", split.train.len(), split.valid.len());
    let text =
        row(&[turn("user", " "), turn("assistant", "one")]) + &row(&[turn("system", "s"), turn("user", ""), turn("assistant", "two")]);
    let split = demos(&dir, vec![source(&dir, "b.jsonl", &text)], &ChatTemplate::plain(), 0, 0.0).unwrap();
    let groups: Vec<&str> = split.train.iter().map(|demo| demo.group.as_str()).collect();
    assert_eq!(groups, ["user:  \n\nassistant: one", "system: s\n\nuser:"]);
}

#[test]
fn nothing_usable_is_an_error() {
    let dir = TempDir::new().unwrap();
    let error = demos(&dir, vec![source(&dir, "a.jsonl", "{\"prompt\": \"x\"}\n")], &ChatTemplate::plain(), 0, 0.0).unwrap_err();
    assert!(matches!(error, DataError::Empty { .. }) && error.to_string().contains("a.jsonl"), "{error}");
    assert!(matches!(demos(&dir, vec![], &ChatTemplate::plain(), 0, 0.0), Err(DataError::Config { .. })));
    let strict =
        DemoData { sources: vec![source(&dir, "b.jsonl", "x\n{\"prompt\": \"a\", \"response\": \"b\"}\n")], ..DemoData::default() };
    let list = dir.path().join("bad.jsonl");
    let error = load_demos(&strict, &Tokenizer::byte().unwrap(), &Layout::Chat(&ChatTemplate::plain()), 0, 0.0, 1, &list).unwrap_err();
    assert!(matches!(error, DataError::TooManyBad { .. }) && error.to_string().contains(&list.display().to_string()), "{error}");
    assert!(error.to_string().ends_with("raise data.quarantine.max_fraction or data.quarantine.always_allow"), "{error}");
}

fn rankings(dir: &TempDir, sources: Vec<Source>, merge_judges: bool) -> Split<Ranking> {
    let config = RankingData { sources, merge_judges, quarantine: ANY, ..RankingData::default() };
    load_rankings(&config, None, 0.0, 1, &dir.path().join("bad.jsonl")).unwrap()
}

#[test]
fn pairs_and_k_wise_become_one() {
    let dir = TempDir::new().unwrap();
    let text = concat!(
        "{\"prompt\": \"p\", \"chosen\": \"good\", \"rejected\": \"bad\", \"judge\": 7, \"weight\": \"0.5\"}\n",
        "{\"prompt\": \"p\", \"answers\": [\"a\", \"b\", \"c\", \"d\"], \"ranks\": [3, 1, 1, 9]}\n",
        "{\"chosen\": \"\\n\\nHuman: hi\\n\\nAssistant: well said\", \"rejected\": \"\\n\\nHuman: hi\\n\\nAssistant: what\"}\n",
        "{\"chosen\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"x\"}], \
          \"rejected\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"y\"}]}\n",
        "{\"prompt\": \"p\", \"answers\": [\"a\", \"b\"], \"ranks\": [1]}\n",
        "{\"prompt\": \"p\", \"answers\": [\"a\", \"b\"], \"ranks\": [1, 1.5]}\n",
        "{\"prompt\": \"p\", \"answers\": [\"a\", \" \"], \"ranks\": [1, 2]}\n",
        "{\"prompt\": \"p\", \"answers\": [\"a\"], \"ranks\": [1]}\n",
        "{\"prompt\": \"p\", \"chosen\": \"good\"}\n",
        "{\"prompt\": \"p\", \"chosen\": \"good\", \"rejected\": \"\"}\n",
        "{\"prompt\": \"p\", \"chosen\": \"good\", \"rejected\": \"bad\", \"weight\": -1}\n",
        "{\"prompt\": \"\", \"answers\": [\"a\", \"b\"], \"ranks\": [1, 2]}\n",
        "{\"chosen\": \"one\", \"rejected\": \"two\"}\n",
    );
    let split = rankings(&dir, vec![source(&dir, "a.jsonl", text)], false);
    let [pair, k_wise, dialogue, chats] = &split.train[..] else { panic!("{:?}", split.train) };
    assert_eq!((&pair.answers[..], &pair.ranks[..]), (&["good".to_string(), "bad".to_string()][..], &[1, 2][..]));
    assert_eq!((pair.judge.as_deref(), pair.weight, pair.row), (Some("7"), 0.5, 1));
    assert_eq!(k_wise.ranks, [2, 1, 1, 3]);
    assert_eq!(k_wise.pairs().collect::<Vec<_>>(), [(1, 0), (2, 0), (0, 3), (1, 3), (2, 3)]);
    assert_eq!(k_wise.ties(), 1);
    assert_eq!((text_of(&dialogue.prompt).as_str(), dialogue.answers[1].as_str()), ("Human: hi\n\nAssistant:", " what"));
    assert_eq!((&chats.prompt[..], chats.answers[0].as_str()), (&[Message::new("user", "q")][..], "x"));
    assert_eq!(
        bad(&split.report.path),
        [
            (5, Reason::BadRanking),
            (6, Reason::BadRanking),
            (7, Reason::Empty),
            (8, Reason::BadRanking),
            (9, Reason::MissingField),
            (10, Reason::Empty),
            (11, Reason::BadWeight),
            (12, Reason::Empty),
            (13, Reason::MissingField),
        ]
    );
    assert_eq!(split.report.read, 13);
}

#[test]
fn prompts_of_several_turns_are_kept_as_turns() {
    let dir = TempDir::new().unwrap();
    let turns = r#"{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}"#;
    let answer = |text: &str| format!(r#"{{"role": "assistant", "content": "{text}"}}"#);
    let text = [
        format!(r#"{{"chosen": [{turns}, {}], "rejected": [{turns}, {}]}}"#, answer("x"), answer("y")),
        format!(r#"{{"prompt": [{turns}], "chosen": [{}], "rejected": [{}]}}"#, answer("x"), answer("y")),
        format!(r#"{{"prompt": [{turns}], "chosen": "x", "rejected": "y"}}"#),
        format!(r#"{{"prompt": [{turns}], "answers": ["y", "x"], "ranks": [2, 1]}}"#),
        format!(r#"{{"chosen": [{turns}, {}], "rejected": [{turns}]}}"#, answer("x")),
        format!(r#"{{"chosen": [{}], "rejected": [{}]}}"#, answer("x"), answer("y")),
        r#"{"prompt": [{"role": "user", "content": " "}], "chosen": "x", "rejected": "y"}"#.to_string(),
    ];
    let split = rankings(&dir, vec![source(&dir, "a.jsonl", &text.join("\n"))], false);
    let said = ["system", "user", "assistant", "user"].iter().zip(["s", "q", "a", "r"]).map(|(role, text)| Message::new(role, text));
    let said: Vec<Message> = said.collect();
    assert_eq!(split.train.len(), 4);
    for ranking in &split.train {
        assert_eq!((&ranking.prompt, ranking.item()), (&said, split.train[0].item()));
        assert_eq!(ranking.asked("P: ")[0], Message::new("system", "P: s"));
        assert_eq!(ranking.group, "system: s\n\nuser: q\n\nassistant: a\n\nuser: r");
    }
    assert_eq!(bad(&split.report.path), [(5, Reason::BadChat), (6, Reason::MissingField), (7, Reason::Empty)]);
}

/// A table of judgments of every kind, and what is read from it.
#[test]
fn a_table_of_judgments_is_read_without_column_names() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("labels.arrow");
    let prompt = || vec![Message::new("user", "q"), Message::new("assistant", "a"), Message::new("user", "r")];
    let judgment = |kind, answers: &[&str]| Judgment {
        group: "g".into(),
        file: "export.json".into(),
        row: 7,
        ..Judgment::new(kind, prompt(), answers.iter().map(|a| a.to_string()).collect())
    };
    let ranked = Judgment {
        ranks: Some(vec![2, 1, 2]),
        worth: Some(vec![0.0, 1.5, 0.5]),
        judge: Some("ann".into()),
        weight: 0.5,
        ..judgment(Kind::Ranking, &["x", "y", "z"])
    };
    let rated = Judgment { scores: Some(vec![2.0, 5.0]), ..judgment(Kind::Rating, &["x", "y"]) };
    let rejected = Judgment { flags: vec![flag::REJECT_ALL.into()], ranks: Some(vec![1, 1]), ..judgment(Kind::Ranking, &["x", "y"]) };
    let rows = [
        ranked.clone(),
        rated,
        judgment(Kind::Rating, &["x"]),
        rejected,
        judgment(Kind::Demonstration, &["x"]),
        judgment(Kind::Skipped, &["x", "y"]),
        judgment(Kind::Skipped, &["x", "z"]),
        judgment(Kind::Open, &["x", "y"]),
        judgment(Kind::Ranking, &["x", "y"]),
    ];
    write_table(&path, rows).unwrap();
    // Beside rows of another format: one set of rankings.
    let table = Source { path: path.display().to_string(), ..Source::default() };
    let pair = source(&dir, "a.jsonl", "{\"prompt\": \"p\", \"chosen\": \"x\", \"rejected\": \"y\"}\n");
    let split = rankings(&dir, vec![table.clone(), pair], false);
    assert_eq!(split.train.len(), 3);
    let first = &split.train[0];
    assert_eq!((&first.prompt, &first.ranks[..], first.row), (&prompt(), &[2, 1, 2][..], 7));
    assert_eq!((first.judge.as_deref(), first.weight, first.group.as_str()), (Some("ann"), 0.5, "g"));
    assert_eq!(first.worth, ranked.worth);
    assert_eq!((&split.train[1].ranks[..], split.train[1].scores.as_deref()), (&[2, 1][..], Some(&[2.0, 5.0][..])));
    let skipped: Vec<(&str, u64)> = split.report.skipped.iter().map(|(cause, n)| (cause.as_str(), *n)).collect();
    assert_eq!(skipped, [("demonstration", 1), ("open", 1), ("reject-all", 1), ("single rating", 1), ("skipped", 2)]);
    assert_eq!((split.report.read, split.report.rejected), (10, 1));
    let text = std::fs::read_to_string(&split.report.path).unwrap();
    let bad: BadRow = serde_json::from_str(&text).unwrap();
    assert_eq!((bad.line, bad.detail.as_str()), (9, "neither ranks nor scores nor worth (from export.json, row 7)"));
    // What was read can be written and read again.
    write_table(&path, split.train.iter().map(Judgment::from)).unwrap();
    assert_eq!(rankings(&dir, vec![table.clone()], false).train, split.train);
    // A table without a ranking says what it has.
    write_table(&path, [judgment(Kind::Open, &["x", "y"])]).unwrap();
    let config = RankingData { sources: vec![table], ..RankingData::default() };
    let error = load_rankings(&config, None, 0.0, 1, &dir.path().join("bad.jsonl")).unwrap_err().to_string();
    assert!(error.contains("labels.arrow") && error.contains("\"open\": 1"), "{error}");
}

#[test]
fn what_is_held_out_by_name_is_not_trained_on_and_not_merged() {
    let dir = TempDir::new().unwrap();
    let row = |prompt: &str, judge: &str| {
        format!("{{\"prompt\": \"{prompt}\", \"answers\": [\"a\", \"b\"], \"ranks\": [1, 2], \"judge\": \"{judge}\"}}\n")
    };
    let all = [row("p", "x"), row("p", "y"), row("q", "x"), row("q", "y")].concat();
    let mut config = RankingData {
        sources: vec![source(&dir, "a.jsonl", &all)],
        heldout: vec![source(&dir, "b.jsonl", &[row("q", "x"), row("q", "y")].concat())],
        merge_judges: true,
        ..RankingData::default()
    };
    let list = dir.path().join("bad.jsonl");
    let split = load_rankings(&config, None, 0.5, 1, &list).unwrap();
    let prompts = |side: &[Ranking]| side.iter().map(|r| text_of(&r.prompt)).collect::<Vec<_>>();
    assert_eq!((prompts(&split.train), prompts(&split.valid)), (wide(&["p"]), wide(&["q", "q"])));
    assert_eq!((split.train[0].weight, split.valid[0].weight), (2.0, 1.0));
    assert_eq!((split.report.read, split.report.skipped["held-out"], split.report.skipped["merged"]), (6, 2, 1));
    config.sources.clear();
    assert!(matches!(load_rankings(&config, None, 0.5, 1, &list), Err(DataError::Config { .. })));
}

fn wide(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| n.to_string()).collect()
}

#[test]
fn wide_scores_with_gaps_and_json_lists_in_cells() {
    let dir = TempDir::new().unwrap();
    let mut scores = source(&dir, "a.csv", "mr,r1,r2,r3,s1,s2,s3\nq,a,b,c,10,,30.5\nq,a,b,c,,,1\nq,a,b,c,x,1,2\n");
    scores.columns =
        Columns { prompt: "mr".into(), answers: wide(&["r1", "r2", "r3"]), scores: wide(&["s1", "s2", "s3"]), ..Columns::default() };
    let lists = source(&dir, "b.csv", "prompt,answers,ranks\nq,\"[\"\"a\"\", \"\"b\"\"]\",\"[2, 1]\"\nq,nolist,\"[2, 1]\"\n");
    let split = rankings(&dir, vec![scores, lists], false);
    let [gap, list] = &split.train[..] else { panic!("{:?}", split.train) };
    assert_eq!((gap.answers.join(""), gap.scores.as_deref(), &gap.ranks[..]), ("ac".to_string(), Some(&[10.0, 30.5][..]), &[2, 1][..]));
    assert_eq!((list.answers.join(""), &list.ranks[..]), ("ab".to_string(), &[2, 1][..]));
    assert_eq!(bad(&split.report.path), [(3, Reason::BadRanking), (4, Reason::WrongType), (3, Reason::WrongType)]);
}

#[test]
fn ranks_are_dense_and_keep_ties() {
    assert_eq!(ranks_of(&[1.0, 3.0, 3.0, -2.0]), [2, 1, 1, 3]);
    assert_eq!(ranks_of(&[0.0, -0.0]), [1, 1], "zero equals minus zero");
    assert_eq!(ranks_of(&[]), [0u32; 0]);
}

#[test]
fn merged_judges_are_averaged_by_answer() {
    let dir = TempDir::new().unwrap();
    let text = concat!(
        "{\"prompt\": \"p\", \"answers\": [\"a\", \"b\", \"a\"], \"s\": [10, 0, 4], \"judge\": \"x\"}\n",
        "{\"prompt\": \"q\", \"answers\": [\"a\", \"b\", \"a\"], \"s\": [1, 2, 3], \"judge\": \"x\"}\n",
        // Shown in another order, and counting three times as much.
        "{\"prompt\": \"p\", \"answers\": [\"b\", \"a\", \"a\"], \"s\": [8, 2, 0], \"judge\": \"y\", \"weight\": 3}\n",
    );
    let mut scored = source(&dir, "a.jsonl", text);
    scored.columns.scores = wide(&["s"]);
    let split = rankings(&dir, vec![scored], true);
    assert_eq!(split.train.len(), 2);
    let merged = &split.train[0];
    assert_eq!(merged.scores.as_deref(), Some(&[4.0, 6.0, 1.0][..]));
    assert_eq!((&merged.ranks[..], merged.weight, merged.judge.clone(), merged.row), (&[2, 1, 3][..], 4.0, None, 1));
    assert_eq!(split.train[1].judge.as_deref(), Some("x"));
    assert_eq!((split.report.read, split.report.skipped["merged"]), (3, 1));
    // Ranks without scores: mean rank.
    let text = "{\"prompt\": \"p\", \"answers\": [\"a\", \"b\"], \"ranks\": [1, 2]}\n{\"prompt\": \"p\", \"answers\": [\"b\", \"a\"], \"ranks\": [1, 2]}\n";
    let split = rankings(&dir, vec![source(&dir, "b.jsonl", text)], true);
    assert_eq!((split.train.len(), &split.train[0].ranks[..]), (1, &[1, 1][..]));
}

#[test]
fn too_long_rankings_and_prefixes() {
    let dir = TempDir::new().unwrap();
    let tokenizer = Tokenizer::byte().unwrap();
    let text =
        "{\"prompt\": \"p\", \"chosen\": \"1234\", \"rejected\": \"1\"}\n{\"prompt\": \"p\", \"chosen\": \"1\", \"rejected\": \"12345\"}\n";
    let config = RankingData {
        sources: vec![source(&dir, "a.jsonl", text)],
        prompt_prefix: "Q: ".into(),
        quarantine: ANY,
        ..RankingData::default()
    };
    let lengths = Lengths { tokenizer: &tokenizer, template: &ChatTemplate::plain(), context: 10 };
    let split = load_rankings(&config, Some(lengths), 0.0, 1, &dir.path().join("bad.jsonl")).unwrap();
    let kept = &split.train[0];
    assert_eq!((split.train.len(), &kept.prompt[..], kept.group.as_str()), (1, &[Message::new("user", "p")][..], "p"));
    assert_eq!(kept.asked("Q: "), [Message::new("user", "Q: p")]);
    assert_eq!(bad(&split.report.path), [(2, Reason::TooLong)]);
}

#[test]
fn prompts_are_deduplicated_and_held_out() {
    let dir = TempDir::new().unwrap();
    let tokenizer = Tokenizer::byte().unwrap();
    let text = "\"a\"\n\"b\"\n\"a\"\n{\"prompt\": \"long prompt\"}\n\"\"\n\"c\"\n";
    let mut config = PromptData { sources: vec![source(&dir, "a.jsonl", text)], quarantine: ANY, ..PromptData::default() };
    let list = dir.path().join("bad.jsonl");
    let split = load_prompts(&config, &tokenizer, &ChatTemplate::plain(), 5, 0.0, 1, &list).unwrap();
    let texts = |prompts: &[data::prompts::Prompt]| prompts.iter().map(|p| p.text()).collect::<Vec<_>>();
    assert_eq!(texts(&split.train), ["a", "b", "c"]);
    assert_eq!(split.train[0].ids, tokenizer.encode("a\n").unwrap());
    assert_eq!(bad(&list), [(4, Reason::TooLong), (5, Reason::Empty)]);
    assert_eq!((split.report.read, split.report.skipped["duplicate"]), (6, 1));
    config.heldout = vec![source(&dir, "b.jsonl", "\"b\"\n\"d\"\n")];
    let split = load_prompts(&config, &tokenizer, &ChatTemplate::plain(), 5, 0.5, 1, &list).unwrap();
    assert_eq!((texts(&split.train), texts(&split.valid)), (wide(&["a", "c"]), wide(&["b", "d"])));
    assert_eq!(split.report.read, 2 + 2 + 2 + 1 + 1, "kept + rejected + duplicate + held out");
}

#[test]
fn prompts_may_be_conversations() {
    let dir = TempDir::new().unwrap();
    let (tokenizer, template) = (Tokenizer::byte().unwrap(), ChatTemplate::chatml().unwrap());
    let turn = |role: &str, text: &str| format!("{{\"role\": \"{role}\", \"content\": \"{text}\"}}");
    let asked = [turn("system", "s"), turn("user", "q"), turn("assistant", "a"), turn("user", "and?")];
    let row = |turns: &[String]| format!("{{\"messages\": [{}]}}\n", turns.join(", "));
    // The second waits for nothing; the third reads like the first and is another; the fourth is the first again.
    let same = "{\"prompt\": \"system: s\\n\\nuser: q\\n\\nassistant: a\\n\\nuser: and?\"}\n";
    let text = row(&asked) + &row(&asked[..3]) + same + &row(&asked);
    let config = PromptData { sources: vec![source(&dir, "a.jsonl", &text)], quarantine: ANY, ..PromptData::default() };
    let list = dir.path().join("bad.jsonl");
    let split = load_prompts(&config, &tokenizer, &template, 0, 0.0, 1, &list).unwrap();
    let [chat, plain] = &split.train[..] else { panic!("{:?}", split.train) };
    assert_eq!(chat.turns.iter().map(|t| t.role.as_str()).collect::<Vec<_>>(), ["system", "user", "assistant", "user"]);
    assert_eq!((plain.turns.len(), plain.text()), (1, chat.text()));
    assert_eq!(chat.ids, template.encode_turns(&tokenizer, &chat.turns).unwrap());
    assert_eq!((bad(&list), split.report.skipped["duplicate"]), (vec![(2, Reason::BadChat)], 1));
}

#[test]
fn real_rankings_of_five() {
    let Some(folder) = shared("r02-e2e-rankme-k5") else { return };
    let dir = TempDir::new().unwrap();
    // Rows, pairs and tied pairs counted by Python's csv module.
    for (file, aspect, rows, pairs, ties) in
        [("quality.csv", "quality", 1974, 19_740, 9_712), ("naturalness.csv", "natur", 2814, 28_140, 15_152)]
    {
        let columns = Columns {
            prompt: "mr".into(),
            answers: (1..=5).map(|i| format!("ref{i}")).collect(),
            scores: (1..=5).map(|i| format!("{aspect}{i}")).collect(),
            judge: "_worker_id".into(),
            weight: "_trust".into(),
            group: "mr_id".into(),
            ..Columns::default()
        };
        let source = Source { path: folder.join(file).display().to_string(), columns, ..Source::default() };
        let mut config = RankingData { sources: vec![source], ..RankingData::default() };
        let list = dir.path().join("bad.jsonl");
        let split = load_rankings(&config, None, 0.15, 1, &list).unwrap();
        let all: Vec<&Ranking> = split.train.iter().chain(&split.valid).collect();
        assert_eq!((all.len(), split.report.read, split.report.rejected), (rows, rows as u64, 0));
        assert!(all.iter().all(|r| r.answers.len() == 5 && r.judge.as_ref().is_some_and(|j| j.starts_with('w')) && r.weight <= 1.0));
        assert_eq!(all.iter().map(|r| r.ties()).sum::<usize>(), ties);
        assert_eq!(all.iter().map(|r| r.pairs().count()).sum::<usize>(), pairs - ties);
        // The split is by meaning, not by row.
        let groups = |side: &[Ranking]| side.iter().map(|r| r.group.clone()).collect::<HashSet<_>>();
        let (train, valid) = (groups(&split.train), groups(&split.valid));
        assert!(train.is_disjoint(&valid));
        assert_eq!(train.len() + valid.len(), 420);
        assert!((42..84).contains(&valid.len()), "{} of 420 held out", valid.len());

        config.merge_judges = true;
        let merged = load_rankings(&config, None, 0.0, 1, &list).unwrap();
        assert_eq!((merged.train.len(), merged.report.skipped["merged"]), (938, rows as u64 - 938));
        assert!(merged.train.iter().all(|r| r.scores.is_some()));
    }
}

#[test]
fn real_lines_are_the_files_lines() {
    let Some(folder) = shared("r02-e2e-rankme-k5") else { return };
    // This file has cells with line ends in them: 1,975 records on 2,095 lines.
    let path = folder.join("quality.csv");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split('\n').collect();
    let mut bad = data::quarantine::Quarantine::new("unused.jsonl");
    let mut seen = 0;
    let source = Source { path: path.display().to_string(), ..Source::default() };
    data::source::read(&source, &mut bad, &mut |row, _| {
        let unit = row.fields["_unit_id"].as_str().unwrap();
        assert!(lines[row.line as usize - 1].starts_with(unit), "line {}", row.line);
        seen += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, 1974);
}

#[test]
fn real_demonstrations() {
    let Some(folder) = shared("s08-e2e-nlg-sft") else { return };
    let dir = TempDir::new().unwrap();
    let source = |file: &str| Source {
        path: folder.join(file).display().to_string(),
        columns: Columns { prompt: "mr".into(), response: "ref".into(), ..Columns::default() },
        ..Source::default()
    };
    let split = demos(&dir, vec![source("devset.csv"), source("devel-fixed.no-ol.csv")], &ChatTemplate::plain(), 1024, 0.05).unwrap();
    assert_eq!((split.report.read, split.report.rejected), (4672 + 4299, 0));
    assert_eq!(split.train.len() + split.valid.len(), 8971);
    assert_eq!(demos(&dir, vec![source("devset.csv")], &ChatTemplate::plain(), 0, 0.05).unwrap().report.read, 4672);
    let tokenizer = Tokenizer::byte().unwrap();
    let mut prompts: BTreeMap<&str, bool> = BTreeMap::new();
    for (demo, valid) in split.train.iter().map(|d| (d, false)).chain(split.valid.iter().map(|d| (d, true))) {
        assert_eq!(*prompts.entry(&demo.prompt).or_insert(valid), valid, "one prompt, one side");
        assert_eq!(demo.ids.last(), Some(&tokenizer.eos()));
        assert_eq!(demo.targets(), demo.response.len() + 1);
    }
    // Too long a row is rejected, never cut.
    let short = demos(&dir, vec![source("devset.csv")], &ChatTemplate::plain(), 200, 0.0).unwrap();
    assert_eq!(short.report.by_reason.keys().collect::<Vec<_>>(), ["too-long"]);
    assert_eq!(short.report.read, 4672);
    assert_eq!(short.train.len() as u64 + short.report.rejected, 4672);
}

#[test]
fn real_dialogues() {
    let Some(folder) = shared("r14-hh-rlhf-harmless-test") else { return };
    let dir = TempDir::new().unwrap();
    let source = Source { path: folder.join("test.jsonl.gz").display().to_string(), ..Source::default() };
    let split = rankings(&dir, vec![source], false);
    assert_eq!(split.report.read, 2312);
    assert_eq!(split.train.len() as u64 + split.report.rejected, 2312);
    assert!(split.report.rejected < 40, "{:?}", split.report);
    let prompts = split.train.iter().map(|r| text_of(&r.prompt));
    assert!({ prompts }.all(|p| p.starts_with("Human:") && p.ends_with("Assistant:")));
}
