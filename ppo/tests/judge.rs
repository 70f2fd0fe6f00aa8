//! A reward model with a tokenizer, a template and a prefix of its own reads exactly what it was trained on.

use data::chat::{ChatTemplate, Message};
use data::config::RewardSource;
use data::prompts::Prompt;
use data::tokenizer::Tokenizer;
use model::lineage::Lineage;
use model::{Config, HeadKind, Model};
use ppo::{Place, batch::Episode, judge::Judges};
use std::path::Path;
use tch::{Device, Kind};

/// The CPU in float32.
const CPU: Place = Place { device: Device::Cpu, compute: Kind::Float };

/// A reward folder with tokens of several characters and ChatML; `prefix` stands before its prompts.
fn reward_folder(dir: &Path, prefix: &str) -> (Model, Tokenizer, ChatTemplate) {
    let text = ["the cat sat on the mat", "the dog sat on the log", "say what you like"].map(String::from);
    let mut tokenizer = Tokenizer::train_bpe(&mut text.into_iter(), 300).unwrap();
    let template = ChatTemplate::chatml().unwrap();
    tokenizer.set_chat_template(Some(template.source().to_owned()));
    let mut config = Config::gpt2(tokenizer.vocab_size(), 128, 2, 2, 32, 0.0).unwrap();
    config.set_special(tokenizer.bos(), &[tokenizer.eos()], Some(tokenizer.pad()));
    let model = Model::new(config, HeadKind::Scalar, Device::Cpu, 3).unwrap();
    model.save(dir).unwrap();
    tokenizer.save(dir).unwrap();
    Lineage { prompt_prefix: Some(prefix.into()), ..Lineage::default() }.write(dir).unwrap();
    (model, tokenizer, template)
}

#[test]
fn another_tokenizer_template_and_prefix_are_the_judges_own() {
    let dir = tempfile::tempdir().unwrap();
    let (model, tokenizer, template) = reward_folder(dir.path(), "Is it kind? ");
    let (policy, plain) = (Tokenizer::byte().unwrap(), ChatTemplate::plain());
    let source = RewardSource { model: dir.path().display().to_string(), ..RewardSource::default() };
    let judges = Judges::load(&source, (&policy, &plain), 4, CPU).unwrap();
    let episode = |text: &str, answer: &str, finished: bool| {
        let (prompt, mut response) = plain.encode_pair(&policy, text, answer).unwrap();
        response.truncate(if finished { response.len() } else { response.len() - 1 });
        Episode { turns: vec![Message::new("user", text)], prompt, read: response.len(), response, finished }
    };
    // "the" ends the prompt and " cat" begins the answer: a merge must not cross the border. A special token's name is ordinary text.
    let asked = [("say the", " cat sat", true), ("say what", "the mat <|im_end|> the log", true), ("the dog", "sat on", false)];
    let episodes: Vec<Episode> = asked.iter().map(|(p, a, f)| episode(p, a, *f)).collect();
    let scores = judges.score(&episodes, &policy).unwrap();
    assert_eq!(scores.cut, 0);
    for ((prompt, answer, finished), score) in asked.iter().zip(scores.scores) {
        let (mut ids, response) = template.encode_pair(&tokenizer, &format!("Is it kind? {prompt}"), answer).unwrap();
        let end = response.iter().rposition(|id| Some(*id) == tokenizer.token_to_id("<|im_end|>")).unwrap();
        ids.extend(&response[..if *finished { response.len() } else { end }]);
        let expected = model.score_last(&[&ids]).unwrap().double_value(&[0]) as f32;
        assert!((score - expected).abs() < 1e-5, "{prompt:?} {answer:?}: {score} against {expected}");
    }
}

#[test]
fn the_policys_ids_pass_only_where_template_and_tokenizer_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (model, tokenizer, chatml) = reward_folder(dir.path(), "");
    let source = RewardSource { model: dir.path().display().to_string(), ..RewardSource::default() };
    let episode = |template: &ChatTemplate| {
        let (prompt, response) = template.encode_pair(&tokenizer, "say what", "the cat").unwrap();
        Episode { turns: vec![Message::new("user", "say what")], prompt, read: response.len(), response, finished: true }
    };
    let score = |template: &ChatTemplate| {
        let judges = Judges::load(&source, (&tokenizer, template), 4, CPU).unwrap();
        judges.score(&[episode(template)], &tokenizer).unwrap().scores[0]
    };
    let row = |e: &Episode| e.prompt.iter().chain(&e.response).copied().collect::<Vec<u32>>();
    let expected = model.score_last(&[&row(&episode(&chatml))]).unwrap().double_value(&[0]) as f32;
    assert!((score(&chatml) - expected).abs() < 1e-5);
    let context = |template: &ChatTemplate| Judges::load(&source, (&tokenizer, template), 4, CPU).unwrap().context();
    assert_eq!((context(&chatml), context(&ChatTemplate::plain())), (Some(128), None));
    // A policy that speaks plainly is read in ChatML all the same.
    assert!((score(&ChatTemplate::plain()) - expected).abs() < 1e-5);
    assert_ne!(row(&episode(&chatml)), row(&episode(&ChatTemplate::plain())));
}

#[test]
fn a_judge_with_tokens_of_its_own_needs_room_for_prompt_and_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (_, tokenizer, template) = reward_folder(dir.path(), "Is it kind? ");
    let source = RewardSource { model: dir.path().display().to_string(), ..RewardSource::default() };
    let judges = Judges::load(&source, (&Tokenizer::byte().unwrap(), &ChatTemplate::plain()), 4, CPU).unwrap();
    let prompts = ["the cat", "the dog sat on the log"].map(|text| Prompt {
        turns: vec![Message::new("user", text)],
        ids: vec![],
        group: String::new(),
    });
    let longest = template.encode_prompt(&tokenizer, "Is it kind? the dog sat on the log").unwrap().len();
    judges.check(prompts.iter(), 128 - longest).unwrap();
    let error = judges.check(prompts.iter(), 129 - longest).unwrap_err().to_string();
    assert!(error.contains(&format!("up to {longest} tokens of a prompt")) && error.contains("its context of 128"), "{error}");
}

/// Bytes that are no text become U+FFFD, three tokens each: what has room in the policy's tokens has none in the judge's.
#[test]
fn an_answer_that_outgrows_a_judges_context_is_read_as_far_as_it_goes_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (model, tokenizer, template) = reward_folder(dir.path(), "");
    let policy = Tokenizer::byte().unwrap();
    let source = RewardSource { model: dir.path().display().to_string(), ..RewardSource::default() };
    let judges = Judges::load(&source, (&policy, &ChatTemplate::plain()), 4, CPU).unwrap();
    let byte = policy.encode("\u{e9}").unwrap()[1]; // the second byte of two: no character by itself
    let episode = |n: usize| Episode {
        turns: vec![Message::new("user", "say")],
        prompt: policy.encode("say").unwrap(),
        response: vec![byte; n],
        finished: false,
        read: n,
    };
    let found = judges.score(&[episode(2), episode(100)], &policy).unwrap();
    assert_eq!(found.cut, 1);
    let (mut ids, answer) = template.encode_pair(&tokenizer, "say", &"\u{fffd}".repeat(100)).unwrap();
    ids.extend(answer);
    assert!(ids.len() > 300);
    let expected = model.score_last(&[&ids[..128]]).unwrap().double_value(&[0]) as f32;
    assert!((found.scores[1] - expected).abs() < 1e-5, "{} against {expected}", found.scores[1]);
}
