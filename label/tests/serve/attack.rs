//! What must not be possible.

use super::client::{Server, Visitor, encode, folder, form, label, raw};
use data::chat::Message;
use data::labels::{Judgment, Kind, table};

const BASIC: [&str; 6] = ["--items", "items.arrow", "--labellers", "alice,bob", "--gold-every", "2"];

/// What stands in the database.
fn stored(dir: &std::path::Path) -> String {
    String::from_utf8(label(dir, &["serve", "--db", "labels.sqlite", "--export", "now.jsonl"]).stdout).unwrap()
}

#[test]
fn nothing_without_a_token_and_the_token_leaves_the_address() {
    let (_dir, dir) = folder(4, 0);
    let server = Server::start(&dir, &BASIC);
    let stranger = Visitor { address: server.address.clone(), cookie: String::new() };
    for path in ["/", "/admin", "/help", "/admin/labels.arrow", "/admin/labels.jsonl", "/t/", "/t/0", "/t/wrong", "/admin?from=1"] {
        let reply = stranger.get(path);
        assert!(matches!(reply.status, 401 | 404), "{path}: {}", reply.status);
        assert!(!reply.text().contains("prompt 0"));
    }
    for path in ["/submit", "/skip", "/draft", "/undo", "/keep", "/leave", "/admin/add", "/admin/renew", "/admin/enable", "/admin/disable"]
    {
        assert_eq!(stranger.post(path, &[("csrf", "x")]).status, 401, "{path}");
    }
    // The link: the cookie is out of scripts' reach and of other sites', the token is not in the next address.
    let token = server.links["alice"].clone();
    let reply = stranger.get(&token);
    let cookie = reply.header("set-cookie").to_string();
    assert_eq!((reply.status, reply.header("location"), reply.header("cache-control")), (303, "/", "no-store"));
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && cookie.contains("Path=/"), "{cookie}");
    assert!(!cookie.contains(&token[3..]) && !reply.text().contains(&token[3..]));
    // A link followed from another site: the cookie stays away from the redirect, so a page of ours asks once more.
    let bounced = stranger.send("GET", "/", &[("Sec-Fetch-Site", "cross-site")], "").unwrap();
    assert!(bounced.status == 200 && bounced.text().contains("content=\"0;url=/\""));
    let second = stranger.send("GET", "/", &[("Sec-Fetch-Site", "same-origin")], "").unwrap();
    assert_eq!(second.status, 401, "and not for ever");
    // Forged cookies.
    let good = server.visitor("alice").cookie;
    let forged = [format!("{}x", &good[..good.len() - 1]), good.split('.').next().unwrap().to_string() + ".", good.replace("=", "=9")];
    for cookie in forged.into_iter().filter(|cookie| *cookie != good) {
        assert_eq!(Visitor { cookie, ..stranger.clone() }.get("/").status, 401);
    }
}

#[test]
fn forms_need_their_session_and_their_origin() {
    let (_dir, dir) = folder(4, 0);
    let server = Server::start(&dir, &BASIC);
    let (alice, bob) = (server.visitor("alice"), server.visitor("bob"));
    let (page, other) = (alice.work(), bob.work());
    let filled = |csrf: &str| {
        let (nonce, item) = (page.field("nonce"), page.field("item"));
        let all = [("csrf", csrf), ("nonce", &nonce), ("item", &item), ("place-0", "1"), ("place-1", "2"), ("place-2", "3")];
        form(&all)
    };
    let own = page.field("csrf");
    let status = |more: &[(&str, &str)], body: &str| alice.send("POST", "/submit", more, body).unwrap().status;
    assert_eq!(status(&[], &filled("")), 403);
    assert_eq!(status(&[], &filled("").replace("csrf=&", "")), 403, "no such field");
    assert_eq!(status(&[], &filled(&other.field("csrf"))), 403, "another session's");
    assert_eq!(status(&[], &filled(&own[1..])), 403);
    for headers in [
        [("Origin", "https://evil.example"), ("X", "y")],
        [("Origin", "null"), ("X", "y")],
        [("Origin", "http://127.0.0.1:1"), ("X", "y")],
        [("Sec-Fetch-Site", "cross-site"), ("X", "y")],
        [("Sec-Fetch-Site", "same-site"), ("X", "y")],
    ] {
        assert_eq!(status(&headers, &filled(&own)), 403, "{headers:?}");
    }
    assert_eq!(status(&[("Content-Type", "application/json")], "{}"), 415);
    assert_eq!(alice.get("/submit").status, 405);
    assert!(stored(&dir).contains(" 0 rankings"));
    // Bob's item under his own session is not Alice's to answer: she has another name for it.
    let (nonce, item) = (page.field("nonce"), other.field("item"));
    let theirs = [("csrf", own.as_str()), ("nonce", &nonce), ("item", &item), ("place-0", "1"), ("place-1", "2"), ("place-2", "3")];
    assert_eq!(alice.post("/submit", &theirs).status, 403);
    assert_eq!(alice.post("/draft", &theirs).status, 409);
    assert!(stored(&dir).contains(" 0 rankings"));
    let origin = format!("http://{}", server.address);
    assert_eq!(status(&[("Origin", &origin), ("Sec-Fetch-Site", "same-origin")], &filled(&own)), 303);
    assert!(stored(&dir).contains(" 1 rankings"));
}

