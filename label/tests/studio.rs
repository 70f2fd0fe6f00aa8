//! `label push` and `label pull` against a Label Studio made of a hundred lines, which can be ordered to fail.

#[path = "studio/stub.rs"]
mod stub;

use data::chat::Message;
use data::labels::table::{LabelTable, write_table};
use data::labels::{Judgment, Kind, flag};
use label::studio::client::{Client, Patience, StudioError};
use label::studio::pull::pull;
use label::studio::push::push;
use label::studio::tasks::Form;
use label::studio::{PullArgs, PushArgs, Server};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use stub::{Fault, Stub};

const LEGACY: &str = "0123456789abcdef0123456789abcdef01234567";

fn client(url: &str, token: &str) -> Client {
    let patience = Patience { attempts: 4, pause: Duration::from_millis(1), timeout: Duration::from_secs(20) };
    Client::new(url, token.into(), patience).unwrap()
}

fn items(path: &Path, n: usize) {
    let item = |i: usize| {
        let answers = (0..3).map(|a| format!("answer {a} to {i}")).collect();
        let prompt = vec![Message::new("system", "be kind"), Message::new("user", &format!("question {i}"))];
        Judgment {
            group: format!("group {i}"),
            authors: Some((0..3).map(|a| format!("model-{a}")).collect()),
            scores: Some(vec![0.5; 3]),
            flags: vec!["chosen:uncertain".into()],
            ..Judgment::new(Kind::Open, prompt, answers)
        }
    };
    write_table(path, (0..n).map(item)).unwrap();
}

struct Bench {
    dir: tempfile::TempDir,
    stub: Stub,
}

impl Bench {
    async fn new(n: usize) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        items(&dir.path().join("items.arrow"), n);
        Bench { dir, stub: Stub::start(LEGACY).await }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn push_args(&self) -> PushArgs {
        PushArgs {
            items: self.path("items.arrow"),
            server: Server { url: self.stub.url.clone(), token_file: None },
            project: "kindness".into(),
            kind: Form::Ranker,
            buckets: 0,
            overlap: 2,
            instructions: None,
            batch: 2,
        }
    }

    fn pull_args(&self, out: &str) -> PullArgs {
        PullArgs {
            server: Server { url: self.stub.url.clone(), token_file: None },
            project: "kindness".into(),
            out: self.path(out),
            items: Some(self.path("items.arrow")),
            buckets: vec![],
            page_size: 2,
            quarantine: None,
        }
    }

    fn client(&self) -> Client {
        client(&self.stub.url, LEGACY)
    }
}

#[tokio::test]
async fn a_project_is_made_once_and_each_item_imported_once() {
    let bench = Bench::new(5).await;
    let first = push(&bench.push_args(), &bench.client()).await.unwrap();
    assert_eq!((first.created, first.imported, first.there), (true, 5, 0));
    assert_eq!(bench.stub.imports(), [2, 2, 1], "in batches");
    items(&bench.path("items.arrow"), 7);
    let again = push(&bench.push_args(), &bench.client()).await.unwrap();
    assert_eq!((again.created, again.imported, again.there, again.project), (false, 2, 5, first.project));
    let by_number = push(&PushArgs { project: first.project.to_string(), ..bench.push_args() }, &bench.client()).await.unwrap();
    assert_eq!((by_number.imported, by_number.there), (0, 7));
    let project = bench.stub.project(0);
    assert_eq!((project["title"].as_str(), project["maximum_annotations"].as_u64()), (Some("kindness"), Some(2)));
    let tasks = bench.stub.tasks();
    assert_eq!(tasks.len(), 7);
    for task in &tasks {
        let text = task.to_string();
        assert!(!text.contains("model-") && !text.contains("chosen") && !text.contains("score"), "{text}");
        assert_eq!(task["data"]["messages"][0]["content"], "be kind");
    }
}

