//! Two labellers in a real browser: by keys, by mouse, by drag and by touch, with ties, a comment, a skip, undo, and a browser closed half-way. The
//! exported table must hold what they did. `LABEL_BROWSER_OUT` names a folder that gets the export (`scripts/label-demo.sh` trains on it).

use super::client::{Server, label};
use super::webdriver::{Browser, Driver};
use data::chat::Message;
use data::labels::table::{LabelTable, write_table};
use data::labels::{Judgment, Kind, flag};

/// Items, each with its answers from best to worst.
const ITEMS: [[&str; 4]; 6] = [
    ["What do bees make?", "Bees make honey.", "They make something sweet.", "Bees are insects."],
    ["天空为什么是蓝色的？", "因为空气散射蓝光最多。", "因为阳光。", "因为海。"],
    ["How do I boil an egg?", "Eight minutes in boiling water.", "Use hot water.", "Eggs come from hens."],
    ["Name a prime number.", "Seven is prime.", "Maybe nine?", "I like numbers."],
    ["Say something kind.", "I am glad that you are here.", "Hello.", "No."],
    ["Where does the sun set?", "In the west.", "At the horizon.", "In the east."],
];

fn write(path: &std::path::Path) {
    let rows = ITEMS
        .iter()
        .map(|[prompt, answers @ ..]| Judgment::new(Kind::Open, vec![Message::new("user", prompt)], answers.map(String::from).to_vec()));
    write_table(path, rows).expect("items");
}

/// The numbers (from 1) under which the page shows the answers of ITEMS[item], best first.
fn numbers(browser: &Browser, item: usize) -> [usize; 3] {
    browser.wait(&format!(
        "document.querySelector('.prompt .text')?.textContent === {:?} && document.documentElement.classList.contains('js')",
        ITEMS[item][0]
    ));
    let shown = browser.js("return [...document.querySelectorAll('.card .text')].map(e => e.textContent)");
    let shown: Vec<&str> = shown.as_array().expect("answers").iter().map(|text| text.as_str().expect("text")).collect();
    [1, 2, 3].map(|i| 1 + shown.iter().position(|text| *text == ITEMS[item][i]).expect("shown"))
}

/// The order that the page would send: numbers by place, `1 23` for the first alone and two tied second.
fn order(browser: &Browser) -> String {
    browser.text("[...document.querySelectorAll('.tier')].map(t => [...t.querySelectorAll('.chip')].map(c => Number(c.dataset.p) + 1).sort().join('')).join(' ')")
}

const ENTER: char = '\u{e007}';
const ESCAPE: char = '\u{e00c}';
const BACKSPACE: char = '\u{e003}';

