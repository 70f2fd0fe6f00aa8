//! Instructions in Markdown to HTML that can do nothing but be read: no raw HTML, no pictures, links to the web and to mail alone.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// HTML of the Markdown text.
pub fn to_html(text: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut dropped = Vec::new();
    let events = Parser::new_ext(text, options).filter_map(|event| match event {
        // Raw HTML is shown as the text that it is.
        Event::Html(raw) | Event::InlineHtml(raw) => Some(Event::Text(raw)),
        Event::Start(Tag::HtmlBlock) => Some(Event::Start(Tag::Paragraph)),
        Event::End(TagEnd::HtmlBlock) => Some(Event::End(TagEnd::Paragraph)),
        // A picture would be fetched from elsewhere: its description stands for it.
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let safe = is_safe(&dest_url);
            dropped.push(!safe);
            safe.then_some(Event::Start(Tag::Link { link_type, dest_url, title, id }))
        }
        Event::End(TagEnd::Link) => (!dropped.pop().unwrap_or(false)).then_some(Event::End(TagEnd::Link)),
        other => Some(other),
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    out
}

/// True for a link that leads to a web page or a mail, and says so.
fn is_safe(link: &CowStr) -> bool {
    let link = link.trim_start().to_ascii_lowercase();
    ["https://", "http://", "mailto:"].iter().any(|scheme| link.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::to_html;

    #[test]
    fn markdown_is_rendered() {
        let html =
            to_html("# 标准\n\n1. **Truth** before _style_\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n[guide](https://example.org/?a=1&b=2)");
        for part in ["<h1>标准</h1>", "<strong>Truth</strong>", "<em>style</em>", "<td>2</td>", "href=\"https://example.org/?a=1&amp;b=2\""]
        {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    #[test]
    fn nothing_in_it_can_run_or_fetch() {
        let hostile = "<script>alert(1)</script>\n\ntext <img src=x onerror=alert(1)> <b>bold</b>\n\n<div onclick=\"x()\">\nblock\n</div>\n\n\
            [a](javascript:alert(1)) [b]( JaVaScRiPt:alert(1)) [c](data:text/html,x) [d](vbscript:x) [e](/admin) [f](java&#115;cript:alert(1))\n\n\
            ![pixel](https://example.org/track.png) <javascript:alert(1)> [g](https://example.org \"t\\\" onmouseover=\\\"x\")";
        let html = to_html(hostile);
        for part in ["<script", "<img", "<div", "<b>", "href=\"javascript", "href=\"data", "href=\"vbscript", "href=\"/admin"] {
            assert!(!html.to_lowercase().contains(part), "{part}: {html}");
        }
        assert!(html.contains("&lt;script&gt;") && html.contains("&lt;b&gt;"), "shown as text: {html}");
        assert!(html.contains("pixel") && !html.contains("track.png"), "{html}");
        assert_eq!(html.matches("<a ").count(), html.matches("</a>").count());
        assert_eq!(html.matches("<a ").count(), 1, "the one to the web: {html}");
        assert!(!html.contains("\" onmouseover"), "{html}");
    }
}
