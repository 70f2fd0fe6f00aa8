"""`evaluate tasks` against lm-evaluation-harness, on the same folder and the same tasks.

    python scripts/reference/tasks.py                                       writes evaluate/tests/golden/tasks: two tiny models, tasks, and the harness' figures
    python scripts/reference/tasks.py EVALUATE MODEL [--shots 0,1] [--limit N] TASK.toml...    runs both and compares: exit code 1 above 1e-3

It needs a Python of its own: pip install lm-eval==0.4.13 torch transformers. A task file of ours becomes a task of the harness by its keys: the templates are
rendered by the harness' own Jinja. Examples are compared for draw = "first" alone: each program draws by a random generator of its own.
"""
import json, os, pathlib, subprocess, sys, tempfile, tomllib

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
import lm_eval, torch, transformers
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import apply_template

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "evaluate" / "tests" / "golden" / "tasks"
METRICS = {"choice": ["acc", "acc_norm"], "cloze": ["perplexity", "acc"], "perplexity": ["word_perplexity", "byte_perplexity", "bits_per_byte"]}
OUTPUT = {"choice": "multiple_choice", "cloze": "loglikelihood", "perplexity": "loglikelihood_rolling"}


def harness_task(path, base):
    """One of our task files as a task of the harness."""
    task = tomllib.loads(path.read_text())
    kind = task.get("kind", "choice")
    where = lambda source: str((base / expand(source["path"])).resolve())
    files = {"test": where(task["source"])}
    if task.get("examples", {}).get("path"):
        files["train"] = where(task["examples"])
    template = lambda source: lambda doc: apply_template(source, doc)
    config = {
        "task": path.stem, "dataset_path": "json", "dataset_kwargs": {"data_files": files}, "output_type": OUTPUT[kind], "test_split": "test",
        "doc_to_text": template(task.get("text", "")), "description": task.get("description", ""),
        "target_delimiter": task.get("target_delimiter", " "), "fewshot_delimiter": task.get("example_delimiter", "\n\n"),
        "metric_list": [{"metric": name} for name in METRICS[kind]],
        "fewshot_split": "train" if "train" in files else "test", "fewshot_config": {"sampler": "first_n"},
    }
    if "train" in files:
        config["training_split"] = "train"
    target = lambda doc: apply_template(task["target"], doc)
    config["doc_to_target"] = target if kind != "choice" else lambda doc: int(target(doc)) if target(doc).isdigit() else target(doc)
    if kind == "choice":
        field = task.get("choice_field")
        config["doc_to_choice"] = (lambda doc: list(doc[field])) if field else lambda doc: [apply_template(c, doc) for c in task["choices"]]
    return config


def expand(path):
    """${NAME:-default} as in the pipeline's configurations."""
    if path.startswith("${"):
        inside, rest = path[2:].split("}", 1)
        name, _, default = inside.partition(":-")
        path = (os.environ.get(name) or default) + rest
    return path


def harness(model, tasks, shots, base, limit=None):
    """{task: {shots: {metric: value}}} by the harness."""
    lm = HFLM(pretrained=str(model), device="cpu", dtype="float32", batch_size=8)
    found = {}
    for path in tasks:
        for k in shots:
            perplexity = tomllib.loads(path.read_text()).get("kind") == "perplexity"
            if perplexity and k:
                continue
            config = harness_task(path, base)
            results = lm_eval.simple_evaluate(model=lm, tasks=[config], num_fewshot=k, limit=limit, bootstrap_iters=0, log_samples=True)
            figures = {name.split(",")[0]: value for name, value in results["results"][path.stem].items() if name.endswith(",none") and "stderr" not in name}
            samples = sorted(results["samples"][path.stem], key=lambda s: s["doc_id"])
            likelihoods = [[pair[0][0] if isinstance(pair[0], (list, tuple)) else pair[0] for pair in s["resps"]] for s in samples]
            found.setdefault(path.stem, {})[str(k)] = {"figures": figures, "log_probs": likelihoods}
    return found


