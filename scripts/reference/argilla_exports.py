"""Exports of Argilla written by its own classes, 2.x and 1.x, for label/tests/ingest/argilla.

The two versions cannot be installed together: run this file with a Python that has argilla==2.8.0 (writes records_v2.json, rows_v2.jsonl and
rows_v2.parquet), then with one that has argilla==1.29.1 and numpy<2 (writes records_v1.jsonl, rows_v1.jsonl). No server is needed: records are built in
memory and exported by the same methods that an export of a pulled data set calls. Not run by all.sh for that reason.
"""

import importlib.metadata
import json
import pathlib
import sys
import uuid

OUT = pathlib.Path(__file__).resolve().parents[2] / "label/tests/ingest/argilla"
ANA, BEN, CAI = (uuid.UUID(int=n) for n in (0xA, 0xB, 0xC))
QUESTIONS = ("preference", "quality", "topic", "tags", "rewrite", "why")


def responses():
    """(record number, user, status, answers by question)."""
    rank = lambda *order: [{"value": name, "rank": place} for name, place in order]
    return [
        (0, ANA, "submitted", {"preference": rank(("response-1", 1), ("response-2", 2)), "quality": 4, "topic": "maths", "why": "It is right."}),
        (0, BEN, "submitted", {"preference": rank(("response-2", 1), ("response-1", 1)), "quality": 5, "topic": "maths", "tags": ["short", "true"]}),
        (0, CAI, "discarded", {"preference": rank(("response-2", 1), ("response-1", 2)), "quality": 1}),
        (1, ANA, "submitted", {"preference": rank(("response-2", 1), ("response-1", 2)), "quality": 2, "topic": "other", "rewrite": "Grass is green."}),
        (1, BEN, "draft", {"quality": 3}),
        (1, CAI, "discarded", {}),
    ]


FIELDS = [
    {"prompt": "What is 1 + 1?", "response-1": "2", "response-2": "It is 2."},
    {"prompt": "Say something green.", "response-1": "The sky.", "response-2": "Grass, 草."},
    {"prompt": "Nobody has seen this one.", "response-1": "So it", "response-2": "is open."},
]


def write(name, text):
    (OUT / name).write_text(text, encoding="utf-8")


def value_2(number, question, value):
    """A ranking pulled from a server by 2.x is the names in order, without ties; one that was built by hand may still hold the ranks."""
    return [place["value"] for place in value] if question == "preference" and number == 1 else value


def version_2():
    import argilla as rg
    from argilla.records._io import GenericIO, HFDatasetsIO, JsonIO

    records = []
    for number, fields in enumerate(FIELDS):
        mine = [
            rg.Response(question, value_2(number, question, value), user_id=user, status=status)
            for n, user, status, answers in responses()
            for question, value in answers.items()
            if n == number
        ]
        suggestion = rg.Suggestion("preference", ["response-1", "response-2"], score=0.9, agent="model")
        records.append(rg.Record(id=f"r{number}", fields=fields, metadata={"source": "made"}, responses=mine, suggestions=[suggestion]))
    target = OUT / "records_v2.json"
    target.unlink(missing_ok=True)
    JsonIO.to_json(records, target)
    # Server ids are made anew at every run.
    rows = json.loads(target.read_text())
    for row in rows:
        row["_server_id"] = None
    write("records_v2.json", json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    flat = GenericIO.to_list(records, flatten=True)
    for row in flat:
        row["_server_id"] = None
    # The order of the columns that a row lacks is that of a set.
    names = sorted({name for row in flat for name in row})
    write("rows_v2.jsonl", "".join(json.dumps({n: row[n] for n in names}, ensure_ascii=False) + "\n" for row in flat))
    import pyarrow
    import pyarrow.parquet

    # A column of Parquet has one type: every ranking as names.
    for row in flat:
        rankings = row["preference.responses"] or []
        row["preference.responses"] = [[v["value"] if isinstance(v, dict) else v for v in ranking] for ranking in rankings] or None
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{n: row[n] for n in names} for row in flat]), OUT / "rows_v2.parquet")


def version_1():
    import argilla as rg

    values = lambda answers: {question: {"value": value} for question, value in answers.items()}
    records = []
    for number, fields in enumerate(FIELDS):
        mine = [rg.ResponseSchema(user_id=user, values=values(answers), status=status) for n, user, status, answers in responses() if n == number]
        suggestion = rg.SuggestionSchema(question_name="quality", value=5, type="model", agent="model")
        records.append(rg.FeedbackRecord(fields=fields, metadata={"source": "made"}, responses=mine, suggestions=[suggestion], external_id=f"r{number}"))
    write("records_v1.jsonl", "".join(record.json(ensure_ascii=False) + "\n" for record in records))
    labels = {name: name for name in ("maths", "other")}
    dataset = rg.FeedbackDataset(
        fields=[rg.TextField(name=name) for name in FIELDS[0]],
        questions=[
            rg.RankingQuestion(name="preference", values=["response-1", "response-2"], required=False),
            rg.RatingQuestion(name="quality", values=[1, 2, 3, 4, 5]),
            rg.LabelQuestion(name="topic", labels=labels, required=False),
            rg.MultiLabelQuestion(name="tags", labels=["short", "true"], required=False),
            rg.TextQuestion(name="rewrite", required=False),
            rg.TextQuestion(name="why", required=False),
        ],
    )
    dataset.add_records(records)
    rows = dataset.format_as("datasets")
    write("rows_v1.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    version = importlib.metadata.version("argilla")
    {"1": version_1, "2": version_2}[version.split(".")[0]]()
    sys.stdout.write(f"{OUT} written by argilla {version}\n")
