"""Token ids that transformers gives for the tokenizer folders in data/tests/golden/tokenizers, written by our own `Tokenizer::save`.

The folders are made by `UPDATE_GOLDEN=1 cargo test --release -p data --test suite saved_folders`; then run this script, which
writes `expected.json` into each of them. The Rust test compares both the saved files and the ids.
"""

import json
from pathlib import Path

from transformers import AutoTokenizer

FOLDER = Path(__file__).resolve().parents[2] / "data" / "tests" / "golden" / "tokenizers"

TEXTS = [
    "",
    " ",
    "Hello, world! It's 2023; isn't it?  Two  spaces.",
    "  leading and trailing  ",
    "line one\nline two\r\n\ttabbed\n\n\nend",
    "café naïve Übergröße",
    "cafe\u0301 (a combining accent)",
    "红楼梦第一回 甄士隐梦幻识通灵",
    "吾輩は猫である。名前はまだ無い。",
    "emoji 👩‍🚀🔥 end",
    "def f(x):\n    return x**2  # square",
    "a\u200bb\u00a0c\u0000d\u001fe",
    "<0x41> is not a byte",
    "\U0001f468\U00010348\ufffd",
]

# These hold special tokens, which transformers recognises in a text.
SPECIAL = [
    "<|im_start|>user\nwhere?<|im_end|>\n<|im_start|>assistant\n",
    "one<|endoftext|>two <|pad|> three",
]


def main() -> None:
    for folder in sorted(path for path in FOLDER.iterdir() if path.is_dir()):
        tokenizer = AutoTokenizer.from_pretrained(folder)

        def row(text: str) -> dict:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            return {"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True)}

        expected = {
            "vocab_size": len(tokenizer),
            "eos": tokenizer.eos_token_id,
            "bos": tokenizer.bos_token_id,
            "pad": tokenizer.pad_token_id,
            "plain": [row(text) for text in TEXTS],
            "special": [row(text) for text in SPECIAL],
        }
        (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=True, indent=1) + "\n")
        print(f"{folder.name}: {type(tokenizer).__name__}, {len(tokenizer)} tokens")


if __name__ == "__main__":
    main()
