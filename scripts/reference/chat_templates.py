"""Golden fixture for data/src/chat: chat templates rendered by transformers' own Jinja environment.

Writes data/tests/golden/chat_templates.json: per template its source and special tokens, and per conversation the rendered text, the rendered prompt (what
precedes the last answer) and, where the template has {% generation %} tags, the spans of characters that transformers marks as the assistant's.
The templates are those that TRL ships (Apache-2.0), and the ones written here.

    python scripts/reference/chat_templates.py [../shared/data/t03-minimind-hf-tokenizer]

With a tokenizer's folder it writes data/tests/golden/chat_ids.json too: token ids by that tokenizer and its own template.
"""

import json
import pathlib
import sys

import trl
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

SHIPPED = pathlib.Path(trl.__file__).parent / "chat_templates"
OUT = pathlib.Path(__file__).parents[2] / "data/tests/golden/chat_templates.json"

IM = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
LLAMA = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
GEMMA = {"bos_token": "<bos>", "eos_token": "<eos>"}
# (name, source file or text, special tokens, what ends an answer)
TEMPLATES = [
    ("qwen2_5", None, IM, "<|im_end|>"),
    ("qwen2_5_training", None, IM, "<|im_end|>"),
    ("qwen3", None, IM, "<|im_end|>"),
    ("qwen3_training", None, IM, "<|im_end|>"),
    ("llama3", None, LLAMA, "<|eot_id|>"),
    ("llama3_training", None, LLAMA, "<|eot_id|>"),
    ("gemma", None, GEMMA, "<end_of_turn>"),
    ("gemma_training", None, GEMMA, "<end_of_turn>"),
    ("phi3", None, {"bos_token": "<s>", "eos_token": "<|endoftext|>"}, "<|end|>"),
    ("phi3_training", None, {"bos_token": "<s>", "eos_token": "<|endoftext|>"}, "<|end|>"),
    (
        "llama2",
        "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content.strip() + ' [/INST]' }}"
        "{% elif m.role == 'assistant' %}{{ ' ' + m.content.strip() + ' ' + eos_token }}"
        "{% else %}{{ raise_exception('no system turns') }}{% endif %}{% endfor %}",
        {"bos_token": "<s>", "eos_token": "</s>"},
        "</s>",
    ),
    (
        "chatml",  # as the tokenizer_config.json of many models has it, with a system turn of its own
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        IM,
        "<|im_end|>",
    ),
    (
        "zephyr",  # HuggingFaceH4/zephyr-7b-beta
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
        "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
        {"bos_token": "<s>", "eos_token": "</s>"},
        "</s>",
    ),
    (
        "llama3_meta",  # meta-llama/Meta-Llama-3-8B-Instruct
        "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + "
        "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
        "{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        LLAMA,
        "<|eot_id|>",
    ),
    (
        "plain",  # the one that data/src/chat writes into folders for others
        "{% for message in messages %}{{ message['content'] }}"
        "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}{% endfor %}",
        {"eos_token": "<|endoftext|>"},
        "<|endoftext|>",
    ),
    (
        "without_end",
        "{%- for m in messages %}\n  {%- if m['role'] == 'user' %}\nQ: {{ m['content'] }}\n  {%- else %}\nA: {{ m['content'] | trim }}\n  {%- endif %}\n"
        "{%- endfor %}\n{%- if add_generation_prompt %}\nA:\n{%- endif %}",
        {"eos_token": "</s>"},
        None,
    ),
]

U, A, S = ("user", "assistant", "system")
CHATS = [
    [(U, "Where to eat?"), (A, "At Aromi.")],
    [(S, "Be brief."), (U, "yes"), (A, "yes"), (U, "Say yes twice: yes"), (A, " yes yes\n")],
    [(U, "早上好 {{ x }} <b>"), (A, "A: \"one\"\n\n- two ✓\n```\ncode\n```")],
    [(U, "think"), (A, "<think>\nhm, yes\n</think>\n\nBoth."), (U, "again"), (A, "<think>\nno\n</think>\n\nNeither.")],
    [(U, "1"), (A, "1"), (U, "1"), (A, "1"), (U, "1"), (A, "1")],
]


def ids(folder):
    """Token ids of conversations with a real tokenizer and its own template: the whole conversation, and what the model is given before its last answer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    cases = []
    for chat in CHATS:
        messages = [{"role": role, "content": content} for role, content in chat]
        prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=True, return_dict=False)
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        cases.append({"messages": messages, "prompt_ids": prompt, "text": text})
    return cases


def main():
    if len(sys.argv) > 1:
        out = OUT.with_name("chat_ids.json")
        out.write_text(json.dumps(ids(sys.argv[1]), ensure_ascii=False) + "\n")
        print(f"{out}: {out.stat().st_size} bytes")
    fixture = []
    for name, source, tokens, end in TEMPLATES:
        source = source or (SHIPPED / f"{name}.jinja").read_text()
        cases = []
        for chat in CHATS:
            messages = [{"role": role, "content": content} for role, content in chat]
            case = {"messages": messages}
            try:
                tagged = "{% generation" in source or "{%- generation" in source
                (text,), spans = render_jinja_template([messages], chat_template=source, return_assistant_tokens_mask=tagged, **tokens)
                (prompt,), _ = render_jinja_template([messages[:-1]], chat_template=source, add_generation_prompt=True, **tokens)
                case |= {"text": text, "prompt": prompt, "spans": [[text[:a].encode().__len__(), text[:b].encode().__len__()] for a, b in spans[0]] if tagged else None}
            except Exception as error:  # the template refuses this conversation: ours has to refuse it too
                case |= {"error": str(error)}
            cases.append(case)
        fixture.append({"name": name, "source": source, "tokens": tokens, "end": end, "cases": cases})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(fixture, ensure_ascii=False, indent=1) + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