#[tokio::test]
async fn a_project_for_other_tasks_is_refused() {
    let bench = Bench::new(2).await;
    push(&bench.push_args(), &bench.client()).await.unwrap();
    let error = push(&PushArgs { kind: Form::Pairwise, ..bench.push_args() }, &bench.client()).await.unwrap_err();
    assert!(error.to_string().contains("does not show $answer1, $answer2"), "{error}");
    bench.stub.add_project("kindness");
    let error = push(&bench.push_args(), &bench.client()).await.unwrap_err();
    assert!(error.to_string().contains("several projects are named \"kindness\""), "{error}");
    let error = push(&PushArgs { project: "77".into(), ..bench.push_args() }, &bench.client()).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(StudioError::NotFound { .. })), "{error}");
    let error = pull(&PullArgs { project: "absent".into(), ..bench.pull_args("o.arrow") }, &bench.client()).await.unwrap_err();
    assert!(error.to_string().contains("has no project named \"absent\""), "{error}");
}

#[tokio::test]
async fn a_server_that_stumbles_gets_nothing_twice() {
    let bench = Bench::new(5).await;
    bench.stub.fail("GET", "/api/projects", Fault::Status(503));
    bench.stub.fail("GET", "/api/projects", Fault::Status(429));
    bench.stub.fail("POST", "/api/projects/", Fault::LoseAnswer); // the project is made, nobody hears of it
    bench.stub.fail("POST", "import", Fault::Status(502));
    bench.stub.fail("POST", "import", Fault::LoseAnswer); // the batch is imported, nobody hears of it
    let pushed = push(&bench.push_args(), &bench.client()).await.unwrap();
    assert_eq!((pushed.created, pushed.imported), (true, 5));
    assert_eq!((bench.stub.project_count(), bench.stub.tasks().len()), (1, 5));
    assert_eq!(bench.stub.faults_left(), 0);
}

#[tokio::test]
async fn patience_ends_and_errors_say_what_to_do() {
    let bench = Bench::new(2).await;
    for _ in 0..9 {
        bench.stub.fail("GET", "/api/projects", Fault::Status(500));
    }
    let error = push(&bench.push_args(), &bench.client()).await.unwrap_err();
    assert!(error.to_string().contains("after 4 attempts") && error.to_string().contains("500"), "{error}");
    assert_eq!(bench.stub.faults_left(), 5, "four attempts, not more");
    bench.stub.forgive();
    for _ in 0..4 {
        bench.stub.fail("POST", "/api/projects/", Fault::Status(503));
    }
    let unmade = push(&bench.push_args(), &bench.client()).await.unwrap_err();
    assert!(matches!(unmade.downcast_ref(), Some(StudioError::Unreachable { attempts: 4, .. })), "{unmade}");
    let wrong = push(&bench.push_args(), &client(&bench.stub.url, "wrong")).await.unwrap_err();
    assert!(wrong.to_string().contains("does not take the token (Invalid token.)") && !wrong.to_string().contains("wrong"), "{wrong}");
    bench.stub.fail("GET", "/api/projects", Fault::Html);
    let html = push(&bench.push_args(), &bench.client()).await.unwrap_err();
    assert!(html.to_string().contains("is --url the address of a Label Studio?"), "{html}");
    bench.stub.fail("POST", "import", Fault::Status(400));
    let refused = push(&bench.push_args(), &bench.client()).await.unwrap_err();
    assert!(refused.to_string().contains("refuses with 400"), "{refused}");
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = push(&bench.push_args(), &client(&format!("http://{free}"), LEGACY)).await.unwrap_err();
    assert!(matches!(nobody.downcast_ref(), Some(StudioError::Unreachable { attempts: 4, .. })), "{nobody:?}");
    // A server that takes the connection and says nothing.
    bench.stub.fail("GET", "/api/projects", Fault::Hang);
    let brief = Patience { attempts: 1, pause: Duration::ZERO, timeout: Duration::from_millis(300) };
    let hanging = push(&bench.push_args(), &Client::new(&bench.stub.url, LEGACY.into(), brief).unwrap()).await.unwrap_err();
    assert!(hanging.to_string().contains("timed out"), "{hanging}");
}

