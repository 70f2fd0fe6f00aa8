"""Drives a running `serve` with the official client: openai_client.py URL. The key is sesame, the model tiny."""
import sys
from concurrent.futures import ThreadPoolExecutor

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="sesame", max_retries=0)
assert [m.id for m in client.models.list()] == ["tiny"]
assert client.models.retrieve("tiny").object == "model"

messages = [{"role": "system", "content": "Short."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Go on"}]
whole = client.chat.completions.create(model="tiny", messages=messages, seed=3, max_completion_tokens=16, n=2, logprobs=True)
assert len(whole.choices) == 2 and whole.choices[0].message.role == "assistant"
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
assert all(t.logprob <= 0 for t in whole.choices[0].logprobs.content)

texts = ["", ""]
usage = None
stream = client.chat.completions.create(model="tiny", messages=messages, seed=3, max_completion_tokens=16, n=2, stream=True, stream_options={"include_usage": True})
for piece in stream:
    for choice in piece.choices:
        texts[choice.index] += choice.delta.content or ""
    usage = piece.usage or usage
assert texts == [c.message.content for c in whole.choices], (texts, whole)
assert usage.total_tokens == whole.usage.total_tokens

text = client.completions.create(model="tiny", prompt=["Hello", "World"], max_tokens=8, temperature=0, logprobs=0)
assert len(text.choices) == 2 and len(text.choices[0].logprobs.tokens) <= 8

def status(call):
    try:
        call()
    except openai.APIStatusError as e:
        return e.status_code, e.body.get("param"), e.body.get("code")

assert status(lambda: client.chat.completions.create(model="gpt-4", messages=messages)) == (404, None, "model_not_found")
assert status(lambda: client.chat.completions.create(model="tiny", messages=messages, temperature=1.5, presence_penalty=1))[1] == "presence_penalty"
other = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="wrong", max_retries=0)
assert status(lambda: other.models.list())[0] == 401

def one(i):
    return client.completions.create(model="tiny", prompt=f"Client {i}", max_tokens=20, seed=i).choices[0].text

alone = [one(i) for i in range(16)]
with ThreadPoolExecutor(16) as pool:
    assert list(pool.map(one, range(16))) == alone
print("ok")
