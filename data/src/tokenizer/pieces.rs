//! Cutting long documents, so that no step needs memory in proportion to one.

/// Longest piece of a document that is tokenised at once. Encoding keeps a few hundred bytes a token while it works.
pub const PIECE_BYTES: usize = 64 * 1024;

/// The text in pieces of at most about [`PIECE_BYTES`]; together they are the text. A cut falls where byte-level BPE splits words
/// anyway, so that the pieces' tokens are the text's: after a line end, else before a space, that stands between two visible
/// characters (runs of spaces are one word to GPT-2's pattern and stay whole). Where the second half of a piece has neither (a
/// clause of 32 KiB), the cut falls between any two characters.
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(cut(rest, PIECE_BYTES));
        rest = after;
        Some(piece)
    })
}

/// Where to cut a text of which at most `limit` bytes are wanted.
fn cut(text: &str, limit: usize) -> usize {
    if text.len() <= limit {
        return text.len();
    }
    let (half, end) = (boundary(text, limit / 2), boundary(text, limit));
    let visible = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    let last_lone = |separator: char| {
        let found = text[half..end].rmatch_indices(separator).map(|(i, _)| half + i);
        { found }.find(|&at| visible(text[..at].chars().next_back()) && visible(text[at + 1..].chars().next()))
    };
    last_lone('\n').map(|at| at + 1).or_else(|| last_lone(' ')).unwrap_or(end)
}

/// The last character boundary at or before `at` (`str::floor_char_boundary` is newer than this project's Rust).
fn boundary(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_prefers_lone_line_ends_then_lone_spaces() {
        assert_eq!(cut("abc", 10), 3);
        assert_eq!(cut("aaaa bbb\nccc ddd", 12), 9, "after the line end");
        assert_eq!(cut("aaaa bbb ccc\n\nddd", 15), 8, "two line ends are one word");
        assert_eq!(cut("一二三四五六", 10), 9, "no separator: a character boundary");
        assert_eq!(cut("aaaaaaaa  bbbbbbbb", 12), 12, "two spaces are no place to cut");
    }

    #[test]
    fn pieces_together_are_the_text() {
        let text = "红楼梦 第一回\n\n  甄士隐 ".repeat(20_000);
        let all: Vec<&str> = pieces(&text).collect();
        assert!(all.len() > 5 && all.iter().all(|p| p.len() <= PIECE_BYTES));
        assert_eq!(all.concat(), text);
        assert_eq!(pieces("").count(), 0);
    }
}