#[tokio::test]
async fn a_personal_token_is_exchanged_and_renewed() {
    let bench = Bench::new(4).await;
    bench.stub.personal("head.body.sign");
    let pushed = push(&bench.push_args(), &client(&bench.stub.url, "head.body.sign")).await.unwrap();
    assert_eq!((pushed.imported, bench.stub.refreshes()), (4, 1));
    // The short-lived token ends in the middle of the work.
    let client = client(&bench.stub.url, "head.body.sign");
    push(&bench.push_args(), &client).await.unwrap();
    bench.stub.expire();
    push(&bench.push_args(), &client).await.unwrap();
    assert_eq!(bench.stub.refreshes(), 3);
    let error = push(&bench.push_args(), &self::client(&bench.stub.url, "a.b.c")).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(StudioError::Unauthorized { .. })), "{error}");
}

/// An annotation as the API has it: the ids of the answers with these texts, best first.
fn ranked(task: &Value, best_first: &[usize], i: usize, user: u64, id: u64) -> Value {
    let id_of = |a: &usize| {
        let list = task["data"]["answers"].as_array().unwrap();
        list.iter().find(|x| x["body"] == format!("answer {a} to {i}")).unwrap()["id"].clone()
    };
    let ids: Vec<Value> = best_first.iter().map(id_of).collect();
    let result = json!([{"from_name": "ranking", "to_name": "answers", "type": "ranker", "value": {"ranker": {"ranking": ids}}}]);
    json!({"id": id, "completed_by": user, "was_cancelled": false, "ground_truth": false, "lead_time": 12.5, "result": result,
           "created_at": "2026-11-24T13:15:52.961537Z", "updated_at": "2026-11-24T13:16:00Z"})
}

#[tokio::test]
async fn judgments_come_back_with_their_authors_whatever_the_order_of_pages() {
    let bench = Bench::new(5).await;
    push(&bench.push_args(), &bench.client()).await.unwrap();
    let none = pull(&bench.pull_args("none.arrow"), &bench.client()).await.unwrap_err();
    assert!(none.to_string().contains("nobody has judged any of the 5 tasks yet"), "{none}");
    let task = |i: usize| bench.stub.tasks()[i].clone();
    // Given in the wrong order: pages show them so, the table does not.
    bench.stub.annotate(0, ranked(&task(0), &[2, 0, 1], 0, 2, 31));
    bench.stub.annotate(0, ranked(&task(0), &[1, 2, 0], 0, 1, 30));
    bench.stub.annotate(3, ranked(&task(3), &[0, 1, 2], 3, 1, 32));
    let comment = json!({"from_name": "comment", "to_name": "messages", "type": "textarea", "value": {"text": ["cannot tell"]}});
    let skip = json!({"id": 33, "completed_by": 2, "was_cancelled": true, "lead_time": 3.0, "result": [comment],
                      "created_at": "2026-11-24T13:20:00Z", "updated_at": "2026-11-24T13:20:00Z"});
    bench.stub.annotate(4, skip);
    let mut gold = ranked(&task(2), &[1, 0, 2], 2, 9, 34);
    gold["ground_truth"] = json!(true);
    bench.stub.annotate(2, gold);
    bench.stub.fail("GET", "/api/tasks", Fault::Status(504));
    let pulled = pull(&bench.pull_args("a.arrow"), &bench.client()).await.unwrap();
    assert_eq!((pulled.tasks, pulled.open, pulled.rejected, pulled.strangers, pulled.judges), (5, 1, 0, 0, 3));
    assert_eq!((pulled.kinds[&Kind::Ranking], pulled.kinds[&Kind::Skipped]), (4, 1));
    let rows: Vec<Judgment> = LabelTable::open(&bench.path("a.arrow")).unwrap().iter().map(Result::unwrap).collect();
    let judges: Vec<&str> = rows.iter().map(|r| r.judge.as_deref().unwrap()).collect();
    assert_eq!(judges, ["ann@example.org", "bob@example.org", "9", "ann@example.org", "bob@example.org"], "by task, then by annotation");
    assert_eq!(rows.iter().map(|r| r.ranks.clone()).collect::<Vec<_>>()[..2], [Some(vec![3, 1, 2]), Some(vec![2, 3, 1])]);
    for row in &rows {
        assert_eq!(row.authors.clone().unwrap(), ["model-0", "model-1", "model-2"]);
        assert!(row.group.starts_with("group ") && row.prompt.len() == 2 && row.has("chosen:uncertain") && row.scores.is_none());
        assert_eq!(row.file, PathBuf::from(format!("{}/projects/1", bench.stub.url)));
    }
    let mut shown = rows[0].shown.clone().unwrap();
    shown.sort_unstable();
    assert_eq!(shown, [0, 1, 2]);
    assert_eq!((rows[0].seconds, rows[0].started), (Some(12.5), Some(1_795_526_152_961 - 12_500)));
    assert!(rows[2].has(flag::GOLD) && !rows[0].has(flag::GOLD));
    assert_eq!((rows[4].kind, rows[4].comment.as_deref()), (Kind::Skipped, Some("cannot tell")));
    bench.stub.shuffle_pages();
    pull(&bench.pull_args("b.arrow"), &bench.client()).await.unwrap();
    let bytes = |name: &str| std::fs::read(bench.path(name)).unwrap();
    assert!(bytes("a.arrow") == bytes("b.arrow"));
    // Without the items: the same order of the same texts, the authors unknown.
    pull(&PullArgs { items: None, ..bench.pull_args("c.arrow") }, &bench.client()).await.unwrap();
    let alone = LabelTable::open(&bench.path("c.arrow")).unwrap().get(0).unwrap();
    assert_eq!((alone.item.as_str(), &alone.authors), (rows[0].item.as_str(), &None));
    let best = |row: &Judgment| row.answers[row.ranks.as_ref().unwrap().iter().position(|r| *r == 1).unwrap()].clone();
    assert_eq!(best(&alone), best(&rows[0]));
}

