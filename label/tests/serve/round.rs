//! A whole round without script, from the items to the exported table.

use super::client::{Reply, Server, folder, label, write_items};
use data::chat::Message;
use data::config::{Columns, Quarantine, RankingData, Source};
use data::labels::table::LabelTable;
use data::labels::{Judgment, Kind, flag};
use data::rankings::{Ranking, load_rankings};
use data::split::Split;
use std::path::Path;

fn table(dir: &Path, name: &str) -> (Vec<Judgment>, String) {
    let out = label(dir, &["serve", "--db", "labels.sqlite", "--export", name]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let table = LabelTable::open(&dir.join(name)).expect("a table");
    (table.iter().collect::<Result<_, _>>().expect("rows"), String::from_utf8(out.stdout).expect("text"))
}

/// The rank that the page's order gives each answer of the row.
fn expected(row: &Judgment, page: &Reply, places: &[u32]) -> Vec<u32> {
    let shown = &page.texts()[row.prompt.len()..];
    row.answers.iter().map(|answer| places[shown.iter().position(|text| text == answer).expect("shown")]).collect()
}

#[test]
fn what_was_said_is_in_the_table() {
    let (_dir, dir) = folder(3, 2);
    let server = Server::start(&dir, &["--items", "items.arrow", "--labellers", "alice,小明", "--overlap", "2", "--gold-every", "2"]);
    let alice = server.visitor("alice");
    // Order, tie with a gap, comment: then reject without an order, skip, and back to change the skip.
    let first = alice.work();
    assert!(first.text().contains("0 done · 5 to go"), "three items and two gold ones");
    assert_eq!(alice.rank(&first, &["3", "1", "3"], &[("comment", " two lines\r\nof it "), ("seconds", "0")]).status, 303);
    let second = alice.work();
    assert_eq!(alice.rank(&second, &["", "", ""], &[("rejected", "1")]).status, 303);
    let third = alice.work();
    let csrf = third.field("csrf");
    let skip = [
        ("csrf", csrf.as_str()),
        ("nonce", &third.field("nonce")),
        ("item", &third.field("item")),
        ("reason", "reason_expert"),
        ("comment", "chemistry"),
    ];
    assert_eq!(alice.post("/skip", &skip).status, 303);
    assert_eq!(alice.post("/skip", &skip).status, 303, "sent again");
    assert_eq!(alice.post("/undo", &[("csrf", &csrf)]).status, 303);
    let back = alice.work();
    assert!(back.text().contains("changing an answer") && back.field("item") == third.field("item"));
    assert_eq!(alice.rank(&back, &["1", "2", "3"], &[]).status, 303);
    let fourth = alice.work();
    let skip = [
        ("csrf", csrf.as_str()),
        ("nonce", &fourth.field("nonce")),
        ("item", &fourth.field("item")),
        ("reason", "reason_expert"),
        ("comment", "chemistry"),
    ];
    assert_eq!(alice.post("/skip", &skip).status, 303);

    for page in [&first, &second, &third, &fourth] {
        let text = page.text();
        for hidden in ["hidden-model", "gold", "0.125"] {
            assert!(!text.contains(hidden), "{hidden} on the page");
        }
    }
    let (rows, told) = table(&dir, "labels.arrow");
    assert!(
        told.contains("3 rankings (in 1 every answer is rejected, 1 have no order), 1 skips, 2 gold items; 1 answers were changed"),
        "{told}"
    );
    assert_eq!(rows.len(), 3 + 1 + 2);
    let of = |page: &Reply| rows.iter().find(|row| row.judge.is_some() && row.prompt[0].content == page.texts()[0]).expect("a row");
    let row = of(&first);
    assert_eq!((row.kind, row.ranks.clone()), (Kind::Ranking, Some(expected(row, &first, &[2, 1, 2]))));
    assert_eq!((row.comment.as_deref(), row.judge.as_deref(), row.seconds), (Some("two lines\nof it"), Some("alice"), Some(0.0)));
    let shown = row.shown.as_ref().expect("recorded");
    let texts = first.texts();
    let there: Vec<&String> = shown.iter().map(|at| &texts[1 + *at as usize]).collect();
    assert_eq!(there, row.answers.iter().collect::<Vec<_>>());
    assert!(row.started <= row.ended && row.authors.is_some() && row.scores.is_none() && row.flags.is_empty());
    let row = of(&second);
    assert_eq!((row.kind, &row.ranks, row.has(flag::REJECT_ALL), &row.comment), (Kind::Ranking, &None, true, &None));
    let row = of(&third);
    assert_eq!((row.kind, row.ranks.clone()), (Kind::Ranking, Some(expected(row, &back, &[1, 2, 3]))));
    let row = of(&fourth);
    assert_eq!((row.kind, &row.ranks), (Kind::Skipped, &None));
    assert_eq!(row.comment.as_deref(), Some("It needs knowledge that I lack: chemistry"));
    let gold: Vec<&Judgment> = rows.iter().filter(|row| row.has(flag::GOLD)).collect();
    assert!(gold.len() == 2 && gold.iter().all(|row| row.kind == Kind::Open && row.judge.is_none() && row.ranks == Some(vec![1, 2, 3])));
    assert!(rows.iter().filter(|row| row.judge.is_some()).all(|row| !row.has(flag::GOLD)), "a labeller's word is not the truth");
    // The page's download is the same as the command's.
    let admin = server.visitor("admin");
    let (arrow, jsonl) = (admin.get("/admin/labels.arrow"), admin.get("/admin/labels.jsonl"));
    assert_eq!(arrow.bytes, std::fs::read(dir.join("labels.arrow")).unwrap());
    assert!(arrow.header("content-disposition").contains("attachment"));
    // Its lines are the table in another form: they are made into it again, and teach what it teaches.
    std::fs::write(dir.join("labels.jsonl"), &jsonl.bytes).unwrap();
    let out = label(&dir, &["ingest", "labels.jsonl", "--out", "back.arrow"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let back = LabelTable::open(&dir.join("back.arrow")).expect("a table");
    assert_eq!(back.iter().collect::<Result<Vec<_>, _>>().expect("rows"), rows);
    for name in ["labels.arrow", "labels.jsonl"] {
        let split = rankings(&dir, name);
        let skipped: Vec<(&str, u64)> = split.report.skipped.iter().map(|(cause, n)| (cause.as_str(), *n)).collect();
        assert_eq!(skipped, [("open", 2), ("reject-all", 1), ("skipped", 1)], "{name}");
        assert_eq!((split.train.len(), split.report.rejected), (2, 0), "{name}");
    }
}

/// As `reward` reads an export.
fn rankings(dir: &Path, name: &str) -> Split<Ranking> {
    let source = Source { path: dir.join(name).display().to_string(), format: None, columns: Columns::default() };
    let config = RankingData { sources: vec![source], quarantine: Quarantine::default(), ..RankingData::default() };
    load_rankings(&config, None, 0.0, 1, &dir.join("bad.jsonl")).expect("rankings")
}

#[test]
fn without_a_script_the_time_runs_from_the_page_to_the_answer() {
    let (_dir, dir) = folder(1, 0);
    let server = Server::start(&dir, &["--items", "items.arrow", "--labellers", "alice"]);
    let alice = server.visitor("alice");
    let page = alice.work();
    let seconds = page.field("seconds");
    assert_eq!(seconds, "", "nobody has measured it");
    assert_eq!(alice.rank(&page, &["1", "2", "3"], &[("seconds", seconds.as_str())]).status, 303);
    let (rows, _) = table(&dir, "labels.arrow");
    let elapsed = rows[0].ended.expect("an end") - rows[0].started.expect("a begin");
    assert_eq!(rows[0].seconds, Some((elapsed as f64 / 1000.0) as f32));
}

#[test]
fn rankings_are_read_as_rankings() {
    let (_dir, dir) = folder(3, 0);
    let server = Server::start(&dir, &["--items", "items.arrow", "--labellers", "alice"]);
    let alice = server.visitor("alice");
    let mut pages = Vec::new();
    for places in [["1", "2", "3"], ["2", "1", "1"], ["3", "2", "1"]] {
        pages.push(alice.work());
        assert_eq!(alice.rank(&pages[pages.len() - 1], &places, &[]).status, 303);
    }
    assert!(alice.get("/").text().contains("All done"));
    // As `reward` reads it: the table, and rows with columns of the names that it looks for by itself.
    for name in ["labels.arrow", "labels.jsonl"] {
        label(&dir, &["serve", "--db", "labels.sqlite", "--export", name]);
        let split = rankings(&dir, name);
        assert_eq!((split.train.len(), split.report.rejected, split.report.skipped.len()), (3, 0, 0), "{name}");
        for (ranking, page) in split.train.iter().zip(&pages) {
            assert_eq!((ranking.judge.as_deref(), &ranking.prompt[..]), (Some("alice"), &[Message::new("user", &page.texts()[0])][..]));
            assert_eq!(ranking.answers.len(), 3);
        }
    }
}

#[test]
fn a_round_goes_on_later_with_more_items_and_people() {
    let (_dir, dir) = folder(1, 0);
    let server = Server::start(&dir, &["--items", "items.arrow", "--labellers", "alice", "--overlap", "2", "--title", "Round 7"]);
    let mut alice = server.visitor("alice");
    let page = alice.work();
    let fields = super::client::fields(&page, &["2", "1", ""], &[("comment", "so far"), ("seconds", "12.5")]);
    assert_eq!(alice.post("/draft", &fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>()).status, 204);
    let (status, last) = server.stop();
    assert!(status.success() && last.contains("every submitted answer is in"), "{last}");

    // More items, of which one is known; another labeller; settings and title from before; the cookie of before.
    write_items(&dir.join("more.arrow"), 0, 3, 0);
    let server = Server::start(&dir, &["--items", "more.arrow", "--labellers", "alice,bob"]);
    assert_eq!(server.links.keys().collect::<Vec<_>>(), ["bob"], "who has a link gets no other");
    alice.address = server.address.clone();
    let again = alice.work();
    assert!(again.text().contains("0 done · 3 to go") && again.text().contains("Round 7"));
    assert_eq!((again.texts(), again.field("item"), again.field("seconds")), (page.texts(), page.field("item"), "12.5".to_string()));
    assert!(again.text().contains(">so far</textarea>") && again.text().matches(" selected>").count() == 2);
    assert_eq!(alice.rank(&again, &["2", "1", "3"], &[]).status, 303);

    // The admin adds Carol, closes Bob's access, and opens it again.
    let fresh = Server::start(&dir, &["--renew", "admin"]);
    drop(server);
    let admin = fresh.visitor("admin");
    let csrf = admin.get("/admin").field("csrf");
    let added = admin.post("/admin/add", &[("csrf", &csrf), ("name", "Carol 卡罗")]).text();
    let link = added.split("<code>").nth(1).expect("a link").split("</code>").next().unwrap().replace("&#x2f;", "/");
    assert!(admin.post("/admin/add", &[("csrf", &csrf), ("name", "bob")]).text().contains("There is a labeller of this name"));
    let carol = super::client::Visitor::enter(&fresh.address, &link[link.find("/t/").unwrap()..]);
    let page = carol.work();
    assert_eq!(carol.rank(&page, &["1", "2", "2"], &[]).status, 303);
    let id = {
        let page = admin.get("/admin").text();
        let row = page.split("<tr").find(|row| row.contains(">Carol 卡罗")).expect("her row").to_string();
        assert!(row.contains("<td class=\"num\">1</td>"), "{row}");
        row.split("name=\"id\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_string()
    };
    assert_eq!(admin.post("/admin/disable", &[("csrf", &csrf), ("id", &id)]).status, 303);
    assert_eq!((carol.get("/").status, carol.get(&link[link.find("/t/").unwrap()..]).status), (401, 401));
    assert_eq!(admin.post("/admin/enable", &[("csrf", &csrf), ("id", &id)]).status, 303);
    let carol = super::client::Visitor::enter(&fresh.address, &link[link.find("/t/").unwrap()..]);
    assert!(carol.work().text().contains("1 done"));
    let page = admin.get("/admin").text();
    assert!(page.contains("1 of 3 items have their 2 rankings"), "{page}");
    assert_eq!(table(&dir, "labels.arrow").0.len(), 2);
}

#[test]
fn both_languages() {
    let (_dir, dir) = folder(1, 0);
    let server = Server::start(&dir, &["--items", "items.arrow", "--labellers", "alice"]);
    let alice = server.visitor("alice");
    let chinese = alice.send("GET", "/", &[("Accept-Language", "zh-CN,zh;q=0.9,en;q=0.8")], "").unwrap().text();
    assert!(chinese.contains("<html lang=\"zh\">") && chinese.contains("你的排序") && chinese.contains("prompt 0"));
    assert!(alice.work().text().contains("<html lang=\"en\">"));
    let switched = alice.get("/lang/zh");
    let chosen = switched.header("set-cookie").split(';').next().unwrap().to_string();
    let both = super::client::Visitor { cookie: format!("{}; {chosen}", alice.cookie), ..alice.clone() };
    assert!(both.send("GET", "/", &[("Accept-Language", "en")], "").unwrap().text().contains("你的排序"), "the switch is stronger");
    let stranger = super::client::Visitor { cookie: String::new(), ..alice };
    assert!(stranger.send("GET", "/", &[("Accept-Language", "zh")], "").unwrap().text().contains("请打开你的链接"));
}

#[test]
fn mistakes_are_said_and_change_nothing() {
    let (_dir, dir) = folder(2, 0);
    let wrong = |args: &[&str], says: &str| {
        let out = label(&dir, args);
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{args:?}: {told}");
        assert!(told.contains(says), "{args:?}: {told}");
    };
    let serve = |more: &[&'static str]| [&["serve", "--db", "labels.sqlite", "--bind", "127.0.0.1:0"], more].concat();
    wrong(&serve(&["--export", "x.arrow"]), "there is no database");
    wrong(&serve(&["--labellers", "alice"]), "there is nothing to rank");
    wrong(&serve(&["--items", "absent.arrow", "--labellers", "alice"]), "absent.arrow");
    wrong(&serve(&["--items", "items.arrow"]), "there are no labellers yet");
    wrong(&serve(&["--items", "items.arrow", "--labellers", "admin"]), "take another");
    wrong(&serve(&["--items", "items.arrow", "--labellers", "a", "--gold-every", "1"]), "gold items only");
    wrong(&serve(&["--items", "items.arrow", "--labellers", "a", "--public-url", "example.org/x"]), "scheme and host");
    wrong(&serve(&["--items", "items.arrow", "--labellers", "a", "--instructions", "absent.md"]), "absent.md");
    wrong(&serve(&["--labellers", "a", "--renew", "nobody"]), "no labeller \"nobody\"");
    wrong(&serve(&["--export", "labels.sqlite"]), "names the database itself");
    wrong(&["serve", "--db", "items.arrow", "--labellers", "a", "--bind", "127.0.0.1:0"], "is not a database");
    // An item with one answer, and a known key with other answers: row and item are named, and none of the table is taken.
    let mut lone = Judgment::new(Kind::Open, vec![data::chat::Message::new("user", "p")], vec!["only".into()]);
    lone.item = "lone".into();
    data::labels::table::write_table(&dir.join("lone.arrow"), [lone.clone()]).unwrap();
    wrong(&serve(&["--items", "lone.arrow", "--labellers", "a"]), "row 1: item \"lone\" has 1 answers");
    lone.answers = vec!["one".into(), "two".into()];
    let mut other = lone.clone();
    other.answers = vec!["one".into(), "three".into()];
    data::labels::table::write_table(&dir.join("twice.arrow"), [lone, other]).unwrap();
    wrong(&serve(&["--items", "twice.arrow", "--labellers", "a"]), "row 2: item \"lone\" is in the database with another prompt");
    // A port that is taken: nobody is added whose link would never be seen.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    wrong(&["serve", "--db", "labels.sqlite", "--items", "items.arrow", "--labellers", "zoe", "--bind", &address], "cannot listen on");
    let server = Server::start(&dir, &["--labellers", "zoe"]);
    assert!(server.links.contains_key("zoe") && server.links.contains_key("admin"));
    let (rows, told) = table(&dir, "labels.arrow");
    assert!(rows.is_empty() && told.contains("0 rankings"), "{told}");
}