def ours(evaluate, model, tasks, shots, limit=0):
    with tempfile.TemporaryDirectory() as folder:
        items = pathlib.Path(folder) / "items.jsonl"
        command = [evaluate, "tasks", "--model", model, "--json", "--device", "cpu", "--items", items, "--shots", ",".join(map(str, shots)), "--limit", limit, "--task", *tasks]
        answer = json.loads(subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout)
        rows = [json.loads(line) for line in items.read_text().splitlines()]
    found = {}
    for task in answer["tasks"]:
        mine = [r["log_probs"] for r in rows if r["task"] == task["task"] and r["shots"] == task["shots"]]
        found.setdefault(task["task"], {})[str(task["shots"])] = {"figures": {m["name"]: m["value"] for m in task["metrics"]}, "log_probs": mine}
    return found


def compare(arguments):
    evaluate, model, rest = arguments[0], arguments[1], arguments[2:]
    option = lambda name, default: rest.pop(rest.index(name) + 1) if name in rest else default
    shots = [int(k) for k in option("--shots", "0").split(",")]
    limit = int(option("--limit", "0"))
    tasks = [pathlib.Path(p) for p in rest if not p.startswith("--")]
    import time
    start = time.time()
    mine = ours(evaluate, model, tasks, shots, limit)
    between = time.time()
    theirs = harness(model, tasks, shots, pathlib.Path.cwd(), limit or None)
    print(f"{between - start:.1f} s ours, {time.time() - between:.1f} s lm-evaluation-harness {lm_eval.__version__}")
    worst = 0.0
    for task, by_shots in theirs.items():
        for k, found in by_shots.items():
            pairs = zip(sum(mine[task][k]["log_probs"], []), sum(found["log_probs"], []), strict=True)
            likelihoods = max(abs(a - b) / max(1.0, abs(b)) for a, b in pairs)
            for name, value in found["figures"].items():
                difference = abs(mine[task][k]["figures"][name] - value) / max(1.0, abs(value))
                worst = max(worst, difference)
                print(f"{task:<20} K={k:<2} {name:<16} {mine[task][k]['figures'][name]:12.5f} {value:12.5f}  {difference:.1e}")
            print(f"{task:<20} K={k:<2} {'log-likelihoods':<16} {len(found['log_probs']):>6} items, largest difference {likelihoods:.1e}")
            worst = max(worst, likelihoods)
    print(f"largest difference {worst:.1e}: {'agrees' if worst < 1e-3 else 'DIFFERS'}")
    sys.exit(worst >= 1e-3)


# --- the fixture -------------------------------------------------------------------------------------------------------------------------------

CHOICES = [
    ("The man turned on the tap.", "The toilet filled with water.", "Water flowed from the spout.", "effect", 1),
    ("The girl found a bug in her soup.", "She poured milk into the bowl.", "She lost her appetite.", "effect", 1),
    ("The woman retired. ", "She received her pension.", "She paid off her mortgage.", "effect", 0),
    ("I wanted to save energy.", "I swept the floor in the empty room.", "I shut off the light in the empty room.", "effect", 1),
    ("The hamburger meat browned.", "The cook froze it.", "The cook grilled it.", "cause", 1),
    ("I doubted the salesman’s pitch.", "I turned his offer down.", "He persuaded me to buy the product.", "effect", 0),
    ("Ça va bien.", "Émile dort.", "Il pleut.", "cause", 0),
    ("The tree snapped in two.", "Its leaves fell.", "It was hit by lightning in the long and windy night before.", "cause", 1),
]
TEXTS = [
    "once upon a time there was a cat who sat on the mat and looked at the rain",
    "the dog ran to the park and the dog ran back to the house",
    "she gave him a cup of tea, and he said thank you",
    "two birds sang in the old tree while the sun went down behind the hills and the lake lay still and the wind slept in the leaves of the trees",
]
FILES = {
    "choice.toml": 'kind = "choice"\nsource.path = "choices.jsonl"\nexamples.path = "examples.jsonl"\ndraw = "first"\ndescription = "Pick one. "\n'
    "text = \"{{ premise.strip()[:-1] }} {{ {'cause': 'because', 'effect': 'therefore'}[question] }}\"\n"
    'choices = ["{{ choice1[:1]|lower }}{{ choice1[1:] }}", "{{ choice2[:1]|lower }}{{ choice2[1:] }}"]\ntarget = "{{ label }}"\n',
    "list.toml": 'kind = "choice"\nsource.path = "list.jsonl"\ntext = "{{ question }} "\nchoice_field = "answers"\ntarget = "{{ right }}"\ndraw = "first"\nexample_delimiter = "\\n"\n',
    "cloze.toml": 'kind = "cloze"\nsource.path = "texts.jsonl"\ntext = "{{ text.split(\' \')[:-1]|join(\' \') }}"\ntarget = " {{ text.split(\' \')[-1] }}"\n'
    'target_delimiter = ""\ndraw = "first"\n',
    "bare.toml": 'kind = "cloze"\nsource.path = "texts.jsonl"\ntext = "{{ \'\' }}"\ntarget = "{{ text[:48] }}"\ntarget_delimiter = ""\ndraw = "first"\n',
    "perplexity.toml": 'kind = "perplexity"\nsource.path = "texts.jsonl"\ntarget = "{{ text }}. {{ text }}"\n',
}


