//! Every word of the pages in English and in Chinese, in one table. What labellers and models wrote is shown as it is.

use std::collections::BTreeMap;

/// A language of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lang {
    /// English.
    En,
    /// Chinese, simplified.
    Zh,
}

impl Lang {
    /// The code in `lang` attributes, addresses and the cookie.
    pub fn code(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Zh => "zh",
        }
    }

    /// The language of the code.
    pub fn of_code(code: &str) -> Option<Lang> {
        [Lang::En, Lang::Zh].into_iter().find(|lang| lang.code() == code)
    }

    /// The language that an `Accept-Language` header likes best; English where it likes neither.
    pub fn accepted(header: &str) -> Lang {
        let mut best = (Lang::En, 0.0);
        for part in header.split(',') {
            let mut pieces = part.split(';').map(str::trim);
            let tag = pieces.next().unwrap_or_default().to_ascii_lowercase();
            let Some(lang) = Lang::of_code(tag.split('-').next().unwrap_or_default()) else { continue };
            let quality = pieces.find_map(|piece| piece.strip_prefix("q=")).map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
            if quality > best.1 {
                best = (lang, quality);
            }
        }
        best.0
    }

    /// All texts of the language by their keys.
    pub fn texts(self) -> BTreeMap<&'static str, &'static str> {
        TEXTS.iter().map(|(key, en, zh)| (*key, if self == Lang::En { *en } else { *zh })).collect()
    }

    /// The text of a key.
    pub fn text(self, key: &str) -> &'static str {
        let found = TEXTS.iter().find(|(k, ..)| *k == key);
        found.map_or("", |(_, en, zh)| if self == Lang::En { en } else { zh })
    }
}

/// Why an item may be skipped: keys of [`TEXTS`]. The English text goes into the table, whatever the interface's language.
pub const REASONS: [&str; 5] = ["reason_unclear", "reason_language", "reason_expert", "reason_broken", "reason_harmful"];

