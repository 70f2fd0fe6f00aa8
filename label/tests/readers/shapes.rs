//! Shapes of each format, small and made here.

use crate::readers::common::{Got, read_text};
use data::labels::{Judgment, Kind};
use data::quarantine::Reason;

fn lines(rows: &[serde_json::Value]) -> Got {
    read_text("rows.jsonl", &rows.iter().map(|row| format!("{row}\n")).collect::<String>())
}

fn talk(judgment: &Judgment) -> String {
    judgment.prompt.iter().map(|turn| format!("{}: {}", turn.role, turn.content)).collect::<Vec<_>>().join(" | ")
}

fn reasons(got: &Got) -> Vec<(u64, Reason)> {
    got.bad.iter().map(|(row, reason, _)| (*row, *reason)).collect()
}

#[test]
fn hh() {
    let row = |a: &str, b: &str| serde_json::json!({"chosen": a, "rejected": b});
    let got = lines(&[
        row("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: good", "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: bad"),
        row("\n\nHuman: a\n\nAssistant: same", "\n\nHuman: a\n\nAssistant: same "),
        row("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d", "\n\nHuman: a\n\nAssistant: e"),
        row("\n\nHuman: a\n\nAssistant: b\n\nHuman: c", "\n\nHuman: a\n\nAssistant: e"),
        row("nothing", "\n\nHuman: a\n\nAssistant: e"),
        row("\n\nHuman: a\n\nAssistant: long\n\nwith paragraphs", "\n\nHuman: a\n\nAssistant:"),
    ]);
    assert_eq!((got.reader, got.kept.len()), ("hh", 2));
    assert_eq!(talk(&got.kept[0]), "user: a | assistant: b | user: c");
    assert_eq!(got.kept[0].answers, ["good", "bad"]);
    assert_eq!(got.kept[1].answers, ["long\n\nwith paragraphs", ""]);
    assert!(got.kept[1].has("empty-answer"));
    assert_eq!(reasons(&got), [(2, Reason::BadRanking), (3, Reason::BadChat), (4, Reason::BadChat), (5, Reason::BadChat)]);
}

