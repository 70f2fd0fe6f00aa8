//! The server as a client sees it: the binary, over HTTP.

mod server;

use model::batcher::{Batcher, Request};
use model::config::{Family, Shape};
use model::{Config, HeadKind, Model, Sampling};
use serde_json::{Value, json};
use server::{Server, folder};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the model itself writes after `prompt`, greedily: text and whether it ended.
fn expected(dir: &std::path::Path, prompt: &[u32], max_new: usize) -> (String, bool) {
    let model = Model::load(dir, tch::Device::Cpu).unwrap();
    let tokenizer = data::tokenizer::Tokenizer::load(dir).unwrap();
    let sampling = Sampling { max_new, temperature: 0.0, stop: vec![tokenizer.eos()], ..Sampling::default() };
    let mut batcher = Batcher::new(&model, 1, model.config().context).unwrap();
    batcher.push(Request { prompt: prompt.to_vec(), sampling: Arc::new(sampling), row: 0 }).unwrap();
    let (mut ids, mut finished) = (vec![], false);
    while !batcher.is_idle() {
        for chosen in batcher.step().unwrap() {
            finished |= chosen.finished;
            ids.extend((!chosen.finished).then_some(chosen.id));
        }
    }
    (tokenizer.decode(&ids, true).unwrap(), finished)
}

#[test]
fn a_completion_is_what_the_model_writes() {
    let dir = folder();
    let server = Server::start(dir.path(), &[]);
    let models = server.get("/v1/models");
    assert_eq!((models["data"][0]["id"].as_str(), models["object"].as_str()), (Some("tiny"), Some("list")));
    let tokenizer = data::tokenizer::Tokenizer::load(dir.path()).unwrap();
    let ids = tokenizer.encode("Hello").unwrap();
    let (text, finished) = expected(dir.path(), &ids, 20);
    for prompt in [json!("Hello"), json!(ids)] {
        let got =
            server.post("/v1/completions", json!({ "model": "tiny", "prompt": prompt, "max_tokens": 20, "temperature": 0, "logprobs": 0 }));
        assert_eq!(got["choices"][0]["text"], json!(text));
        assert_eq!(got["choices"][0]["finish_reason"], if finished { "stop" } else { "length" });
        assert_eq!(got["usage"]["prompt_tokens"], ids.len());
        let log_probs = &got["choices"][0]["logprobs"]["token_logprobs"];
        assert!(log_probs.as_array().unwrap().iter().all(|p| p.as_f64().unwrap() <= 0.0));
        let nearly = server.post("/v1/completions", json!({ "prompt": prompt, "max_tokens": 20, "temperature": 1e-300 }));
        assert_eq!(nearly["choices"][0]["text"], json!(text), "a temperature of nearly 0 is greedy");
        assert_eq!((&got["object"], got["id"].as_str().unwrap().starts_with("cmpl-")), (&json!("text_completion"), true));
    }
}

#[test]
fn a_chat_streams_what_it_gives_whole() {
    let dir = folder();
    let server = Server::start(dir.path(), &[]);
    let ask = |stream: bool, n: usize| {
        json!({ "model": "tiny", "messages": [{ "role": "system", "content": "S" }, { "role": "user", "content": "Hi" }], "seed": 7, "n": n,
                "max_completion_tokens": 12, "stream": stream, "stream_options": { "include_usage": true }, "logprobs": true })
    };
    let whole = server.post("/v1/chat/completions", ask(false, 3));
    assert_eq!(whole, {
        let mut again = server.post("/v1/chat/completions", ask(false, 3));
        again["id"] = whole["id"].clone();
        again["created"] = whole["created"].clone();
        again
    });
    let texts: Vec<&str> = (0..3).map(|i| whole["choices"][i]["message"]["content"].as_str().unwrap()).collect();
    assert!(texts[0] != texts[1] && texts[1] != texts[2], "three answers of one seed differ: {texts:?}");
    let one = server.post("/v1/chat/completions", ask(false, 1));
    assert_eq!(one["choices"][0]["message"]["content"], texts[0], "the first is the same whoever comes with it");

    let pieces = server.stream("/v1/chat/completions", ask(true, 3));
    let mut streamed = vec![String::new(); 3];
    let mut reasons = [Value::Null, Value::Null, Value::Null];
    let mut log_probs = [0, 0, 0];
    for piece in &pieces[..pieces.len() - 1] {
        assert_eq!((&piece["object"], &piece["id"]), (&json!("chat.completion.chunk"), &pieces[0]["id"]));
        let choice = &piece["choices"][0];
        let i = choice["index"].as_u64().unwrap() as usize;
        streamed[i] += choice["delta"]["content"].as_str().unwrap_or("");
        log_probs[i] += choice["logprobs"]["content"].as_array().unwrap().len();
        if !choice["finish_reason"].is_null() {
            reasons[i] = choice["finish_reason"].clone();
        }
    }
    assert_eq!(streamed, texts);
    for i in 0..3 {
        assert_eq!(reasons[i], whole["choices"][i]["finish_reason"]);
        assert_eq!(log_probs[i], whole["choices"][i]["logprobs"]["content"].as_array().unwrap().len());
    }
    assert_eq!(pieces.last().unwrap()["usage"], whole["usage"]);
}