/// Key, English, Chinese. `{...}` is filled in.
pub const TEXTS: &[(&str, &str, &str)] = &[
    ("other_lang", "中文", "English"),
    ("other_code", "zh", "en"),
    ("skip_to_work", "Go to the answers", "跳到回答"),
    ("language", "Language", "语言"),
    // The page on which people rank.
    ("progress", "{done} done · {left} to go", "已完成 {done} · 剩余 {left}"),
    ("progress_label", "Your progress", "你的进度"),
    ("instructions", "Instructions", "说明"),
    ("help", "Help", "帮助"),
    ("log_out", "Leave", "退出"),
    ("prompt", "Conversation", "对话"),
    ("role_user", "User", "用户"),
    ("role_assistant", "Assistant", "助手"),
    ("role_system", "System", "系统"),
    ("role_tool", "Tool", "工具"),
    ("answers", "Answers", "回答"),
    ("how", "Pick the best first: tap an answer or press its number.", "先选最好的：点击回答，或按它的数字键。"),
    ("answer_n", "Answer {n}", "回答 {n}"),
    ("empty_answer", "(empty answer)", "（空回答）"),
    ("place", "Place", "名次"),
    ("unplaced", "–", "–"),
    ("ranking", "Your order, best first", "你的排序（最好的在上）"),
    ("ranking_empty", "Nothing placed yet.", "还没有排序。"),
    ("ranking_drag", "Drag to move; drop onto another for a tie.", "拖动可移动；拖到另一个上表示并列。"),
    ("move_up", "Move answer {n} up", "上移回答 {n}"),
    ("move_down", "Move answer {n} down", "下移回答 {n}"),
    ("tie_up", "Tie answer {n} with the one above", "回答 {n} 与上一名并列"),
    ("untie", "Separate answer {n}", "取消回答 {n} 的并列"),
    ("take_out", "Take answer {n} out", "移出回答 {n}"),
    ("place_next", "Place answer {n} next", "把回答 {n} 排在下一名"),
    ("drag", "Drag answer {n}", "拖动回答 {n}"),
    ("reject", "All answers are bad", "所有回答都不好"),
    ("reject_note", "An order is then not needed.", "此时可以不排序。"),
    ("comment", "Comment (optional)", "备注（可选）"),
    ("submit", "Submit", "提交"),
    ("submit_change", "Save the change", "保存修改"),
    ("skip", "Skip", "跳过"),
    ("skip_why", "Why do you skip this one?", "为什么跳过这一题？"),
    ("skip_more", "More (optional)", "补充说明（可选）"),
    ("skip_now", "Skip this item", "跳过此题"),
    ("reason_unclear", "The prompt is unclear", "题目不清楚"),
    ("reason_language", "I do not read this language", "我不懂这种语言"),
    ("reason_expert", "It needs knowledge that I lack", "超出我的知识范围"),
    ("reason_broken", "Something is broken or missing", "内容有错误或缺失"),
    ("reason_harmful", "I do not want to read this", "我不想阅读这类内容"),
    ("undo", "Undo", "撤销"),
    ("undo_title", "Go back to the last answer and change it", "回到上一题并修改"),
    ("revising", "You are changing an answer you gave before.", "你正在修改之前提交的答案。"),
    ("keep", "Leave it as it was", "保持原样"),
    ("done_title", "All done", "全部完成"),
    ("done_text", "There is nothing left for you to rank. Thank you!", "没有需要你排序的内容了。谢谢！"),
    (
        "waiting_text",
        "The last items are with other labellers. Some may come back: look again later.",
        "最后几题正在由其他人标注，稍后可能还会有，请过一会儿再来看。",
    ),
    ("look_again", "Look again", "再看一次"),
    // Said by the script.
    ("js_placed", "Answer {n} is at place {p}.", "回答 {n} 排在第 {p} 名。"),
    ("js_tied", "Answer {n} is tied at place {p}.", "回答 {n} 并列第 {p} 名。"),
    ("js_out", "Answer {n} is taken out.", "回答 {n} 已移出。"),
    ("js_tie_next", "The next answer will be tied with the last one.", "下一个回答将与最后一名并列。"),
    ("js_tie_off", "No tie.", "不并列。"),
    ("js_ready", "All placed. Enter submits.", "已全部排好，按回车提交。"),
    ("js_more", "{left} to place", "还有 {left} 个未排"),
    ("js_rejected", "All answers are rejected.", "已标记为全部不好。"),
    ("js_unrejected", "Not rejected.", "已取消标记。"),
    ("js_all_or_none", "Place all answers or none.", "请排完全部回答，或全部不排。"),
    ("js_retry", "Not saved yet: no connection. Trying again…", "尚未保存：网络连接失败，正在重试…"),
    ("js_saving", "Saving…", "正在保存…"),
    ("js_draft", "Draft saved", "草稿已保存"),
    // Help.
    ("keys", "Keys", "按键"),
    ("key_place", "place the answer with this number next; once more takes it out", "把该编号的回答排在下一名；再按一次移出"),
    ("key_tie", "tie: the next answer shares the place of the last one", "并列：下一个回答与最后一名同名次"),
    ("key_back", "take the last one out", "移出最后一个"),
    ("key_arrows", "move the answer that has the focus", "移动当前选中的回答"),
    ("key_reject", "all answers are bad", "所有回答都不好"),
    ("key_skip", "skip, with a reason", "跳过并说明原因"),
    ("key_undo", "go back to the last answer", "回到上一题"),
    ("key_comment", "write a comment", "写备注"),
    ("key_submit", "submit", "提交"),
    ("key_help", "this help", "显示帮助"),
    ("close", "Close", "关闭"),
    ("back", "Back", "返回"),
    // Messages.
    ("no_session_title", "Please open your link", "请打开你的链接"),
    (
        "no_session",
        "This page needs the link that you were given. If it no longer works, ask for a new one.",
        "需要通过分配给你的链接进入。如果链接失效，请向管理员索取新的链接。",
    ),
    ("left_title", "You have left", "已退出"),
    ("left", "What you submitted is saved. Your link opens the page again.", "你提交的内容已保存。用你的链接可以再次进入。"),
    ("bounce", "One moment…", "请稍候…"),
    ("not_found_title", "There is no such page", "页面不存在"),
    ("not_found", "Go back to the beginning.", "请返回首页。"),
    ("forbidden_title", "This was refused", "请求被拒绝"),
    (
        "forbidden_form",
        "The form did not come from this page, or the page is too old. Go back and load it anew.",
        "表单不是来自本页面，或页面已过期。请返回并重新加载。",
    ),
    ("forbidden_role", "Your link does not open this page.", "你的链接无权访问此页面。"),
    ("not_given", "This item was not given to you.", "此题没有分配给你。"),
    ("bad_title", "This cannot be used", "无法处理"),
    ("bad_ranks", "Give every answer a place, or reject all of them without an order.", "请为每个回答排名次，或不排序而标记全部不好。"),
    ("bad_reason", "Choose a reason for skipping.", "请选择跳过的原因。"),
    ("bad_form", "The form is incomplete or too long. Go back and try again.", "表单不完整或过长。请返回重试。"),
    ("too_large_title", "This is too large", "内容过大"),
    ("error_title", "Something went wrong", "出错了"),
    (
        "error",
        "Your submitted answers are safe. Try again in a moment; if it stays, tell whoever sent you the link.",
        "你已提交的内容是安全的。请稍后重试；如果问题依旧，请告知给你链接的人。",
    ),
    ("home", "To the beginning", "返回首页"),
    // The admin's pages.
    ("admin", "Round", "标注轮次"),
    ("admin_items", "Items", "题目"),
    ("admin_rankings", "Rankings", "排序"),
    ("admin_complete", "{complete} of {items} items have their {overlap} rankings", "{items} 题中有 {complete} 题已获得 {overlap} 份排序"),
    ("admin_missing", "rankings to come", "待完成排序"),
    ("admin_done", "rankings", "份排序"),
    ("admin_skipped", "skips", "次跳过"),
    ("admin_changed", "changed later", "次修改"),
    ("admin_gold", "gold items", "道金标题"),
    ("admin_leases", "being ranked now", "正在标注"),
    ("admin_agreement", "agreement so far", "目前一致率"),
    ("admin_agreement_ci", "{lo} to {hi} (95%), {n} comparisons", "95% 区间 {lo}–{hi}，共 {n} 次比较"),
    ("admin_agreement_none", "no pair was ordered twice yet", "尚无被两人比较过的答案对"),
    ("admin_labellers", "Labellers", "标注者"),
    ("col_name", "Name", "姓名"),
    ("col_rankings", "Rankings", "排序"),
    ("col_rejected", "Rejected", "全部不好"),
    ("col_skipped", "Skipped", "跳过"),
    ("col_changed", "Changed", "修改"),
    ("col_seconds", "Median s", "用时中位数（秒）"),
    ("col_gold", "Gold right", "金标正确率"),
    ("col_last", "Last answer (UTC)", "最近提交（UTC）"),
    ("col_access", "Access", "权限"),
    ("col_prompt", "Prompt", "题目"),
    ("col_now", "Now", "进行中"),
    ("col_comments", "Comments and reasons", "备注与原因"),
    ("disabled", "closed", "已停用"),
    ("disable", "Close", "停用"),
    ("enable", "Open", "启用"),
    ("new_link", "New link", "新链接"),
    ("add_labeller", "Add a labeller", "添加标注者"),
    ("name", "Name", "姓名"),
    ("add", "Add", "添加"),
    ("link_title", "Link for {name}", "{name} 的链接"),
    (
        "link_text",
        "It is shown this once. Whoever has it answers as {name}; a new link ends the old one.",
        "此链接仅显示一次。持有者即以 {name} 的身份标注；生成新链接后旧链接失效。",
    ),
    ("name_taken", "There is a labeller of this name.", "该姓名已存在。"),
    ("name_bad", "The name is empty, too long or reserved.", "姓名为空、过长或被保留。"),
    ("export", "Export", "导出"),
    ("export_arrow", "Table (Arrow)", "表格（Arrow）"),
    ("export_jsonl", "JSON Lines", "JSON Lines"),
    ("items_page", "Items {from}–{to} of {total}", "第 {from}–{to} 题，共 {total} 题"),
    ("previous", "Earlier", "上一页"),
    ("following", "Later", "下一页"),
    ("gold_mark", "gold", "金标"),
    ("all_items", "All items", "全部题目"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_language() {
        for (header, lang) in [
            ("", Lang::En),
            ("zh-CN,zh;q=0.9,en;q=0.8", Lang::Zh),
            ("en-GB,en;q=0.9,zh;q=0.8", Lang::En),
            ("de, zh;q=0.5", Lang::Zh),
            ("fr", Lang::En),
            ("zh;q=0", Lang::En),
            ("ZH-hant", Lang::Zh),
            (";;,q=zh,,", Lang::En),
        ] {
            assert_eq!(Lang::accepted(header), lang, "{header}");
        }
    }

    #[test]
    fn every_text_stands_once_in_both_languages_with_the_same_blanks() {
        let blanks = |text: &str| {
            let mut found: Vec<String> =
                text.split('{').skip(1).filter_map(|s| s.split_once('}')).map(|(name, _)| name.to_string()).collect();
            found.sort();
            found.dedup();
            found
        };
        for (i, (key, en, zh)) in TEXTS.iter().enumerate() {
            assert!(!en.is_empty() && !zh.is_empty(), "{key}");
            assert_eq!(blanks(en), blanks(zh), "{key}");
            assert!(TEXTS[..i].iter().all(|(k, ..)| k != key), "{key} stands twice");
        }
        assert!(REASONS.iter().all(|key| !Lang::En.text(key).is_empty()));
        assert_eq!((Lang::En.text("submit"), Lang::Zh.text("submit")), ("Submit", "提交"));
    }
}