/// TASK_API_PAGE_SIZE_MAX of a server: fewer tasks a page than were asked for.
#[tokio::test]
async fn a_server_that_caps_its_pages_loses_nothing() {
    let bench = Bench::new(5).await;
    bench.stub.cap_pages(2);
    push(&bench.push_args(), &bench.client()).await.unwrap();
    let again = push(&bench.push_args(), &bench.client()).await.unwrap();
    assert_eq!((again.imported, again.there, bench.stub.tasks().len()), (0, 5, 5));
    bench.stub.annotate(4, ranked(&bench.stub.tasks()[4], &[0, 1, 2], 4, 1, 30));
    let pulled = pull(&PullArgs { page_size: 100, ..bench.pull_args("a.arrow") }, &bench.client()).await.unwrap();
    assert_eq!((pulled.tasks, pulled.open, pulled.kinds[&Kind::Ranking]), (5, 4, 1));
}

#[test]
fn the_program_asks_for_a_token_and_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    items(&dir.path().join("items.arrow"), 1);
    let run = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_label"));
        let output = command.current_dir(dir.path()).env_remove("LABEL_STUDIO_TOKEN").args(more).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run(&["push", "items.arrow", "--project", "p"]);
    assert!(code == Some(2) && said.contains("set LABEL_STUDIO_TOKEN"), "{said}");
    std::fs::write(dir.path().join("token"), LEGACY).unwrap();
    let (code, said) = run(&["pull", "--project", "p", "--out", "o.arrow", "--token-file", "token", "--url", "nonsense"]);
    assert!(code == Some(2) && said.contains("not an address") && !said.contains(LEGACY), "{said}");
    let (code, said) = run(&["push", "items.arrow", "--project", "p", "--buckets", "1", "--token-file", "token"]);
    assert!(code == Some(2) && said.contains("--buckets 1"), "{said}");
}

/// As a person would annotate: an HTTP client with that person's token.
async fn annotate(client: &Client, task: u64, body: Value) {
    client.post(&format!("api/tasks/{task}/annotations/"), &body).await.unwrap();
}