#[test]
fn stop_strings_end_an_answer_and_are_not_in_it() {
    let dir = folder();
    let server = Server::start(dir.path(), &[]);
    let ask = |stop: Value| json!({ "model": "tiny", "prompt": "Hello", "max_tokens": 40, "seed": 3, "stop": stop });
    let free = server.post("/v1/completions", ask(Value::Null));
    let text: Vec<char> = free["choices"][0]["text"].as_str().unwrap().chars().collect();
    assert!(text.len() > 12);
    let stop: String = text[6..8].iter().collect();
    let cut = server.post("/v1/completions", ask(json!([stop, "never said"])));
    let whole: String = text.iter().collect();
    assert_eq!(cut["choices"][0]["text"], whole[..whole.find(&stop).unwrap()]);
    assert_eq!(cut["choices"][0]["finish_reason"], "stop");
    assert!(cut["usage"]["completion_tokens"].as_u64() < free["usage"]["completion_tokens"].as_u64(), "it is not written on");
    server.wait_until_idle();
    let figures = server.text("/metrics");
    assert!(figures.contains("serve_cancelled_answers_total 0"), "an answer that a stop string ends is complete: {figures}");
}

/// A seed's answers to a prompt are the same whatever stands beside it in the list; without a seed equal prompts get other answers.
#[test]
fn the_prompts_of_a_list_do_not_depend_on_one_another() {
    let dir = folder();
    let server = Server::start(dir.path(), &[]);
    let ask = |prompt: Value, n: usize, seed: Value| {
        let got = server.post("/v1/completions", json!({ "prompt": prompt, "max_tokens": 30, "n": n, "seed": seed }));
        got["choices"].as_array().unwrap().iter().map(|c| c["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let alone = ask(json!("Hello"), 2, json!(3));
    assert_ne!(alone[0], alone[1]);
    assert_eq!(ask(json!(["Other", "Hello"]), 2, json!(3))[2..], alone);
    let unseeded = ask(json!(["Hello", "Hello"]), 1, Value::Null);
    assert_ne!(unseeded[0], unseeded[1]);
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let dir = folder();
    let server = Server::start(dir.path(), &["--body", "4"]);
    let chat = |more: Value| {
        let mut body = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 4 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let cases = [
        (chat(json!({ "model": "gpt-4" })), 404, "no model \"gpt-4\""),
        (chat(json!({ "temperature": 3 })), 400, "temperature is 3: 0 to 2"),
        (chat(json!({ "top_p": 0 })), 400, "above 0"),
        (chat(json!({ "n": 0 })), 400, "1 to 128"),
        (chat(json!({ "n": 129 })), 400, "1 to 128"),
        (chat(json!({ "n": u64::MAX })), 400, "1 to 128"),
        (chat(json!({ "stop": ["a", ""] })), 400, "up to 4 texts"),
        (chat(json!({ "max_tokens": 0 })), 400, "at least one token"),
        (chat(json!({ "max_tokens": 1000 })), 400, "context is 96"),
        (chat(json!({ "messages": [] })), 400, "no messages"),
        (chat(json!({ "messages": [{ "role": "assistant", "content": "x" }] })), 400, "nothing to answer"),
        (chat(json!({ "messages": [{ "role": "user" }] })), 400, "message 1"),
        (chat(json!({ "top_logprobs": 3 })), 400, "top_logprobs"),
        (chat(json!({ "logit_bias": { "5": 1 } })), 400, "logit_bias is not supported"),
        (chat(json!({ "tools": [{}] })), 400, "tools is not supported"),
        (chat(json!({ "presence_penalty": 0.5 })), 400, "presence_penalty"),
        (chat(json!({ "invented": 1 })), 400, "invented"),
        (chat(json!({ "prompt": "Hi" })), 400, "prompt is not read at this address"),
    ];
    for (body, status, says) in cases {
        let (got, answer) = server.try_post("/v1/chat/completions", &body.to_string());
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(got == status && message.contains(says), "{body}: {got} {answer}");
    }
    let fine =
        json!({ "presence_penalty": 0, "user": "me", "tools": [], "response_format": { "type": "text" }, "stop": null, "logit_bias": {} });
    assert_eq!(server.try_post("/v1/chat/completions", &chat(fine).to_string()).0, 200);
    for (path, body, status) in [
        ("/v1/completions", "{".to_string(), 400),
        ("/v1/completions", json!({ "prompt": "" }).to_string(), 400),
        ("/v1/completions", json!({ "prompt": [999_999] }).to_string(), 400),
        ("/v1/completions", json!({ "prompt": "a", "messages": [{ "role": "user", "content": "Hi" }] }).to_string(), 400),
        ("/v1/completions", json!({ "prompt": "a", "logprobs": 5 }).to_string(), 400),
        ("/v1/completions", json!({ "prompt": "a".repeat(5000) }).to_string(), 413),
        ("/nowhere", "{}".to_string(), 404),
        ("/v1/models", "{}".to_string(), 405),
        ("/feedback", "{}".to_string(), 404),
    ] {
        let (got, answer) = server.try_post(path, &body);
        assert!(got == status && answer["error"]["message"].is_string(), "{path}: {got} {answer}");
    }
    assert_eq!(server.raw("POST", "/v1/completions", &[("content-type", "text/plain")], "{}"), 415);
    assert_eq!(server.raw("GET", "/health", &[("host", "evil.example")], ""), 403, "another name could be a page elsewhere");
}

#[test]
fn keys_are_asked_for() {
    let dir = folder();
    let keys = dir.path().join("keys");
    std::fs::write(&keys, "# ours\n\nsesame\nopen\n").unwrap();
    let server = Server::start(dir.path(), &["--api-keys", keys.to_str().unwrap()]);
    let ask = |key: &str| server.raw("GET", "/v1/models", &[("authorization", key)], "");
    assert_eq!(
        [ask(""), ask("Bearer wrong"), ask("Bearer "), ask("Bearer # ours"), ask("Bearer sesame"), ask("Bearer open")],
        [401, 401, 401, 401, 200, 200]
    );
    assert_eq!(
        [server.raw("GET", "/metrics", &[], ""), server.raw("GET", "/health", &[], ""), server.raw("GET", "/", &[], "")],
        [401, 200, 200]
    );
    let open = std::process::Command::new(env!("CARGO_BIN_EXE_serve")).args(["--model", "x", "--bind", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(open.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&open.stderr).contains("--api-keys"), "no address of other machines without keys");
}

/// Twenty-four clients at once over four slots: each gets what it would get alone, and nobody waits for all the others.
#[test]
fn many_clients_get_right_answers_in_turn() {
    let dir = folder();
    let server = Server::start(dir.path(), &["--slots", "4", "--queue", "60"]);
    let body = |i: usize| json!({ "model": "tiny", "prompt": format!("Client {i}"), "max_tokens": 30, "seed": i });
    let alone: Vec<Value> = (0..24).map(|i| server.post("/v1/completions", body(i))["choices"][0]["text"].clone()).collect();
    let (server, alone) = (&server, &alone);
    let round = || {
        let start = Instant::now();
        let took: Vec<Duration> = std::thread::scope(|scope| {
            let client = |i: usize| {
                move || {
                    let got = server.post("/v1/completions", body(i));
                    assert_eq!(got["choices"][0]["text"], alone[i], "client {i}");
                    start.elapsed()
                }
            };
            let clients: Vec<_> = (0..24).map(|i| scope.spawn(client(i))).collect();
            clients.into_iter().map(|c| c.join().unwrap()).collect()
        });
        (*took.iter().min().unwrap(), *took.iter().max().unwrap())
    };
    // Six turns of four: the first is answered long before the last. A round is over in some milliseconds, and where other programs run the clients' own start takes as many.
    let rounds: Vec<_> = std::iter::repeat_with(round).take(5).collect();
    assert!(rounds.iter().any(|(first, last)| *first < *last / 2), "the first need not wait for the last: {rounds:?}");
    let figures = server.text("/metrics");
    assert!(figures.contains("serve_requests_total{path=\"/v1/completions\",status=\"200\"} 144"), "{figures}");
    assert!(figures.contains("serve_active_answers 0"));
}

/// Memory that cannot be had ends the program before it listens; a shorter context takes less.
#[test]
fn a_context_may_be_shorter_than_the_model_s() {
    let dir = folder();
    let tokenizer = data::tokenizer::Tokenizer::load(dir.path()).unwrap();
    let shape = Shape { vocab_size: tokenizer.vocab_size(), context: 1 << 36, layers: 1, heads: 2, kv_heads: 0, width: 32, dropout: 0.0 };
    let mut config = Config::fresh(Family::Llama, shape).unwrap();
    config.set_special(tokenizer.bos(), &[tokenizer.eos()], Some(tokenizer.pad()));
    Model::new(config, HeadKind::Lm, tch::Device::Cpu, 1).unwrap().save(dir.path()).unwrap();
    for weights in ["float", "q8_0"] {
        let refused = server::refused(dir.path(), &["--weights", weights]);
        assert!(refused.contains("GiB") && refused.contains("(--slots, --context)"), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
    }
    let server = Server::start(dir.path(), &["--context", "64"]);
    assert_eq!(server.get("/v1/models")["data"][0]["max_model_len"], 64);
    let ask = |max_tokens: usize| server.try_post("/v1/completions", &json!({ "prompt": "a", "max_tokens": max_tokens }).to_string());
    assert_eq!(ask(63).0, 200);
    let (status, answer) = ask(64);
    assert!(status == 400 && answer["error"]["message"].as_str().unwrap().contains("the context is 64"), "{answer}");
    let small = folder();
    assert!(server::refused(small.path(), &["--context", "97"]).contains("the model's own context is 96"));
}

#[test]
fn too_many_are_told_to_come_again() {
    let dir = folder();
    let server = Server::start(dir.path(), &["--slots", "1", "--queue", "1"]);
    let (status, answer) = server.try_post("/v1/completions", &json!({ "prompt": "a", "n": 3 }).to_string());
    assert!(status == 400 && answer["error"]["message"].as_str().unwrap().contains("(2)"), "{answer}");
    // Two answers under way; the third request finds no room. A stream is under way once its first piece has come.
    let body = json!({ "prompt": "a", "n": 2, "max_tokens": 90, "min_tokens": 90, "stream": true });
    let mut busy = false;
    for _ in 0..20 {
        let mut open = server.open("/v1/completions", &body);
        open.first_piece();
        let (status, answer) = server.try_post("/v1/completions", &json!({ "prompt": "b", "max_tokens": 1 }).to_string());
        if status == 429 {
            assert_eq!(answer["error"]["code"], "busy");
            busy = true;
            break;
        }
        drop(open);
        server.wait_until_idle();
    }
    assert!(busy, "a full queue was never met in twenty tries");
}

#[test]
fn an_answer_nobody_waits_for_is_given_up() {
    let dir = folder();
    let server = Server::start(dir.path(), &["--slots", "2"]);
    let body = json!({ "prompt": "a", "max_tokens": 90, "min_tokens": 90, "stream": true });
    let mut given_up = false;
    for _ in 0..20 {
        let mut open = server.open("/v1/completions", &body);
        open.first_piece();
        drop(open); // the client goes away
        server.wait_until_idle();
        given_up = !server.text("/metrics").contains("serve_cancelled_answers_total 0");
        if given_up {
            break; // otherwise it was complete before the news came
        }
    }
    assert!(given_up, "never in twenty tries");
}

#[test]
fn it_stops_when_told_and_ends_what_it_began() {
    let dir = folder();
    let mut server = Server::start(dir.path(), &[]);
    let mut open = server.open("/v1/completions", &json!({ "prompt": "a", "max_tokens": 90, "min_tokens": 90, "stream": true }));
    open.first_piece();
    server.terminate();
    assert!(open.rest().ends_with("data: [DONE]\n\n"), "the answer under way is complete");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn feedback_is_what_ingest_reads() {
    let dir = folder();
    let path = dir.path().join("feedback.jsonl");
    let server = Server::start(dir.path(), &["--feedback", path.to_str().unwrap()]);
    assert_eq!(server.get("/about"), json!({ "model": "tiny", "chat": true, "feedback": true, "keys": false }));
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let headers = [("content-type", "application/json")];
    let said = json!({ "messages": messages, "chosen": "a", "rejected": "b" }).to_string();
    assert_eq!(server.raw("POST", "/feedback", &headers, &said), 204);
    assert_eq!(server.raw("POST", "/feedback", &headers, "{}"), 400);
    let row: Value = serde_json::from_str(std::fs::read_to_string(path).unwrap().trim()).unwrap();
    assert_eq!((&row["prompt"], &row["chosen"][0]["content"], &row["rejected"][0]["content"]), (&messages, &json!("a"), &json!("b")));
}

/// The official client, where `RLHF_PYTHON` has it.
#[test]
fn the_openai_client_drives_it() {
    let python = std::env::var("RLHF_PYTHON").unwrap_or_default();
    let has = |python: &str| std::process::Command::new(python).args(["-c", "import openai"]).output().is_ok_and(|o| o.status.success());
    if python.is_empty() || !has(&python) {
        eprintln!("SKIPPED: RLHF_PYTHON names no Python with the package openai");
        return;
    }
    let dir = folder();
    let keys = dir.path().join("keys");
    std::fs::write(&keys, "sesame\n").unwrap();
    let server = Server::start(dir.path(), &["--api-keys", keys.to_str().unwrap()]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openai_client.py");
    let output = std::process::Command::new(python).args([script, &server.url]).output().unwrap();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}