#[test]
fn roles_stay_apart() {
    let (_dir, dir) = folder(4, 0);
    let server = Server::start(&dir, &BASIC);
    let (alice, admin) = (server.visitor("alice"), server.visitor("admin"));
    let csrf = alice.work().field("csrf");
    for path in ["/admin", "/admin/labels.arrow", "/admin/labels.jsonl"] {
        assert_eq!(alice.get(path).status, 403, "{path}");
    }
    for path in ["/admin/add", "/admin/renew", "/admin/enable", "/admin/disable"] {
        assert_eq!(alice.post(path, &[("csrf", &csrf), ("name", "bob"), ("id", "3")]).status, 403, "{path}");
    }
    let csrf = admin.get("/admin").field("csrf");
    assert_eq!(admin.get("/").status, 303);
    for path in ["/undo", "/keep"] {
        assert_eq!(admin.post(path, &[("csrf", &csrf)]).status, 403, "{path}");
    }
    assert_eq!(admin.post("/skip", &[("csrf", &csrf), ("reason", "reason_unclear")]).status, 403);
    assert_eq!(admin.post("/admin/renew", &[("csrf", &csrf), ("name", "admin")]).status, 422, "not from the page");
}

#[test]
fn limits() {
    let (_dir, dir) = folder(4, 0);
    let server = Server::start(&dir, &BASIC);
    let alice = server.visitor("alice");
    let page = alice.work();
    let large = form(&[("csrf", &page.field("csrf")), ("comment", &"x".repeat(70_000))]);
    assert_eq!(alice.send("POST", "/submit", &[], &large).unwrap().status, 413);
    // The same without a length: chunk by chunk.
    let head = format!("POST /submit HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nConnection: close\r\n", server.address, alice.cookie);
    let head = head + "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n";
    let request = format!("{head}{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    assert_eq!(raw(&server.address, request.as_bytes()).unwrap().status, 413);
    // Not too large as a form, but as a comment, in any language.
    assert_eq!(alice.rank(&page, &["1", "2", "3"], &[("comment", &"好".repeat(4001))]).status, 422);
    for places in
        [&["1", "2"][..], &["1", "2", ""], &["", "", ""], &["1", "2", "0"], &["1", "2", "-1"], &["1", "2", "x"], &["1", "2", "21"], &[]]
    {
        assert_eq!(alice.rank(&page, places, &[]).status, 422, "{places:?}");
    }
    assert_eq!(alice.rank(&page, &["1", "", ""], &[("rejected", "1")]).status, 422, "all or none, also when all are bad");
    for (key, value) in [("nonce", ""), ("nonce", "short"), ("nonce", "no spaces or 'quotes' here"), ("item", "nonsense")] {
        let mut fields = super::client::fields(&page, &["1", "2", "3"], &[]);
        fields.iter_mut().filter(|(k, _)| k == key).for_each(|(_, v)| *v = value.to_string());
        let pairs: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert!(matches!(alice.post("/submit", &pairs).status, 403 | 422), "{key} {value}");
    }
    let skip = |reason: &str| {
        alice.post(
            "/skip",
            &[("csrf", &page.field("csrf")), ("nonce", &page.field("nonce")), ("item", &page.field("item")), ("reason", reason)],
        )
    };
    assert_eq!(skip("").status, 422);
    assert_eq!(skip("submit").status, 422, "a text of ours that is no reason");
    assert!(stored(&dir).contains(" 0 rankings"));
    assert_eq!(alice.rank(&page, &["1", "2", "3"], &[("comment", &"好".repeat(4000))]).status, 303);
    assert!(stored(&dir).contains(" 1 rankings"));
}

#[test]
fn no_path_leads_to_a_file() {
    let (_dir, dir) = folder(2, 0);
    let server = Server::start(&dir, &BASIC);
    let alice = server.visitor("alice");
    for path in [
        "/labels.sqlite",
        "/../labels.sqlite",
        "/..%2flabels.sqlite",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/../../../../etc/passwd",
        "/assets/app.css",
        "/lang/../../etc/passwd",
        "/lang/..%2f..%2fetc%2fpasswd",
        "/lang/fr",
        "/admin/../labels.sqlite",
        "/admin/labels.sqlite",
        "//etc/passwd",
        "/icon.svg/../../labels.sqlite",
        "/%00",
    ] {
        let reply = alice.get(path);
        assert_eq!(reply.status, 404, "{path}");
        assert!(!reply.text().contains("SQLite format") && !reply.text().contains("root:"), "{path}");
    }
    assert_eq!(alice.get("/t/..%2f..%2fetc%2fpasswd").status, 401);
}

#[test]
fn whatever_people_and_models_write_is_text() {
    let dir = tempfile::tempdir().unwrap();
    let evil = "</div></textarea><script>alert(1)</script><img src=x onerror=\"alert('2')\">";
    let escaped = "&lt;script&gt;alert(1)";
    let mut row = Judgment::new(Kind::Open, vec![Message::new(evil, evil)], vec![evil.to_string(), "b' onclick='x".to_string()]);
    row.item = evil.to_string();
    table::write_table(&dir.path().join("items.arrow"), [row]).unwrap();
    std::fs::write(dir.path().join("guide.md"), format!("# Guide\n\n{evil}\n\n[x](javascript:alert(1)) [y](https://example.org)")).unwrap();
    let name = "<b>eve</b>";
    let server = Server::start(
        dir.path(),
        &["--items", "items.arrow", "--labellers", name, "--instructions", "guide.md", "--title", evil, "--overlap", "2"],
    );
    let (eve, admin) = (server.visitor(name), server.visitor("admin"));
    let harmless = |page: &super::client::Reply, what: &str| {
        let text = page.text();
        let open = text.matches("<script").count();
        assert_eq!(open, text.matches("<script src=\"/").count(), "{what}: only our own script: {text}");
        for part in ["<img", "<b>eve", "javascript:alert(1)\"", "' onclick='"] {
            assert!(!text.contains(part), "{what}: {part} in {text}");
        }
        assert!(!text.contains("style=\""), "{what}: nothing that the policy would have to stop");
        text
    };
    let page = eve.work();
    assert!(harmless(&page, "work").matches(escaped).count() >= 4, "title, role, prompt, answer, instructions");
    assert!(page.text().contains("href=\"https://example.org\""));
    // A draft with markup comes back as text, and so does the comment on the admin's page.
    let fields = super::client::fields(&page, &["1", ""], &[("comment", evil)]);
    assert_eq!(eve.post("/draft", &fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>()).status, 204);
    assert!(harmless(&eve.work(), "draft").contains("&lt;&#x2f;textarea&gt;&lt;script&gt;"));
    harmless(&eve.get("/help"), "help");
    assert_eq!(eve.rank(&page, &["1", "2"], &[("comment", evil)]).status, 303);
    let text = harmless(&admin.get("/admin"), "admin");
    assert!(text.contains(escaped) && text.contains("&lt;b&gt;eve"));
    harmless(&eve.get(&format!("/{}", encode(evil))), "not found");
    harmless(&eve.get("/"), "done");
}

#[test]
fn every_answer_bears_the_headers() {
    let (_dir, dir) = folder(2, 0);
    let server = Server::start(&dir, &BASIC);
    let alice = server.visitor("alice");
    let page = alice.work().text();
    let script = page.split("src=\"").nth(1).unwrap().split('"').next().unwrap().to_string();
    for (path, status) in
        [("/", 200), ("/nothing", 404), ("/admin", 403), ("/lang/zh", 303), ("/submit", 405), (script.as_str(), 200), ("/icon.svg", 200)]
    {
        let reply = alice.get(path);
        assert_eq!(reply.status, status, "{path}");
        let policy = reply.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
        let others =
            ["x-content-type-options", "x-frame-options", "referrer-policy", "cross-origin-opener-policy"].map(|name| reply.header(name));
        assert_eq!(others, ["nosniff", "DENY", "same-origin", "same-origin"], "{path}");
        assert_eq!(reply.header("cache-control").contains("no-store"), !path.contains('.'), "{path}");
    }
}