/// Runs where `scripts/label-studio-check.sh` has started a Label Studio.
#[tokio::test]
async fn a_real_one_is_filled_and_read() {
    let Ok(url) = std::env::var("LABEL_STUDIO_URL") else {
        use std::io::Write;
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: a_real_one_is_filled_and_read because LABEL_STUDIO_URL is not set (scripts/label-studio-check.sh)"
        );
        return;
    };
    let [ann, bob] = ["LABEL_STUDIO_ANN", "LABEL_STUDIO_BOB"].map(|name| {
        let token = label::studio::client::token(Some(Path::new(&std::env::var(name).unwrap()))).unwrap();
        Client::new(&url, token, Patience::default()).unwrap()
    });
    let dir = tempfile::tempdir().unwrap();
    items(&dir.path().join("items.arrow"), 5);
    let server = Server { url: url.clone(), token_file: None };
    let push_args = |project: &str, kind, buckets| PushArgs {
        items: dir.path().join("items.arrow"),
        server: server.clone(),
        project: project.into(),
        kind,
        buckets,
        overlap: 2,
        instructions: None,
        batch: 2,
    };
    let pull_args = |project: &str, out: &str| PullArgs {
        server: server.clone(),
        project: project.into(),
        out: dir.path().join(out),
        items: Some(dir.path().join("items.arrow")),
        buckets: vec![],
        page_size: 2,
        quarantine: None,
    };
    let rows = |out: &str| -> Vec<Judgment> { LabelTable::open(&dir.path().join(out)).unwrap().iter().map(Result::unwrap).collect() };

    // Buckets: ties; two judges; a skip. Filled with one kind of token, and again with the other, which imports nothing.
    let first = push(&push_args("buckets", Form::Ranker, 3), &ann).await.unwrap();
    let again = push(&push_args("buckets", Form::Ranker, 3), &bob).await.unwrap();
    assert_eq!((first.created, first.imported, again.created, again.imported, again.there), (true, 5, false, 0, 5));
    let list = ann.get(&format!("api/tasks?project={}&fields=all&page_size=100", first.project)).await.unwrap();
    let tasks = list["tasks"].as_array().unwrap();
    let number = |i: usize| {
        let asked = format!("question {i}");
        let task = tasks.iter().find(|t| t["data"]["messages"][1]["content"] == asked.as_str()).unwrap();
        (task["id"].as_u64().unwrap(), task)
    };
    let sorted = |i: usize, buckets: [&[usize]; 3]| {
        let (_, task) = number(i);
        let ids = |answers: &[usize]| -> Vec<Value> {
            let id = |a: &usize| {
                task["data"]["answers"].as_array().unwrap().iter().find(|x| x["body"] == format!("answer {a} to {i}")).unwrap()["id"]
                    .clone()
            };
            answers.iter().map(id).collect()
        };
        let value = json!({"1": ids(buckets[0]), "2": ids(buckets[1]), "3": ids(buckets[2])});
        json!({"lead_time": 4.5, "result": [
            {"from_name": "ranking", "to_name": "answers", "type": "ranker", "value": {"ranker": value}},
            {"from_name": "comment", "to_name": "messages", "type": "textarea", "value": {"text": ["as I see it"]}}]})
    };
    annotate(&ann, number(0).0, sorted(0, [&[2], &[0], &[1]])).await;
    annotate(&bob, number(0).0, sorted(0, [&[2], &[0, 1], &[]])).await;
    annotate(&bob, number(1).0, sorted(1, [&[0, 1], &[], &[2]])).await;
    annotate(&ann, number(3).0, json!({"lead_time": 2.0, "was_cancelled": true, "result": []})).await;
    let pulled = pull(&pull_args("buckets", "a.arrow"), &bob).await.unwrap();
    assert_eq!((pulled.tasks, pulled.open, pulled.rejected, pulled.strangers, pulled.judges), (5, 2, 0, 0, 2), "{pulled:?}");
    let found = rows("a.arrow");
    let said: Vec<_> = found.iter().map(|r| (r.kind, r.judge.clone().unwrap(), r.ranks.clone(), r.seconds)).collect();
    let (a, b) = ("ann@example.org".to_string(), "bob@example.org".to_string());
    let expected = [
        (Kind::Ranking, a.clone(), Some(vec![2, 3, 1]), Some(4.5)),
        (Kind::Ranking, b.clone(), Some(vec![2, 2, 1]), Some(4.5)),
        (Kind::Ranking, b.clone(), Some(vec![1, 1, 2]), Some(4.5)),
        (Kind::Skipped, a.clone(), None, Some(2.0)),
    ];
    assert_eq!(said, expected);
    for row in &found {
        assert_eq!((row.authors.clone().unwrap().join(" "), row.prompt.len()), ("model-0 model-1 model-2".to_string(), 2));
        assert!(row.has("chosen:uncertain") && row.started < row.ended && row.ended.unwrap() > 1_700_000_000_000);
        assert_eq!(row.comment.is_some(), row.kind == Kind::Ranking);
    }
    pull(&pull_args("buckets", "b.arrow"), &ann).await.unwrap();
    assert!(std::fs::read(dir.path().join("a.arrow")).unwrap() == std::fs::read(dir.path().join("b.arrow")).unwrap());

    // The other forms: the server takes their configurations, and their annotations come back.
    let strict = push(&push_args("strict", Form::Ranker, 0), &ann).await.unwrap();
    let list = ann.get(&format!("api/tasks?project={}&fields=all&page_size=1", strict.project)).await.unwrap();
    let (id, key) = (list["tasks"][0]["id"].as_u64().unwrap(), list["tasks"][0]["data"]["item"].clone());
    let mut ids: Vec<Value> = list["tasks"][0]["data"]["answers"].as_array().unwrap().iter().map(|x| x["id"].clone()).collect();
    ids.reverse();
    annotate(
        &ann,
        id,
        json!({"result": [{"from_name": "ranking", "to_name": "answers", "type": "ranker", "value": {"ranker": {"ranking": ids}}}]}),
    )
    .await;
    pull(&pull_args("strict", "strict.arrow"), &ann).await.unwrap();
    let row = rows("strict.arrow").remove(0);
    let by_place: Vec<u32> =
        (0..3).map(|p| row.ranks.as_ref().unwrap()[row.shown.as_ref().unwrap().iter().position(|s| *s == p).unwrap()]).collect();
    assert_eq!((json!(row.item), by_place), (key, vec![3, 2, 1]));

    for (project, form, value, kind, ranks) in [
        ("pairs", Form::Pairwise, json!({"selected": "right"}), "pairwise", [2, 1]),
        ("pairs with ties", Form::PairwiseTies, json!({"choices": ["Equally good"]}), "choices", [1, 1]),
        ("pairs of bad ones", Form::PairwiseTies, json!({"choices": ["Both are bad"]}), "choices", [1, 1]),
    ] {
        let pushed = push(&push_args(project, form, 0), &bob).await.unwrap();
        assert_eq!(pushed.imported, 15, "three pairs an item");
        let list = ann.get(&format!("api/tasks?project={}&fields=all&page_size=1", pushed.project)).await.unwrap();
        let task = &list["tasks"][0];
        let to = if kind == "pairwise" { "answer1" } else { "messages" };
        let result = json!([{"from_name": "better", "to_name": to, "type": kind, "value": value}]);
        annotate(&ann, task["id"].as_u64().unwrap(), json!({ "result": result })).await;
        pull(&pull_args(project, "pairs.arrow"), &bob).await.unwrap();
        let row = rows("pairs.arrow").remove(0);
        let shown = |field: &str| row.answers.iter().position(|a| task["data"][field] == a.as_str()).unwrap();
        let found = [shown("answer1"), shown("answer2")].map(|i| row.ranks.as_ref().unwrap()[i]);
        assert_eq!((found, row.authors.as_ref().map(Vec::len)), (ranks, Some(2)), "{project}");
        assert_eq!(row.has(flag::REJECT_ALL), project == "pairs of bad ones");
    }
    println!("a Label Studio at {url} was filled and read in four forms by two people");
}