def rows():
    choice = lambda row, at: dict(zip(["premise", "choice1", "choice2", "question", "label"], row), idx=at)
    lines = lambda found: "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in found)
    (GOLDEN / "choices.jsonl").write_text(lines(choice(r, i) for i, r in enumerate(CHOICES[:4] + CHOICES[6:])))
    (GOLDEN / "examples.jsonl").write_text(lines(choice(r, i) for i, r in enumerate(CHOICES[4:6])))
    (GOLDEN / "texts.jsonl").write_text(lines({"text": t} for t in TEXTS))
    questions = [("the cat sat on the", ["mat", "moon", "a"], "mat"), ("the dog ran to the", ["house", "park", "the tree"], "park"), ("the sun went", ["down", "up", "in"], "down")]
    (GOLDEN / "list.jsonl").write_text(lines({"question": q, "answers": a, "right": r} for q, a, r in questions))
    for name, text in FILES.items():
        (GOLDEN / name).write_text(text)


def models():
    """A GPT-2 that puts nothing before a text and a Llama that puts <s> there, trained on the texts for a moment so that some answers are right."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    corpus = TEXTS + [" ".join(row[:3]) for row in CHOICES]
    for name, special in [("gpt2", ["<|endoftext|>"]), ("llama", ["<s>", "</s>"])]:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
        more = {"bos_token": special[0], "eos_token": special[-1]}
        if name == "llama":
            tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])
        transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **more).save_pretrained(GOLDEN / name)
        torch.manual_seed(4)
        size = {"vocab_size": 300, "bos_token_id": 0, "eos_token_id": len(special) - 1}
        if name == "gpt2":
            model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_positions=40, n_embd=16, n_layer=2, n_head=2, **size))
        else:
            model = transformers.LlamaForCausalLM(transformers.LlamaConfig(max_position_embeddings=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True, **size))
        optimiser = torch.optim.AdamW(model.parameters(), lr=2e-2)
        rows = [torch.tensor([tokenizer.encode(text).ids[:40]]) for text in TEXTS]
        for step in range(80):
            loss = model(rows[step % len(rows)], labels=rows[step % len(rows)]).loss
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        model.save_pretrained(GOLDEN / name)
        (GOLDEN / name / "generation_config.json").unlink(missing_ok=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        compare(sys.argv[1:])
    GOLDEN.mkdir(parents=True, exist_ok=True)
    rows()
    models()
    os.chdir(GOLDEN)
    expected = {"harness": lm_eval.__version__}
    for name in ["gpt2", "llama"]:
        expected[name] = harness(GOLDEN / name, sorted(GOLDEN.glob("*.toml")), [0, 1, 2], GOLDEN)
    (GOLDEN / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