#[test]
fn openai_comparisons() {
    let got = lines(&[
        serde_json::json!({"info": {"id": "t3_1", "post": "I lost my cat.", "title": "Cat", "subreddit": "pets"}, "split": "train",
            "summaries": [{"text": " Cat lost.", "policy": "sup2", "note": "ok"}, {"text": "A dog.", "policy": "ref", "note": null}],
            "choice": 1, "worker": "w1", "batch": "batch3", "extra": {"confidence": 9}}),
        serde_json::json!({"info": {"id": "c1", "article": "News.", "site": "cnn"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 0, "extra": {}}),
        serde_json::json!({"info": {"post": "p"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 2}),
        serde_json::json!({"info": {"title": "t"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 0}),
        serde_json::json!({"info": {"post": "p"}, "summaries": [{"text": "a"}], "choice": 0}),
    ]);
    assert_eq!((got.reader, got.kept.len()), ("openai", 2));
    let first = &got.kept[0];
    assert_eq!(first.prompt[0].content, "SUBREDDIT: r/pets\n\nTITLE: Cat\n\nPOST: I lost my cat.\n\nTL;DR:");
    assert_eq!((&first.answers, &first.ranks), (&vec!["Cat lost.".to_string(), "A dog.".into()], &Some(vec![2, 1])));
    assert_eq!(
        (first.authors.as_ref().unwrap().join(" "), first.judge.as_deref(), first.group.as_str()),
        ("sup2 ref".into(), Some("w1"), "t3_1")
    );
    assert_eq!(
        (first.confidence, first.flags.join(" "), first.comment.as_deref()),
        (Some(1.0), "batch=batch3 split=train".into(), Some("ok"))
    );
    assert_eq!((got.kept[1].prompt[0].content.as_str(), &got.kept[1].authors), ("ARTICLE: News.\n\nTL;DR:", &None));
    assert_eq!(reasons(&got), [(3, Reason::BadRanking), (4, Reason::MissingField), (5, Reason::BadRanking)]);
}

#[test]
fn openai_axes_and_webgpt() {
    let got = lines(&[
        serde_json::json!({"info": {"id": "x", "post": "p", "title": "t", "subreddit": "s"}, "split": "test", "worker": "w", "batch": "b",
            "summary": {"text": "short", "policy": "sup4", "note": "", "axes": {"overall": "6", "accuracy": "7", "coverage": 5, "coherence": null}}}),
        serde_json::json!({"info": {"post": "p"}, "summary": {"text": "s", "axes": {"accuracy": 7}}}),
    ]);
    assert_eq!((got.reader, got.kept[0].kind, &got.kept[0].scores), ("openai", Kind::Rating, &Some(vec![6.0])));
    assert_eq!(got.kept[0].flags.join(" "), "batch=b split=test accuracy=7 coverage=5");
    assert_eq!(reasons(&got), [(2, Reason::MissingField)]);
    let row = |s0: f64, s1: f64| {
        serde_json::json!({"question": {"dataset": "eli5", "id": "q1", "full_text": "Why?"}, "answer_0": "A [1].", "answer_1": "B.",
        "score_0": s0, "score_1": s1, "quotes_0": {"title": [], "extract": []}, "tokens_0": {"prefix": [], "completion": []}})
    };
    let got = lines(&[row(-0.5, 0.5), row(0.0, 0.0)]);
    assert_eq!((got.reader, got.kept[0].group.as_str(), talk(&got.kept[0])), ("openai", "q1", "user: Why?".to_string()));
    assert_eq!((&got.kept[0].ranks, &got.kept[1].ranks), (&Some(vec![2, 1]), &Some(vec![1, 1])));
    assert!(got.kept[0].has("dataset=eli5"));
}

fn message(id: &str, parent: Option<&str>, role: &str, text: &str) -> serde_json::Value {
    serde_json::json!({"message_id": id, "parent_id": parent, "message_tree_id": "m1", "role": role, "text": text, "review_result": true, "deleted": false})
}

fn with(mut message: serde_json::Value, key: &str, value: serde_json::Value) -> serde_json::Value {
    message[key] = value;
    message
}

#[test]
fn oasst_flat_messages_in_any_order() {
    let quality = |value: f64| serde_json::json!({"name": ["spam", "quality"], "value": [0.0, value], "count": [3, 3]});
    let reply =
        |id: &str, rank: i32, q: f64| with(with(message(id, Some("m1"), "assistant", id), "rank", rank.into()), "labels", quality(q));
    let got = lines(&[
        with(message("x", Some("m1"), "assistant", "spam"), "review_result", false.into()),
        reply("b", 1, 0.25),
        with(message("y", Some("m1"), "assistant", "gone"), "deleted", true.into()),
        message("m1", None, "prompter", "Q"),
        reply("a", 0, 0.75),
        message("u", Some("m1"), "assistant", "unranked"),
        message("c1", Some("a"), "prompter", "more"),
        with(message("d1", Some("c1"), "assistant", "long"), "rank", 0.into()),
        with(message("d2", Some("c1"), "assistant", "short"), "rank", 0.into()),
        message("e", Some("d1"), "prompter", "unanswered"),
        message("lost", Some("nobody"), "assistant", "orphan"),
        message("f", Some("b"), "prompter", "and?"),
        message("g", Some("f"), "assistant", "only one"),
    ]);
    assert_eq!(got.reader, "oasst");
    let told: Vec<_> = got.kept.iter().map(|j| (j.kind, talk(j), j.answers.join("/"), j.ranks.clone())).collect();
    let row = |kind, prompt: &str, answers: &str, ranks: Option<Vec<u32>>| (kind, prompt.to_string(), answers.to_string(), ranks);
    assert_eq!(
        told,
        [
            row(Kind::Ranking, "user: Q", "b/a", Some(vec![2, 1])),
            row(Kind::Demonstration, "user: Q | assistant: b | user: and?", "only one", None),
            row(Kind::Ranking, "user: Q | assistant: a | user: more", "long/short", Some(vec![1, 1])),
            row(Kind::Open, "user: Q | assistant: a | user: more | assistant: long | user: unanswered", "", None),
        ]
    );
    // Quality gives the order of the first ranking, so it is its score; the second has none.
    assert_eq!((&got.kept[0].scores, &got.kept[2].scores), (&Some(vec![0.25, 0.75]), &None));
    let mut bad = reasons(&got);
    bad.sort_unstable();
    assert_eq!(bad, [(1, Reason::BadChat), (3, Reason::BadChat), (6, Reason::BadRanking), (11, Reason::MissingField)]);
    // What contradicts the order is no score.
    let other = lines(&[message("m1", None, "prompter", "Q"), reply("a", 0, 0.1), reply("b", 1, 0.9)]);
    assert_eq!((&other.kept[0].ranks, &other.kept[0].scores), (&Some(vec![1, 2]), &None));
}

#[test]
fn oasst_messages_without_a_beginning_are_counted() {
    let got = lines(&[
        message("lost", Some("nobody"), "prompter", "orphan"),
        message("below", Some("lost"), "assistant", "its child"),
        message("under", Some("below"), "prompter", "its grandchild"),
        message("m1", None, "prompter", "Q"),
        message("a", Some("m1"), "assistant", "A"),
        message("egg", Some("hen"), "assistant", "each is"),
        message("hen", Some("egg"), "prompter", "the other's child"),
    ]);
    assert_eq!(got.kept.iter().map(|j| (j.kind, j.answers.join("/"))).collect::<Vec<_>>(), [(Kind::Demonstration, "A".to_string())]);
    assert_eq!(reasons(&got), [1, 2, 3, 6, 7].map(|line| (line, Reason::MissingField)));
    assert!(got.bad[0].2.contains("its parent nobody is not in the file") && got.bad[1].2.contains("does not begin in the file"));
}

#[test]
fn oasst_trees() {
    let reply = |id: &str, rank: serde_json::Value| with(message(id, Some("m1"), "assistant", id), "rank", rank);
    let tree = |replies: Vec<serde_json::Value>| serde_json::json!({"message_tree_id": "m1", "tree_state": "ready_for_export", "prompt": with(message("m1", None, "prompter", "Q"), "replies", replies.into())});
    let null = serde_json::Value::Null;
    let got = lines(&[
        tree(vec![reply("a", null.clone()), reply("b", null.clone())]),
        tree(vec![reply("a", 0.into()), reply("b", null)]),
        tree(vec![]),
        tree(vec![reply("a", (-1).into()), reply("b", 2.into())]),
        with(tree(vec![reply("a", 0.into())]), "prompt", with(message("m1", None, "prompter", "Q"), "deleted", true.into())),
        serde_json::json!({"message_tree_id": "m1", "prompt": {"text": "no id"}}),
    ]);
    let told: Vec<_> = got.kept.iter().map(|j| (j.row, j.kind, j.answers.join("/"))).collect();
    assert_eq!(told, [(1, Kind::Open, "a/b".to_string()), (2, Kind::Open, "a/b".to_string()), (3, Kind::Open, String::new())]);
    assert_eq!(reasons(&got), [(4, Reason::BadRanking), (4, Reason::BadRanking), (5, Reason::BadChat), (6, Reason::MissingField)]);
}

#[test]
fn pairs() {
    let chat =
        |turns: &[(&str, &str)]| -> serde_json::Value { turns.iter().map(|(r, c)| serde_json::json!({"role": r, "content": c})).collect() };
    let got = lines(&[
        serde_json::json!({"prompt": "q", "chosen": "a", "rejected": "b", "margin": 2.5, "judge": 7, "weight": "0.5", "confidence": 0.9}),
        serde_json::json!({"prompt": "q", "chosen": chat(&[("user", "q"), ("assistant", "a")]), "rejected": chat(&[("user", "q"), ("assistant", "b")]),
            "score_chosen": 8.0, "score_rejected": 3.5, "messages": chat(&[("user", "q"), ("assistant", "a")])}),
        serde_json::json!({"prompt": chat(&[("system", "s"), ("user", "q")]), "chosen": chat(&[("assistant", "a")]), "rejected": chat(&[("assistant", "b")])}),
        serde_json::json!({"chosen": chat(&[("user", "x"), ("assistant", "y"), ("user", "z"), ("assistant", "a")]), "rejected": chat(&[("user", "x"), ("assistant", "y"), ("user", "z"), ("assistant", "b")])}),
        serde_json::json!({"chosen": "The sky is blue.", "rejected": "The sky is green.", "score_chosen": 1, "score_rejected": 4}),
        serde_json::json!({"prompt": "q", "chosen": "a", "rejected": "a"}),
        serde_json::json!({"prompt": "q", "chosen": "a"}),
        serde_json::json!({"prompt": "q", "chosen": "a", "rejected": chat(&[("assistant", "b")])}),
        serde_json::json!({"chosen": chat(&[("user", "x"), ("assistant", "a")]), "rejected": chat(&[("user", "y"), ("assistant", "b")])}),
        serde_json::json!({"prompt": "q", "chosen": "a", "rejected": "b", "weight": -1}),
        serde_json::json!({"prompt": " ", "chosen": "a", "rejected": "b"}),
        serde_json::json!({"prompt": "q", "chosen": "a", "rejected": "b", "confidence": 5}),
    ]);
    assert_eq!((got.reader, got.kept.len()), ("pairs", 5));
    assert!(got.kept.iter().all(|j| j.ranks == Some(vec![1, 2])));
    let told: Vec<_> = got.kept.iter().map(|j| (talk(j), j.answers.join("/"))).collect();
    let expected = [
        ("user: q", "a/b"),
        ("user: q", "a/b"),
        ("system: s | user: q", "a/b"),
        ("user: x | assistant: y | user: z", "a/b"),
        ("user: The sky is", " blue./ green."),
    ];
    assert_eq!(told, expected.map(|(prompt, answers)| (prompt.to_string(), answers.to_string())));
    let first = &got.kept[0];
    assert_eq!((&first.scores, first.judge.as_deref(), first.weight, first.confidence), (&Some(vec![2.5, 0.0]), Some("7"), 0.5, Some(0.9)));
    assert_eq!(got.kept[1].scores, Some(vec![8.0, 3.5]));
    assert!(got.kept[4].has("scores-disagree"));
    let expected =
        [Reason::BadRanking, Reason::MissingField, Reason::WrongType, Reason::BadChat, Reason::BadWeight, Reason::Empty, Reason::WrongType];
    assert_eq!(reasons(&got), expected.iter().zip(6..).map(|(reason, row)| (row, *reason)).collect::<Vec<_>>());
    let csv = read_text("pairs.csv", "prompt,chosen,rejected\n\"q, long\",a,b\n");
    assert_eq!((csv.reader, talk(&csv.kept[0]), csv.kept[0].row), ("pairs", "user: q, long".to_string(), 2));
}

#[test]
fn verdicts_on_single_answers() {
    let row = |label: serde_json::Value| serde_json::json!({"prompt": "q", "completion": "a", "label": label});
    let got = lines(&[row(true.into()), row(false.into()), row("yes".into())]);
    assert_eq!((got.reader, got.kept.len()), ("pairs", 2));
    assert_eq!((&got.kept[0].scores, &got.kept[1].scores, got.kept[0].kind), (&Some(vec![1.0]), &Some(vec![0.0]), Kind::Rating));
    assert_eq!(reasons(&got), [(3, Reason::WrongType)]);
    // A table of both sorts has nulls where a row is of the other one.
    let got = lines(&[
        serde_json::json!({"prompt": "q", "chosen": "a", "rejected": "b", "completion": null, "label": null}),
        serde_json::json!({"prompt": "q", "chosen": null, "rejected": null, "completion": "c", "label": false}),
        serde_json::json!({"prompt": "q", "chosen": null, "rejected": "b", "completion": null, "label": null}),
    ]);
    assert_eq!(got.kept.iter().map(|j| (j.kind, j.answers.len())).collect::<Vec<_>>(), [(Kind::Ranking, 2), (Kind::Rating, 1)]);
    assert_eq!(reasons(&got), [(3, Reason::MissingField)]);
}

#[test]
fn ranked_lists() {
    let got = lines(&[
        serde_json::json!({"prompt": "q", "answers": ["a", "b", "c"], "ranks": [2, 0, 2], "judge": "j"}),
        serde_json::json!({"prompt": "q", "responses": ["a", "b", "c"], "scores": [1.5, null, "2"], "models": ["x", "y", "z"]}),
        serde_json::json!({"instruction": "q", "completions": [{"response": "a", "model": "x", "overall_score": 3}, {"response": "b", "model": "y", "overall_score": 9}]}),
        serde_json::json!({"prompt": "q", "answers": ["a", "b"]}),
        serde_json::json!({"prompt": "q", "answers": ["a", "b"], "ranks": [1]}),
        serde_json::json!({"prompt": "q", "answers": ["a", "b"], "ranks": [1, 1.5]}),
        serde_json::json!({"prompt": "q", "answers": ["a", "b"], "ranks": [1, null]}),
        serde_json::json!({"prompt": "q", "answers": ["a", 5], "scores": [1, "x"]}),
        serde_json::json!({"prompt": "q", "answers": [{"text": "a", "rank": 1}, {"text": "b", "rank": 2}], "scores": [0.1, 0.2]}),
    ]);
    assert_eq!((got.reader, got.kept.len()), ("ranked", 5), "{:?}", got.bad);
    let ranks: Vec<_> = got.kept.iter().map(|j| j.ranks.clone()).collect();
    assert_eq!(ranks, [Some(vec![2, 1, 2]), Some(vec![2, 1]), Some(vec![2, 1]), None, Some(vec![1, 2])]);
    assert_eq!(
        (&got.kept[1].answers, got.kept[1].authors.as_ref().unwrap().join("")),
        (&vec!["a".to_string(), "c".into()], "xz".to_string())
    );
    assert!(got.kept[1].has("partial"));
    assert_eq!(got.kept[3].kind, Kind::Open);
    let expected = [(5, Reason::BadRanking), (6, Reason::BadRanking), (7, Reason::BadRanking), (8, Reason::WrongType)];
    assert_eq!(reasons(&got), expected);
}

#[test]
fn demonstrations_and_prompts() {
    let got = lines(&[
        serde_json::json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}),
        serde_json::json!({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}),
        serde_json::json!({"messages": [{"role": "user", "content": "a"}]}),
        serde_json::json!({"messages": [{"role": "assistant", "content": "a"}]}),
        serde_json::json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]}),
    ]);
    assert_eq!((got.reader, got.kinds()), ("messages", [(Kind::Demonstration, 2)].into()));
    assert_eq!((talk(&got.kept[0]), got.kept[0].answers[0].as_str()), ("user: a | assistant: b | user: c".to_string(), "d"));
    assert_eq!(reasons(&got), [(3, Reason::BadChat), (4, Reason::BadChat), (5, Reason::Empty)]);
    let got = lines(&[
        serde_json::json!({"instruction": "Add.", "input": "1 1", "output": "2"}),
        serde_json::json!({"instruction": "Hi", "input": "", "output": "Hello"}),
        serde_json::json!({"instruction": "Hi", "output": ""}),
    ]);
    assert_eq!((got.reader, talk(&got.kept[0]), talk(&got.kept[1])), ("alpaca", "user: Add.\n\n1 1".to_string(), "user: Hi".to_string()));
    assert_eq!(reasons(&got), [(3, Reason::Empty)]);
    let got = lines(&[serde_json::json!("one"), serde_json::json!("two, more"), serde_json::json!(" ")]);
    assert_eq!((got.reader, got.kinds(), reasons(&got)), ("prompts", [(Kind::Open, 2)].into(), vec![(3, Reason::Empty)]));
}

