//! The admin's requests: how the round stands, who labels, and the export.

use super::agreement::{self, Standing, Work};
use super::app::Shared;
use super::db::{Db, now};
use super::export;
use super::people::{self, check_name};
use super::visitor::{Posted, Problem, Visitor};
use anyhow::Context;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use minijinja::{Value, context};
use std::collections::HashMap;

/// Items a page.
const PAGE: u64 = 50;
/// Characters of a prompt in the list.
const EXCERPT: usize = 160;

/// The admin's page.
pub async fn page(State(app): State<Shared>, visitor: Visitor, Query(query): Query<HashMap<String, String>>) -> Result<Response, Problem> {
    let from = query.get("from").and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    show(&app, &visitor, u64::from(from), None, "").await
}

/// Adds a labeller and shows the link, this once.
pub async fn add(State(app): State<Shared>, posted: Posted) -> Result<Response, Problem> {
    posted.visitor.admin()?;
    let lang = posted.visitor.lang;
    let Ok(name) = check_name(posted.field("name")).map(str::to_string) else {
        return show(&app, &posted.visitor, 0, None, lang.text("name_bad")).await;
    };
    let new = name.clone();
    match app.with_db(move |db, now| people::add(db, &new, false, now)).await? {
        Some(token) => show(&app, &posted.visitor, 0, Some((name, token)), "").await,
        None => show(&app, &posted.visitor, 0, None, lang.text("name_taken")).await,
    }
}

/// A new link for a labeller; the old one ends.
pub async fn renew(State(app): State<Shared>, posted: Posted) -> Result<Response, Problem> {
    posted.visitor.admin()?;
    let name = posted.field("name").to_string();
    check_name(&name).map_err(|_| Problem::FORM)?; // the admin's own link is renewed where the server is started
    let whose = name.clone();
    let known = app.with_db(|db, _| people::all(db)).await?.iter().any(|person| person.name == name);
    if !known {
        return Err(Problem::FORM);
    }
    let token = app.with_db(move |db, _| people::renew(db, &whose)).await?;
    show(&app, &posted.visitor, 0, Some((name, token)), "").await
}

/// Opens a labeller's access again.
pub async fn enable(State(app): State<Shared>, posted: Posted) -> Result<Response, Problem> {
    set_access(&app, &posted, true).await
}

/// Ends a labeller's access.
pub async fn disable(State(app): State<Shared>, posted: Posted) -> Result<Response, Problem> {
    set_access(&app, &posted, false).await
}

async fn set_access(app: &Shared, posted: &Posted, enabled: bool) -> Result<Response, Problem> {
    posted.visitor.admin()?;
    let id: i64 = posted.field("id").parse().map_err(|_| Problem::FORM)?;
    let known = app.with_db(move |db, _| people::enable(db, id, enabled)).await?;
    if known { Ok(Redirect::to("/admin").into_response()) } else { Err(Problem::FORM) }
}

/// The answers as a table.
pub async fn arrow(State(app): State<Shared>, visitor: Visitor) -> Result<Response, Problem> {
    download(&app, &visitor, "labels.arrow", "application/vnd.apache.arrow.file").await
}

/// The answers as JSON Lines.
pub async fn jsonl(State(app): State<Shared>, visitor: Visitor) -> Result<Response, Problem> {
    download(&app, &visitor, "labels.jsonl", "application/jsonl; charset=utf-8").await
}

/// An export.
async fn download(app: &Shared, visitor: &Visitor, name: &'static str, kind: &'static str) -> Result<Response, Problem> {
    visitor.admin()?;
    let path = app.path.clone();
    let made = beside(app, move |db, _| {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let file = folder.path().join(name);
        export::write(db, &path, &file)?;
        std::fs::read(&file).context("cannot read the export")
    });
    let bytes = made.await?;
    let disposition = format!("attachment; filename=\"{name}\"");
    Ok(([(header::CONTENT_TYPE, kind.to_string()), (header::CONTENT_DISPOSITION, disposition)], bytes).into_response())
}

/// Reads the database through a connection of its own, however long it takes: labellers do not wait for it. `read` gets the time as well.
async fn beside<T: Send + 'static>(app: &Shared, read: impl FnOnce(&Db, i64) -> anyhow::Result<T> + Send + 'static) -> Result<T, Problem> {
    let path = app.path.clone();
    let done = tokio::task::spawn_blocking(move || read(&Db::open(&path)?, now())).await;
    Ok(done.map_err(anyhow::Error::from)??)
}

