//! The pages' templates, all of them in the binary. Whatever is filled in is escaped (minijinja does so for names ending in `.html`), except the
//! instructions, which [`super::markdown`] has made harmless.

use super::text::Lang;
use anyhow::Result;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use minijinja::value::{Kwargs, Value, merge_maps};
use minijinja::{Environment, Error, UndefinedBehavior, context};

const TEMPLATES: [(&str, &str); 8] = [
    ("base.html", include_str!("assets/base.html")),
    ("work.html", include_str!("assets/work.html")),
    ("done.html", include_str!("assets/done.html")),
    ("help.html", include_str!("assets/help.html")),
    ("admin.html", include_str!("assets/admin.html")),
    ("message.html", include_str!("assets/message.html")),
    ("progress.html", include_str!("assets/progress.html")),
    ("keys.html", include_str!("assets/keys.html")),
];

/// Files that pages ask for: kind, extension, content.
const FILES: [(&str, &str, &str); 3] = [
    ("text/css; charset=utf-8", "css", include_str!("assets/app.css")),
    ("text/javascript; charset=utf-8", "js", include_str!("assets/app.js")),
    ("image/svg+xml", "svg", include_str!("assets/icon.svg")),
];

/// Sent with every answer. No script, style or picture but our own, no frame around us, no address of ours to anybody else.
pub const HEADERS: [(HeaderName, HeaderValue); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
             frame-ancestors 'none'; base-uri 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    // Not `no-referrer`: with that, browsers send `Origin: null` with our own forms.
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("permissions-policy"), HeaderValue::from_static("camera=(), geolocation=(), microphone=()")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// The templates and what all pages share.
#[derive(Debug)]
pub struct Pages {
    env: Environment<'static>,
    title: String,
}

impl Pages {
    /// Compiles the templates for a round of this title.
    pub fn new(title: &str) -> Result<Pages> {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.add_filter("fill", fill);
        for (name, source) in TEMPLATES {
            env.add_template(name, source)?;
        }
        Ok(Pages { env, title: title.to_string() })
    }

    /// A page as HTML.
    pub fn html(&self, name: &str, lang: Lang, values: Value) -> Result<String> {
        let shared = context! {
            title => &self.title, lang => lang.code(), t => lang.texts(), css => Value::from_safe_string(address("css")),
            js => Value::from_safe_string(address("js")),
        };
        Ok(self.env.get_template(name)?.render(merge_maps([values, shared]))?)
    }

    /// A page as a response.
    pub fn show(&self, name: &str, lang: Lang, values: Value) -> Result<Response> {
        Ok(Html(self.html(name, lang, values)?).into_response())
    }
}

/// Fills the blanks of a text: `"{done} done"|fill(done=3)`.
fn fill(text: &str, values: Kwargs) -> Result<String, Error> {
    let mut filled = text.to_string();
    let names: Vec<String> = values.args().map(str::to_string).collect();
    for name in names {
        filled = filled.replace(&format!("{{{name}}}"), &values.get::<Value>(&name)?.to_string());
    }
    values.assert_all_used()?;
    Ok(filled)
}

/// The address of a file of ours. It names the content, so that a browser may keep it for ever.
fn address(extension: &str) -> String {
    let content = FILES.iter().find(|(_, e, _)| *e == extension).map_or("", |(.., content)| content);
    format!("/{}.{extension}", &blake3::hash(content.as_bytes()).to_hex()[..16])
}

/// The file of ours that has this address, if any has.
pub fn file(path: &str) -> Option<Response> {
    let (kind, extension, content) =
        FILES.iter().find(|(_, extension, _)| path == address(extension) || path == format!("/icon.{extension}"))?;
    let keep = if *extension == "svg" { "max-age=86400" } else { "max-age=31536000, immutable" };
    Some(([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, keep)], *content).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_escaped() {
        let pages = Pages::new("<b>Title</b>").unwrap();
        let values = context! { heading => "<script>alert(1)</script>", body => "a \"quoted\" & 'single'", bounce => false, home => true };
        let html = pages.html("message.html", Lang::Zh, values).unwrap();
        assert!(html.contains("&lt;script&gt;") && html.contains("&lt;b&gt;Title"), "{html}");
        assert!(!html.contains("<script>") && !html.contains("<b>Title"), "{html}");
        assert!(html.contains("lang=\"zh\"") && html.contains("返回首页"));
        assert!(pages.html("message.html", Lang::En, context! {}).is_err(), "a forgotten value is an error, not a gap");
    }

    #[test]
    fn blanks() {
        let mut env = Environment::new();
        env.add_filter("fill", fill);
        let render = |text: &str| env.render_str(text, context! {}).unwrap();
        assert_eq!(render("{{ '{a} of {b}, {a}'|fill(a=1, b='{x}') }}"), "1 of {x}, 1");
    }

    #[test]
    fn files_by_their_exact_address_only() {
        assert!(file(&address("css")).is_some() && file(&address("js")).is_some() && file("/icon.svg").is_some());
        for path in ["/", "/app.css", "/../labels.sqlite", "/icon.svg/", "/icon.css/..", "//icon.svg"] {
            assert!(file(path).is_none(), "{path}");
        }
    }
}
