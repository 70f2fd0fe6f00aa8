//! Mappings: the shipped ones, and what a mapping can say.

use crate::readers::common::{read_mapped, shipped};
use data::labels::{Kind, flag};
use data::quarantine::Reason;

#[test]
fn every_shipped_mapping_loads() {
    let folder = shipped("");
    let mut n = 0;
    for entry in std::fs::read_dir(&folder).expect("configs/labels") {
        let path = entry.expect("entry").path();
        label::ingest::mapping::load(&path).unwrap_or_else(|e| panic!("{}: {e:#}", path.display()));
        n += 1;
    }
    assert!(n >= 12, "{n}");
}

#[test]
fn a_wrong_mapping_is_one_clear_error() {
    let pair = "prompt = \"p\"\nanswers = [\"a\", \"b\"]\n[[judgments]]\n";
    for (mapping, part) in [
        ("answers = [\"a\"]".to_string(), "prompt (or messages) is missing"),
        ("prompt = \"p\"\nanswer = [\"a\"]".to_string(), "unknown field `answer`"),
        ("prompt = \"{p\"".to_string(), "{ without }"),
        (format!("{pair}scores = [\"x\", \"y\", \"z\"]"), "judgment 1: 3 columns of scores for 2 columns of answers"),
        (format!("{pair}scores = [\"x\", \"y\"]\nchoice = \"c\""), "at most one of them"),
        (format!("{pair}choice = \"c\"\nvalues = {{ a = [1, 3] }}"), "do not count from 1 without gaps"),
        (format!("{pair}choice = \"c\"\nvalues = {{ a = \"pass\" }}"), "neither skip nor reject-all"),
        (format!("{pair}choice = \"c\"\ntimes = \"dd.mm.yy\""), "is no form of time"),
        (format!("{pair}kind = \"opinion\""), "none of demonstration"),
        (format!("{pair}confidence = \"c\"\nconfidence_range = [5, 5]"), "has no width"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.toml");
        std::fs::write(&path, &mapping).unwrap();
        let error = label::ingest::mapping::load(&path).err().expect(&mapping);
        let text = format!("{error:#}");
        assert!(text.contains(part) && text.contains("m.toml"), "{mapping}\n{text}");
        assert!(error.is::<label::exit::Input>(), "the user's mistake: {text}");
    }
}

#[test]
fn a_table_without_a_column_is_an_error_that_names_them() {
    let mapping = "prompt = \"p\"\nanswers = [\"a\", \"b\"]\n[[judgments]]\nscores = [\"s1\", \"s2\"]\n";
    let error = read_mapped("t.csv", "p,a,b,s1\nq,x,y,1\n", mapping).err().expect("an error").to_string();
    assert!(error.contains("s2") && error.contains("p, a, b, s1") && error.contains("t.csv"), "{error}");
}

#[test]
fn scores_ranks_and_who_is_better() {
    let mapping = |more: &str| {
        format!("prompt = \"p\"\nanswers = [\"a\", \"b\", \"c\"]\nauthors = [\"ma\", \"mb\", \"mc\"]\n[[judgments]]\n{more}\n")
    };
    let csv = "p,a,b,c,ma,mb,mc,s1,s2,s3,w\nq,x,y,z,A,B,C,10,20,10,2\nq,x,y,z,A,B,C,10,,30,\nq,x,y,z,A,B,C,,,,1\nq,x,y,z,A,B,C,5,,,1\nq,x,y,z,A,B,C,a,1,2,1\nq,x,y,z,A,B,C,1,2,3,0\n\
               ,x,y,z,A,B,C,1,2,3,1\nq,,,,A,B,C,1,2,3,1\nq,,y,z,A,B,C,1,2,3,1\n";
    let got = read_mapped("t.csv", csv, &mapping("scores = [\"s1\", \"s2\", \"s3\"]\nweight = \"w\"")).unwrap();
    let ranks: Vec<_> = got.kept.iter().map(|j| j.ranks.clone()).collect();
    assert_eq!(ranks, [Some(vec![2, 1, 2]), Some(vec![2, 1]), None, Some(vec![3, 2, 1])]);
    assert_eq!(got.kept[0].weight, 2.0);
    // An answer without a score is left out, and said to be.
    assert_eq!((&got.kept[1].answers, &got.kept[1].authors), (&vec!["x".into(), "z".into()], &Some(vec!["A".into(), "C".into()])));
    assert!(got.kept[1].has("partial") && !got.kept[0].has("partial"));
    // One scored answer of three is a rating of it.
    assert_eq!((got.kept[2].kind, &got.kept[2].scores), (Kind::Rating, &Some(vec![5.0])));
    // A model that said nothing was judged like any other.
    assert!(got.kept[3].has("empty-answer"));
    let reasons: Vec<_> = got.bad.iter().map(|(row, reason, _)| (*row, *reason)).collect();
    let expected = [(4, Reason::MissingField), (6, Reason::WrongType), (7, Reason::BadWeight), (8, Reason::Empty), (9, Reason::Empty)];
    assert_eq!(reasons, expected);

    let lower = read_mapped("t.csv", csv, &mapping("scores = [\"s1\", \"s2\", \"s3\"]\nbetter = \"lower\"")).unwrap();
    assert_eq!((&lower.kept[0].ranks, &lower.kept[0].scores), (&Some(vec![1, 2, 1]), &Some(vec![-10.0, -20.0, -10.0])));
    let ranked = read_mapped("t.csv", csv, &mapping("ranks = [\"s1\", \"s2\", \"s3\"]")).unwrap();
    assert_eq!((&ranked.kept[0].ranks, &ranked.kept[0].scores), (&Some(vec![1, 2, 1]), &None));
    let best_high = read_mapped("t.csv", csv, &mapping("ranks = [\"s1\", \"s2\", \"s3\"]\nbetter = \"higher\"")).unwrap();
    assert_eq!(best_high.kept[0].ranks, Some(vec![2, 1, 2]));
    // One rank of three orders nothing.
    assert_eq!(ranked.bad.iter().find(|(row, ..)| *row == 5).map(|(_, reason, _)| *reason), Some(Reason::BadRanking));
}

#[test]
fn choices_skips_and_several_judgments_a_row() {
    let mapping = r#"
        prompt = "{q}[[ ({hint})]]"
        system = "sys"
        answers = ["texts"]
        authors = ["who"]
        item = "id"
        group = "{set}/{id}"

        [[skip]]
        column = "state"
        is = ["void", "false"]
        reason = "void row"

        [[judgments]]
        choice = "first"
        begins = true
        judge = "j1"
        started = "t0"
        ended = "t1"
        times = "unix"
        confidence = "sure"
        confidence_range = [1, 5]
        comment = "{first}"
        flags = ["batch={set}", "pilot", "note={hint}"]
        values = { A = [1, 2], B = [2, 1], "A or B" = { scores = [0, 0], confidence = 0.25, flags = ["unsure"] }, "" = "skip", none = "reject-all" }

        [[judgments]]
        choice = "second"
        judge_name = "second judge"
        first = 0
    "#;
    let row = |more: &str| {
        format!("{{\"q\": \"Q\", \"sys\": \"S\", \"texts\": [\"x\", true], \"who\": [\"m\", null], \"id\": 7, \"set\": \"s\", {more}}}\n")
    };
    let text = [
        row("\"first\": \"B, since...\", \"j1\": \"ann\", \"t0\": 100, \"t1\": 130.5, \"sure\": 4, \"second\": 1, \"hint\": \"h\""),
        row("\"first\": \"A or B\", \"second\": \"0\", \"hint\": \" \""),
        row("\"first\": \"\", \"second\": 2"),
        row("\"first\": \"none\", \"second\": 0, \"state\": false"),
        row("\"first\": \"none\", \"second\": 0, \"sure\": 9"),
        row("\"first\": \"C\""),
    ]
    .concat();
    let got = read_mapped("t.jsonl", &text, mapping).unwrap();
    assert_eq!(got.kept.len() + got.bad.len(), 6 * 2);
    let [a, b] = [&got.kept[0], &got.kept[1]];
    assert_eq!((&a.ranks, &b.ranks), (&Some(vec![2, 1]), &Some(vec![2, 1])));
    assert_eq!((a.judge.as_deref(), b.judge.as_deref()), (Some("ann"), Some("second judge")));
    assert_eq!((a.item.as_str(), a.group.as_str(), a.answers[1].as_str()), ("7", "s/7", "true"));
    assert_eq!(a.prompt.iter().map(|t| format!("{}: {}", t.role, t.content)).collect::<Vec<_>>(), ["system: S", "user: Q (h)"]);
    assert_eq!((a.started, a.ended, a.seconds, a.confidence), (Some(100_000), Some(130_500), Some(30.5), Some(0.75)));
    assert_eq!((a.flags.join(" "), a.comment.as_deref()), ("batch=s pilot note=h".to_string(), Some("B, since...")));
    let tie = &got.kept[2];
    assert_eq!((&tie.ranks, &tie.scores, tie.confidence), (&Some(vec![1, 1]), &Some(vec![0.0, 0.0]), Some(0.25)));
    assert_eq!((tie.flags.join(" "), tie.prompt[1].content.as_str()), ("unsure batch=s pilot".to_string(), "Q"));
    assert_eq!(got.kept[4].kind, Kind::Skipped);
    // The skipped row is skipped for both judges, with the reason beside what the judge wrote.
    assert!(got.kept[5].kind == Kind::Skipped && got.kept[6].kind == Kind::Skipped);
    assert_eq!(got.kept[6].comment.as_deref(), Some("void row"));
    let bad: Vec<_> = got.bad.iter().map(|(row, reason, _)| (*row, *reason)).collect();
    assert_eq!(bad, [(3, Reason::BadRanking), (5, Reason::WrongType), (6, Reason::BadRanking), (6, Reason::MissingField)]);
    assert!(got.bad[2].2.contains("none of the mapping's values"), "{:?}", got.bad[2]);
    let all_bad = read_mapped("t.jsonl", &row("\"first\": \"none\", \"second\": 0"), mapping).unwrap();
    assert!(all_bad.kept[0].has(flag::REJECT_ALL) && all_bad.kept[0].ranks == Some(vec![1, 1]));
}

#[test]
fn conversations_lists_in_cells_and_items_without_judgments() {
    let mapping = "messages = \"chat\"\nanswers = [\"list\"]\n[[judgments]]\nscores = [\"marks\"]\n";
    let csv = "chat,list,marks\n\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"hi\"\"}]\",\"[\"\"a\"\", \"\"b\"\", \"\"c\"\"]\",\"[1, null, 0.5]\"\nplain words,\"[\"\"a\"\"]\",3\n";
    let got = read_mapped("t.csv", csv, mapping).unwrap();
    assert_eq!((got.bad.len(), got.kept.len()), (0, 2), "{:?}", got.bad);
    assert_eq!((&got.kept[0].answers, &got.kept[0].ranks), (&vec!["a".to_string(), "c".into()], &Some(vec![1, 2])));
    assert_eq!((got.kept[1].kind, got.kept[1].prompt[0].content.as_str()), (Kind::Rating, "plain words"));
    let open = read_mapped("t.csv", csv, "messages = \"chat\"\nanswers = [\"list\"]\n").unwrap();
    assert!(open.kept.iter().all(|j| j.kind == Kind::Open && j.ranks.is_none() && j.scores.is_none()));
    let shown = read_mapped(
        "t.jsonl",
        "{\"q\": \"a\", \"r\": \"b\"}\n",
        "prompt = \"q\"\nanswers = [\"r\"]\n[[judgments]]\nkind = \"demonstration\"\n",
    )
    .unwrap();
    assert_eq!((shown.kept[0].kind, shown.kept[0].answers[0].as_str()), (Kind::Demonstration, "b"));
}