#[test]
fn two_labellers_rank_in_a_browser() {
    let Some(driver) = Driver::start("two_labellers_rank_in_a_browser") else { return };
    let dir = tempfile::tempdir().expect("temporary folder");
    write(&dir.path().join("items.arrow"));
    let server = Server::start(dir.path(), &["--items", "items.arrow", "--labellers", "alice,bob", "--overlap", "2", "--gold-every", "0"]);
    let link = |name: &str| format!("http://{}{}", server.address, server.links[name]);

    // Alice follows the link from somebody else's page: the cookie must survive that.
    let alice = driver.browser(1280, 900);
    alice.go(&format!("data:text/html,<a id=a href='{}'>label</a>", link("alice")));
    alice.click("#a");

    // By keys alone. A wrong one is taken back.
    let [best, middle, worst] = numbers(&alice, 0);
    assert!(!alice.text("location.href").contains("/t/"), "the token has left the address");
    assert_eq!(alice.text("document.querySelector('#submit').disabled"), "true");
    alice.keys(&format!("{worst}{BACKSPACE}{best}{middle}{worst}"));
    assert_eq!(order(&alice), format!("{best} {middle} {worst}"));
    assert!(alice.text("document.querySelector('#say').textContent").contains("Enter submits"), "said to those who do not see");
    alice.keys(&ENTER.to_string());

    // A tie, and a comment in which the keys mean themselves.
    let [best, middle, worst] = numbers(&alice, 1);
    alice.keys(&format!("{best}={worst}{middle}c"));
    alice.keys(&format!("好 x s u 1{ESCAPE}"));
    assert_eq!(order(&alice), format!("{}{} {middle}", best.min(worst), best.max(worst)));
    alice.keys(&ENTER.to_string());

    // By mouse: taps on the answers, then the buttons.
    let [best, middle, worst] = numbers(&alice, 2);
    for n in [best, worst, middle] {
        alice.click(&format!(".card[data-p='{}'] .text", n - 1));
    }
    assert_eq!(order(&alice), format!("{best} {worst} {middle}"));
    alice.click(&format!(".chip[data-p='{}'] [data-focus=up]", middle - 1));
    assert_eq!(order(&alice), format!("{best} {middle} {worst}"));
    alice.keys("\u{e015}"); // arrow down: the button of the moved one still has the focus
    assert_eq!(order(&alice), format!("{best} {worst} {middle}"));
    alice.keys("\u{e013}");
    alice.click(&format!(".chip[data-p='{}'] [data-focus=tie]", worst - 1));
    alice.click(&format!(".chip[data-p='{}'] [data-focus=tie]", worst - 1));
    assert_eq!(order(&alice), format!("{best} {middle} {worst}"), "tied and separated again");
    alice.click("#submit");

    // By drag: into the empty order, above the first, and onto another.
    let [best, middle, worst] = numbers(&alice, 3);
    let badge = |n: usize| alice.middle(&format!(".card[data-p='{}'] .badge", n - 1), 0.0);
    let drag = |from: (i64, i64), to: (i64, i64)| alice.press("mouse", &[from, ((from.0 + to.0) / 2, (from.1 + to.1) / 2), to]);
    drag(badge(middle), alice.middle("#tiers", 0.0));
    assert_eq!(order(&alice), middle.to_string());
    let (x, y) = alice.middle(".tier", 0.0);
    let half: i64 = alice.text("Math.floor(document.querySelector('.tier').offsetHeight / 2)").parse().expect("pixels");
    drag(badge(best), (x, y - half + 4));
    assert_eq!(order(&alice), format!("{best} {middle}"));
    drag(badge(worst), alice.middle(&format!(".chip[data-p='{}']", middle - 1), 0.0));
    assert_eq!(order(&alice), format!("{best} {}{}", middle.min(worst), middle.max(worst)));
    let (x, y) = alice.middle(".tier:last-child", 0.0);
    let half: i64 = alice.text("Math.floor(document.querySelector('.tier:last-child').offsetHeight / 2)").parse().expect("pixels");
    drag(alice.middle(&format!(".chip[data-p='{}'] .grip", worst - 1), 0.0), (x, y + half + 12));
    assert_eq!(order(&alice), format!("{best} {middle} {worst}"), "dragged out of the tie");
    alice.keys(&ENTER.to_string());

    // All bad; then a skip, undone and ranked after all.
    numbers(&alice, 4);
    alice.keys(&format!("x{ENTER}"));
    numbers(&alice, 5);
    alice.keys("s");
    alice.keys(" ");
    alice.click("#skip button.primary");
    alice.wait("document.body.innerText.includes('All done')");
    alice.click("form[action='/undo'] button");
    let [best, middle, worst] = numbers(&alice, 5);
    assert!(alice.text("document.body.innerText").contains("changing an answer"));
    alice.keys(&format!("{best}{middle}{worst}{ENTER}"));
    alice.wait("document.body.innerText.includes('All done')");
    assert_eq!(alice.complaints(), [""; 0], "neither script nor policy was broken");
    drop(alice);

    // Bob begins on a narrow screen by touch, closes the browser, and goes on with another.
    let bob = driver.browser(500, 800);
    bob.go(&link("bob"));
    let [best, ..] = numbers(&bob, 0);
    bob.press("touch", &[bob.middle(&format!(".card[data-p='{}'] .text", best - 1), 0.0)]);
    assert_eq!(order(&bob), best.to_string());
    assert_eq!(bob.text("document.documentElement.scrollWidth <= innerWidth"), "true", "nothing is wider than the screen");
    bob.wait("document.querySelector('#saved').textContent");
    drop(bob);
    let bob = driver.browser(1280, 900);
    bob.go(&link("bob"));
    let [again, middle, worst] = numbers(&bob, 0);
    assert_eq!((again, order(&bob)), (best, best.to_string()), "the same order of answers, and what was begun");
    bob.keys(&format!("{worst}{middle}{ENTER}"));
    for item in 1..ITEMS.len() {
        let [best, middle, worst] = numbers(&bob, item);
        bob.keys(&format!("{best}{middle}{worst}{ENTER}"));
    }
    bob.wait("document.body.innerText.includes('All done')");
    assert_eq!(bob.complaints(), [""; 0]);
    drop(bob);

    let admin = driver.browser(1280, 900);
    admin.go(&link("admin"));
    admin.wait("document.body.innerText.includes('6 of 6 items have their 2 rankings')");
    assert_eq!(admin.complaints(), [""; 0]);
    drop(admin);

    let out = label(dir.path(), &["serve", "--db", "labels.sqlite", "--export", "labels.arrow"]);
    let told = String::from_utf8(out.stdout).expect("text");
    assert!(told.contains("12 rankings (in 1 every answer is rejected, 1 have no order), 0 skips, 0 gold items; 1 answers"), "{told}");
    let table = LabelTable::open(&dir.path().join("labels.arrow")).expect("a table");
    let said = |judge: &str| -> Vec<Option<Vec<u32>>> {
        let rows: Vec<Judgment> = table.iter().map(|row| row.expect("row")).filter(|row| row.judge.as_deref() == Some(judge)).collect();
        ITEMS.iter().map(|item| rows.iter().find(|row| row.prompt[0].content == item[0]).expect("judged").ranks.clone()).collect()
    };
    let straight = Some(vec![1, 2, 3]);
    let alices = [straight.clone(), Some(vec![1, 2, 1]), straight.clone(), straight.clone(), None, straight.clone()];
    assert_eq!(said("alice"), alices);
    assert_eq!(said("bob"), [&[Some(vec![1, 3, 2])][..], &vec![straight; 5]].concat());
    let rows: Vec<Judgment> = table.iter().map(|row| row.expect("row")).collect();
    assert_eq!(rows.iter().filter_map(|row| row.comment.as_deref()).collect::<Vec<_>>(), ["好 x s u 1"]);
    assert_eq!(rows.iter().filter(|row| row.has(flag::REJECT_ALL)).count(), 1);
    assert!(rows.iter().all(|row| row.seconds.is_some_and(|s| s >= 0.0) && row.started <= row.ended && row.shown.is_some()));
    if let Some(folder) = std::env::var_os("LABEL_BROWSER_OUT") {
        std::fs::copy(dir.path().join("labels.arrow"), std::path::Path::new(&folder).join("labels.arrow")).expect("copied");
    }
}