#[test]
fn mturk_choices_scores_and_statuses() {
    let head = "HITId,AssignmentId,WorkerId,AssignmentStatus,WorkTimeInSeconds,AcceptTime,SubmitTime,Input.question,Input.answer_a,Input.answer_b,Input.topic";
    let row = |status: &str, rest: &str| {
        format!("h1,a1,w1,{status},12,Tue May 10 01:40:30 PDT 2022,Tue May 10 01:42:35 PDT 2022,Q,one,two,maths,{rest}\n")
    };
    let got = read_text(
        "batch.csv",
        &format!(
            "{head},Answer.best,Answer.why\n{}{}{}{}{}",
            row("Approved", "B,clear"),
            row("Rejected", "Tie,"),
            row("Submitted", "neither,"),
            row("Approved", "maybe,"),
            row("Approved", "skip,cannot read it")
        ),
    );
    assert_eq!((got.reader, got.kept.len(), reasons(&got)), ("mturk", 4, vec![(5, Reason::BadRanking)]));
    let first = &got.kept[0];
    assert_eq!((talk(first), &first.ranks, first.comment.as_deref()), ("user: Q".to_string(), &Some(vec![2, 1]), Some("clear")));
    assert_eq!((first.judge.as_deref(), first.seconds, first.started), (Some("w1"), Some(12.0), Some(1_652_172_030_000)));
    assert_eq!((first.flags.join(" "), &first.shown), ("topic=maths".to_string(), &Some(vec![0, 1])));
    // A rejected assignment is kept, with its mark.
    assert!(got.kept[1].has("rejected") && got.kept[1].ranks == Some(vec![1, 1]));
    assert!(got.kept[2].has("reject-all"));
    assert_eq!((got.kept[3].kind, &got.kept[3].ranks), (Kind::Skipped, &None));
    let scored = read_text("batch.csv", &format!("{head},Answer.score_a,Answer.score_b\n{}", row("Approved", "3,5")));
    assert_eq!((&scored.kept[0].ranks, &scored.kept[0].scores), (&Some(vec![2, 1]), &Some(vec![3.0, 5.0])));
    let ranked = read_text("batch.csv", &format!("{head},Answer.rank1,Answer.rank2\n{}", row("Approved", "1,2")));
    assert_eq!((&ranked.kept[0].ranks, &ranked.kept[0].scores), (&Some(vec![1, 2]), &None));
    let buttons = read_text("batch.csv", &format!("{head},Answer.pick.A,Answer.pick.B\n{}", row("Approved", "false,true")));
    assert_eq!(buttons.kept[0].ranks, Some(vec![2, 1]));
}