async fn show(app: &Shared, visitor: &Visitor, from: u64, link: Option<(String, String)>, trouble: &str) -> Result<Response, Problem> {
    visitor.admin()?;
    let rules = app.rules;
    let (standing, agreement, work, (items, total)) = beside(app, move |db, now| {
        let _one_moment = db.conn().unchecked_transaction()?;
        Ok((agreement::standing(db, rules, now)?, agreement::agreement(db)?, agreement::work(db)?, agreement::items(db, from, PAGE, now)?))
    })
    .await?;
    let percent = |share: f64| format!("{:.0}%", share * 100.0);
    let agreement =
        agreement.map(|a| context! { share => percent(a.agreement), lo => percent(a.ci[0]), hi => percent(a.ci[1]), n => a.comparisons });
    let link = link.map(|(name, token)| context! { name, url => format!("{}/t/{token}", app.base) });
    let rows: Vec<Value> = items
        .iter()
        .map(|item| {
            let prompt: String = item.prompt.chars().take(EXCERPT).collect();
            let prompt = if prompt.len() < item.prompt.len() { prompt + "…" } else { prompt };
            context! { id => item.id, gold => item.gold, prompt, rankings => item.rankings, rejected => item.rejected, skipped => item.skipped,
            leases => item.leases, comments => &item.comments }
        })
        .collect();
    let values = context! {
        csrf => visitor.form_token(), wanted => standing.items * u64::from(rules.overlap), overlap => rules.overlap, standing => counts(&standing), agreement, link,
        trouble, labellers => work.iter().map(labeller).collect::<Vec<_>>(), first => (from + 1).min(total), last => from + rows.len() as u64,
        items => rows, total, earlier => (from > 0).then(|| from.saturating_sub(PAGE)), later => (from + PAGE < total).then_some(from + PAGE),
    };
    Ok(app.pages.show("admin.html", visitor.lang, values)?)
}

fn counts(s: &Standing) -> Value {
    context! {
        items => s.items, complete => s.complete, missing => s.missing, gold => s.gold, rankings => s.rankings, skipped => s.skipped,
        superseded => s.superseded, leases => s.leases,
    }
}

fn labeller(work: &Work) -> Value {
    let time = |ms: i64| chrono::DateTime::from_timestamp_millis(ms).map(|t| t.format("%Y-%m-%d %H:%M").to_string());
    let gold = work.gold.filter(|(_, pairs)| *pairs > 0);
    context! {
        id => work.person.id, name => &work.person.name, enabled => work.person.enabled, rankings => work.rankings, rejected => work.rejected,
        skipped => work.skipped, changed => work.changed, median => work.median.map_or("–".to_string(), |s| format!("{s:.0}")),
        gold => gold.map_or("–".to_string(), |(right, pairs)| format!("{:.0}% / {pairs}", 100.0 * right / pairs as f64)),
        last => work.last.and_then(time).unwrap_or("–".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::app::App;
    use crate::serve::assign::Rules;
    use crate::serve::people::{ADMIN, Person};
    use crate::serve::text::Lang;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn the_admins_page_and_the_labellers_do_not_wait_for_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.sqlite");
        let rules = Rules { overlap: 1, gold_every: 0, lease: 1000 };
        let app = App::new(Db::create(&path).unwrap(), path, rules, "title", String::new(), "http://localhost".into()).unwrap();
        let app = Arc::new(app);
        // A labeller's request has their connection until the page is there.
        let (begin, begun) = tokio::sync::oneshot::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let of_labeller = app.clone();
        let held = tokio::spawn(async move {
            of_labeller
                .with_db(move |_, _| {
                    begin.send(()).unwrap();
                    Ok(ended.recv().is_ok())
                })
                .await
        });
        begun.await.unwrap();
        let person = Person { id: 1, name: ADMIN.into(), admin: true, enabled: true };
        let visitor = Visitor { person, cookie: "1.x".into(), lang: Lang::En };
        let page = tokio::time::timeout(Duration::from_secs(20), show(&app, &visitor, 0, None, "")).await;
        end.send(()).unwrap();
        assert!(held.await.unwrap().unwrap());
        assert_eq!(page.expect("a page in time").unwrap().status(), 200);
    }
}
